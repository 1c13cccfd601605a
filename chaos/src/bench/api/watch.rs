//! B12: pods that change, and many who watch them: how many events a second, and how long after
//! the patch each comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use h2::RecvStream;
use hdrhistogram::Histogram;
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::crud::{self, Load, Phase};
use super::figures::{Comparison, Cost, CostMeter, RSS, Round};
use super::flags::ApiFlags;
use super::lines::{DIGITS, Lines};
use super::objects::{PODS, bytes};
use super::server::Server;
use super::wire::{Ask, Connection};
use crate::bench::measure;
use crate::bench::tally::{histogram, record};
use crate::bench::versus::goal::Goal::{self, TimesAtLeast, TimesAtMost};
use crate::limits;

/// Pods that change, one after the other.
const CHANGING: u64 = 20;
/// Patches that not all watchers were told of, when there is no rate.
const WINDOW: u64 = 8;
/// Those who patch.
const WRITERS: usize = 8;
/// Patches of a measurement at least.
const PATCHES_MIN: u64 = 20;

const EVENTS: &str = "events/s";
const CPU_EVENT: &str = "server CPU us/event";
const LAG_P99: &str = "lag p99 ms";

/// What the watchers of one server share.
#[derive(Debug)]
struct Shared {
    /// Times in objects count from here.
    base: Instant,
    watchers: u64,
    delivered: AtomicU64,
    /// Told when all watchers got another event.
    all_told: Notify,
    /// Of events since the measurement began.
    lag_us: Mutex<Histogram<u64>>,
    /// Watches that ended, and why.
    ended: Mutex<BTreeMap<String, u64>>,
}

/// A server with its watchers.
#[derive(Debug)]
struct Audience<'a> {
    server: &'a Server,
    shared: Arc<Shared>,
    writers: Vec<Connection>,
    rss_kib_each: f64,
    _tasks: JoinSet<()>,
}

pub(super) async fn run(flags: &ApiFlags, servers: &[Server]) -> anyhow::Result<Vec<Comparison>> {
    let mut all = Vec::new();
    for server in servers {
        let connections = Connection::open_many(server, 1).await?;
        let load =
            Load { phase: Phase::Create, round: 0, workers: 4, first: 0, requests: CHANGING };
        crud::carry_out(&connections, load).await?.all_succeeded("the pods to watch")?;
    }
    for watchers in &flags.watchers {
        let mut audiences = Vec::new();
        for server in servers {
            super::progress(&format!("B12: {watchers} watchers of {}", server.side.name()));
            audiences.push(Audience::gather(flags, server, *watchers).await?);
        }
        let patches = flags.events.div_ceil(*watchers as u64).max(PATCHES_MIN);
        for rate in [None, Some(flags.rate)] {
            all.push(in_turns(flags, &mut audiences, patches, rate).await?);
        }
    }
    Ok(all)
}

async fn in_turns(
    flags: &ApiFlags,
    audiences: &mut [Audience<'_>],
    patches: u64,
    rate: Option<u64>,
) -> anyhow::Result<Comparison> {
    let watchers = audiences.first().map_or(0, |audience| audience.shared.watchers);
    let pace = rate.map_or_else(
        || "patches as fast as all are told".to_owned(),
        |rate| format!("{rate} patches a second"),
    );
    let title =
        format!("{watchers} watchers on {} connections, pods of 5 KB, {pace}", flags.watch_conns);
    let cpu: (&str, Goal) = (CPU_EVENT, TimesAtMost(0.2));
    let goals = match rate {
        None => vec![(EVENTS, TimesAtLeast(3.0)), cpu],
        Some(_) => vec![(LAG_P99, TimesAtMost(0.2)), cpu],
    };
    let mut comparison = Comparison::new("B12", title, goals);
    for round in 0..=flags.rounds {
        for audience in audiences.iter_mut() {
            let name = audience.server.side.name();
            super::progress(&format!(
                "B12: {watchers} watchers, {pace}, {round}/{}, {name}",
                flags.rounds
            ));
            let patches = if round == 0 { PATCHES_MIN.min(patches) } else { patches };
            let measured = audience.measure(patches, rate).await?;
            if round > 0 {
                comparison.push(audience.server.side, measured);
            }
        }
    }
    Ok(comparison)
}

impl<'a> Audience<'a> {
    /// Begins so many watches from now on.
    async fn gather(flags: &ApiFlags, server: &'a Server, watchers: usize) -> anyhow::Result<Self> {
        let before = measure::rss_kib_of(&server.pids)?;
        let mut connections = Connection::open_many(server, flags.watch_conns).await?;
        let body = connections[0].call(Ask::get(&format!("{PODS}?limit=1"))).await?;
        let listed: Value = serde_json::from_slice(&body.expect(&[200], "the pods to watch")?)?;
        let revision = listed["metadata"]["resourceVersion"].as_str();
        let revision = revision.context("a list has no resourceVersion")?;
        let path = format!("{PODS}?watch=1&timeoutSeconds=7200&resourceVersion={revision}");
        let shared = Arc::new(Shared {
            base: Instant::now(),
            watchers: watchers as u64,
            delivered: AtomicU64::new(0),
            all_told: Notify::new(),
            lag_us: Mutex::new(histogram()?),
            ended: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..watchers {
            let at = number % connections.len();
            let stream = connections[at].watch(&path).await?;
            tasks.spawn(read(stream, Arc::clone(&shared)));
        }
        let writers = Connection::open_many(server, 2).await?;
        let more = measure::rss_kib_of(&server.pids)?.saturating_sub(before);
        let rss_kib_each = match server.pids.is_empty() {
            true => f64::NAN,
            false => more as f64 / watchers as f64,
        };
        Ok(Self { server, shared, writers, rss_kib_each, _tasks: tasks })
    }

    /// Patches, and waits until every watcher was told of each patch.
    async fn measure(&mut self, patches: u64, rate: Option<u64>) -> anyhow::Result<Round> {
        let shared = &self.shared;
        *shared.lag_us.lock() = histogram()?;
        let before = shared.delivered.load(Ordering::Acquire);
        let meter = CostMeter::start(self.server)?;
        let begun = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                connection: self.writers[number % self.writers.len()].clone(),
                shared: Arc::clone(shared),
                next: Arc::clone(&next),
                begun,
                before,
                patches,
                rate,
            };
            writers.spawn(writer.work());
        }
        let mut round = Round::default();
        while let Some(ended) = writers.join_next().await {
            if let Err(error) = ended? {
                round.failed += 1;
                *round.errors.entry(format!("{error:#}")).or_default() += 1;
            }
        }
        let wanted = patches * shared.watchers;
        shared.wait_for(before + wanted, limits::BENCH_OPERATION_DEADLINE).await;
        let cost = meter.stop()?;
        let events = shared.delivered.load(Ordering::Acquire) - before;
        for (why, count) in std::mem::take(&mut *shared.ended.lock()) {
            round.failed += count;
            *round.errors.entry(why).or_default() += count;
        }
        if events != wanted {
            let why = format!("{events} events came of {wanted}");
            round.failed += events.abs_diff(wanted);
            round.errors.insert(why, 1);
        }
        round.figures = self.figures(events, &cost);
        Ok(round)
    }

    fn figures(&self, events: u64, cost: &Cost) -> Vec<(&'static str, f64)> {
        let lag = self.shared.lag_us.lock();
        let ms = |quantile: f64| lag.value_at_quantile(quantile) as f64 / 1e3;
        vec![
            (EVENTS, events as f64 / cost.server.seconds),
            ("lag p50 ms", ms(0.5)),
            (LAG_P99, ms(0.99)),
            (CPU_EVENT, cost.server_us(events)),
            ("generator CPU us/event", cost.server.generator_cpu_us as f64 / events.max(1) as f64),
            ("server RSS KiB/watcher", self.rss_kib_each),
            (RSS, cost.rss_mib()),
        ]
    }
}

/// Reads one watch until it ends; nothing of it may end while it is measured.
async fn read(mut stream: RecvStream, shared: Arc<Shared>) {
    let mut lines = Lines::default();
    let ended = loop {
        let data = match stream.data().await {
            Some(Ok(data)) => data,
            Some(Err(error)) => break format!("a watch ended: {error}"),
            None => break "a watch ended".to_owned(),
        };
        if let Err(error) = stream.flow_control().release_capacity(data.len()) {
            break format!("a watch ended: {error}");
        }
        let now = shared.now_us();
        let told = lines.feed(&data, |time| {
            let lag = Duration::from_micros(now.saturating_sub(time));
            record(&mut shared.lag_us.lock(), lag);
            let delivered = shared.delivered.fetch_add(1, Ordering::AcqRel) + 1;
            if delivered.is_multiple_of(shared.watchers) {
                shared.all_told.notify_waiters();
            }
        });
        if let Err(error) = told {
            break format!("{error:#}");
        }
    };
    *shared.ended.lock().entry(ended).or_default() += 1;
}

impl Shared {
    fn now_us(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Waits until so many events were delivered in all; not for ever.
    async fn wait_for(&self, wanted: u64, within: Duration) {
        let deadline = Instant::now() + within;
        while self.delivered.load(Ordering::Acquire) < wanted && Instant::now() < deadline {
            // One that is told between the look and the wait is found at the next look.
            let told = self.all_told.notified();
            drop(tokio::time::timeout(limits::BENCH_POLL_INTERVAL, told).await);
        }
    }
}

/// One of those who patch.
struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    next: Arc<AtomicU64>,
    begun: Instant,
    /// Events delivered before the measurement.
    before: u64,
    patches: u64,
    rate: Option<u64>,
}

impl Writer {
    async fn work(mut self) -> anyhow::Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.patches {
                return Ok(());
            }
            match self.rate {
                Some(rate) => {
                    let due = self.begun + Duration::from_secs_f64(number as f64 / rate as f64);
                    tokio::time::sleep_until(due.into()).await;
                }
                None => {
                    let told = (number + 1).saturating_sub(WINDOW) * self.shared.watchers;
                    let within = limits::BENCH_OPERATION_DEADLINE;
                    self.shared.wait_for(self.before + told, within).await;
                }
            }
            self.patch(number).await?;
        }
    }

    async fn patch(&mut self, number: u64) -> anyhow::Result<()> {
        let at = format!("{:0width$}", self.shared.now_us(), width = DIGITS);
        let tree = json!({"metadata": {"annotations": {"a.bench/at": at}}});
        let path = format!("{PODS}/{}", crud::name(number % CHANGING));
        let mut ask = Ask::with(Method::PATCH, &path, bytes(&tree));
        ask.content_type = "application/merge-patch+json";
        let body = self.connection.call(ask).await?.expect(&[200], "a patch")?;
        ensure!(std::str::from_utf8(&body)?.contains(&at), "a patch is not in its answer");
        Ok(())
    }
}
