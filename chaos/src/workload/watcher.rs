//! A watcher: one stream at a time with one or more watches on it, each of which goes on where it was
//! when the stream breaks, on another member if there is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{self, MemberClient};
use crate::history::{Asked, Recorder, WatchLog, WatchSeen};
use crate::limits;

/// How far a watch is, for others to look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// Everything up to this revision was told, or is not wanted.
    pub(super) told: Arc<AtomicI64>,
    ended: Arc<AtomicBool>,
}

impl Position {
    /// Whether it was told what there is at a revision, or never will be.
    pub(super) fn is_behind(&self, revision: i64) -> bool {
        self.told.load(Ordering::Acquire) >= revision || self.ended.load(Ordering::Acquire)
    }
}

/// One watch, over all its streams.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) log: WatchLog,
    /// Where the next stream begins; 0 until a watch "from now on" was told what now is.
    next: i64,
    pub(super) position: Position,
    stream: usize,
    /// Where the stream that runs began.
    started: i64,
    id: i64,
    /// Whether the stream that runs has created it,
    created: bool,
    /// and whether it was asked to end it, to be created anew.
    renewing: bool,
}

impl Watch {
    pub(super) fn new(watcher: usize, name: String, asked: Asked) -> Self {
        let next = asked.start_revision;
        let position = Position::default();
        position.told.store(next - 1, Ordering::Release);
        Self {
            log: WatchLog { watcher, name, asked, ..WatchLog::default() },
            next,
            position,
            stream: 0,
            started: 0,
            id: 0,
            created: false,
            renewing: false,
        }
    }

    fn begin(&mut self, id: i64) -> pb::WatchRequest {
        self.stream += 1;
        self.started = self.next;
        (self.id, self.created, self.renewing) = (id, false, false);
        client::watch(&Asked { start_revision: self.next, ..self.log.asked.clone() }, id)
    }

    /// Writes down a response. Events move the place where the next stream begins, and so does the
    /// creation of a watch from now on.
    fn see(&mut self, time_ns: u64, member: usize, response: pb::WatchResponse) {
        let revision = response.header.map_or(0, |header| header.revision);
        let seen = WatchSeen {
            time_ns,
            stream: self.stream,
            member,
            start_revision: self.started,
            revision,
            canceled: response.canceled.then_some(response.cancel_reason),
            compact_revision: response.compact_revision,
            created: response.created,
            fragment: response.fragment,
            events: response.events.into_iter().map(client::event).collect(),
        };
        self.created |= seen.created;
        if seen.canceled.is_some() {
            self.log.ended = true;
            self.position.ended.store(true, Ordering::Release);
        }
        self.log.seen.push(seen);
        let seen = self.log.seen.last().expect("it was just pushed");
        if seen.created && self.next == 0 {
            self.next = revision + 1;
            self.position.told.store(revision, Ordering::Release);
        }
        if let Some(last) = seen.events.last() {
            let last = last.kv.mod_revision;
            // What a fragment ends with may go on in the next one: a stream that breaks between the
            // two is resumed at that revision, and what it was told of it is not counted.
            self.next = if seen.fragment { last } else { last + 1 };
            self.position.told.store(self.next - 1, Ordering::Release);
        }
    }
}

/// Watches that share their streams.
#[derive(Debug)]
pub(super) struct Watcher {
    /// The members that the streams go to, one after the other, again and again.
    pub(super) route: Vec<(usize, MemberClient)>,
    pub(super) watches: Vec<Watch>,
    /// Whether it keeps asking how far the streams are.
    pub(super) ask_progress: bool,
    /// Cancel the watches and create them anew on the same stream, after so many looks at the clock.
    pub(super) renew_after: Option<u32>,
    pub(super) recorder: Recorder,
}

impl Watcher {
    /// Watches until the server has cancelled all its watches. May be dropped at any time.
    pub(super) async fn run(&mut self) {
        let mut turn = 0;
        while self.watches.iter().any(|watch| !watch.log.ended) {
            let (member, client) = self.route[turn % self.route.len()].clone();
            // The end of a stream is what this is about, whatever the reason.
            self.one_stream(member, client).await;
            turn += 1;
            tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
        }
    }

    async fn one_stream(&mut self, member: usize, mut client: MemberClient) {
        let (requests, receiver) = mpsc::channel(limits::WATCH_REQUESTS_MAX);
        let mut next_id = 1;
        for watch in self.watches.iter_mut().filter(|watch| !watch.log.ended) {
            let request = watch.begin(next_id);
            next_id += 1;
            if requests.send(request).await.is_err() {
                return;
            }
        }
        let Ok(mut responses) = client.open_watch(ReceiverStream::new(receiver)).await else {
            return;
        };
        let mut looks = tokio::time::interval(limits::WATCH_PROGRESS_INTERVAL);
        let mut looked = 0;
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                response = responses.next() => {
                    let Some(Ok(response)) = response else { return };
                    heard = Instant::now();
                    if self.is_not_let_in(&response) {
                        client.forget_token();
                        return;
                    }
                    if let Some(request) = self.see(member, response, &mut next_id)
                        && requests.send(request).await.is_err()
                    {
                        return;
                    }
                    if self.watches.iter().all(|watch| watch.log.ended) {
                        return;
                    }
                }
                _ = looks.tick() => {
                    looked += 1;
                    if self.is_silent(heard) {
                        return;
                    }
                    // Where the server reads no requests now, the next look asks again.
                    if self.renew_after == Some(looked) {
                        for watch in self.watches.iter_mut().filter(|watch| watch.created) {
                            let asked = requests.try_send(client::watch_cancel(watch.id));
                            watch.renewing = asked.is_ok();
                        }
                    } else if self.ask_progress {
                        let _unread = requests.try_send(client::watch_progress());
                    }
                }
            }
        }
    }

    /// A stream on a paused or half-dead member must not end the observation. Where nothing needs to
    /// come only the answers to questions show that it lives.
    fn is_silent(&self, heard: Instant) -> bool {
        let some = self.ask_progress || self.watches.iter().any(|w| w.log.asked.is_everything());
        let waits = self.watches.iter().any(|watch| !watch.created);
        (some || waits) && heard.elapsed() > limits::WATCH_SILENCE
    }

    /// Whether a watch is not created for want of rights, as after a token's end. One that ran is root's,
    /// who has all: its cancellation is written down, and judged (W9).
    fn is_not_let_in(&self, response: &pb::WatchResponse) -> bool {
        let is_denied = response.canceled && response.cancel_reason.contains("permission denied");
        let is_all = response.watch_id == client::WATCH_ID_ALL;
        let mut running = self.watches.iter().filter(|watch| watch.created && !watch.log.ended);
        let is_running = running.any(|watch| is_all || watch.id == response.watch_id);
        is_denied && (response.created || !is_running)
    }

    /// Takes a response in, and returns what is to be asked because of it.
    fn see(
        &mut self,
        member: usize,
        response: pb::WatchResponse,
        next_id: &mut i64,
    ) -> Option<pb::WatchRequest> {
        let time_ns = self.recorder.now_ns();
        if response.watch_id == client::WATCH_ID_ALL && !response.created {
            for watch in self.watches.iter_mut().filter(|w| w.created && !w.log.ended) {
                watch.see(time_ns, member, response.clone());
            }
            return None;
        }
        // One that ended keeps the id that it had on an earlier stream.
        let mut live = self.watches.iter_mut().filter(|watch| !watch.log.ended);
        let watch = live.find(|watch| watch.id == response.watch_id)?;
        if watch.renewing && response.canceled && response.compact_revision == 0 {
            let request = watch.begin(*next_id);
            *next_id += 1;
            return Some(request);
        }
        watch.see(time_ns, member, response);
        None
    }
}
