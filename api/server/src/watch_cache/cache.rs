//! One resource: its objects by key, its recent events, and those who watch it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use api_machinery::{ResourceInfo, Status};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::event::{Change, Event, Version};
use super::filter::Filter;
use crate::limits::{WATCHER_QUEUE_EVENTS_MAX, WINDOW_BYTES_MAX, WINDOW_EVENTS_MAX};

/// What a watcher's queue carries.
#[derive(Debug)]
pub(crate) enum Message {
    Event(Change, Arc<Event>),
    /// Everything up to this revision has been delivered.
    Bookmark(u64),
}

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the objects as they are.
    State,
    /// With the events after a revision.
    After(u64),
    /// With what comes next.
    Now,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Subscription {
    cache: Arc<Cache>,
    id: u64,
    /// Objects to tell first, when asked for.
    pub(crate) initial: Vec<Arc<Version>>,
    /// Events to tell next.
    pub(crate) replay: Vec<(Change, Arc<Event>)>,
    /// Revision of the initial objects.
    pub(crate) revision: u64,
    /// What follows; ends when this watcher was too slow or the cache was filled anew.
    pub(crate) queue: mpsc::Receiver<Message>,
}

impl Subscription {
    /// Puts a bookmark into the queue, in its place among the events (C3).
    pub(crate) fn request_bookmark(&self, revision: u64) {
        let inner = self.cache.inner.write();
        let revision = revision.max(inner.last_event);
        if let Some(watcher) = inner.watchers.get(&self.id) {
            // A full queue has events that say more than a bookmark.
            let _ = watcher.sender.try_send(Message::Bookmark(revision));
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.cache.inner.write().watchers.remove(&self.id);
    }
}

#[derive(Debug)]
struct Watcher {
    sender: mpsc::Sender<Message>,
    filter: Filter,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Box<str>, Arc<Version>>,
    window: VecDeque<Arc<Event>>,
    window_bytes: usize,
    /// Every event after this revision is in the window.
    window_start: u64,
    /// Revision of the newest event, or of the fill.
    last_event: u64,
    watchers: HashMap<u64, Watcher>,
    next_watcher: u64,
}

/// The cache of one resource.
#[derive(Debug)]
pub(crate) struct Cache {
    info: &'static ResourceInfo,
    inner: RwLock<Inner>,
}

impl Cache {
    pub(super) fn new(info: &'static ResourceInfo) -> Self {
        Self { info, inner: RwLock::default() }
    }

    pub(crate) fn info(&self) -> &'static ResourceInfo {
        self.info
    }

    /// Replaces everything by what the store had at `revision`; ends all watches, because what
    /// happened in between is not known.
    pub(super) fn fill(&self, versions: Vec<Arc<Version>>, revision: u64) {
        let mut inner = self.inner.write();
        inner.objects = versions.into_iter().map(|v| (v.key.clone(), v)).collect();
        inner.window.clear();
        inner.window_bytes = 0;
        inner.window_start = revision;
        inner.last_event = revision;
        inner.watchers.clear();
    }

    /// Takes one change in: index, window, watchers.
    pub(super) fn apply(&self, key: &str, revision: u64, current: Option<Version>) {
        let mut inner = self.inner.write();
        let current = current.map(Arc::new);
        let previous = match &current {
            Some(version) => inner.objects.insert(key.into(), version.clone()),
            None => inner.objects.remove(key),
        };
        inner.last_event = revision;
        if current.is_none() && previous.is_none() {
            return;
        }
        let event = Arc::new(Event::new(revision, current, previous));
        inner.window_bytes += event.size();
        inner.window.push_back(event.clone());
        while inner.window.len() > WINDOW_EVENTS_MAX || inner.window_bytes > WINDOW_BYTES_MAX {
            let Some(oldest) = inner.window.pop_front() else { break };
            inner.window_bytes -= oldest.size();
            inner.window_start = oldest.revision;
        }
        let kind = self.info.plural;
        inner.watchers.retain(|id, watcher| {
            let Some(change) = watcher.filter.change(&event) else { return true };
            let sent = watcher.sender.try_send(Message::Event(change, event.clone()));
            if sent.is_err() {
                tracing::warn!(id, resource = kind, "watcher ended: it is too slow or gone");
            }
            sent.is_ok()
        });
    }

    /// Revision of the newest event of this resource, or of the fill.
    pub(crate) fn last_event(&self) -> u64 {
        self.inner.read().last_event
    }

    /// One object by key.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Version>> {
        self.inner.read().objects.get(key).cloned()
    }

    /// The matching objects below a prefix, and the revision they are of. `seen` is
    /// [`super::Caches::revision`], read before.
    pub(crate) fn list(
        &self,
        prefix: &str,
        filter: &Filter,
        seen: u64,
    ) -> (Vec<Arc<Version>>, u64) {
        let inner = self.inner.read();
        (inner.matching(prefix, filter), seen.max(inner.last_event))
    }

    /// Starts a watch; 410 when its start is no longer known.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        prefix: &str,
        filter: Filter,
        start: Start,
        seen: u64,
    ) -> Result<Subscription, Status> {
        let mut inner = self.inner.write();
        let revision = seen.max(inner.last_event);
        let (mut initial, mut replay) = (Vec::new(), Vec::new());
        match start {
            Start::State => initial = inner.matching(prefix, &filter),
            Start::After(after) if after < inner.window_start => {
                return Err(Status::expired(format!(
                    "too old resource version: {after} ({})",
                    inner.window_start
                )));
            }
            Start::After(after) => {
                let from = inner.window.partition_point(|event| event.revision <= after);
                replay = inner
                    .window
                    .range(from..)
                    .filter_map(|event| Some((filter.change(event)?, event.clone())))
                    .collect();
            }
            Start::Now => {}
        }
        let (sender, queue) = mpsc::channel(WATCHER_QUEUE_EVENTS_MAX);
        let id = inner.next_watcher;
        inner.next_watcher += 1;
        inner.watchers.insert(id, Watcher { sender, filter });
        Ok(Subscription { cache: self.clone(), id, initial, replay, revision, queue })
    }

    /// Watches that are running.
    #[cfg(test)]
    fn watcher_count(&self) -> usize {
        self.inner.read().watchers.len()
    }

    /// Objects held.
    pub(crate) fn object_count(&self) -> usize {
        self.inner.read().objects.len()
    }
}

impl Inner {
    fn matching(&self, prefix: &str, filter: &Filter) -> Vec<Arc<Version>> {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        self.objects
            .range::<str, _>(from)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, version)| filter.matches(&version.header))
            .map(|(_, version)| version.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use api_machinery::kinds;
    use bytes::Bytes;

    use super::*;
    use crate::storage::RawValue;

    fn pod(name: &str, label: &str, revision: u64) -> Version {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"n","labels":{{"l":"{label}"}}}}}}"#
        );
        let raw = RawValue { key: Bytes::from(key(name)), value: json.into(), revision };
        Version::of(kinds::find("", "v1", "pods").unwrap(), &raw).unwrap()
    }

    fn key(name: &str) -> String {
        format!("/registry/pods/n/{name}")
    }

    fn cache() -> Arc<Cache> {
        let cache = Arc::new(Cache::new(kinds::find("", "v1", "pods").unwrap()));
        cache.fill(Vec::new(), 10);
        cache
    }

    fn labelled(label: &str) -> Filter {
        let labels = api_machinery::selector::Labels::parse(&format!("l={label}")).unwrap();
        Filter { labels, ..Filter::default() }
    }

    fn told(subscription: &mut Subscription) -> Vec<String> {
        let mut told = Vec::new();
        for (change, event) in subscription.replay.drain(..) {
            told.push(format!("{} {}", change.word(), event.revision));
        }
        while let Ok(message) = subscription.queue.try_recv() {
            told.push(match message {
                Message::Event(change, event) => format!("{} {}", change.word(), event.revision),
                Message::Bookmark(revision) => format!("BOOKMARK {revision}"),
            });
        }
        told
    }

    #[test]
    fn an_object_that_leaves_the_selection_is_deleted_for_the_watcher() {
        let cache = cache();
        let mut red = cache.subscribe("/registry/pods/", labelled("red"), Start::Now, 10).unwrap();
        cache.apply(&key("a"), 11, Some(pod("a", "red", 11)));
        cache.apply(&key("a"), 12, Some(pod("a", "red", 12)));
        cache.apply(&key("a"), 13, Some(pod("a", "blue", 13)));
        cache.apply(&key("a"), 14, Some(pod("a", "blue", 14)));
        cache.apply(&key("a"), 15, Some(pod("a", "red", 15)));
        cache.apply(&key("a"), 16, None);
        red.request_bookmark(20);
        let wanted =
            ["ADDED 11", "MODIFIED 12", "DELETED 13", "ADDED 15", "DELETED 16", "BOOKMARK 20"];
        assert_eq!(told(&mut red), wanted);

        let mut replay =
            cache.subscribe("/registry/pods/", labelled("red"), Start::After(12), 16).unwrap();
        assert_eq!(told(&mut replay), ["DELETED 13", "ADDED 15", "DELETED 16"]);
    }

    #[test]
    fn a_deletion_shows_the_object_before_it_with_the_revision_of_the_change() {
        let cache = cache();
        let mut all =
            cache.subscribe("/registry/pods/", Filter::default(), Start::Now, 10).unwrap();
        cache.apply(&key("a"), 11, Some(pod("a", "red", 11)));
        cache.apply(&key("a"), 12, None);
        all.queue.try_recv().unwrap();
        let Message::Event(change, event) = all.queue.try_recv().unwrap() else {
            panic!("a bookmark")
        };
        let object = event.version(change).unwrap().object().unwrap();
        assert_eq!((object.name(), object.resource_version()), ("a", "12"));
    }

    #[test]
    fn a_start_before_the_window_is_too_old() {
        let cache = cache();
        let refused = cache
            .subscribe("/registry/pods/", Filter::default(), Start::After(9), 10)
            .expect_err("revision 9 is not known");
        assert_eq!((refused.code, refused.reason), (410, "Expired"));
        assert_eq!(refused.message, "too old resource version: 9 (10)");
        assert!(
            cache.subscribe("/registry/pods/", Filter::default(), Start::After(10), 10).is_ok()
        );
    }

    #[test]
    fn a_slow_watcher_is_ended_and_others_go_on() {
        let cache = cache();
        let filter = Filter::default();
        let slow = cache.subscribe("/registry/pods/", filter.clone(), Start::Now, 10).unwrap();
        for revision in 0..=WATCHER_QUEUE_EVENTS_MAX as u64 {
            cache.apply(&key("a"), 11 + revision, Some(pod("a", "red", 11 + revision)));
        }
        assert_eq!(cache.watcher_count(), 0);
        let other = cache.subscribe("/registry/pods/", filter, Start::Now, 10).unwrap();
        assert_eq!(cache.watcher_count(), 1);
        drop((slow, other));
        assert_eq!(cache.watcher_count(), 0);
    }
}
