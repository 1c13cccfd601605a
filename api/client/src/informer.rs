//! A local copy of one kind, kept by a watch, with handlers that hear every change.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | I1 | The copy changes before the handlers hear of it. |
//! | I2 | A re-list is told as the difference to the copy: nothing is lost, nothing unchanged is repeated. |

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    hash::Hash,
    sync::Arc,
};

use futures::{Stream, StreamExt};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{key_of, lenient, limits};

/// Index values of one object; see [`Store::by_index`].
pub type IndexFn<K> = fn(&K) -> Vec<String>;

/// What hears of a change: `(before, after)`; no `before` is an addition, no `after` a deletion.
pub type Handler<K> = Box<dyn Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync>;

#[derive(Debug)]
struct Copy<K> {
    objects: BTreeMap<String, Arc<K>>,
    index: HashMap<String, BTreeSet<String>>,
}

/// A read view of all objects of one kind; one informer writes it.
#[derive(Debug)]
pub struct Store<K> {
    copy: RwLock<Copy<K>>,
    index_fn: Option<IndexFn<K>>,
    synced: watch::Sender<bool>,
}

impl<K: Resource> Store<K> {
    /// An empty store; `index_fn` names the index values of an object.
    #[must_use]
    pub fn new(index_fn: Option<IndexFn<K>>) -> Arc<Self> {
        Arc::new(Self {
            copy: RwLock::new(Copy { objects: BTreeMap::new(), index: HashMap::new() }),
            index_fn,
            synced: watch::Sender::new(false),
        })
    }

    /// A filled store without a watch behind it, for tests of decisions.
    #[must_use]
    pub fn from_objects(
        index_fn: Option<IndexFn<K>>,
        objects: impl IntoIterator<Item = K>,
    ) -> Arc<Self> {
        let store = Self::new(index_fn);
        for object in objects {
            store.put(Arc::new(object));
        }
        store.synced.send_replace(true);
        store
    }

    /// The object with this key (see [`key_of`]).
    pub fn get(&self, key: &str) -> Option<Arc<K>> {
        self.copy.read().objects.get(key).cloned()
    }

    /// All objects, by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.copy.read().objects.values().cloned().collect()
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.copy.read().objects.keys().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.copy.read().objects.len()
    }

    /// True when there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of one namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        // '0' is the character after '/': the range holds exactly the keys that start with "namespace/".
        let (from, to) = (format!("{namespace}/"), format!("{namespace}0"));
        self.copy.read().objects.range(from..to).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// The objects that have this index value.
    pub fn by_index(&self, value: &str) -> Vec<Arc<K>> {
        let copy = self.copy.read();
        let keys = copy.index.get(value).into_iter().flatten();
        keys.filter_map(|key| copy.objects.get(key).cloned()).collect()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        if synced.wait_for(|done| *done).await.is_err() {
            // The sender lives in `self`; a closed channel cannot be seen from here.
            std::future::pending::<()>().await;
        }
    }

    /// Puts an object in; returns what was there before. Only the informer (or a test) writes.
    pub fn put(&self, object: Arc<K>) -> Option<Arc<K>> {
        let key = key_of(object.as_ref());
        let mut copy = self.copy.write();
        let before = copy.objects.insert(key.clone(), Arc::clone(&object));
        if let Some(index_fn) = self.index_fn {
            if let Some(before) = &before {
                copy.unindex(&key, index_fn(before));
            }
            for value in index_fn(&object) {
                copy.index.entry(value).or_default().insert(key.clone());
            }
        }
        before
    }

    fn remove(&self, key: &str) -> Option<Arc<K>> {
        let mut copy = self.copy.write();
        let before = copy.objects.remove(key)?;
        if let Some(index_fn) = self.index_fn {
            copy.unindex(key, index_fn(&before));
        }
        Some(before)
    }
}

impl<K> Copy<K> {
    fn unindex(&mut self, key: &str, values: Vec<String>) {
        for value in values {
            if let Some(keys) = self.index.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.index.remove(&value);
                }
            }
        }
    }
}

/// The one writer of a [`Store`], and its handlers.
pub struct Informer<K> {
    store: Arc<Store<K>>,
    handlers: Vec<Handler<K>>,
    forget: fn(&mut K),
}

impl<K: Resource + Clone + Debug + Send + Sync + 'static> Informer<K> {
    /// An informer that fills `store`.
    #[must_use]
    pub fn new(store: Arc<Store<K>>) -> Self {
        Self { store, handlers: Vec::new(), forget: |_| {} }
    }

    /// Takes out of each object what nobody reads in the copy. Such an object must not be written back whole.
    pub fn forget(&mut self, forget: fn(&mut K)) {
        self.forget = forget;
    }

    /// Adds a handler. It runs inside the watch loop: it must be quick (put a key in a queue).
    pub fn on_change(
        &mut self,
        handler: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync + 'static,
    ) {
        self.handlers.push(Box::new(handler));
    }

    /// The store that this informer fills.
    #[must_use]
    pub fn store(&self) -> Arc<Store<K>> {
        Arc::clone(&self.store)
    }

    /// Lists and watches until `stop` fires. Errors are retried with back-off.
    pub async fn run(self, api: Api<K>, config: watcher::Config, stop: CancellationToken)
    where
        K: DeserializeOwned,
        K::DynamicType: Default + Eq + Hash + Clone,
    {
        self.consume(watcher(api, config).default_backoff(), stop).await;
    }

    /// The same for a kind whose objects may not fit their type (see [`crate::lenient`]).
    pub async fn run_lenient(self, client: Client, stop: CancellationToken)
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let objects = watcher(lenient::api::<K>(client), watcher::Config::default());
        self.consume(lenient::events(objects.default_backoff()), stop).await;
    }

    /// The same from a stream that the caller made, such as a metadata watch.
    pub async fn consume(
        self,
        events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
        stop: CancellationToken,
    ) {
        let mut events = std::pin::pin!(events);
        let mut listing = BTreeMap::new();
        let started = tokio::time::Instant::now();
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => self.apply(event, &mut listing),
                Some(Err(error)) => {
                    let kind = std::any::type_name::<K>();
                    if started.elapsed() > limits::SYNC_WARNING_AFTER
                        || !*self.store.synced.borrow()
                    {
                        warn!(kind, %error, "watch failed, will retry");
                    } else {
                        debug!(kind, %error, "watch failed, will retry");
                    }
                }
                None => return,
            }
        }
    }

    /// An object as it is kept: without its managed fields. They are most of what it takes, nobody who reads a
    /// copy asks for them, and an update that says nothing of them leaves them as they are. (Upstream's
    /// managers forget them, too.)
    fn kept(&self, mut object: K) -> Arc<K> {
        object.meta_mut().managed_fields = None;
        (self.forget)(&mut object);
        Arc::new(object)
    }

    fn apply(&self, event: watcher::Event<K>, listing: &mut BTreeMap<String, Arc<K>>) {
        match event {
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(object) => {
                listing.insert(key_of(&object), self.kept(object));
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(listing);
                for key in self.store.keys() {
                    if !listed.contains_key(&key) {
                        self.delete(&key);
                    }
                }
                for object in listed.into_values() {
                    self.upsert(object);
                }
                self.store.synced.send_replace(true);
            }
            watcher::Event::Apply(object) => self.upsert(self.kept(object)),
            watcher::Event::Delete(object) => self.delete(&key_of(&object)),
        }
    }

    fn upsert(&self, after: Arc<K>) {
        let before = self.store.put(Arc::clone(&after));
        match &before {
            Some(old) if old.meta().uid != after.meta().uid => {
                // Deleted and made again while we looked away: two different objects.
                self.tell(Some(old), None);
                self.tell(None, Some(&after));
            }
            Some(old)
                if old.meta().resource_version == after.meta().resource_version
                    && old.meta().resource_version.is_some() => {}
            _ => self.tell(before.as_ref(), Some(&after)),
        }
    }

    fn delete(&self, key: &str) {
        if let Some(before) = self.store.remove(key) {
            self.tell(Some(&before), None);
        }
    }

    fn tell(&self, before: Option<&Arc<K>>, after: Option<&Arc<K>>) {
        for handler in &self.handlers {
            handler(before, after);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use parking_lot::Mutex;

    use super::*;

    fn config_map(name: &str, uid: &str, revision: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("ns".into());
        object.metadata.name = Some(name.into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(revision.into());
        object
    }

    /// Pods of 30 variables once took 70 KB each of an ephemeral server, and 43 without managed fields.
    #[tokio::test]
    async fn who_wrote_what_and_what_is_to_be_forgotten_is_not_kept() {
        let mut informer = Informer::new(Store::new(None));
        informer.forget(|object: &mut ConfigMap| object.data = None);
        let store = informer.store();
        let owned = |name: &str| {
            let mut object = config_map(name, name, "1");
            object.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
            object.data = Some(BTreeMap::new());
            object
        };
        let events = vec![
            watcher::Event::Init,
            watcher::Event::InitApply(owned("listed")),
            watcher::Event::InitDone,
            watcher::Event::Apply(owned("watched")),
        ];
        let events = futures::stream::iter(events.into_iter().map(Ok));
        informer.consume(events, CancellationToken::new()).await;
        let kept = store.list();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|object| object.metadata.managed_fields.is_none()));
        assert!(kept.iter().all(|object| object.data.is_none()));
    }

    #[tokio::test]
    async fn a_second_list_is_told_as_the_difference() {
        let mut informer = Informer::new(Store::new(Some(|object: &ConfigMap| {
            object.metadata.uid.iter().cloned().collect()
        })));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        informer.on_change(move |before: Option<&Arc<ConfigMap>>, after| {
            let show = |object: Option<&Arc<ConfigMap>>| {
                object.map_or("-".to_owned(), |o| {
                    format!(
                        "{}@{}",
                        key_of(o.as_ref()),
                        o.metadata.resource_version.as_ref().unwrap()
                    )
                })
            };
            log.lock().push(format!("{} {}", show(before), show(after)));
        });
        let store = informer.store();
        let events = vec![
            watcher::Event::Init,
            watcher::Event::InitApply(config_map("a", "1", "1")),
            watcher::Event::InitApply(config_map("b", "2", "2")),
            watcher::Event::InitApply(config_map("c", "3", "3")),
            watcher::Event::InitDone,
            watcher::Event::Apply(config_map("a", "1", "4")),
            // The watch broke: a unchanged, b gone, c made anew.
            watcher::Event::Init,
            watcher::Event::InitApply(config_map("a", "1", "4")),
            watcher::Event::InitApply(config_map("c", "9", "6")),
            watcher::Event::InitDone,
        ];
        informer
            .consume(futures::stream::iter(events.into_iter().map(Ok)), CancellationToken::new())
            .await;
        assert_eq!(
            *heard.lock(),
            [
                "- ns/a@1",
                "- ns/b@2",
                "- ns/c@3",
                "ns/a@1 ns/a@4",
                "ns/b@2 -",
                "ns/c@3 -",
                "- ns/c@6",
            ],
            "I2"
        );
        assert_eq!(store.keys(), ["ns/a", "ns/c"]);
        assert_eq!(store.by_index("9").len(), 1);
        assert!(store.by_index("2").is_empty() && store.by_index("3").is_empty());
        assert_eq!(store.in_namespace("ns").len(), 2);
        assert!(store.in_namespace("n").is_empty());
        store.synced().await;
    }
}
