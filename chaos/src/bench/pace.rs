//! Who does what when: turns that clients share, in a closed or an open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::tally::{Done, Tally};
use crate::limits;

/// One client: it carries out one operation after the other.
pub(super) trait Client: Send + 'static {
    /// Carries out the operation of a turn, and judges its answer.
    fn turn(&mut self, turn: u64) -> impl Future<Output = anyhow::Result<Done>> + Send;
}

/// The turns that the clients share.
#[derive(Debug)]
pub(super) struct Turns {
    next: AtomicU64,
    total: u64,
    start: Instant,
    end: Option<Instant>,
    interval: Option<Duration>,
}

impl Turns {
    /// So many turns, for so long, so many of them a second.
    pub(super) fn new(total: u64, seconds: Option<u64>, rate: Option<u64>) -> Self {
        let start = Instant::now();
        Self {
            next: AtomicU64::new(0),
            total,
            start,
            end: seconds.map(|seconds| start + Duration::from_secs(seconds)),
            interval: rate.map(|rate| Duration::from_secs(1).div_f64(rate.max(1) as f64)),
        }
    }

    /// So many turns, as fast as they go.
    pub(super) fn count(total: u64) -> Self {
        Self::new(total, None, None)
    }

    /// The next turn and when it is due; `None` when it is over.
    fn take(&self) -> Option<(u64, Instant)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let due = self.interval.map_or(now, |interval| self.start + interval.mul_f64(turn as f64));
        let over = turn >= self.total || self.end.is_some_and(|end| now.max(due) >= end);
        (!over).then_some((turn, due))
    }
}

/// Lets clients take turns until there are none. `kinds` is how many kinds of operations they know.
pub(super) async fn drive<C: Client>(
    clients: Vec<C>,
    turns: Turns,
    kinds: usize,
) -> anyhow::Result<Tally> {
    let turns = Arc::new(turns);
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(work(client, Arc::clone(&turns), Tally::new(kinds)?));
    }
    let mut all = Tally::new(kinds)?;
    while let Some(tally) = tasks.join_next().await {
        all.add(tally?)?;
    }
    Ok(all)
}

async fn work<C: Client>(mut client: C, turns: Arc<Turns>, mut tally: Tally) -> Tally {
    let mut back_off = limits::BENCH_BACK_OFF_FIRST;
    while let Some((turn, due)) = turns.take() {
        if turns.interval.is_some() {
            tokio::time::sleep_until(due.into()).await;
        }
        // In an open loop latency counts from when the operation was due: an operation that had
        // to wait for a slow one before it is slow, too.
        let start = if turns.interval.is_some() { due } else { Instant::now() };
        let result = client.turn(turn).await;
        let failed = result.is_err();
        tally.record(start.elapsed(), result);
        if failed {
            // A dead connection fails at once: without a pause its clients would spin, and take
            // the turns of those that get answers.
            let left = turns.end.map(|end| end.saturating_duration_since(Instant::now()));
            tokio::time::sleep(left.map_or(back_off, |left| left.min(back_off))).await;
            back_off = (back_off * 2).min(limits::BENCH_BACK_OFF_MAX);
        } else {
            back_off = limits::BENCH_BACK_OFF_FIRST;
        }
    }
    tally
}
