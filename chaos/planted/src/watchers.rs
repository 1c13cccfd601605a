//! Watches beside the observers': patient ones that keep their stream whatever happens, ones that
//! begin anywhere, and one whose client is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chaos::client::{self, MemberClient};
use chaos::history::{Action, Asked, Recorder, Step, WatchLog, WatchSeen};
use proto::etcdserverpb::watch_client::WatchClient;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::limits;

/// Watches under way.
pub(crate) struct Watchers {
    next: usize,
    recorder: Recorder,
    tasks: JoinSet<WatchLog>,
    told: Vec<Arc<AtomicI64>>,
    stop: CancellationToken,
}

struct Watcher {
    url: String,
    member: usize,
    start: i64,
    sleep: Duration,
    log: WatchLog,
    recorder: Recorder,
    told: Arc<AtomicI64>,
}

impl Watchers {
    pub(crate) fn new(first: usize, recorder: Recorder) -> Self {
        let stop = CancellationToken::new();
        Self { next: first, recorder, tasks: JoinSet::new(), told: Vec::new(), stop }
    }

    fn start(&mut self, name: &str, (url, member): (&str, usize), start: i64, sleep: Duration) {
        let log = WatchLog {
            watcher: self.next,
            name: name.to_owned(),
            asked: Asked::everything(start),
            ..WatchLog::default()
        };
        self.next += 1;
        let told = Arc::new(AtomicI64::new(0));
        self.told.push(Arc::clone(&told));
        let (url, recorder) = (url.to_owned(), self.recorder.clone());
        let watcher = Watcher { url, member, start, sleep, log, recorder, told };
        self.tasks.spawn(watcher.run(self.stop.clone()));
    }

    /// Watches everything from a revision on.
    pub(crate) fn patient(&mut self, url: &str, member: usize, start: i64) {
        self.start("patient", (url, member), start, Duration::ZERO);
    }

    /// The same, but reads nothing for a while.
    pub(crate) fn slow(&mut self, url: &str, member: usize, start: i64) {
        self.start("slow", (url, member), start, limits::WATCH_SLEEP);
    }

    /// Gives all the time to be told `revision`, and ends them.
    pub(crate) async fn finish(self, revision: i64) -> Vec<WatchLog> {
        let begun = Instant::now();
        let late = |told: &Arc<AtomicI64>| told.load(Ordering::Acquire) < revision;
        while self.told.iter().any(late) && begun.elapsed() < limits::STORY / 4 {
            tokio::time::sleep(limits::POLL).await;
        }
        self.stop.cancel();
        let mut logs = self.tasks.join_all().await;
        logs.sort_by_key(|log| log.watcher);
        logs
    }
}

impl Watcher {
    async fn run(mut self, stop: CancellationToken) -> WatchLog {
        let mut stream = 0;
        let mut next = self.start;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                // The end of a stream is what faults are for.
                _ = self.one_stream(stream, &mut next) => {}
            }
            stream += 1;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(limits::POLL * 4) => {}
            }
        }
        self.log
    }

    async fn one_stream(&mut self, stream: usize, next: &mut i64) -> anyhow::Result<()> {
        let start_revision = *next;
        // A small window: what a slow client does not read fills the server's buffers.
        let endpoint = Endpoint::from_shared(self.url.clone())?
            .initial_stream_window_size(1 << 16)
            .initial_connection_window_size(1 << 16);
        let mut watch =
            WatchClient::new(endpoint.connect().await?).max_decoding_message_size(64 << 20);
        let (requests, receiver) = tokio::sync::mpsc::channel(2);
        requests.send(client::watch(&Asked::everything(start_revision), 1)).await?;
        // At once: what is told now must not be ahead of what is still to come.
        requests.send(client::watch_progress()).await?;
        let mut frames = watch.watch(ReceiverStream::new(receiver)).await?.into_inner();
        let mut sleep = std::mem::take(&mut self.sleep);
        loop {
            let frame = frames.next().await.context("the stream ended")??;
            let events: Vec<_> = frame.events.into_iter().map(client::event).collect();
            let canceled = frame.canceled.then_some(frame.cancel_reason);
            let seen = WatchSeen {
                time_ns: self.recorder.now_ns(),
                stream,
                member: self.member,
                start_revision,
                revision: frame.header.map_or(0, |header| header.revision),
                canceled,
                compact_revision: frame.compact_revision,
                created: frame.created,
                fragment: frame.fragment,
                events,
            };
            if let Some(last) = seen.events.last() {
                *next = last.kv.mod_revision + 1;
                self.told.store(last.kv.mod_revision, Ordering::Release);
            }
            self.log.seen.push(seen);
            // Once, after the watch was made.
            tokio::time::sleep(std::mem::take(&mut sleep)).await;
        }
    }
}

/// Writes large values for a while.
pub(crate) async fn fill(url: &str, recorder: &Recorder, time: Duration) -> anyhow::Result<()> {
    let mut client = MemberClient::new(url)?;
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < time {
        let value = format!("large-{number}-{}", "x".repeat(limits::LARGE_VALUE_BYTES));
        number += 1;
        let step = Step::Put { key: format!("large/{}", number % 4), value };
        let action = Action::Single { step, serializable: false };
        let process = chaos::limits::TOMBSTONE_PROCESS / 2 + number;
        let index = recorder.invoke(process, 0, action.clone()).context("full")?;
        recorder.complete(index, client.execute(&action).await);
    }
    Ok(())
}
