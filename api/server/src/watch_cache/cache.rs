//! One resource: its objects by key, its recent events, and those who watch it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use api_machinery::custom::CustomKind;
use api_machinery::{ResourceInfo, Status};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::event::{Change, Event, Version};
use super::filter::Filter;
use crate::limits::{WATCHER_QUEUE_EVENTS_MAX, WINDOW_BYTES_MAX, WINDOW_EVENTS_MAX};
use crate::storage::RawValue;

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
    /// Revision of the fill: what happened up to it is no news.
    filled_at: u64,
    watchers: HashMap<u64, Watcher>,
    next_watcher: u64,
    /// Of a cache that is attached and not filled: what it is to take in then; `None` when that was
    /// too much.
    pending: Option<Vec<Pending>>,
    is_attached_only: bool,
    is_closed: bool,
}

/// A change that waits for the fill: key, revision, what is there now.
type Pending = (Box<str>, u64, Option<Version>);

/// The cache of one resource.
#[derive(Debug)]
pub(crate) struct Cache {
    info: &'static ResourceInfo,
    /// What reads the values of a custom kind.
    kind: Option<Arc<CustomKind>>,
    inner: RwLock<Inner>,
}

impl Cache {
    pub(super) fn new(info: &'static ResourceInfo) -> Self {
        Self { info, kind: None, inner: RwLock::default() }
    }

    /// The cache of a custom kind, which is attached to the feed before it is filled.
    pub(crate) fn of_custom(kind: Arc<CustomKind>) -> Self {
        let inner = Inner { pending: Some(Vec::new()), is_attached_only: true, ..Inner::default() };
        Self { info: kind.row, kind: Some(kind), inner: RwLock::new(inner) }
    }

    /// A value of the store as this cache holds it.
    pub(super) fn read(&self, raw: &RawValue) -> Result<Version, Status> {
        match &self.kind {
            Some(kind) => Version::of_custom(kind, raw),
            None => Version::of(self.info, raw),
        }
    }

    /// The first fill of a cache that gets events already; false when too many came meanwhile.
    pub(super) fn fill_attached(&self, versions: Vec<Arc<Version>>, revision: u64) -> bool {
        let mut inner = self.inner.write();
        if !inner.is_attached_only {
            // The feed began anew, and filled it.
            return true;
        }
        let Some(pending) = inner.pending.take() else {
            inner.pending = Some(Vec::new());
            return false;
        };
        inner.fill(versions, revision);
        for (key, revision, current) in pending {
            inner.apply(&key, revision, current, self.info.plural);
        }
        true
    }

    /// Another fill, by a feed that begins anew; one that is newer already stays.
    pub(super) fn fill_again(&self, versions: Vec<Arc<Version>>, revision: u64) {
        let mut inner = self.inner.write();
        if inner.is_attached_only || inner.filled_at < revision {
            inner.fill(versions, revision);
        }
    }

    /// Ends all watches; lists are not to be trusted any more.
    pub(super) fn close(&self) {
        let mut inner = self.inner.write();
        inner.is_closed = true;
        inner.watchers.clear();
    }

    /// Whether the cache is fed no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.read().is_closed
    }

    pub(crate) fn info(&self) -> &'static ResourceInfo {
        self.info
    }

    /// Replaces everything by what the store had at `revision`; ends all watches, because what
    /// happened in between is not known.
    pub(super) fn fill(&self, versions: Vec<Arc<Version>>, revision: u64) {
        self.inner.write().fill(versions, revision);
    }

    /// Takes one change in: index, window, watchers.
    pub(super) fn apply(&self, key: &str, revision: u64, current: Option<Version>) {
        self.inner.write().apply(key, revision, current, self.info.plural);
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
    fn fill(&mut self, versions: Vec<Arc<Version>>, revision: u64) {
        self.objects = versions.into_iter().map(|v| (v.key.clone(), v)).collect();
        self.window.clear();
        self.window_bytes = 0;
        self.window_start = revision;
        self.last_event = revision;
        self.filled_at = revision;
        self.watchers.clear();
        self.is_attached_only = false;
        self.pending = None;
    }

    /// Takes one change in: index, window, watchers.
    fn apply(&mut self, key: &str, revision: u64, current: Option<Version>, kind: &str) {
        if self.is_attached_only {
            if let Some(pending) = &mut self.pending {
                pending.push((key.into(), revision, current));
                if pending.len() > WINDOW_EVENTS_MAX {
                    self.pending = None;
                }
            }
            return;
        }
        // What the fill has already.
        if revision <= self.filled_at || self.is_closed {
            return;
        }
        let current = current.map(Arc::new);
        let previous = match &current {
            Some(version) => self.objects.insert(key.into(), version.clone()),
            None => self.objects.remove(key),
        };
        self.last_event = revision;
        if current.is_none() && previous.is_none() {
            return;
        }
        let event = Arc::new(Event::new(revision, current, previous));
        self.window_bytes += event.size();
        self.window.push_back(event.clone());
        while self.window.len() > WINDOW_EVENTS_MAX || self.window_bytes > WINDOW_BYTES_MAX {
            let Some(oldest) = self.window.pop_front() else { break };
            self.window_bytes -= oldest.size();
            self.window_start = oldest.revision;
        }
        self.watchers.retain(|id, watcher| {
            let Some(change) = watcher.filter.change(&event) else { return true };
            let sent = watcher.sender.try_send(Message::Event(change, event.clone()));
            if sent.is_err() {
                tracing::warn!(id, resource = kind, "watcher ended: it is too slow or gone");
            }
            sent.is_ok()
        });
    }

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
