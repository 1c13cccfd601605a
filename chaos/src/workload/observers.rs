//! Watchers of everything from the first revision on: one stays on each member, one moves from
//! member to member with every stream that breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::client::{self, MemberClient};
use crate::history::{Event, Recorder, WatchLog, WatchSeen};
use crate::limits;

/// Running watchers.
#[derive(Debug)]
pub struct Observers {
    tasks: JoinSet<WatchLog>,
    told: Vec<Arc<AtomicI64>>,
    stop: CancellationToken,
}

impl Observers {
    /// Starts one watcher a member and one that roams, all from `start_revision`. With `progress`
    /// they keep asking how far the stream is.
    pub fn start(
        urls: &[String],
        start_revision: i64,
        progress: bool,
        recorder: &Recorder,
    ) -> anyhow::Result<Self> {
        let members: Vec<MemberClient> =
            urls.iter().map(|url| MemberClient::new(url)).collect::<Result<_, _>>()?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut told = Vec::new();
        for watcher in 0..=members.len() {
            let (name, route) = if watcher < members.len() {
                (format!("on member {watcher}"), vec![(watcher, members[watcher].clone())])
            } else {
                ("roaming".to_owned(), members.iter().cloned().enumerate().collect())
            };
            let last = Arc::new(AtomicI64::new(0));
            told.push(Arc::clone(&last));
            let observer = Observer {
                log: WatchLog { watcher, name, seen: Vec::new() },
                route,
                next: start_revision,
                progress,
                recorder: recorder.clone(),
                told: last,
            };
            tasks.spawn(observer.run(stop.clone()));
        }
        Ok(Self { tasks, told, stop })
    }

    /// Gives every watcher time to be told `revision`, then stops all. Who was not told is found
    /// by the checker, not here.
    pub async fn finish(mut self, revision: i64) -> Vec<WatchLog> {
        let start = Instant::now();
        while self.told.iter().any(|told| told.load(Ordering::Acquire) < revision)
            && start.elapsed() < limits::WATCH_CATCH_UP_DEADLINE
        {
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
        self.stop.cancel();
        let mut logs = Vec::new();
        while let Some(log) = self.tasks.join_next().await {
            logs.extend(log);
        }
        logs.sort_by_key(|log| log.watcher);
        logs
    }
}

struct Observer {
    log: WatchLog,
    route: Vec<(usize, MemberClient)>,
    next: i64,
    progress: bool,
    recorder: Recorder,
    told: Arc<AtomicI64>,
}

impl Observer {
    async fn run(mut self, stop: CancellationToken) -> WatchLog {
        let mut stream = 0;
        loop {
            let (member, client) = self.route[stream % self.route.len()].clone();
            tokio::select! {
                () = stop.cancelled() => return self.log,
                // The end of a stream is what this is about, whatever the reason.
                () = self.one_stream(stream, member, client) => {}
            }
            stream += 1;
            tokio::select! {
                () = stop.cancelled() => return self.log,
                () = tokio::time::sleep(limits::WATCH_RETRY_INTERVAL) => {}
            }
        }
    }

    async fn one_stream(&mut self, stream: usize, member: usize, mut client: MemberClient) {
        let start_revision = self.next;
        let (requests, receiver) = mpsc::channel(4);
        if requests.send(client::watch_everything(start_revision)).await.is_err() {
            return;
        }
        let Ok(mut responses) = client.open_watch(ReceiverStream::new(receiver)).await else {
            return;
        };
        let mut asked = tokio::time::interval(limits::WATCH_PROGRESS_INTERVAL);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                response = responses.next() => {
                    let Some(Ok(response)) = response else { return };
                    heard = Instant::now();
                    self.see(stream, member, start_revision, response);
                }
                _ = asked.tick() => {
                    if heard.elapsed() > limits::WATCH_SILENCE {
                        return;
                    }
                    if self.progress && requests.try_send(client::watch_progress()).is_err() {
                        // The server reads no requests now; the next tick asks again.
                        continue;
                    }
                }
            }
        }
    }

    fn see(&mut self, stream: usize, member: usize, start_revision: i64, from: pb::WatchResponse) {
        let canceled = from
            .canceled
            .then(|| format!("{} (compacted at {})", from.cancel_reason, from.compact_revision));
        let events: Vec<Event> = from.events.into_iter().map(client::event).collect();
        let seen = WatchSeen {
            time_ns: self.recorder.now_ns(),
            stream,
            member,
            start_revision,
            revision: from.header.map_or(0, |header| header.revision),
            canceled,
            created: from.created,
            events,
        };
        if let Some(last) = seen.events.last() {
            self.next = last.kv.mod_revision + 1;
            self.told.store(last.kv.mod_revision, Ordering::Release);
        }
        self.log.seen.push(seen);
    }
}

/// Every event of a member's log from `start_revision` to `end_revision`, by a new watch.
pub async fn read_log(
    url: &str,
    start_revision: i64,
    end_revision: i64,
) -> anyhow::Result<Vec<Event>> {
    let mut events: Vec<Event> = Vec::new();
    if end_revision < start_revision {
        return Ok(events);
    }
    let (requests, receiver) = mpsc::channel(1);
    requests.send(client::watch_everything(start_revision)).await?;
    let mut client = MemberClient::new(url)?;
    let mut responses = client.open_watch(ReceiverStream::new(receiver)).await?;
    let start = Instant::now();
    while events.last().is_none_or(|last| last.kv.mod_revision < end_revision) {
        ensure!(start.elapsed() < limits::WATCH_CATCH_UP_DEADLINE, "the log is not read in time");
        let response = tokio::time::timeout(limits::WATCH_CATCH_UP_DEADLINE, responses.next())
            .await
            .with_context(|| format!("{url} tells no more of its log"))?
            .context("the watch ended before the log did")??;
        ensure!(!response.canceled, "the watch was cancelled: {}", response.cancel_reason);
        events.extend(response.events.into_iter().map(client::event));
    }
    Ok(events)
}
