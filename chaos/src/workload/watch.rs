//! Watchers of every shape, one life after the other: of a key, a prefix or everything, from the past,
//! from now on, from the future or from what is compacted, with and without previous values, filters,
//! fragments and progress, alone on a stream or with others, and cancelled and created anew on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::observers::Told;
use super::watcher::{Position, Watch, Watcher};
use crate::history::{Asked, Event, Keys, Recorder, WatchLog};
use crate::limits;

/// What all watchers of a fleet share.
#[derive(Clone, Debug)]
pub(super) struct Watching {
    pub(super) recorder: Recorder,
    /// How far those are who watch everything.
    pub(super) told: Told,
    /// Whether the store's progress answers can be relied on.
    pub(super) progress: bool,
    pub(super) numbers: Arc<AtomicUsize>,
    /// What the keys start with that others write.
    pub(super) prefixes: Vec<&'static str>,
    /// Those who watch now.
    pub(super) live: Arc<Mutex<BTreeMap<usize, (Asked, Position)>>>,
    /// Fires when those who watched to the end were told everything.
    pub(super) end: CancellationToken,
}

impl Watching {
    /// Gives everybody who watches time to be told the last event that he wants, and ends them.
    pub(super) async fn finish(&self, log: &[Event]) {
        let start = Instant::now();
        let late = || {
            self.live.lock().values().any(|(asked, position)| {
                let last = log.iter().rev().find(|event| asked.wants(event));
                last.is_some_and(|last| !position.is_behind(last.kv.mod_revision))
            })
        };
        while late() && start.elapsed() < limits::WATCH_CATCH_UP_DEADLINE {
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
        self.end.cancel();
    }

    /// A number for a watcher that nobody had before.
    pub(super) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets a watcher live for so long; when the fleet is to stop meanwhile, until everything was told.
    pub(super) async fn live(
        &self,
        caller: &Caller,
        mut watcher: Watcher,
        lives_ms: u64,
    ) -> Vec<WatchLog> {
        for watch in &watcher.watches {
            let shared = (watch.log.asked.clone(), watch.position.clone());
            self.live.lock().insert(watch.log.watcher, shared);
        }
        let over = async {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(lives_ms)) => true,
                () = caller.stopped() => {
                    self.end.cancelled().await;
                    false
                }
            }
        };
        let ended = tokio::select! {
            () = watcher.run() => true,
            ended = over => ended,
        };
        let mut logs = Vec::new();
        for mut watch in watcher.watches {
            self.live.lock().remove(&watch.log.watcher);
            watch.log.ended |= ended;
            logs.push(watch.log);
        }
        logs
    }

    fn asked(&self, rng: &mut StdRng, keys: &[String]) -> Asked {
        let keys = match (rng.random_range(0..10), keys.choose(rng), self.prefixes.choose(rng)) {
            (0..3, Some(key), _) => Keys::One(key.clone()),
            (3..8, _, Some(prefix)) => Keys::Under((*prefix).to_owned()),
            _ => Keys::All,
        };
        let known = self.told.highest();
        let start_revision = match rng.random_range(0..10) {
            0..3 => 0,
            3..6 => known - rng.random_range(0..200),
            6..8 => known + rng.random_range(0..60),
            // Far back: often compacted.
            _ => known - rng.random_range(200..2000),
        };
        let filter = rng.random_range(0..10);
        Asked {
            keys,
            start_revision: if start_revision < 0 { 2 } else { start_revision },
            no_put: filter == 0,
            no_delete: filter == 1,
            prev_kv: rng.random_bool(0.6),
            fragment: rng.random_bool(0.4),
            progress_notify: rng.random_bool(0.3),
        }
    }

    fn watcher(&self, caller: &mut Caller, keys: &[String]) -> Watcher {
        let members = caller.members().to_vec();
        let count = members.len();
        let rng = &mut caller.rng;
        let first = rng.random_range(0..count);
        let mut route: Vec<_> = members.into_iter().enumerate().collect();
        route.rotate_left(first);
        // Some come back to the member on which their stream broke.
        if rng.random_bool(0.3) {
            route.truncate(1);
        }
        let watches = if rng.random_bool(0.3) { rng.random_range(2..=3) } else { 1 };
        let watches = (0..watches).map(|_| {
            let number = self.number();
            let asked = self.asked(rng, keys);
            Watch::new(number, format!("of {:?}", asked.keys), asked)
        });
        Watcher {
            watches: watches.collect(),
            route,
            ask_progress: self.progress && rng.random_bool(0.5),
            renew_after: rng.random_bool(0.2).then(|| rng.random_range(2..8)),
            recorder: self.recorder.clone(),
        }
    }
}

/// Watches until it is stopped, and then on until everything was told.
pub(super) async fn run(mut caller: Caller, watching: Watching) -> Vec<WatchLog> {
    let mut logs: Vec<WatchLog> = Vec::new();
    let mut keys = Vec::new();
    while caller.turn().await {
        let watcher = watching.watcher(&mut caller, &keys);
        let lives_ms = caller.rng.random_range(limits::WATCH_LIFE_MS);
        for log in watching.live(&caller, watcher, lives_ms).await {
            let events = log.seen.iter().flat_map(|seen| &seen.events);
            keys.extend(events.map(|event| event.kv.key.clone()).next_back());
            logs.push(log);
        }
        let forget = keys.len().saturating_sub(limits::WATCH_KEYS_MAX);
        keys.drain(..forget);
    }
    logs
}
