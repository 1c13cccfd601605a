//! Faults of disks: full, failing, slow.

use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;

use super::strike::{Blow, Effect};
use crate::disk::{Fault, Injected, Operations};

/// After so many more bytes nothing grows any more.
pub(super) async fn full(blow: &Blow) -> anyhow::Result<Effect> {
    let fault = Fault::Full { after: blow.event.amount.unsigned_abs() };
    let failed = with(blow, &fault).await?;
    Ok(Effect::if_so(failed > 0, format!("{failed} writes were told ENOSPC")))
}

/// From one operation on all of its kind fail.
pub(super) async fn errors(blow: &Blow) -> anyhow::Result<Effect> {
    let (operations, word) = match blow.event.seed % 3 {
        0 => (Operations::Writes, "writes"),
        1 => (Operations::Syncs, "syncs"),
        _ => (Operations::All, "operations"),
    };
    let turns = blow.event.amount.unsigned_abs()..=u64::MAX;
    let failed = with(blow, &Fault::Fail { operations, errno: Errno::EIO, turns }).await?;
    Ok(Effect::if_so(failed > 0, format!("{failed} {word} were told EIO")))
}

/// Injects a fault into the disk of each member while it holds; says how often it struck.
async fn with(blow: &Blow, fault: &Fault) -> anyhow::Result<u64> {
    let mut injected: Vec<(usize, Injected)> = Vec::new();
    for member in &blow.members {
        blow.world.excuse(*member);
        let cluster = blow.world.cluster.lock();
        let disk = cluster.disk(*member).context("this member's data is on no disk")?;
        injected.push((*member, disk.inject(fault.clone(), "")));
    }
    blow.hold().await;
    for (member, injected) in &injected {
        let cluster = blow.world.cluster.lock();
        // After a power cut it is another one, without the fault.
        if let Some(disk) = cluster.disk(*member) {
            disk.lift(injected);
        }
        drop(cluster);
        blow.world.excuse_ends(*member);
    }
    Ok(injected.iter().map(|(_, injected)| injected.count()).sum())
}

/// Each sync takes so much longer.
pub(super) async fn slow(blow: &Blow) -> anyhow::Result<Effect> {
    let delay = Duration::from_millis(blow.event.amount.unsigned_abs());
    let before = slowed(blow, delay);
    blow.hold().await;
    let after = slowed(blow, Duration::ZERO);
    let count = after.saturating_sub(before);
    Ok(Effect::if_so(count > 0, format!("{count} syncs took {delay:?} longer")))
}

/// Sets how much longer; says how many syncs were delayed until now.
fn slowed(blow: &Blow, delay: Duration) -> u64 {
    let cluster = blow.world.cluster.lock();
    let mut delayed = 0;
    for member in &blow.members {
        if let Some(disk) = cluster.disk(*member) {
            disk.slow_syncs(delay);
            delayed += disk.delayed_syncs();
        }
    }
    delayed
}
