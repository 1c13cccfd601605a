//! The mix of a Kubernetes cluster: compare-and-swaps of leases and pods, lists, counts, events
//! with leases, watchers of whole kinds, and compactions.

mod actor;
mod audience;
mod mix;
mod registry;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use tokio_util::sync::CancellationToken;

use self::actor::{Actor, PAGE};
use self::audience::Audience;
use self::registry::{POD_BYTES, ROOT, Registry};
use super::load::FILL_PUTS;
use super::measure::Meter;
use super::operation::{TXN, request_op, whole};
use super::pace::{Client, Turns, drive};
use super::report::Summary;
use super::tally::{Done, Tally};
use super::wire::{Connection, frame, scan};
use super::{MixedFlags, lease};
use crate::limits;

const COMPACT: &str = "/etcdserverpb.KV/Compact";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";

/// Leases that events share, and seconds that they live: no event expires while it is measured.
const EVENT_LEASES: u64 = 16;
const EVENT_LEASE_TTL: i64 = 3_600;

/// Name in the report of what the compactions took.
const COMPACTION: &str = "compaction";

/// Makes the objects anew, and does what a cluster does to them.
pub(super) async fn run(flags: &MixedFlags) -> anyhow::Result<Summary> {
    ensure!(flags.pace.clients > 0, "at least one client");
    ensure!(flags.leases > 0 && flags.pods >= PAGE, "at least 1 lease and {PAGE} pods");
    ensure!(flags.compact_every > 0, "at least a second between two compactions");
    let mut connections = Connection::open_all(&flags.server).await?;
    let registry = Arc::new(Registry::new(flags));
    let range = whole(ROOT);
    let request =
        pb::DeleteRangeRequest { key: range.key, range_end: range.range_end, ..Default::default() };
    connections[0].call(DELETE, frame(&request)).await.context("old objects stay")?;
    fill(&connections, &registry).await?;
    let leases = lease::grant(&connections, EVENT_LEASES, EVENT_LEASE_TTL).await?;
    let summary = measure(flags, &connections, &registry, &leases).await;
    let revoked = lease::revoke(&connections, &leases).await;
    let summary = summary?;
    revoked?;
    Ok(summary)
}

async fn measure(
    flags: &MixedFlags,
    connections: &[Connection],
    registry: &Arc<Registry>,
    leases: &Arc<Vec<i64>>,
) -> anyhow::Result<Summary> {
    let pace = &flags.pace;
    let audience = Audience::open(flags).await?;
    let actors = |seed: u64| -> Vec<Actor> {
        (0..pace.clients)
            .map(|client| {
                let connection = connections[client % connections.len()].clone();
                Actor::new(connection, registry, leases, seed.wrapping_add(client as u64))
            })
            .collect()
    };
    let kinds = mix::NAMES.len();
    let warm_up = Turns::new(pace.warm_up, pace.duration, None);
    drive(actors(pace.seed ^ 1 << 32), warm_up, kinds).await?;
    let stop = CancellationToken::new();
    let every = Duration::from_secs(flags.compact_every);
    let compactions =
        tokio::spawn(compact(connections[0].clone(), Arc::clone(registry), every, stop.clone()));
    // Also when this future is dropped: then nobody compacts any more.
    let stopper = stop.drop_guard();
    let meter = Meter::start(&flags.server.pids)?;
    let turns = Turns::new(pace.total, pace.duration, pace.rate);
    let tally = drive(actors(pace.seed), turns, kinds).await?;
    let what = format!(
        "{} clients on {} connections, {} objects, {} watchers, a compaction every {} s",
        pace.clients,
        flags.server.conns,
        registry.len(),
        flags.watchers,
        flags.compact_every
    );
    let mut summary = Summary::new("mixed".to_owned(), what, pace.rate, &tally, meter)?
        .with_kinds(&mix::NAMES, &tally);
    drop(stopper);
    let compacted = compactions.await??;
    let named = summary.clone().with_kinds(&[COMPACTION], &compacted);
    summary.kinds.extend(named.kinds);
    let mut fail = |errors: Vec<String>| {
        summary.failed += errors.len() as u64;
        for error in errors {
            *summary.errors.entry(error).or_default() += 1;
        }
    };
    fail(compacted.errors.into_keys().map(|error| format!("compaction: {error}")).collect());
    fail(audience.wait_told(registry).await?);
    Ok(summary)
}

/// Compacts, each time, to the revision of the time before.
async fn compact(
    mut connection: Connection,
    registry: Arc<Registry>,
    every: Duration,
    stop: CancellationToken,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(1)?;
    let (mut done, mut next) = (0, registry.revision());
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return Ok(tally),
        }
        let revision = std::mem::replace(&mut next, registry.revision());
        if revision <= done {
            // Nothing was written in between, and compacting twice is refused.
            continue;
        }
        done = revision;
        let request = pb::CompactionRequest { revision, physical: false };
        let start = Instant::now();
        let answer = connection.call(COMPACT, frame(&request)).await;
        let answer = answer.map(|answer| Done { kind: 0, bytes: answer.len(), lost: false });
        tally.record(start.elapsed(), answer);
    }
}

/// Writes all objects, and notes their revisions.
async fn fill(connections: &[Connection], registry: &Arc<Registry>) -> anyhow::Result<()> {
    let fillers = connections.iter().map(|connection| Filler {
        connection: connection.clone(),
        registry: Arc::clone(registry),
        value: vec![b'v'; POD_BYTES].into(),
    });
    let turns = Turns::count(registry.len().div_ceil(FILL_PUTS));
    let tally = drive(fillers.collect(), turns, 1).await?;
    tally.all_succeeded("objects cannot be made")
}

struct Filler {
    connection: Connection,
    registry: Arc<Registry>,
    value: Bytes,
}

impl Client for Filler {
    async fn turn(&mut self, turn: u64) -> anyhow::Result<Done> {
        let first = turn * FILL_PUTS;
        let registry = Arc::clone(&self.registry);
        let items: Vec<_> = (first..registry.len().min(first + FILL_PUTS))
            .map(|index| registry.item(index))
            .collect();
        let puts = items.iter().map(|(key, size, _)| {
            let (key, value) = (key.clone(), self.value.slice(..*size));
            let put = pb::PutRequest { key, value, ..pb::PutRequest::default() };
            request_op(Request::RequestPut(put))
        });
        let request = pb::TxnRequest { success: puts.collect(), ..pb::TxnRequest::default() };
        let answer = self.connection.call(TXN, frame(&request)).await?;
        ensure!(scan::number(&answer, 2)? == 1, "a transaction did not succeed");
        let revision = scan::revision(&answer)?;
        for slot in items.iter().filter_map(|(_, _, slot)| *slot) {
            slot.store(revision, Ordering::Release);
        }
        Ok(Done { kind: 0, bytes: answer.len(), lost: false })
    }
}

/// How long watchers may take to be told everything at the end.
const TOLD_DEADLINE: Duration = limits::BENCH_OPERATION_DEADLINE;
