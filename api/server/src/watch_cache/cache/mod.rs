//! One resource: its objects by key, its recent events, and those who watch it.

mod part;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_machinery::custom::CustomKind;
use api_machinery::{ResourceInfo, Status};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::event::{Change, Event, Version};
use super::filter::Filter;
use crate::limits::{
    WATCHER_QUEUE_BYTES_MAX, WATCHER_QUEUE_EVENTS_MAX, WATCHER_SHARE_EVENTS,
    WATCHERS_QUEUED_EVENTS_MAX, WINDOW_BYTES_MAX, WINDOW_EVENTS_MAX,
};
use crate::storage::RawValue;

pub(crate) use part::{Part, Wanted};

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
    /// With the objects as they are, as far as they can be read.
    State,
    /// With all objects as they are, or not at all.
    Whole,
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
    /// Bytes of all events that were taken out of the queue.
    taken: Arc<AtomicUsize>,
}

impl Subscription {
    /// What comes next; `None` when this watcher has been ended and has seen all before that.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let message = self.queue.recv().await;
        if let Some(Message::Event(_, event)) = &message {
            self.taken.fetch_add(event.size(), Ordering::Relaxed);
        }
        message
    }

    /// Whether nothing will be added any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.queue.is_closed()
    }

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
    /// Bytes of all events that were put into the queue, and taken out of it.
    given: usize,
    taken: Arc<AtomicUsize>,
}

impl Watcher {
    fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Whether the watcher may get further behind.
    fn has_room(&self, bytes: usize, is_crowded: bool) -> bool {
        let waiting = self.waiting();
        let behind = self.given.saturating_sub(self.taken.load(Ordering::Relaxed));
        let is_fair = !is_crowded || waiting < WATCHER_SHARE_EVENTS;
        waiting == 0 || is_fair && behind + bytes <= WATCHER_QUEUE_BYTES_MAX
    }
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Arc<str>, Arc<Version>>,
    /// What is there and cannot be read: who asks for it is told why (C6).
    broken: BTreeMap<Box<str>, Arc<Status>>,
    window: VecDeque<Arc<Event>>,
    window_bytes: usize,
    /// Every event after this revision is in the window.
    window_start: u64,
    /// From here on nothing was there that could not be read, except what is in `broken`.
    whole_since: u64,
    /// Revision of the newest event, or of the fill.
    last_event: u64,
    /// Revision of the fill: what happened up to it is no news.
    filled_at: u64,
    watchers: HashMap<u64, Watcher>,
    /// Events that waited for all watchers when it was last counted.
    queued: usize,
    next_watcher: u64,
    /// Of a cache that is attached and not filled: what it is to take in then; `None` when that was
    /// too much.
    pending: Option<Vec<Pending>>,
    is_attached_only: bool,
    is_closed: bool,
}

/// What a key holds: an object, nothing, or something that cannot be read.
type Found = Result<Option<Version>, Arc<Status>>;

/// A change that waits for the fill: key, revision, what is there now.
type Pending = (Box<str>, u64, Found);

/// What a cache is filled with.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) versions: Vec<Arc<Version>>,
    pub(super) broken: Vec<(Box<str>, Arc<Status>)>,
}

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
        raw.check_listed()?;
        match &self.kind {
            Some(kind) => Version::of_custom(kind, raw),
            None => Version::of(self.info, raw),
        }
    }

    /// The first fill of a cache that gets events already; false when too many came meanwhile.
    pub(super) fn fill_attached(&self, contents: Contents, revision: u64) -> bool {
        let mut inner = self.inner.write();
        if !inner.is_attached_only {
            // The feed began anew, and filled it.
            return true;
        }
        let Some(pending) = inner.pending.take() else {
            inner.pending = Some(Vec::new());
            return false;
        };
        inner.fill(contents, revision);
        for (key, revision, current) in pending {
            inner.apply(&key, revision, current, self.info.plural);
        }
        true
    }

    /// Another fill, by a feed that begins anew; one that is newer already stays.
    pub(super) fn fill_again(&self, contents: Contents, revision: u64) {
        let mut inner = self.inner.write();
        if inner.is_attached_only || inner.filled_at < revision {
            inner.fill(contents, revision);
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
    pub(super) fn fill(&self, contents: Contents, revision: u64) {
        self.inner.write().fill(contents, revision);
    }

    /// Takes one change in: index, window, watchers.
    pub(super) fn apply(&self, key: &str, revision: u64, current: Found) {
        self.inner.write().apply(key, revision, current, self.info.plural);
    }

    /// Whether something is there that cannot be read.
    pub(super) fn has_broken(&self) -> bool {
        !self.inner.read().broken.is_empty()
    }

    /// Revision of the newest event of this resource, or of the fill.
    pub(crate) fn last_event(&self) -> u64 {
        self.inner.read().last_event
    }

    /// One object by key, if it is there and can be read.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Version>> {
        self.inner.read().objects.get(key).cloned()
    }

    /// One object by key; an error when it is there and cannot be read.
    pub(crate) fn find(&self, key: &str) -> Result<Option<Arc<Version>>, Status> {
        let inner = self.inner.read();
        inner.broken.get(key).map_or(Ok(()), |why| Err(Status::clone(why)))?;
        Ok(inner.objects.get(key).cloned())
    }

    /// The same as [`Self::list`]; an error when something below the prefix cannot be read.
    pub(crate) fn list_whole(
        &self,
        prefix: &str,
        filter: &Filter,
        seen: u64,
    ) -> Result<(Vec<Arc<Version>>, u64), Status> {
        let inner = self.inner.read();
        inner.check_whole(prefix)?;
        Ok((inner.matching(prefix, filter), seen.max(inner.last_event)))
    }

    /// The matching objects below a prefix that can be read, and the revision they are of. `seen` is
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
            Start::Whole => {
                inner.check_whole(prefix)?;
                initial = inner.matching(prefix, &filter);
            }
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
        let taken = Arc::new(AtomicUsize::new(0));
        inner.watchers.insert(id, Watcher { sender, filter, given: 0, taken: taken.clone() });
        Ok(Subscription { cache: self.clone(), id, initial, replay, revision, queue, taken })
    }

    /// Returns when the newest event of this resource may be another than `seen`.
    pub(crate) async fn changed(self: &Arc<Self>, seen: u64) {
        let subscribed = self.subscribe("", Filter::default(), Start::Now, seen);
        // What came before the subscription is not told by it.
        if self.last_event() != seen {
            return;
        }
        if let Ok(mut subscription) = subscribed {
            // An event, a bookmark, or the end of the watch: whatever it is.
            drop(subscription.queue.recv().await);
        }
    }

    /// The next objects behind a key, or the first.
    pub(super) fn after(&self, key: Option<&str>, most: usize) -> Vec<Arc<Version>> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let inner = self.inner.read();
        let behind = inner.objects.range::<str, _>((from, Bound::Unbounded));
        behind.take(most).map(|(_, version)| version.clone()).collect()
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
    fn fill(&mut self, contents: Contents, revision: u64) {
        self.objects = contents.versions.into_iter().map(|v| (v.key.clone(), v)).collect();
        self.broken = contents.broken.into_iter().collect();
        self.begin_anew(revision);
        self.filled_at = revision;
        self.is_attached_only = false;
        self.pending = None;
    }

    /// Nobody can go on from before this revision.
    fn begin_anew(&mut self, revision: u64) {
        self.window.clear();
        self.window_bytes = 0;
        self.window_start = revision;
        self.last_event = revision;
        self.watchers.clear();
    }

    /// C6: what cannot be read is not left out of what is said to be all.
    fn check_whole(&self, prefix: &str) -> Result<(), Status> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        match self.broken.range::<str, _>(from).next() {
            Some((key, why)) if key.starts_with(prefix) => Err(Status::clone(why)),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes one change in: index, window, watchers.
    fn apply(&mut self, key: &str, revision: u64, current: Found, kind: &str) {
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
        let current = match current {
            Ok(current) => current.map(Arc::new),
            Err(why) => {
                // C6: what there was before it is no more, and nobody can be told what is now.
                self.objects.remove(key);
                self.broken.insert(key.into(), why);
                self.begin_anew(revision);
                return;
            }
        };
        if self.broken.remove(key).is_some() {
            self.whole_since = revision;
        }
        let previous = match &current {
            Some(version) => self.objects.insert(version.key.clone(), version.clone()),
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
        let is_crowded = self.queued > WATCHERS_QUEUED_EVENTS_MAX;
        let (bytes, mut queued) = (event.size(), 0);
        self.watchers.retain(|id, watcher| {
            let Some(change) = watcher.filter.change(&event) else { return true };
            let sent = watcher.has_room(bytes, is_crowded)
                && watcher.sender.try_send(Message::Event(change, event.clone())).is_ok();
            if !sent {
                tracing::warn!(id, resource = kind, "watcher ended: it is too slow or gone");
            }
            watcher.given += bytes;
            queued += watcher.waiting();
            sent
        });
        self.queued = queued;
    }

    fn matching(&self, prefix: &str, filter: &Filter) -> Vec<Arc<Version>> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
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

    use super::*;

    pub(super) fn pod(name: &str, label: &str, revision: u64) -> Version {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"n","labels":{{"l":"{label}"}}}}}}"#
        );
        let raw = RawValue::plain(key(name), json, revision);
        Version::of(kinds::find("", "v1", "pods").unwrap(), &raw).unwrap()
    }

    pub(super) fn key(name: &str) -> String {
        format!("/registry/pods/n/{name}")
    }

    fn cache() -> Arc<Cache> {
        let cache = Arc::new(Cache::new(kinds::find("", "v1", "pods").unwrap()));
        cache.fill(Contents::default(), 10);
        cache
    }

    pub(super) fn labelled(label: &str) -> Filter {
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
        cache.apply(&key("a"), 11, Ok(Some(pod("a", "red", 11))));
        cache.apply(&key("a"), 12, Ok(Some(pod("a", "red", 12))));
        cache.apply(&key("a"), 13, Ok(Some(pod("a", "blue", 13))));
        cache.apply(&key("a"), 14, Ok(Some(pod("a", "blue", 14))));
        cache.apply(&key("a"), 15, Ok(Some(pod("a", "red", 15))));
        cache.apply(&key("a"), 16, Ok(None));
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
        cache.apply(&key("a"), 11, Ok(Some(pod("a", "red", 11))));
        cache.apply(&key("a"), 12, Ok(None));
        all.queue.try_recv().unwrap();
        let Message::Event(change, event) = all.queue.try_recv().unwrap() else {
            panic!("a bookmark")
        };
        let object = event.version(change).unwrap().object().unwrap();
        assert_eq!((object.name(), object.resource_version()), ("a", "12"));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_hides_nothing_else() {
        let cache = cache();
        let all =
            |prefix: &str| cache.list_whole(prefix, &Filter::default(), 10).map(|all| all.0.len());
        cache.apply(&key("a"), 11, Ok(Some(pod("a", "red", 11))));
        cache.apply(&key("b"), 12, Ok(Some(pod("b", "red", 12))));
        let mut watch =
            cache.subscribe("/registry/pods/", Filter::default(), Start::Now, 12).unwrap();
        let raw = RawValue::unreadable(key("a"), "no key", 13);
        let why = Arc::new(cache.read(&raw).unwrap_err());
        cache.apply(&key("a"), 13, Err(why.clone()));
        assert!(watch.queue.try_recv().is_err() && watch.queue.is_closed());
        assert_eq!(why.code, 500);
        let text =
            "Internal error occurred: unable to transform key \"/registry/pods/n/a\": no key";
        assert_eq!(why.message, text);
        assert!(all("/registry/pods/").is_err() && all("/registry/pods/n/a").is_err());
        assert_eq!((all("/registry/pods/n/b").unwrap(), all("/registry/pods/o/").unwrap()), (1, 0));
        assert!(cache.find(&key("a")).is_err() && cache.get(&key("a")).is_none());
        assert!(cache.find(&key("b")).unwrap().is_some());
        let start = |start| cache.subscribe("/registry/pods/", Filter::default(), start, 13);
        assert_eq!(start(Start::Whole).unwrap_err().code, 500);
        assert_eq!(start(Start::After(12)).unwrap_err().code, 410);
        assert_eq!(start(Start::State).unwrap().initial.len(), 1);
        // Its end and a version that can be read mend it.
        cache.apply(&key("a"), 14, Ok(None));
        assert_eq!(all("/registry/pods/").unwrap(), 1);
        assert!(!cache.has_broken());
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
            cache.apply(&key("a"), 11 + revision, Ok(Some(pod("a", "red", 11 + revision))));
        }
        assert_eq!(cache.watcher_count(), 0);
        let other = cache.subscribe("/registry/pods/", filter, Start::Now, 10).unwrap();
        assert_eq!(cache.watcher_count(), 1);
        drop((slow, other));
        assert_eq!(cache.watcher_count(), 0);
    }

    #[tokio::test]
    async fn a_change_is_told_whether_it_came_before_the_question_or_after() {
        let cache = cache();
        let seen = cache.last_event();
        cache.changed(seen + 1).await;
        let mut asked = std::pin::pin!(cache.changed(seen));
        assert!(futures::poll!(asked.as_mut()).is_pending());
        cache.apply(&key("a"), 11, Ok(Some(pod("a", "red", 11))));
        asked.await;
        // Filled anew: what happened in between is not known.
        let mut asked = std::pin::pin!(cache.changed(11));
        assert!(futures::poll!(asked.as_mut()).is_pending());
        cache.fill(Contents::default(), 11);
        asked.await;
        assert_eq!(cache.watcher_count(), 0);
    }
}
