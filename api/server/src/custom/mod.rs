//! Custom kinds: those that are served now, and the task that follows their definitions.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | U1 | A request sees one snapshot of a kind, from its start to its end. |
//! | U2 | A kind is served from a cache that has been filled and is kept up to date. |
//! | U3 | What is read through a closed cache is refused, never stale. |

mod definitions;
mod deletion;
mod follow;
mod leftover;
mod shape;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use api_machinery::custom::discovery::Listed;
use api_machinery::custom::kind::not_implemented;
use api_machinery::custom::{CustomKind, CustomVersion};
use api_machinery::{Object, ResourceInfo, Status, kinds};
use parking_lot::RwLock;
use serde_json::Value;

use crate::discovery::digest;
use crate::watch_cache::Cache;

pub(crate) use follow::run;
pub(crate) use shape::Shape;

/// The definitions' own kind.
pub(crate) fn definitions() -> &'static ResourceInfo {
    kinds::find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        .expect("the kinds table has the kind of definitions")
}

/// Refuses definitions that say what nobody here carries out yet.
pub(crate) fn check_definition(info: &ResourceInfo, object: &Object) -> Result<(), Status> {
    if info.group != "apiextensions.k8s.io" || info.kind != "CustomResourceDefinition" {
        return Ok(());
    }
    // One that is going may lose its finalizers, whatever it says.
    let spec = object.at(&["spec"]).filter(|_| object.deletion_timestamp().is_none());
    match spec.and_then(not_implemented) {
        Some(why) => Err(Status::not_implemented(why)),
        None => Ok(()),
    }
}

/// A definition whose kind is served here.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// What the kind was made of: another one is another kind.
    made_of: Arc<(Value, Value)>,
    /// Tells what it says from what others say.
    digest: Arc<OnceLock<String>>,
    pub(crate) kind: Arc<CustomKind>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) is_established: bool,
    pub(crate) is_terminating: bool,
}

/// One version of a kind that is served.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) version: Arc<CustomVersion>,
    pub(crate) definition: Arc<Definition>,
}

#[derive(Debug, Default)]
struct Snapshot {
    by_name: BTreeMap<String, Arc<Definition>>,
    by_url: HashMap<String, Served>,
    /// Rises with every change.
    number: u64,
}

/// The custom kinds that are served now.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    now: RwLock<Arc<Snapshot>>,
    /// Whether every definition that was there at the start has been looked at.
    is_ready: AtomicBool,
}

fn url(group: &str, version: &str, plural: &str) -> String {
    format!("{group}/{version}/{plural}")
}

impl Kinds {
    /// Whether all kinds are served that were there at the start.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.now.read().clone()
    }

    /// A version of a kind by its URL.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Served> {
        // No built-in group but the core one is without a version of its own here.
        if group.is_empty() {
            return None;
        }
        self.snapshot().by_url.get(&url(group, version, plural)).cloned()
    }

    /// The row of a version of a kind by its URL.
    pub(crate) fn row(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<&'static ResourceInfo> {
        self.find(group, version, plural).map(|served| served.version.info)
    }

    /// A version of a kind by its row.
    pub(crate) fn of(&self, info: &ResourceInfo) -> Option<Served> {
        self.find(info.group, info.version, info.plural)
    }

    fn definition(&self, name: &str) -> Option<Arc<Definition>> {
        self.snapshot().by_name.get(name).cloned()
    }

    /// Every version of every kind that is established.
    pub(crate) fn listed(&self) -> Vec<Listed> {
        let snapshot = self.snapshot();
        let established = snapshot.by_name.values().filter(|one| one.is_established);
        established
            .flat_map(|one| {
                let is_terminating = one.is_terminating;
                one.kind.served().map(move |version| Listed { info: version.info, is_terminating })
            })
            .collect()
    }

    /// The definitions whose names are accepted: those that OpenAPI tells of.
    pub(crate) fn established(&self) -> Vec<Arc<Definition>> {
        let snapshot = self.snapshot();
        snapshot.by_name.values().filter(|one| one.is_established).cloned().collect()
    }

    /// Another one when something is another than before.
    pub(crate) fn number(&self) -> u64 {
        self.snapshot().number
    }

    /// The versions of groups, with what tells the OpenAPI document of one from other documents.
    pub(crate) fn openapi_hashes(&self) -> BTreeMap<(String, String), String> {
        let mut said: BTreeMap<(String, String), String> = BTreeMap::new();
        for definition in self.established() {
            let digest = definition.digest();
            for version in definition.kind.served() {
                let key = (version.info.group.to_owned(), version.info.version.to_owned());
                said.entry(key).or_default().push_str(digest);
            }
        }
        // A document is as its definitions are, and as this program writes it; making it only to
        // have its hash would cost more.
        for digests in said.values_mut() {
            *digests = digest(format!("{}{digests}", env!("CARGO_PKG_VERSION")).as_bytes());
        }
        said
    }

    /// Serves a definition from now on, in place of what was served under its name.
    fn publish(&self, definition: Definition) {
        let mut now = self.now.write();
        let mut by_name = now.by_name.clone();
        by_name.insert(definition.name.clone(), Arc::new(definition));
        *now = Arc::new(Snapshot::of(by_name, now.number + 1));
    }

    /// Serves a definition no more; gives what was served.
    fn withdraw(&self, name: &str) -> Option<Arc<Definition>> {
        let mut now = self.now.write();
        let mut by_name = now.by_name.clone();
        let gone = by_name.remove(name)?;
        *now = Arc::new(Snapshot::of(by_name, now.number + 1));
        Some(gone)
    }
}

impl Definition {
    pub(crate) fn spec(&self) -> &Value {
        &self.made_of.0
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| digest(self.made_of.0.to_string().as_bytes()))
    }
}

impl Snapshot {
    fn of(by_name: BTreeMap<String, Arc<Definition>>, number: u64) -> Self {
        let mut by_url = HashMap::new();
        for definition in by_name.values() {
            for version in definition.kind.served() {
                let info = version.info;
                let served = Served { version: version.clone(), definition: definition.clone() };
                by_url.insert(url(info.group, info.version, info.plural), served);
            }
        }
        Self { by_name, by_url, number }
    }
}
