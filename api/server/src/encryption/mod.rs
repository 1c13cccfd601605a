//! Encryption at rest: what of the store is sealed, with what, and how it is read again.
//!
//! Upstream's `EncryptionConfiguration` says it, and the bytes are upstream's too, so that a
//! kube-apiserver with the same file reads what this server writes, and the other way round.
//! `storage` is the only caller: everything above it sees plain values, or an error in their place.
//!
//! The rules of single values are numbered in `cipher` (E1 to E3) and `provider` (E4 to E6).
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E7 | Only keys of objects are sealed: leases of servers and allocated ranges are not. |
//! | E8 | A file that cannot be used changes nothing: the one before it stays in force. |
//! | E9 | No key of a file is written to a log, an error, a metric or a debug text. |

mod cipher;
mod config;
#[cfg(test)]
mod config_test;
mod document;
mod metrics;
mod provider;
#[cfg(test)]
mod provider_test;
mod reload;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api_machinery::kinds;
use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::limits::ENCRYPTION_RELOAD_INTERVAL;
use provider::Provider;

pub(crate) use metrics::Metrics;
pub(crate) use provider::Opened;
pub(crate) use reload::run;

/// The file of `--encryption-provider-config`, read and checked.
#[derive(Clone, Debug)]
pub struct EncryptionConfig {
    path: PathBuf,
    first: Arc<Rules>,
    /// How often the file is looked at; `None` takes it as it is at the start.
    pub reload: Option<Duration>,
}

impl EncryptionConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// Upstream's message when the file cannot be used.
    pub fn load(path: PathBuf, reload: bool) -> Result<Self, String> {
        let first = Arc::new(config::load(&path)?);
        Ok(Self { path, first, reload: reload.then_some(ENCRYPTION_RELOAD_INTERVAL) })
    }
}

/// A resource without its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupResource {
    pub(crate) group: Cow<'static, str>,
    pub(crate) resource: Cow<'static, str>,
}

impl GroupResource {
    fn new(group: &str, resource: &str) -> Self {
        Self { group: group.to_owned().into(), resource: resource.to_owned().into() }
    }

    const fn built_in(group: &'static str, resource: &'static str) -> Self {
        Self { group: Cow::Borrowed(group), resource: Cow::Borrowed(resource) }
    }

    /// `secrets`, `deployments.apps`, `*.`: everything after the first dot is the group.
    fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self::new(group, resource)
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.group {
            "" => f.write_str(&self.resource),
            group => write!(f, "{}.{group}", self.resource),
        }
    }
}

/// What one file says.
pub(crate) struct Rules {
    /// Hash of the file.
    hash: String,
    by_resource: HashMap<GroupResource, Vec<Arc<Provider>>>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // E9: the hash says which ones they are.
        f.debug_struct("Rules").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Rules {
    /// The resource itself, else its group, else everything.
    fn providers(&self, of: &GroupResource) -> Option<&[Arc<Provider>]> {
        let at = |group: &str, resource: &str| {
            self.by_resource.get(&GroupResource::new(group, resource)).map(Vec::as_slice)
        };
        let itself = self.by_resource.get(of).map(Vec::as_slice);
        itself.or_else(|| at(&of.group, "*")).or_else(|| at("*", "*"))
    }
}

/// Built-in resources by their keys below the root.
static BUILT_IN: LazyLock<HashMap<&str, GroupResource>> = LazyLock::new(|| {
    let kept = kinds::all().iter().filter(|info| info.is_stored() && info.kept_as.is_none());
    kept.map(|info| (info.storage_prefix, GroupResource::built_in(info.group, info.plural)))
        .collect()
});

/// The resource of a key below the root; `None` for what is no object (E7).
fn resource_of(key: &str) -> Option<GroupResource> {
    let mut steps = key.splitn(3, '/');
    let (first, second) = (steps.next()?, steps.next()?);
    if let Some(found) = BUILT_IN.get(first) {
        return Some(found.clone());
    }
    steps.next()?;
    let two = &key[..=first.len() + second.len()];
    if let Some(found) = BUILT_IN.get(two) {
        return Some(found.clone());
    }
    // Groups of custom kinds have a dot; nothing else has one in the first step of its keys.
    first.contains('.').then(|| GroupResource::new(first, second))
}

/// Seals and opens the values of the store.
#[derive(Debug)]
pub(crate) struct Encryption {
    /// `/registry/`.
    root: String,
    /// `None` without a file: nothing is sealed, and what is sealed is not read.
    rules: Option<ArcSwap<Rules>>,
    metrics: Metrics,
}

impl Encryption {
    pub(crate) fn new(
        config: Option<&EncryptionConfig>,
        root: String,
        metrics: Metrics,
    ) -> Arc<Self> {
        let rules = config.map(|config| ArcSwap::new(config.first.clone()));
        Arc::new(Self { root, rules, metrics })
    }

    /// Whether there is a file.
    pub(crate) fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// The resource of a key of the store.
    pub(crate) fn resource(&self, key: &str) -> Option<GroupResource> {
        resource_of(key.strip_prefix(&self.root)?)
    }

    /// Puts another file in force.
    fn apply(&self, rules: Arc<Rules>) {
        if let Some(current) = &self.rules {
            current.store(rules);
        }
    }

    /// The rules in force, and the resource of a key of the store.
    fn of(&self, key: &[u8]) -> Option<(Arc<Rules>, GroupResource)> {
        let rules = self.rules.as_ref()?;
        let below = std::str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        Some((rules.load_full(), resource_of(below)?))
    }

    /// What is to be stored at a key.
    pub(crate) fn seal(&self, key: &[u8], value: Bytes) -> Result<Bytes, String> {
        let Some((rules, resource)) = self.of(key) else { return Ok(value) };
        let Some(providers) = rules.providers(&resource) else { return Ok(value) };
        let name = resource.to_string();
        let seen = metrics::Seen { metrics: &self.metrics, resource: &name };
        provider::seal(providers, &seen, key, value)
    }

    /// What was stored at a key.
    pub(crate) fn open(&self, key: &[u8], value: Bytes) -> Result<Opened, String> {
        if let Some((rules, resource)) = self.of(key)
            && let Some(providers) = rules.providers(&resource)
        {
            let name = resource.to_string();
            let seen = metrics::Seen { metrics: &self.metrics, resource: &name };
            return provider::open(providers, &seen, key, &value);
        }
        match provider::is_sealed(&value) {
            true => Err(provider::SEALED_REFUSED.to_owned()),
            false => Ok(Opened { value, is_stale: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_their_resources() {
        for (key, wanted) in [
            ("secrets/default/a", Some("secrets")),
            ("minions/n", Some("nodes")),
            ("services/specs/default/a", Some("services")),
            ("services/endpoints/default/a", Some("endpoints")),
            ("deployments/default/a", Some("deployments.apps")),
            ("events/default/a", Some("events")),
            ("ipaddresses/10.96.0.1", Some("ipaddresses.networking.k8s.io")),
            ("apiregistration.k8s.io/apiservices/v1.", Some("apiservices.apiregistration.k8s.io")),
            (
                "apiextensions.k8s.io/customresourcedefinitions/a.b.c",
                Some("customresourcedefinitions.apiextensions.k8s.io"),
            ),
            ("a.example.com/things/n/x", Some("things.a.example.com")),
            ("a.example.com/things", None),
            ("masterleases/10.77.0.1", None),
            ("peerserverleases/apiserver-x", None),
            ("ranges/servicenodeports", None),
            ("orlop/progress", None),
            ("health", None),
            ("", None),
        ] {
            let found = resource_of(key).map(|found| found.to_string());
            assert_eq!(found.as_deref(), wanted, "{key}");
        }
    }
}
