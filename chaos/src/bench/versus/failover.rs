//! Row B15: the leader is killed, and a put through the others is acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use super::goal::Goal::AtMost;
use super::sample::{Comparison, Sample};
use super::stores::{Side, Stores};
use super::{VersusFlags, progress};
use crate::bench::ServerFlags;
use crate::bench::probe::put;
use crate::bench::wire::Connection;
use crate::cluster::Cluster;
use crate::limits;

/// A probe is due so often, through one of the others after the other.
const EVERY: Duration = Duration::from_millis(5);

/// Time between a restart and the next kill, for followers to have caught up.
const REST: Duration = Duration::from_secs(1);

/// Kills leaders, in turns.
pub(super) async fn run(flags: &VersusFlags, stores: &mut Stores) -> anyhow::Result<Comparison> {
    let title = "kill -9 of the leader, to the first put acknowledged".to_owned();
    let mut comparison = Comparison::new("B15", title, vec![("seconds", AtMost(0.35))]);
    for kill in 0..flags.kills {
        for side in Side::BOTH {
            progress(&format!("B15: {} of {}, {}", kill + 1, flags.kills, side.name()));
            let took = fail_over(stores.of(side)).await.with_context(|| side.name())?;
            let figures = vec![("seconds", took.as_secs_f64())];
            comparison.push(side, Sample { figures, ..Sample::default() });
        }
    }
    Ok(comparison)
}

async fn fail_over(cluster: &mut Cluster) -> anyhow::Result<Duration> {
    let (leader, _) = cluster.wait_leader(limits::RECOVERY_GIVE_UP).await?;
    let others = (0..cluster.size()).filter(|member| *member != leader);
    let urls: Vec<String> = others.map(|member| cluster.url(member)).collect();
    let server = ServerFlags::plain(urls.clone(), urls.len(), Vec::new());
    let mut connections = Connection::open_all(&server).await?;
    for connection in &mut connections {
        put(connection, 0, limits::OPERATION_DEADLINE).await.context("before the kill")?;
    }
    let start = Instant::now();
    cluster.kill(leader)?;
    let took = first_put(&connections, start).await?;
    cluster.spawn(leader)?;
    for member in 0..cluster.size() {
        cluster.wait_serving(member, limits::BRING_UP_DEADLINE).await?;
    }
    tokio::time::sleep(REST).await;
    Ok(took)
}

/// Puts with short deadlines, until one is acknowledged.
async fn first_put(connections: &[Connection], start: Instant) -> anyhow::Result<Duration> {
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    let mut number = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                ensure!(start.elapsed() < limits::RECOVERY_GIVE_UP, "nobody takes a put any more");
                let place = usize::try_from(number % connections.len() as u64)?;
                let mut connection = connections[place].clone();
                under_way.spawn(async move {
                    put(&mut connection, number, limits::BENCH_PROBE_DEADLINE).await
                });
                number += 1;
            }
            Some(answer) = under_way.join_next() => {
                if answer?.is_ok() {
                    return Ok(start.elapsed());
                }
            }
        }
    }
}
