//! Custom kinds: those that are served now, and the task that follows their definitions.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | U1 | A request sees one state of a kind, from its start to its end.    |
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

/// A version of a kind by its group, version and plural name.
type Url<'a> = (&'a str, &'a str, &'a str);

#[derive(Debug, Default)]
struct Now {
    by_name: BTreeMap<String, Arc<Definition>>,
    by_url: HashMap<Url<'static>, Served>,
    /// Rises with every change.
    number: u64,
}

/// The custom kinds that are served now. A change costs the same whatever the number of kinds.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    now: RwLock<Now>,
    /// Whether every definition that was there at the start has been looked at.
    is_ready: AtomicBool,
}

impl Kinds {
    /// Whether all kinds are served that were there at the start.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// A version of a kind by its URL.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Served> {
        // No built-in group but the core one is without a version of its own here.
        if group.is_empty() {
            return None;
        }
        let now = self.now.read();
        let by_url: &HashMap<Url<'_>, Served> = &now.by_url;
        by_url.get(&(group, version, plural)).cloned()
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
        self.now.read().by_name.get(name).cloned()
    }

    /// Every version of every kind that is established.
    pub(crate) fn listed(&self) -> Vec<Listed> {
        let now = self.now.read();
        let established = now.by_name.values().filter(|one| one.is_established);
        established
            .flat_map(|one| {
                let is_terminating = one.is_terminating;
                one.kind.served().map(move |version| Listed { info: version.info, is_terminating })
            })
            .collect()
    }

    /// The definitions whose names are accepted: those that OpenAPI tells of.
    pub(crate) fn established(&self) -> Vec<Arc<Definition>> {
        let now = self.now.read();
        now.by_name.values().filter(|one| one.is_established).cloned().collect()
    }

    /// Another one when something is another than before.
    pub(crate) fn number(&self) -> u64 {
        self.now.read().number
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

    /// The names of the definitions whose kinds are served.
    fn names(&self) -> Vec<String> {
        self.now.read().by_name.keys().cloned().collect()
    }

    /// Serves a definition from now on, in place of what was served under its name.
    fn publish(&self, definition: Definition) {
        let definition = Arc::new(definition);
        let mut now = self.now.write();
        now.remove(&definition.name);
        for version in definition.kind.served() {
            let served = Served { version: version.clone(), definition: definition.clone() };
            now.by_url.insert(url(version.info), served);
        }
        now.by_name.insert(definition.name.clone(), definition);
        now.number += 1;
    }

    /// Serves a definition no more; gives what was served.
    fn withdraw(&self, name: &str) -> Option<Arc<Definition>> {
        let mut now = self.now.write();
        let gone = now.remove(name)?;
        now.number += 1;
        Some(gone)
    }
}

fn url(info: &'static ResourceInfo) -> Url<'static> {
    (info.group, info.version, info.plural)
}

impl Now {
    fn remove(&mut self, name: &str) -> Option<Arc<Definition>> {
        let gone = self.by_name.remove(name)?;
        for version in gone.kind.served() {
            self.by_url.remove(&url(version.info));
        }
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
