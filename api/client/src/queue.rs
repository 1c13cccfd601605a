//! Keys waiting for a reconcile: deduplicated, delayed, rate-limited.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | Q1 | A key is worked on by one worker at a time. |
//! | Q2 | A key added while it is worked on is handed out once more afterwards. |
//! | Q3 | A key is in the queue at most once, so the queue is bounded by the number of objects. |

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    future::Future,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::limits;

/// What a worker says about a key that it reconciled without error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until something changes.
    Done,
    /// Look again after this time.
    After(Duration),
    /// Look again soon, with back-off.
    Retry,
}

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    waiting: HashSet<T>,
    working: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    delayed_at: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    sequence: u64,
}

/// A queue of keys. See the module's rules.
#[derive(Debug)]
pub struct WorkQueue<T> {
    name: &'static str,
    state: Mutex<State<T>>,
    changed: Notify,
    adds: AtomicU64,
    retries: AtomicU64,
    finished: AtomicU64,
    work_micros: AtomicU64,
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue; `name` is the `name` label of its metrics.
    #[must_use]
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::new(State {
                ready: VecDeque::new(),
                waiting: HashSet::new(),
                working: HashSet::new(),
                delayed: BTreeMap::new(),
                delayed_at: HashMap::new(),
                failures: HashMap::new(),
                sequence: 0,
            }),
            changed: Notify::new(),
            adds: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            work_micros: AtomicU64::new(0),
        })
    }

    /// Puts `key` in the queue, unless it is there already.
    pub fn add(&self, key: T) {
        self.adds.fetch_add(1, Ordering::Relaxed);
        self.state.lock().enqueue(key);
        self.changed.notify_one();
    }

    /// Puts `key` in the queue after `delay`. Of several delays of one key the shortest wins.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let due = clock::instant() + delay;
        let mut state = self.state.lock();
        if let Some(&at) = state.delayed_at.get(&key) {
            if at.0 <= due {
                return;
            }
            state.delayed.remove(&at);
        }
        state.sequence += 1;
        let at = (due, state.sequence);
        state.delayed.insert(at, key.clone());
        state.delayed_at.insert(key, at);
        drop(state);
        self.changed.notify_one();
    }

    /// Puts `key` in the queue after a back-off that doubles with each call until [`Self::forget`].
    pub fn add_rate_limited(&self, key: T) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        let failures = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures += 1;
            *failures - 1
        };
        self.add_after(key, backoff(failures));
    }

    /// Ends the back-off of `key`.
    pub fn forget(&self, key: &T) {
        self.state.lock().failures.remove(key);
    }

    /// Keys that are ready to be handed out.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// True when no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for a key. Hand it back with [`Self::done`].
    pub async fn get(&self) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next_due = {
                let mut state = self.state.lock();
                state.release_due(clock::instant());
                if let Some(key) = state.ready.pop_front() {
                    state.waiting.remove(&key);
                    state.working.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.delayed.keys().next().map(|at| at.0)
            };
            match next_due {
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = clock::sleep_until(due) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Ends the work on `key`; if it was added meanwhile it becomes ready again (Q2).
    pub fn done(&self, key: &T) {
        let mut state = self.state.lock();
        state.working.remove(key);
        if state.waiting.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Writes the queue's metrics, under client-go's names.
    pub fn write_metrics(&self, out: &mut String) {
        use std::fmt::Write as _;
        let name = self.name;
        let seconds = Duration::from_micros(self.work_micros.load(Ordering::Relaxed));
        let lines = [
            ("workqueue_depth", self.len().to_string()),
            ("workqueue_adds_total", self.adds.load(Ordering::Relaxed).to_string()),
            ("workqueue_retries_total", self.retries.load(Ordering::Relaxed).to_string()),
            ("workqueue_work_duration_seconds_sum", seconds.as_secs_f64().to_string()),
            (
                "workqueue_work_duration_seconds_count",
                self.finished.load(Ordering::Relaxed).to_string(),
            ),
        ];
        for (metric, value) in lines {
            writeln!(out, "{metric}{{name=\"{name}\"}} {value}")
                .expect("writing to a String cannot fail");
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn enqueue(&mut self, key: T) {
        if !self.waiting.insert(key.clone()) {
            return;
        }
        // Q1: a key that is worked on becomes ready in `done`.
        if !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.delayed_at.remove(&key);
            self.enqueue(key);
        }
    }
}

/// The wait before retry number `failures` (from 0): 5 ms, doubling, at most 1000 s.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    limits::RETRY_MIN
        .checked_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .map_or(limits::RETRY_MAX, |wait| wait.min(limits::RETRY_MAX))
}

/// Runs `workers` loops that hand each key to `reconcile`, until `stop` fires.
///
/// An error puts the key back with back-off. A conflict is not worth a warning: the cache was behind.
pub async fn run_workers<T, F, Fut>(
    queue: Arc<WorkQueue<T>>,
    workers: usize,
    stop: CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + std::fmt::Debug + Send + Sync + 'static,
    F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, kube::Error>> + Send + 'static,
{
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..workers.max(1) {
        let (queue, stop, reconcile) = (Arc::clone(&queue), stop.clone(), reconcile.clone());
        loops.spawn(async move {
            loop {
                let key = tokio::select! {
                    () = stop.cancelled() => return,
                    key = queue.get() => key,
                };
                let started = std::time::Instant::now();
                let result = tokio::select! {
                    () = stop.cancelled() => return,
                    result = reconcile(key.clone()) => result,
                };
                let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                queue.work_micros.fetch_add(micros, Ordering::Relaxed);
                queue.finished.fetch_add(1, Ordering::Relaxed);
                settle(&queue, key, result);
            }
        });
    }
    while loops.join_next().await.is_some() {}
}

fn settle<T: Clone + Eq + Hash + std::fmt::Debug>(
    queue: &WorkQueue<T>,
    key: T,
    result: Result<Outcome, kube::Error>,
) {
    match result {
        Ok(Outcome::Done) => queue.forget(&key),
        Ok(Outcome::After(delay)) => {
            queue.forget(&key);
            queue.add_after(key.clone(), delay);
        }
        Ok(Outcome::Retry) => queue.add_rate_limited(key.clone()),
        Err(error) => {
            if crate::is_conflict(&error) {
                debug!(queue = queue.name, ?key, %error, "conflict, will retry");
            } else {
                warn!(queue = queue.name, ?key, %error, "reconcile failed, will retry");
            }
            queue.add_rate_limited(key.clone());
        }
    }
    queue.done(&key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_the_maximum() {
        assert_eq!(backoff(0), Duration::from_millis(5));
        assert_eq!(backoff(1), Duration::from_millis(10));
        assert_eq!(backoff(10), Duration::from_millis(5120));
        assert_eq!(backoff(18), Duration::from_secs(1000));
        assert_eq!(backoff(31), Duration::from_secs(1000));
        assert_eq!(backoff(u32::MAX), Duration::from_secs(1000));
    }

    #[tokio::test]
    async fn a_key_is_queued_once_and_again_when_added_during_work() {
        let queue = WorkQueue::new("test");
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.len(), 1, "Q3");

        let key = queue.get().await;
        queue.add("a");
        assert_eq!(queue.len(), 0, "Q1: not handed out while it is worked on");
        queue.done(&key);
        assert_eq!(queue.len(), 1, "Q2");
        let key = queue.get().await;
        queue.done(&key);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_delay_wins() {
        let queue = WorkQueue::new("test");
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(30));
        assert_eq!(queue.get().await, "a");
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&"a");
        assert!(queue.state.lock().delayed.is_empty(), "the longer delays are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_workers_all_wake_up() {
        let queue = WorkQueue::new("test");
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let stop = CancellationToken::new();
        let run = tokio::spawn(run_workers(Arc::clone(&queue), 4, stop.clone(), {
            let (seen, stop) = (Arc::clone(&seen), stop.clone());
            move |key: u32| {
                let (seen, stop) = (Arc::clone(&seen), stop.clone());
                async move {
                    let first = !seen.lock().contains(&key) && key.is_multiple_of(10);
                    seen.lock().insert(key);
                    if seen.lock().len() == 100 {
                        stop.cancel();
                    }
                    Ok(if first { Outcome::Retry } else { Outcome::Done })
                }
            }
        }));
        for key in 0..100 {
            queue.add(key);
        }
        tokio::time::timeout(Duration::from_secs(5), run).await.unwrap().unwrap();
        assert_eq!(seen.lock().len(), 100);
    }
}
