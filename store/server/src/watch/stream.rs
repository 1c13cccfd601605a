//! One client stream of watches: its requests, its cursor, and the frames that it is sent.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message;
use proto::{
    etcdserverpb::{
        ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_create_request::FilterType, watch_request::RequestUnion,
    },
    mvccpb,
};
use store_planted::{self as planted, Bug};
use store_state_machine::{Event, KeyRange, ReadError, RevisionEvents};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Hub;
use crate::{error::Error, header::Headers, limits, metrics::watches as metrics, state::State};

/// What every stream shares.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) hub: Arc<Hub>,
    pub(crate) state: State,
    pub(crate) headers: Headers,
    pub(crate) leader: watch::Receiver<Option<u64>>,
    pub(crate) progress_every: Duration,
    pub(crate) election: Duration,
    pub(crate) fragment_bytes: usize,
    pub(crate) stopping: tokio_util::sync::CancellationToken,
    pub(crate) metrics: metrics::Watches,
}

struct Watcher {
    range: KeyRange,
    /// Events below this one are not for it.
    next: i64,
    /// What the client asked for; zero when it left it to the server.
    start: i64,
    prev_kv: bool,
    progress: bool,
    fragment: bool,
    no_put: bool,
    no_delete: bool,
    /// Something was sent since the last progress tick.
    active: bool,
}

impl Watcher {
    fn wants(&self, event: &Event) -> bool {
        event.revision.main >= self.next
            && !(event.deleted && self.no_delete)
            && (event.deleted || !self.no_put)
            && self.range.contains(&event.kv.key)
    }
}

type Frames = mpsc::Sender<Result<WatchResponse, Status>>;

/// The client has gone, or is told a final error.
struct Gone;

/// What happened, and up to which revision that is all of it; or the revision before which nothing is known.
type History = Result<(Vec<Arc<RevisionEvents>>, i64), i64>;

/// Judges each watch of a stream when it is made.
pub(crate) trait Permit {
    /// # Errors
    /// The reason to cancel the watch, in the form that etcd's clients read.
    fn permit(
        &self,
        key: &[u8],
        range_end: &[u8],
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// The watches of one stream.
pub(crate) struct Watches<P> {
    context: Context,
    watchman: P,
    frames: Frames,
    share: metrics::Share,
    watchers: BTreeMap<i64, Watcher>,
    /// Watches of a single key, by it; the others are looked at for every event.
    single: HashMap<Bytes, Vec<i64>>,
    ranges: Vec<i64>,
    /// Watches that are still reading history.
    behind: Vec<i64>,
    /// Watches that compaction cancelled: as in etcd their ids are taken until the client cancels them.
    compacted: BTreeSet<i64>,
    next_id: i64,
    /// All watches but those behind have every event up to here.
    cursor: i64,
}

impl<P: Permit> Watches<P> {
    pub(crate) fn new(context: Context, watchman: P, frames: Frames) -> Self {
        let cursor = context.hub.revision();
        let share = context.metrics.stream();
        Self {
            context,
            watchman,
            frames,
            share,
            watchers: BTreeMap::new(),
            single: HashMap::new(),
            ranges: Vec::new(),
            behind: Vec::new(),
            compacted: BTreeSet::new(),
            next_id: 0,
            cursor,
        }
    }

    /// What the client takes, counted when it does.
    pub(crate) fn counted(
        &self,
        frames: ReceiverStream<Result<WatchResponse, Status>>,
    ) -> metrics::Frames {
        self.share.frames(frames)
    }

    /// Serves the stream until the client leaves. `needs_leader`: it wants to hear of lost leaders.
    pub(crate) async fn run<S>(mut self, mut requests: S, needs_leader: bool)
    where
        S: Stream<Item = Result<WatchRequest, Status>> + Unpin,
    {
        let mut published = self.context.hub.subscribe();
        let every = self.context.progress_every;
        let mut progress = interval_at(Instant::now() + every, every);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let election = self.context.election;
        let mut monitor = interval_at(Instant::now() + election, election);
        let mut leaderless = 0;
        let mut silent = false;
        let stopping = self.context.stopping.clone();
        loop {
            let idle = self.behind.is_empty();
            let step = tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    drop(self.frames.send(Err(Error::Stopped.into())).await);
                    return;
                }
                request = requests.next(), if !silent => match request {
                    Some(Ok(request)) => self.request(request).await,
                    Some(Err(status)) => {
                        self.context.metrics.broke("watch", &status);
                        drop(self.frames.send(Err(status)).await);
                        return;
                    }
                    // A client that asks for no more is still told what it asked for.
                    None => {
                        silent = true;
                        Ok(())
                    }
                },
                _ = progress.tick() => self.notify_progress().await,
                _ = monitor.tick(), if needs_leader => {
                    let lost = self.context.leader.borrow().is_none();
                    leaderless = if lost { leaderless + 1 } else { 0 };
                    if leaderless >= 3 {
                        drop(self.frames.send(Err(Error::NoLeader.into())).await);
                        return;
                    }
                    Ok(())
                }
                changed = published.changed() => match changed {
                    Ok(()) => self.deliver().await,
                    Err(_) => return,
                },
                () = std::future::ready(()), if !idle => self.catch_up().await,
                () = self.frames.closed() => return,
            };
            if step.is_err() {
                return;
            }
            self.share.set(self.watchers.len(), self.behind.len());
        }
    }

    fn header(&self, revision: i64) -> Option<ResponseHeader> {
        Some(self.context.headers.at(revision))
    }

    async fn send(&self, frame: WatchResponse) -> Result<(), Gone> {
        self.share.queued(frame.events.len());
        self.frames.send(Ok(frame)).await.map_err(|_| Gone)
    }

    async fn request(&mut self, request: WatchRequest) -> Result<(), Gone> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => {
                self.deliver().await?;
                // W6: only when no watch has anything outstanding. As etcd: and when the store has
                // reached every revision that was asked for.
                let reached = self.watchers.values().all(|w| w.start <= self.cursor);
                let ready = self.behind.is_empty() || planted::is(Bug::ProgressAhead);
                if self.watchers.is_empty() || !ready || !reached {
                    return Ok(());
                }
                let header = self.header(self.cursor);
                self.send(WatchResponse { header, watch_id: -1, ..WatchResponse::default() }).await
            }
            None => Ok(()),
        }
    }

    async fn refuse(&self, reason: &str) -> Result<(), Gone> {
        self.send(WatchResponse {
            header: self.header(self.cursor),
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..WatchResponse::default()
        })
        .await
    }

    async fn create(&mut self, create: WatchCreateRequest) -> Result<(), Gone> {
        // The watch begins where the stream's cursor is, so the cursor moves up first.
        self.deliver().await?;
        let smallest = Bytes::from_static(b"\0");
        let key = if create.key.is_empty() { smallest } else { create.key };
        let range = KeyRange::new(&key, &create.range_end);
        if create.start_revision < 0 {
            let reason = "etcdserver: mvcc: required revision has been compacted";
            return self.refuse(reason).await;
        }
        if let Err(reason) = self.watchman.permit(&key, &create.range_end).await {
            return self.refuse(&reason).await;
        }
        if matches!(&range, KeyRange::Between(start, end) if start >= end) {
            return self.refuse("mvcc: watcher range is empty").await;
        }
        if self.watchers.len() + self.compacted.len() >= limits::WATCHES_PER_STREAM_MAX {
            return self.refuse("etcdserver: too many requests").await;
        }
        let id = if create.watch_id == 0 {
            while self.is_taken(self.next_id) {
                self.next_id += 1;
            }
            self.next_id += 1;
            self.next_id - 1
        } else {
            create.watch_id
        };
        if self.is_taken(id) {
            let reason = "mvcc: duplicate watch ID provided on the WatchStream";
            return self.refuse(reason).await;
        }
        let start = create.start_revision;
        let filter = |kind: FilterType| create.filters.contains(&i32::from(kind));
        let watcher = Watcher {
            next: self.first(start),
            start,
            prev_kv: create.prev_kv,
            progress: create.progress_notify,
            fragment: create.fragment,
            no_put: filter(FilterType::Noput),
            no_delete: filter(FilterType::Nodelete),
            active: false,
            range,
        };
        self.send(WatchResponse {
            header: self.header(self.cursor),
            watch_id: id,
            created: true,
            ..WatchResponse::default()
        })
        .await?;
        if watcher.next <= self.cursor {
            self.behind.push(id);
        } else {
            self.index(id, &watcher.range);
        }
        self.watchers.insert(id, watcher);
        Ok(())
    }

    /// Where a watch begins that asks for `start`.
    fn first(&self, start: i64) -> i64 {
        match start {
            0 => self.cursor + 1,
            _ if start > self.cursor && planted::is(Bug::WatchFromFuture) => self.cursor + 1,
            _ => start - i64::from(start > 1 && planted::is(Bug::WatchTellsTwice)),
        }
    }

    fn is_taken(&self, id: i64) -> bool {
        self.watchers.contains_key(&id) || self.compacted.contains(&id)
    }

    fn index(&mut self, id: i64, range: &KeyRange) {
        match range {
            KeyRange::One(key) => self.single.entry(key.clone()).or_default().push(id),
            KeyRange::Between(..) | KeyRange::From(_) => self.ranges.push(id),
        }
    }

    fn remove(&mut self, id: i64) -> bool {
        self.unindex(id);
        self.behind.retain(|other| *other != id);
        self.watchers.remove(&id).is_some()
    }

    fn unindex(&mut self, id: i64) {
        let Some(watcher) = self.watchers.get(&id) else { return };
        match &watcher.range {
            KeyRange::One(key) => {
                if let Some(ids) = self.single.get_mut(key) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        self.single.remove(key);
                    }
                }
            }
            KeyRange::Between(..) | KeyRange::From(_) => self.ranges.retain(|other| *other != id),
        }
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        // The header says the revision of now, so that what happened up to it comes first.
        self.deliver().await?;
        if !self.remove(id) && !self.compacted.remove(&id) {
            return Ok(());
        }
        let header = self.header(self.cursor);
        self.send(WatchResponse {
            header,
            watch_id: id,
            canceled: true,
            ..WatchResponse::default()
        })
        .await
    }

    async fn cancel_compacted(&mut self, id: i64, compact_revision: i64) -> Result<(), Gone> {
        self.remove(id);
        self.compacted.insert(id);
        // W9: as etcd, without a revision in the header.
        self.send(WatchResponse {
            header: self.header(0),
            watch_id: id,
            canceled: true,
            compact_revision,
            ..WatchResponse::default()
        })
        .await
    }

    async fn notify_progress(&mut self) -> Result<(), Gone> {
        self.deliver().await?;
        let behind = &self.behind;
        let mut due = Vec::new();
        for (id, watcher) in &mut self.watchers {
            let was_active = std::mem::take(&mut watcher.active);
            let reached = watcher.start <= self.cursor;
            if watcher.progress && !was_active && reached && !behind.contains(id) {
                due.push(*id);
            }
        }
        for watch_id in due {
            let header = self.header(self.cursor);
            self.send(WatchResponse { header, watch_id, ..WatchResponse::default() }).await?;
        }
        Ok(())
    }

    /// Moves the cursor to the published revision, and sends what lies in between.
    async fn deliver(&mut self) -> Result<(), Gone> {
        let target = self.context.hub.revision();
        while self.cursor < target {
            if self.watchers.len() == self.behind.len() {
                // Nobody waits for these events.
                self.cursor = target;
                break;
            }
            let limit = limits::WATCH_CATCH_UP_REVISIONS_MAX;
            let (events, complete) = match self.context.hub.after(self.cursor, limit) {
                Some(found) => found,
                None => match self.history(self.cursor + 1, target).await? {
                    Ok(found) => found,
                    Err(compacted) => {
                        self.skip(compacted, target).await?;
                        break;
                    }
                },
            };
            let mut found: BTreeMap<i64, Vec<Arc<Event>>> = BTreeMap::new();
            for event in events.iter().flat_map(|events| &events.events) {
                let single = self.single.get(&event.kv.key).into_iter().flatten();
                for id in single.chain(&self.ranges) {
                    if self.watchers.get(id).is_some_and(|watcher| watcher.wants(event)) {
                        found.entry(*id).or_default().push(event.clone());
                    }
                }
            }
            self.cursor = complete.max(self.cursor + 1);
            for (id, events) in found {
                self.send_events(id, events, self.cursor).await?;
            }
        }
        Ok(())
    }

    /// Goes to `target`, as the stream was too slow: what follows its cursor is no longer readable. Who
    /// asked only for the compacted revision and what comes after it has lost nothing, and reads on there.
    async fn skip(&mut self, compacted: i64, target: i64) -> Result<(), Gone> {
        let in_step = |(id, _): &(&i64, &Watcher)| !self.behind.contains(id);
        let watchers = self.watchers.iter().filter(in_step);
        let nexts: Vec<_> = watchers.map(|(id, watcher)| (*id, watcher.next)).collect();
        for (id, next) in nexts {
            if next < compacted {
                self.cancel_compacted(id, compacted).await?;
            } else if next <= target {
                self.unindex(id);
                self.behind.push(id);
            }
        }
        self.cursor = target;
        Ok(())
    }

    /// Reads history off the async threads; the inner error is the compacted revision. A member that cannot
    /// read ends, and its streams with it: a watch that it cancelled in the end would not be resumed.
    async fn history(&self, from: i64, to: i64) -> Result<History, Gone> {
        let state = self.context.state.clone();
        let read = crate::exec::blocking(move || {
            let limit = limits::WATCH_CATCH_UP_REVISIONS_MAX;
            let view = state.view();
            match view.events(from, to, limit) {
                Ok(events) => {
                    // A page that is not full (in events) reaches up to the end.
                    let count: usize = events.iter().map(|events| events.events.len()).sum();
                    let complete = match events.last() {
                        Some(last) if count >= limit => last.revision,
                        _ => to,
                    };
                    Ok((events.into_iter().map(Arc::new).collect(), complete))
                }
                Err(ReadError::Refused(_)) => Err(view.compact_revision()),
                Err(ReadError::Failed(fault)) => crate::fatal("reading history", &fault),
            }
        });
        match read.await {
            Ok(found) => Ok(found),
            Err(_) => Err(self.stopped().await),
        }
    }

    /// What is read comes no more. A stream that only ended would be taken for the end of its watches.
    async fn stopped(&self) -> Gone {
        drop(self.frames.send(Err(Error::Stopped.into())).await);
        Gone
    }

    /// One page of history for one of the watches behind.
    async fn catch_up(&mut self) -> Result<(), Gone> {
        let Some(id) = self.behind.first().copied() else { return Ok(()) };
        self.behind.rotate_left(1);
        let Some(next) = self.watchers.get(&id).map(|watcher| watcher.next) else { return Ok(()) };
        let (events, complete) = match self.history(next, self.cursor).await? {
            Ok(found) => found,
            Err(compacted) => return self.cancel_compacted(id, compacted).await,
        };
        let Some(watcher) = self.watchers.get(&id) else { return Ok(()) };
        let wanted: Vec<_> = events
            .iter()
            .flat_map(|events| &events.events)
            .filter(|event| watcher.wants(event))
            .cloned()
            .collect();
        if !wanted.is_empty() {
            self.send_events(id, wanted, complete).await?;
        }
        let cursor = self.cursor;
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        watcher.next = complete + 1;
        if watcher.next > cursor {
            // W4: it has everything up to the cursor, and goes on with the others.
            let range = watcher.range.clone();
            self.behind.retain(|other| *other != id);
            self.index(id, &range);
        }
        Ok(())
    }

    async fn send_events(
        &mut self,
        id: i64,
        events: Vec<Arc<Event>>,
        revision: i64,
    ) -> Result<(), Gone> {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        if self.frames.capacity() == 0 && planted::is(Bug::WatchDropsSlow) {
            return Ok(());
        }
        watcher.active = true;
        let (fragment, prev_kv) = (watcher.fragment, watcher.prev_kv);
        let wire: Vec<mvccpb::Event> = if prev_kv {
            let state = self.context.state.clone();
            let with_previous = move || {
                let view = state.view();
                let convert = |event: &Arc<Event>| match view.previous_kv(event) {
                    Ok(previous) => event.to_wire(previous),
                    Err(fault) => crate::fatal("reading a previous value", &fault),
                };
                events.iter().map(convert).collect()
            };
            match crate::exec::blocking(with_previous).await {
                Ok(wire) => wire,
                Err(_) => return Err(self.stopped().await),
            }
        } else {
            events.iter().map(|event| event.to_wire(None)).collect()
        };
        let mut frame = WatchResponse {
            header: self.header(revision),
            watch_id: id,
            events: wire,
            ..WatchResponse::default()
        };
        if fragment && frame.encoded_len() > self.context.fragment_bytes {
            let mut rest = std::mem::take(&mut frame.events).into_iter().peekable();
            while rest.peek().is_some() {
                let mut piece = WatchResponse { watch_id: id, ..frame.clone() };
                let mut bytes = 0;
                while let Some(event) = rest.next_if(|event| {
                    bytes += event.encoded_len() + 8;
                    piece.events.is_empty() || bytes < self.context.fragment_bytes
                }) {
                    piece.events.push(event);
                }
                piece.fragment = rest.peek().is_some();
                self.send(piece).await?;
            }
            return Ok(());
        }
        self.send(frame).await
    }
}
