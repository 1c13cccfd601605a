//! One key written again and again, many watchers told each time: how many events a second, and
//! how long after the write each comes.

mod summary;

pub use summary::WatchSummary;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use hdrhistogram::Histogram;
use proto::etcdserverpb as pb;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::WatchFlags;
use super::measure::{self, Meter};
use super::pace::{Client, Turns, drive};
use super::report::Latency;
use super::tally::{Done, Tally, histogram, record};
use super::watchers::WatchStream;
use super::wire::{Connection, frame, scan};
use crate::limits;

const PREFIX: &str = "bench-watch/";
const PUT: &str = "/etcdserverpb.KV/Put";

/// Clients that write at a rate: enough that none is late while puts take half a second.
const WRITERS: usize = 64;

/// The time in a value that is written before measuring begins.
const WARM_UP: u64 = u64::MAX;

/// What all tasks share.
struct Shared {
    /// Times in values count from here.
    base: Instant,
    delivered: AtomicU64,
    /// When the last event came.
    last_us: AtomicU64,
    /// A permit for each event that may be under way, when there is no rate.
    window: Option<Semaphore>,
}

impl Shared {
    fn now_us(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).unwrap_or(WARM_UP - 1)
    }

    /// Waits until so many events were delivered in all; returns how many were in time.
    async fn wait_delivered(&self, wanted: u64, within: Duration) -> u64 {
        let start = Instant::now();
        loop {
            let delivered = self.delivered.load(Ordering::Acquire);
            if delivered >= wanted || start.elapsed() >= within {
                return delivered;
            }
            tokio::time::sleep(limits::BENCH_POLL_INTERVAL).await;
        }
    }
}

/// Opens the watchers, writes, and waits for all events.
pub(super) async fn run(flags: &WatchFlags) -> anyhow::Result<WatchSummary> {
    ensure!(flags.watchers > 0 && flags.streams > 0, "at least one watcher and one stream");
    ensure!(flags.val_size >= 8, "a value holds at least the 8 bytes of its time");
    let window = flags.window.map(|puts| Semaphore::new(puts as usize * flags.watchers));
    let shared = Arc::new(Shared {
        base: Instant::now(),
        delivered: AtomicU64::new(0),
        last_us: AtomicU64::new(0),
        window,
    });
    // Answers to puts do not wait behind events.
    let writing = Connection::open_all(&super::ServerFlags {
        conns: flags.server.endpoints.len(),
        ..flags.server.clone()
    })
    .await?;
    let rss_before = measure::rss_kib_of(&flags.server.pids)?;
    let streams = open(flags).await?;
    let rss_grown = measure::rss_kib_of(&flags.server.pids)?.saturating_sub(rss_before);
    let stop = CancellationToken::new();
    let mut readers = JoinSet::new();
    for stream in streams {
        readers.spawn(follow(stream, Arc::clone(&shared), flags.val_size, stop.clone()));
    }
    let summary = measure(flags, &shared, &writing, rss_grown).await;
    stop.cancel();
    let mut summary = summary?;
    let mut lag = histogram()?;
    while let Some(reader) = readers.join_next().await {
        let (own, error) = reader?;
        lag.add(&own)?;
        if let Some(error) = error {
            summary.failed += 1;
            *summary.errors.entry(format!("{error:#}")).or_default() += 1;
        }
    }
    summary.lag_us = Latency::of(&lag);
    Ok(summary)
}

async fn open(flags: &WatchFlags) -> anyhow::Result<Vec<WatchStream>> {
    let mut connections = Connection::open_all(&flags.server).await?;
    let mut streams = Vec::new();
    for stream in 0..flags.streams {
        let place = stream % connections.len();
        // The first streams have one watcher more when they cannot all have the same number.
        let extra = usize::from(stream < flags.watchers % flags.streams);
        let prefixes = vec![PREFIX; flags.watchers / flags.streams + extra];
        streams.push(WatchStream::open(&mut connections[place], &prefixes).await?);
    }
    Ok(streams)
}

async fn measure(
    flags: &WatchFlags,
    shared: &Arc<Shared>,
    connections: &[Connection],
    rss_grown_kib: u64,
) -> anyhow::Result<WatchSummary> {
    let watchers = flags.watchers as u64;
    let writers = |count| writers(flags, shared, connections, count);
    let warm_up: Vec<Writer> =
        writers(1).into_iter().map(|writer| Writer { is_warm_up: true, ..writer }).collect();
    drive(warm_up, Turns::count(1), 1).await?.all_succeeded("a put")?;
    let told = shared.wait_delivered(watchers, limits::BENCH_OPERATION_DEADLINE).await;
    ensure!(told == watchers, "{told} of {watchers} watchers were told of a first put");

    let meter = Meter::start(&flags.server.pids)?;
    let start_us = shared.now_us();
    let (count, rate) = match flags.window {
        Some(puts) => (WRITERS.min(puts as usize).max(1), None),
        None => (WRITERS, Some(flags.rate)),
    };
    let turns = Turns::new(flags.puts, None, rate);
    let tally: Tally = drive(writers(count), turns, 1).await?;
    let put_latency_us = tally.latency_us()?;
    let expected = put_latency_us.len() * watchers;
    let drain = Duration::from_secs(flags.drain);
    let events = shared.wait_delivered(watchers + expected, drain).await - watchers;
    let usage = meter.stop()?;
    let event_us = shared.last_us.load(Ordering::Acquire).saturating_sub(start_us);
    Ok(WatchSummary {
        watchers: flags.watchers,
        streams: flags.streams,
        puts: put_latency_us.len(),
        events,
        missing: expected.saturating_sub(events),
        failed: tally.failed,
        errors: tally.errors,
        event_seconds: Duration::from_micros(event_us).as_secs_f64(),
        lag_us: Latency::of(&histogram()?),
        put_latency_us: Latency::of(&put_latency_us),
        rss_bytes_per_watcher: per_watcher(flags, rss_grown_kib),
        usage,
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_watcher(flags: &WatchFlags, rss_grown_kib: u64) -> Option<f64> {
    let known = !flags.server.pids.is_empty();
    known.then(|| (rss_grown_kib * 1024) as f64 / flags.watchers as f64)
}

/// Counts the events of one stream, and how late each is.
async fn follow(
    mut stream: WatchStream,
    shared: Arc<Shared>,
    value_size: usize,
    stop: CancellationToken,
) -> (Histogram<u64>, Option<anyhow::Error>) {
    let mut lag = match histogram() {
        Ok(lag) => lag,
        Err(error) => return (Histogram::new(3).expect("3 digits are allowed"), Some(error)),
    };
    loop {
        let mut is_wrong = false;
        let now_us = &mut None;
        let next = stream.next(|value| {
            let now_us = *now_us.get_or_insert_with(|| shared.now_us());
            match value.first_chunk().map(|time| u64::from_le_bytes(*time)) {
                Some(WARM_UP) => {}
                Some(time) => {
                    record(&mut lag, Duration::from_micros(now_us.saturating_sub(time)));
                }
                None => is_wrong = true,
            }
            is_wrong |= value.len() != value_size;
        });
        let events = tokio::select! {
            events = next => events,
            () = stop.cancelled() => return (lag, None),
        };
        let events = match events {
            Ok(_) if is_wrong => {
                return (lag, Some(anyhow::anyhow!("an event has another value than was written")));
            }
            Ok(events) => events,
            Err(error) => return (lag, Some(error)),
        };
        if events > 0 {
            shared.last_us.fetch_max(shared.now_us(), Ordering::AcqRel);
            shared.delivered.fetch_add(events, Ordering::AcqRel);
            if let Some(window) = &shared.window {
                window.add_permits(usize::try_from(events).unwrap_or(0));
            }
        }
    }
}

fn writers(
    flags: &WatchFlags,
    shared: &Arc<Shared>,
    connections: &[Connection],
    count: usize,
) -> Vec<Writer> {
    (0..count)
        .map(|writer| Writer {
            connection: connections[writer % connections.len()].clone(),
            shared: Arc::clone(shared),
            watchers: u32::try_from(flags.watchers).unwrap_or(u32::MAX),
            value: vec![b'w'; flags.val_size],
            is_warm_up: false,
        })
        .collect()
}

struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    watchers: u32,
    value: Vec<u8>,
    is_warm_up: bool,
}

impl Client for Writer {
    async fn turn(&mut self, turn: u64) -> anyhow::Result<Done> {
        if let Some(window) = &self.shared.window {
            window.acquire_many(self.watchers).await?.forget();
        }
        let time = if self.is_warm_up { WARM_UP } else { self.shared.now_us() };
        self.value[..8].copy_from_slice(&time.to_le_bytes());
        let request = pb::PutRequest {
            key: format!("{PREFIX}{:04}", turn % 1_000).into_bytes().into(),
            value: Bytes::copy_from_slice(&self.value),
            ..pb::PutRequest::default()
        };
        let answer = self.connection.call(PUT, frame(&request)).await;
        if answer.is_err()
            && let Some(window) = &self.shared.window
        {
            // Nobody will be told, or nobody knows: the others must not wait for it.
            window.add_permits(self.watchers as usize);
        }
        let answer = answer?;
        scan::revision(&answer)?;
        Ok(Done { kind: 0, bytes: answer.len(), lost: false })
    }
}
