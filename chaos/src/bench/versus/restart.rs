//! Row B9: a snapshot to nowhere, one member started again, and its memory.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::etcdserverpb as pb;

use super::goal::Goal::{AtMost, TimesAtLeast, TimesAtMost};
use super::sample::{Comparison, Sample};
use super::stores::{Side, Stores};
use super::{BIG_KEY_BYTES, BIG_PREFIX, VersusFlags, a_follower, progress};
use crate::bench::operation::{RANGE, key};
use crate::bench::wire::scan;
use crate::bench::wire::{Connection, frame};
use crate::bench::{ServerFlags, measure};
use crate::cluster::Cluster;
use crate::limits;

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";

const SNAPSHOT_SPEED: &str = "snapshot MB/s";
const RESTART: &str = "restart s";
const RESTART_KILLED: &str = "restart after kill -9 s";
const RSS: &str = "RSS after restart MiB";

/// Keys up to which a restart is meant to take 0.3 s; with more it may take 2 s.
const FEW_KEYS: u64 = 1_000_000;

/// Downloads snapshots and restarts a follower, in turns.
pub(super) async fn run(flags: &VersusFlags, stores: &mut Stores) -> anyhow::Result<Comparison> {
    let title = format!("snapshot to nowhere, restart of a follower, memory; {} keys", flags.keys);
    let restart = AtMost(if flags.keys <= FEW_KEYS { 0.3 } else { 2.0 });
    let goals = vec![
        (SNAPSHOT_SPEED, TimesAtLeast(3.0)),
        (RESTART, restart),
        (RESTART_KILLED, restart),
        (RSS, TimesAtMost(1.0 / 3.0)),
    ];
    let mut comparison = Comparison::new("B9", title, goals);
    comparison.notes.push(
        "A restart lasts from the start of the process to the answer of a linearizable read; \
         \"readable\" is a read of what the member has."
            .to_owned(),
    );
    for round in 0..flags.few_rounds() {
        for side in Side::BOTH {
            progress(&format!("B9: round {}, {}", round + 1, side.name()));
            let sample = measure(stores.of(side)).await.with_context(|| side.name())?;
            comparison.push(side, sample);
        }
    }
    Ok(comparison)
}

async fn measure(cluster: &mut Cluster) -> anyhow::Result<Sample> {
    let member = a_follower(cluster).await?;
    let (bytes, took) = snapshot(&cluster.url(member)).await?;
    terminate(cluster, member).await?;
    let clean = restart(cluster, member).await.context("after SIGTERM")?;
    let killed = restart(cluster, member).await.context("after SIGKILL")?;
    tokio::time::sleep(limits::BENCH_IDLE_SETTLE).await;
    let memory = measure::memory(cluster.pids()[member])?;
    let megabytes = bytes as f64 / 1e6;
    Ok(Sample {
        figures: vec![
            (SNAPSHOT_SPEED, megabytes / took.as_secs_f64()),
            ("snapshot MB", megabytes),
            ("snapshot s", took.as_secs_f64()),
            (RESTART, clean.linearizable.as_secs_f64()),
            (RESTART_KILLED, killed.linearizable.as_secs_f64()),
            ("readable after kill -9 s", killed.serializable.as_secs_f64()),
            (RSS, memory.rss_kib as f64 / 1024.0),
            ("of it anonymous MiB", memory.anon_kib as f64 / 1024.0),
        ],
        ..Sample::default()
    })
}

/// Bytes of a member's snapshot, and how long it took.
async fn snapshot(url: &str) -> anyhow::Result<(u64, Duration)> {
    let flags = ServerFlags::plain(vec![url.to_owned()], 1, Vec::new());
    let mut connection = Connection::open(url, &flags).await?;
    let start = Instant::now();
    let mut receiver = connection.download(SNAPSHOT, frame(&pb::SnapshotRequest {})).await?;
    let (mut bytes, mut remaining) = (0, 0);
    loop {
        let next = tokio::time::timeout(limits::BENCH_OPERATION_DEADLINE, receiver.next());
        let Some(part) = next.await.context("a snapshot stands still")?? else { break };
        bytes += scan::bytes(&part, 3)?.len() as u64;
        remaining = scan::number(&part, 2)?;
    }
    ensure!(bytes > 0 && remaining == 0, "a snapshot of {bytes} bytes lacks {remaining}");
    Ok((bytes, start.elapsed()))
}

/// SIGTERM, and waits until the process is gone.
async fn terminate(cluster: &mut Cluster, member: usize) -> anyhow::Result<()> {
    let pid = i32::try_from(cluster.pids()[member])?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    let start = Instant::now();
    while cluster.crashed().is_none() {
        ensure!(start.elapsed() < limits::BENCH_OPERATION_DEADLINE, "SIGTERM does not end it");
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
    Ok(())
}

struct Served {
    serializable: Duration,
    linearizable: Duration,
}

/// Kills a member, if it still runs, and starts it on the data that it has.
async fn restart(cluster: &mut Cluster, member: usize) -> anyhow::Result<Served> {
    cluster.kill(member)?;
    let start = Instant::now();
    cluster.spawn(member)?;
    let url = cluster.url(member);
    let serializable = served(&url, true, start).await?;
    let linearizable = served(&url, false, start).await?;
    Ok(Served { serializable, linearizable })
}

/// Waits until a member reads the first of the many keys.
async fn served(url: &str, serializable: bool, start: Instant) -> anyhow::Result<Duration> {
    let flags = ServerFlags::plain(vec![url.to_owned()], 1, Vec::new());
    let request = pb::RangeRequest {
        key: key(BIG_PREFIX, 0, BIG_KEY_BYTES),
        serializable,
        ..pb::RangeRequest::default()
    };
    let request = frame(&request);
    loop {
        let read = async {
            let mut connection = Connection::open(url, &flags).await?;
            let deadline = limits::CONNECT_DEADLINE;
            let answer = connection.call_within(deadline, RANGE, request.clone()).await?;
            scan::number(&answer, 4)
        };
        match read.await {
            Ok(1) => return Ok(start.elapsed()),
            Ok(count) => anyhow::bail!("a restarted member has {count} keys where there is one"),
            Err(error) => {
                ensure!(
                    start.elapsed() < limits::BRING_UP_DEADLINE,
                    "a restarted member does not serve: {error:#}"
                );
            }
        }
        tokio::time::sleep(limits::BENCH_POLL_INTERVAL).await;
    }
}
