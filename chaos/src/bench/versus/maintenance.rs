//! Row B8: what a client notices while old revisions are forgotten and files are made smaller.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use proto::etcdserverpb as pb;

use super::bystander::Bystander;
use super::flags::PARTS;
use super::goal::Goal::AtMost;
use super::sample::{Comparison, Sample, ms};
use super::stores::{Side, Stores};
use super::{BIG_KEY_BYTES, BIG_PREFIX, VersusFlags, loading, progress};
use crate::bench::ServerFlags;
use crate::bench::measure::Meter;
use crate::bench::operation::key;
use crate::bench::probe::{Probe, Probed};
use crate::bench::report::Latency;
use crate::bench::wire::{Connection, frame, scan};
use crate::limits;

const COMPACT: &str = "/etcdserverpb.KV/Compact";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
const DEFRAGMENT: &str = "/etcdserverpb.Maintenance/Defragment";

/// A probe is due so often.
const EVERY: Duration = Duration::from_millis(2);

/// Shortest time that is probed: what takes no time at all has no percentiles.
const PROBED_MIN: Duration = Duration::from_secs(3);

/// Keys that one request deletes.
const DELETED_AT_ONCE: u64 = 1_000;

const IDLE_P99: &str = "idle p99 ms";
const COMPACTION_P99: &str = "compaction p99 ms";
const COMPACTION_RATIO: &str = "compaction p99 / idle p99";
const COMPACTION_PAUSE: &str = "compaction longest ms";
const DEFRAGMENT_PAUSE: &str = "defragment longest ms";
const DISK_IDLE: &str = "disk idle longest ms";
const DISK_COMPACTION: &str = "disk compaction longest ms";

/// Writes many revisions, deletes a fifth of the keys, compacts and defragments, under probes.
pub(super) async fn run(flags: &VersusFlags, stores: &mut Stores) -> anyhow::Result<Comparison> {
    let title = "a put every 2 ms during maintenance".to_owned();
    let goals = vec![
        (COMPACTION_RATIO, AtMost(1.3)),
        (COMPACTION_PAUSE, AtMost(50.0)),
        (DEFRAGMENT_PAUSE, AtMost(50.0)),
    ];
    let mut comparison = Comparison::new("B8", title, goals);
    comparison.notes.push(format!(
        "Through all members in turn: idle; while {} of {} keys are forgotten in an older value or \
         for good (one physical compaction); while one member after the other is defragmented.",
        flags.keys * 3 / PARTS,
        flags.keys
    ));
    comparison.notes.push(
        "Disk: the longest fdatasync of a bystander that writes 512 bytes every 5 ms to the same \
         disk and knows no store. All begins when his syncs have been short for ten seconds."
            .to_owned(),
    );
    for side in Side::BOTH {
        let sample = measure(flags, stores, side).await.with_context(|| side.name())?;
        comparison.push(side, sample);
    }
    Ok(comparison)
}

async fn measure(flags: &VersusFlags, stores: &mut Stores, side: Side) -> anyhow::Result<Sample> {
    let say = |what: &str| progress(&format!("B8: {what} {}", side.name()));
    say("old revisions of");
    // Two fifths of the keys get a second value, and a fifth is deleted: the rest must stay.
    loading::write(stores, side, 0, flags.keys / PARTS * 2).await?;
    let cluster = stores.of(side);
    let server = ServerFlags::plain(cluster.urls(), cluster.size(), cluster.pids());
    let mut connections = Connection::open_all(&server).await?;
    let revision = delete(&mut connections[0], flags.keys / PARTS * 4, flags.keys).await?;

    let meter = Meter::start(&server.pids)?;
    let mut sample = Sample::default();
    settle().await?;
    say("idle probes of");
    let bystander = Bystander::start()?;
    let probe = Probe::start(connections.clone(), EVERY);
    tokio::time::sleep(PROBED_MIN).await;
    let idle = note(&mut sample, "idle", probe.finish().await?);
    let disk_idle = bystander.finish()?;

    say("compaction of");
    let request = frame(&pb::CompactionRequest { revision, physical: true });
    let bystander = Bystander::start()?;
    let probe = Probe::start(connections.clone(), EVERY);
    let start = Instant::now();
    let answer = connections[0].call_within(deadline(flags.keys), COMPACT, request).await;
    let compacted = start.elapsed();
    fail(&mut sample, "compaction", answer.map(drop));
    // What goes on behind an early answer is probed, too.
    tokio::time::sleep(PROBED_MIN.saturating_sub(compacted)).await;
    let compaction = note(&mut sample, "compaction", probe.finish().await?);
    let disk = bystander.finish()?;

    say("defragmentation of");
    let probe = Probe::start(connections.clone(), EVERY);
    let start = Instant::now();
    for connection in &mut connections {
        let request = frame(&pb::DefragmentRequest {});
        let answer = connection.call_within(deadline(flags.keys), DEFRAGMENT, request).await;
        fail(&mut sample, "defragment", answer.map(drop));
    }
    let defragmented = start.elapsed();
    tokio::time::sleep(PROBED_MIN.saturating_sub(defragmented)).await;
    let defragment = note(&mut sample, "defragment", probe.finish().await?);

    sample.figures = vec![
        (IDLE_P99, ms(idle.p99)),
        (COMPACTION_P99, ms(compaction.p99)),
        (COMPACTION_RATIO, ms(compaction.p99) / ms(idle.p99)),
        (COMPACTION_PAUSE, ms(compaction.max)),
        (DISK_IDLE, ms(disk_idle.max)),
        (DISK_COMPACTION, ms(disk.max)),
        ("compaction s", compacted.as_secs_f64()),
        ("defragment p99 ms", ms(defragment.p99)),
        (DEFRAGMENT_PAUSE, ms(defragment.max)),
        ("defragment s, all members", defragmented.as_secs_f64()),
    ];
    let latencies = [("idle", idle), ("compaction", compaction), ("defragment", defragment)];
    let latencies: std::collections::BTreeMap<_, _> = latencies.into_iter().collect();
    sample.raw = serde_json::to_value(latencies)?;
    sample.threads = meter.stop()?.server_cpu_us_by_thread;
    Ok(sample)
}

/// Waits until the disk has written what it was given before: the probes are not to wait for that.
async fn settle() -> anyhow::Result<()> {
    let bystander = Bystander::start()?;
    if !bystander.quiet(limits::BENCH_QUIET_FOR).await {
        progress("B8: the disk does not become quiet; the row goes on");
    }
    bystander.finish().map(drop)
}

/// How long one request may take: a minute, and more for more keys.
fn deadline(keys: u64) -> Duration {
    limits::BENCH_MAINTENANCE_DEADLINE + Duration::from_micros(keys * 25)
}

/// Keeps why a request failed. What the probes noticed all the while is measured nevertheless.
fn fail(sample: &mut Sample, phase: &str, result: anyhow::Result<()>) {
    if let Err(error) = result {
        sample.failed += 1;
        *sample.errors.entry(format!("{phase} itself: {error:#}")).or_default() += 1;
    }
}

/// Keeps what failed, and returns the latencies.
fn note(sample: &mut Sample, phase: &str, probed: Probed) -> Latency {
    sample.failed += probed.failed;
    for (error, count) in probed.errors {
        *sample.errors.entry(format!("{phase}: {error}")).or_default() += count;
    }
    Latency::of(&probed.latency_us)
}

/// Deletes the keys with these numbers; returns the last revision.
async fn delete(connection: &mut Connection, first: u64, end: u64) -> anyhow::Result<i64> {
    let mut revision = 0;
    for from in (first..end).step_by(usize::try_from(DELETED_AT_ONCE)?) {
        let to = end.min(from + DELETED_AT_ONCE);
        let request = pb::DeleteRangeRequest {
            key: key(BIG_PREFIX, from, BIG_KEY_BYTES),
            range_end: key(BIG_PREFIX, to, BIG_KEY_BYTES),
            ..pb::DeleteRangeRequest::default()
        };
        let answer = connection.call(DELETE, frame(&request)).await?;
        let deleted = scan::number(&answer, 2)?;
        anyhow::ensure!(deleted == to - from, "{deleted} of {} keys were deleted", to - from);
        revision = scan::revision(&answer)?;
    }
    Ok(revision)
}
