//! Policies and bindings as the caches hold them, put together once per change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};

use api_machinery::{ResourceInfo, Status, kinds};
use parking_lot::Mutex;

use super::GROUP;
use super::compiled::{Binding, Hook, Policy};
use crate::state::Server;
use crate::watch_cache::{Filter, Version};

/// How far each of the four caches was when the snapshot was taken.
type Stamp = [u64; 4];

/// Policies that validate and their bindings, then those that mutate.
const PLURALS: [&str; 4] = [
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// The policies in force, those that have bindings.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) validating: Vec<Hook>,
    pub(super) mutating: Vec<Hook>,
}

/// What a server holds of policies.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    held: Mutex<Option<(Stamp, Arc<Snapshot>)>>,
    /// One snapshot is taken at a time.
    building: tokio::sync::Mutex<()>,
    /// The server itself, for expressions that ask it what a user may do.
    pub(super) server: OnceLock<Weak<Server>>,
}

/// The kind with this plural.
pub(super) fn info(plural: &str) -> &'static ResourceInfo {
    kinds::find(GROUP, "v1", plural).expect("the kinds table has the kinds of policies")
}

impl Policies {
    fn held(&self, stamp: &Stamp) -> Option<Arc<Snapshot>> {
        let held = self.held.lock();
        held.as_ref().filter(|(of, _)| of == stamp).map(|(_, snapshot)| Arc::clone(snapshot))
    }

    /// The policies as the caches are now (V2).
    pub(super) async fn current(&self, server: &Server) -> Result<Arc<Snapshot>, Status> {
        let caches = PLURALS.map(|plural| server.caches.of(info(plural)));
        let stamp = || caches.map(|cache| cache.last_event());
        if let Some(held) = self.held(&stamp()) {
            return Ok(held);
        }
        let _building = self.building.lock().await;
        let stamp = stamp();
        if let Some(held) = self.held(&stamp) {
            return Ok(held);
        }
        // A change in between is seen with the next request: its stamp is older than the caches.
        let mut lists: [Vec<Arc<Version>>; 4] = Default::default();
        for (list, cache) in lists.iter_mut().zip(caches) {
            // A policy that cannot be read is not one that is not there.
            *list = cache.list_whole("", &Filter::default(), 0)?.0;
        }
        let before = self.held.lock().as_ref().map(|(_, held)| Arc::clone(held));
        let built = tokio::task::spawn_blocking(move || Snapshot::of(&lists, before.as_deref()));
        let snapshot = built.await.map_err(|error| Status::internal(&error.to_string()))?;
        let snapshot = Arc::new(snapshot);
        *self.held.lock() = Some((stamp, Arc::clone(&snapshot)));
        Ok(snapshot)
    }
}

impl Snapshot {
    fn of(lists: &[Vec<Arc<Version>>; 4], before: Option<&Self>) -> Self {
        let [validating, validating_bindings, mutating, mutating_bindings] = lists;
        let known = |hooks: Option<&Vec<Hook>>| -> HashMap<String, Arc<Policy>> {
            let hooks = hooks.into_iter().flatten();
            hooks.map(|hook| (hook.policy.name.clone(), Arc::clone(&hook.policy))).collect()
        };
        let (known_validating, known_mutating) =
            (known(before.map(|one| &one.validating)), known(before.map(|one| &one.mutating)));
        Self {
            validating: hooks(validating, validating_bindings, &known_validating),
            mutating: hooks(mutating, mutating_bindings, &known_mutating),
        }
    }
}

fn hooks(
    policies: &[Arc<Version>],
    bindings: &[Arc<Version>],
    known: &HashMap<String, Arc<Policy>>,
) -> Vec<Hook> {
    let mut of_policy: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
    for version in bindings {
        let Ok(object) = version.object() else { continue };
        let binding = Binding::of(version.header.name(), &object.into_value());
        of_policy.entry(binding.policy.clone()).or_default().push(binding);
    }
    let mut out = Vec::new();
    for version in policies {
        let name = version.header.name();
        let Some(bindings) = of_policy.remove(name) else { continue };
        let Ok(object) = version.object() else { continue };
        let own_version = object.resource_version().to_owned();
        let policy = match known.get(name).filter(|known| known.version == own_version) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Policy::compile(name, &own_version, &object.into_value())),
        };
        out.push(Hook { policy, bindings });
    }
    // V6.
    out.sort_by(|one, other| one.policy.name.cmp(&other.policy.name));
    out
}
