//! Clients that share a count of turns, and one histogram each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::LoadFlags;
use super::measure;
use super::operation::{Kind, Maker};
use super::report::Summary;
use super::wire::Connection;
use crate::limits;

/// Distinct error texts that are kept; all errors are counted.
const ERROR_TEXTS_MAX: usize = 8;

/// What one client or all of them measured.
struct Tally {
    latency_us: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    failed: u64,
    response_bytes: u64,
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        let latency_us = Histogram::new_with_bounds(1, limits::BENCH_LATENCY_US_MAX, 3)?;
        Ok(Self { latency_us, errors: BTreeMap::new(), failed: 0, response_bytes: 0 })
    }

    fn record(&mut self, elapsed: Duration, result: anyhow::Result<usize>) {
        match result {
            Ok(bytes) => {
                let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
                self.latency_us.saturating_record(us.max(1));
                self.response_bytes += bytes as u64;
            }
            Err(error) => {
                self.failed += 1;
                let text = error.to_string();
                if self.errors.contains_key(&text) || self.errors.len() < ERROR_TEXTS_MAX {
                    *self.errors.entry(text).or_default() += 1;
                }
            }
        }
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.latency_us.add(&other.latency_us)?;
        self.failed += other.failed;
        self.response_bytes += other.response_bytes;
        for (text, count) in other.errors {
            *self.errors.entry(text).or_default() += count;
        }
        Ok(())
    }
}

/// The turns that the clients share.
#[derive(Debug)]
struct Turns {
    next: AtomicU64,
    total: u64,
    start: Instant,
    end: Option<Instant>,
    interval: Option<Duration>,
}

impl Turns {
    fn new(total: u64, seconds: Option<u64>, rate: Option<u64>) -> Self {
        let start = Instant::now();
        Self {
            next: AtomicU64::new(0),
            total,
            start,
            end: seconds.map(|seconds| start + Duration::from_secs(seconds)),
            interval: rate.map(|rate| Duration::from_secs(1).div_f64(rate.max(1) as f64)),
        }
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

/// Loads the endpoints as the flags say: fills the keys that will be read, warms up, measures.
pub async fn generate(kind: Kind, flags: &LoadFlags) -> anyhow::Result<Summary> {
    ensure!(flags.clients > 0 && flags.conns > 0, "at least one client and one connection");
    ensure!(!flags.endpoints.is_empty(), "at least one endpoint");
    if let Kind::Txn { puts } = kind {
        ensure!(puts > 0 && puts as u64 <= flags.key_space, "a transaction needs 1 to all keys");
    }
    let mut connections = Vec::new();
    for number in 0..flags.conns {
        let endpoint = &flags.endpoints[number % flags.endpoints.len()];
        connections.push(Connection::open(endpoint, flags).await?);
    }
    if matches!(kind, Kind::Range { .. }) {
        let fill = LoadFlags { sequential_keys: true, ..flags.clone() };
        let turns = Turns::new(flags.key_space, None, None);
        let filled = drive(Kind::Put, &fill, &connections, turns).await?;
        ensure!(filled.failed == 0, "the keys to read cannot be written: {:?}", filled.errors);
    }
    if flags.warm_up > 0 {
        drive(kind, flags, &connections, Turns::new(flags.warm_up, None, None)).await?;
    }
    let own = [std::process::id()];
    let (servers_before, own_before) =
        (measure::cpu_us_of(&flags.pids)?, measure::cpu_us_of(&own)?);
    let start = Instant::now();
    let turns = Turns::new(flags.total, flags.duration, flags.rate);
    let tally = drive(kind, flags, &connections, turns).await?;
    let elapsed = start.elapsed();
    let server_cpu_us = measure::cpu_us_of(&flags.pids)? - servers_before;
    let generator_cpu_us = measure::cpu_us_of(&own)? - own_before;
    let memory = flags.pids.iter().map(|pid| measure::memory(*pid)).collect::<Result<_, _>>()?;
    Ok(Summary {
        name: kind.name(),
        clients: flags.clients,
        connections: flags.conns,
        key_bytes: flags.key_size,
        value_bytes: flags.val_size,
        rate: flags.rate,
        seconds: elapsed.as_secs_f64(),
        operations: tally.latency_us.len(),
        failed: tally.failed,
        errors: tally.errors,
        response_bytes: tally.response_bytes,
        latency_us: super::report::Latency::of(&tally.latency_us),
        server_cpu_us: (!flags.pids.is_empty()).then_some(server_cpu_us),
        generator_cpu_us,
        memory,
    })
}

async fn drive(
    kind: Kind,
    flags: &LoadFlags,
    connections: &[Connection],
    turns: Turns,
) -> anyhow::Result<Tally> {
    let turns = Arc::new(turns);
    let mut tasks = JoinSet::new();
    for client in 0..flags.clients {
        let connection = connections[client % connections.len()].clone();
        let maker = Maker::new(kind, flags, client);
        tasks.spawn(work(kind, connection, maker, Arc::clone(&turns), Tally::new()?));
    }
    let mut all = Tally::new()?;
    while let Some(tally) = tasks.join_next().await {
        all.add(tally?)?;
    }
    Ok(all)
}

async fn work(
    kind: Kind,
    mut connection: Connection,
    mut maker: Maker,
    turns: Arc<Turns>,
    mut tally: Tally,
) -> Tally {
    let mut back_off = limits::BENCH_BACK_OFF_FIRST;
    while let Some((turn, due)) = turns.take() {
        let request = maker.request(turn);
        if turns.interval.is_some() {
            tokio::time::sleep_until(due.into()).await;
        }
        // In an open loop latency counts from when the operation was due: an operation that had
        // to wait for a slow one before it is slow, too.
        let start = if turns.interval.is_some() { due } else { Instant::now() };
        let result = connection.call(kind.path(), request).await;
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
