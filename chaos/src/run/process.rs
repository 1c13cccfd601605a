//! Faults on processes: killed, stopped, without power, started anew in turn.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;

use super::strike::{Blow, Effect};
use crate::cluster::Process;
use crate::disk::Lost;
use crate::limits;

/// SIGKILL for each at once. What the kernel has stays; what only the process had is gone.
pub(super) async fn kill(blow: &Blow) -> anyhow::Result<Effect> {
    let taken = blow.members.iter().map(|member| blow.world.take_down(*member));
    let taken = futures::future::join_all(taken).await;
    blow.hold().await;
    blow.members.iter().for_each(|member| blow.world.let_up(*member));
    let mut gone = Vec::new();
    for pid in taken {
        gone.extend(pid?);
    }
    Ok(Effect::if_so(!gone.is_empty(), format!("processes {gone:?} are gone")))
}

/// SIGSTOP for each: it keeps its sockets, and does not know that time goes by.
pub(super) async fn pause(blow: &Blow) -> anyhow::Result<Effect> {
    let mut stopped = Vec::new();
    for member in &blow.members {
        if blow.world.pause(*member).await? {
            stopped.push(*member);
        }
    }
    blow.hold().await;
    for member in &blow.members {
        blow.world.resume(*member)?;
    }
    let ms = blow.event.hold_ms;
    Ok(Effect::if_so(!stopped.is_empty(), format!("the kernel stopped {stopped:?} for {ms} ms")))
}

/// Power is taken from disks and processes at the same moment.
pub(super) async fn power_loss(blow: &Blow) -> anyhow::Result<Effect> {
    for member in &blow.members {
        blow.world.hold_down(*member);
        blow.world.excuse(*member);
    }
    let lost = match blow.event.amount {
        0 => Lost::All,
        _ => Lost::LastTorn { seed: blow.event.seed },
    };
    let (world, members) = (Arc::clone(&blow.world), blow.members.clone());
    let cut = move || world.cluster.lock().cut_power(&members, lost);
    let taken = tokio::task::spawn_blocking(cut).await?;
    blow.hold().await;
    for member in &blow.members {
        blow.world.excuse_ends(*member);
        blow.world.let_up(*member);
    }
    let taken = taken?;
    let how = if lost == Lost::All { "lost" } else { "lost but for torn ones" };
    let words = format!("{} writes in {} files {how}", taken.changes, taken.files);
    Ok(Effect::if_so(taken.changes > 0, words))
}

/// SIGTERM and a new start for each in turn, when the one before serves again.
pub(super) async fn rolling_restart(blow: &Blow) -> anyhow::Result<Effect> {
    let mut took_ms = Vec::new();
    for member in &blow.members {
        let start = Instant::now();
        blow.world.hold_down(*member);
        let process = blow.world.cluster.lock().take_process(*member);
        let ended = match process {
            Some(process) => terminate(process).await,
            None => Ok(()),
        };
        blow.world.let_up(*member);
        ended.with_context(|| format!("member {member}"))?;
        blow.world.wait_serving(*member, limits::RECOVERY_GIVE_UP).await?;
        took_ms.push(start.elapsed().as_millis());
    }
    Ok(Effect::Took(format!("ended in order and served again after {took_ms:?} ms")))
}

async fn terminate(mut process: Process) -> anyhow::Result<()> {
    process.terminate()?;
    let start = Instant::now();
    while process.exited().is_none() {
        if start.elapsed() >= limits::STOP_DEADLINE {
            tokio::task::spawn_blocking(move || process.kill()).await??;
            anyhow::bail!("it did not end within {:?} of SIGTERM", limits::STOP_DEADLINE);
        }
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
    Ok(())
}
