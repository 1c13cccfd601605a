//! Watchers of everything from the first revision on: one stays on each member, one moves from member
//! to member with every stream that breaks. Together they keep the log that compaction takes away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Connect;
use super::watcher::{Watch, Watcher};
use crate::client::MemberClient;
use crate::history::{Asked, Event, Recorder, WatchLog};
use crate::limits;

/// How far the watchers are.
#[derive(Clone, Debug, Default)]
pub struct Told {
    each: Arc<Mutex<Vec<Arc<AtomicI64>>>>,
}

impl Told {
    /// Up to here somebody was told every event: what may be compacted.
    pub fn highest(&self) -> i64 {
        self.each.lock().iter().map(|told| told.load(Ordering::Acquire)).max().unwrap_or(0)
    }

    fn lowest(&self) -> i64 {
        self.each.lock().iter().map(|told| told.load(Ordering::Acquire)).min().unwrap_or(0)
    }
}

/// Running watchers.
#[derive(Debug)]
pub(super) struct Observers {
    tasks: JoinSet<Vec<WatchLog>>,
    told: Told,
    stop: CancellationToken,
}

impl Observers {
    /// Starts one watcher a member and one that roams, all from `start_revision`. With `progress`
    /// they keep asking how far the stream is. `numbers` gives each its number.
    pub(super) fn start(
        connect: &Connect,
        start_revision: i64,
        progress: bool,
        recorder: &Recorder,
        numbers: &Arc<AtomicUsize>,
    ) -> anyhow::Result<Self> {
        let members = connect.clients()?;
        let stop = CancellationToken::new();
        let told = Told::default();
        let mut tasks = JoinSet::new();
        for place in 0..=members.len() {
            let (name, route) = if place < members.len() {
                (format!("on member {place}"), vec![(place, members[place].clone())])
            } else {
                ("roaming".to_owned(), members.iter().cloned().enumerate().collect())
            };
            let last = Arc::new(AtomicI64::new(0));
            told.each.lock().push(Arc::clone(&last));
            let observer = Observer {
                name,
                route,
                start_revision,
                progress,
                recorder: recorder.clone(),
                numbers: Arc::clone(numbers),
                told: last,
            };
            tasks.spawn(observer.run(stop.clone()));
        }
        Ok(Self { tasks, told, stop })
    }

    /// How far they are.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// Gives every watcher time to be told `revision`, then stops all. Who was not told is found
    /// by the checker, not here.
    pub(super) async fn finish(mut self, revision: i64) -> Vec<WatchLog> {
        let start = Instant::now();
        while self.told.lowest() < revision && start.elapsed() < limits::WATCH_CATCH_UP_DEADLINE {
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
        self.stop.cancel();
        let mut logs = Vec::new();
        while let Some(observed) = self.tasks.join_next().await {
            logs.extend(observed.into_iter().flatten());
        }
        logs.sort_by_key(|log| log.watcher);
        logs
    }
}

struct Observer {
    name: String,
    route: Vec<(usize, MemberClient)>,
    start_revision: i64,
    progress: bool,
    recorder: Recorder,
    numbers: Arc<AtomicUsize>,
    told: Arc<AtomicI64>,
}

impl Observer {
    /// Watches until it is stopped. What was compacted before it was told is another watcher's to
    /// know, and it begins anew behind it.
    async fn run(self, stop: CancellationToken) -> Vec<WatchLog> {
        let mut logs: Vec<WatchLog> = Vec::new();
        let mut start_revision = self.start_revision;
        loop {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let asked = Asked::everything(start_revision);
            let mut watch = Watch::new(number, self.name.clone(), asked);
            watch.position.told = Arc::clone(&self.told);
            let mut watcher = Watcher {
                route: self.route.clone(),
                watches: vec![watch],
                ask_progress: self.progress,
                renew_after: None,
                recorder: self.recorder.clone(),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = watcher.run() => {}
            }
            logs.extend(watcher.watches.into_iter().map(|watch| watch.log));
            let last = logs.last().and_then(|log| log.seen.last());
            match last.map_or(0, |seen| seen.compact_revision) {
                0 => return logs,
                compacted => start_revision = compacted,
            }
        }
    }
}

/// The log up to a revision, out of what those who watched everything were told. Where one of them
/// came too late for a previous value, another one was told it.
pub(super) fn archive(logs: &[WatchLog], end_revision: i64) -> Vec<Event> {
    let mut revisions: BTreeMap<i64, Vec<&Event>> = BTreeMap::new();
    let whole = |log: &&WatchLog| log.asked.prev_kv && !log.asked.fragment;
    for log in logs.iter().filter(|log| log.asked.is_everything()).filter(whole) {
        let mut told: BTreeMap<i64, Vec<&Event>> = BTreeMap::new();
        let events = log.seen.iter().flat_map(|seen| &seen.events);
        for event in events.take_while(|event| event.kv.mod_revision <= end_revision) {
            told.entry(event.kv.mod_revision).or_default().push(event);
        }
        for (revision, events) in told {
            let shown = |events: &[&Event]| events.iter().filter(|e| e.previous.is_some()).count();
            let kept = revisions.entry(revision).or_default();
            if kept.is_empty() || shown(kept) < shown(&events) {
                *kept = events;
            }
        }
    }
    revisions.into_values().flatten().cloned().collect()
}
