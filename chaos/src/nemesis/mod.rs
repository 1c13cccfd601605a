//! What is done to a cluster. Each fault is injected, held for a while, healed, and reported.

mod kill;
mod pause;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::cluster::Cluster;
use crate::history::{Fault, Recorder};
use crate::limits;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nemesis {
    /// SIGKILL for the leader, then a new start on its data.
    KillLeader,
    /// SIGKILL for a member that does not lead.
    KillFollower,
    /// SIGKILL for all members at once.
    KillAll,
    /// SIGSTOP for the leader, long enough for another to be elected, then SIGCONT.
    PauseLeader,
}

impl Nemesis {
    fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill leader",
            Self::KillFollower => "kill follower",
            Self::KillAll => "kill all",
            Self::PauseLeader => "pause leader",
        }
    }

    fn targets(self, leader: usize, size: usize, rng: &mut StdRng) -> Vec<usize> {
        match self {
            Self::KillLeader | Self::PauseLeader => vec![leader],
            Self::KillFollower => {
                let followers: Vec<usize> = (0..size).filter(|m| *m != leader).collect();
                followers.choose(rng).copied().into_iter().collect()
            }
            Self::KillAll => (0..size).collect(),
        }
    }

    fn inject(self, cluster: &mut Cluster, members: &[usize]) -> anyhow::Result<()> {
        match self {
            Self::KillLeader | Self::KillFollower | Self::KillAll => kill::inject(cluster, members),
            Self::PauseLeader => pause::inject(cluster, members),
        }
    }

    fn heal(self, cluster: &mut Cluster, members: &[usize]) -> anyhow::Result<()> {
        match self {
            Self::KillLeader | Self::KillFollower | Self::KillAll => kill::heal(cluster, members),
            Self::PauseLeader => pause::heal(cluster, members),
        }
    }
}

/// Injects a fault, holds it for `hold`, heals it, and waits for the members to serve again.
pub async fn strike(
    nemesis: Nemesis,
    cluster: &mut Cluster,
    recorder: &Recorder,
    rng: &mut StdRng,
    hold: Duration,
) -> anyhow::Result<Fault> {
    let (leader, term_before) = cluster.wait_leader(limits::RECOVERY_GIVE_UP).await?;
    let members = nemesis.targets(leader, cluster.size(), rng);
    tracing::info!(fault = nemesis.name(), ?members, leader, term = term_before, "fault injected");
    let injected_ns = recorder.now_ns();
    nemesis.inject(cluster, &members)?;
    tokio::time::sleep(hold).await;
    let healed_ns = recorder.now_ns();
    nemesis.heal(cluster, &members)?;

    let mut recovered_ns = Some(healed_ns);
    for member in &members {
        match cluster.wait_serving(*member, limits::RECOVERY_GIVE_UP).await {
            Ok(()) => recovered_ns = recovered_ns.map(|_| recorder.now_ns()),
            Err(error) => {
                tracing::error!(member, %error, "member did not recover");
                recovered_ns = None;
                break;
            }
        }
    }
    let after = cluster.wait_leader(limits::RECOVERY_GIVE_UP).await;
    let (leader_after, term_after) = after.context("nobody leads after the fault was healed")?;
    Ok(Fault {
        name: nemesis.name().to_owned(),
        members,
        injected_ns,
        healed_ns,
        recovered_ns,
        leader_before: Some(leader),
        leader_after: Some(leader_after),
        term_before,
        term_after,
        ..Fault::default()
    })
}

/// Waits until this many more writes were acknowledged: a fault in silence proves nothing.
///
/// # Errors
/// If that takes too long.
pub(crate) async fn await_writes(acknowledged: impl Fn() -> u64, more: u64) -> anyhow::Result<()> {
    let goal = acknowledged() + more;
    let start = Instant::now();
    while acknowledged() < goal {
        ensure!(
            start.elapsed() < limits::RECOVERY_GIVE_UP,
            "not even {more} writes were acknowledged in {:?}",
            limits::RECOVERY_GIVE_UP
        );
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
    Ok(())
}
