//! Faults on links: which are cut, one way or both, and what the others do to frames.

use std::time::Duration;

use super::kind::{Group, Kind};
use super::links::counted;
use super::strike::{Blow, Effect};
use crate::topo::shapes::{self, Link};
use crate::topo::{Counts, Policy};

/// The clients' host.
pub(super) const CLIENTS: usize = 0;

/// Bends the links that the kind is about, counts what they do, and mends them.
pub(super) async fn bend(blow: &Blow) -> anyhow::Result<Effect> {
    let switch = blow.world.topo.switch();
    let links = links(blow);
    let before = counted(switch, &links);
    blow.world.links.lock().bend(switch, blow.number, &links, &policy(blow));
    blow.hold().await;
    let after = counted(switch, &links);
    blow.world.links.lock().mend(switch, blow.number);
    Ok(effect(blow.event.fault, before, after))
}

/// The host of a member.
fn host(member: usize) -> usize {
    member + 1
}

fn links(blow: &Blow) -> Vec<Link> {
    let hosts: Vec<usize> = blow.members.iter().copied().map(host).collect();
    // Spare members belong to the others.
    let all: Vec<usize> = (0..blow.world.urls.len()).map(host).collect();
    let others: Vec<usize> = all.iter().copied().filter(|host| !hosts.contains(host)).collect();
    let kind = blow.event.fault;
    if kind.group() == Group::Link && kind != Kind::LargeFramesLost {
        // Every link of these, to clients too.
        let everybody: Vec<usize> = std::iter::once(CLIENTS).chain(all).collect();
        let mut links = shapes::partition(&hosts, &everybody);
        links.sort_unstable();
        links.dedup();
        return links;
    }
    match kind {
        Kind::Halves => shapes::halves(&hosts),
        Kind::MajoritiesRing => shapes::majorities_ring(&hosts),
        Kind::Bridge => shapes::bridge(&hosts),
        Kind::Mute => shapes::one_way(&hosts, &others),
        Kind::Deaf => shapes::one_way(&others, &hosts),
        Kind::ClientCut => shapes::partition(&[CLIENTS], &hosts),
        // Isolated, or for large frames only. No other kind comes here.
        _ => shapes::partition(&hosts, &others),
    }
}

fn policy(blow: &Blow) -> Policy {
    let amount = blow.event.amount.unsigned_abs();
    let ms = Duration::from_millis(amount);
    let share = f64::from(u32::try_from(amount).unwrap_or(100)) / 100.0;
    let plain = Policy::default();
    match blow.event.fault {
        Kind::SlowLink => Policy { delay: ms, jitter: ms, ..plain },
        Kind::LossyLink => Policy { loss: share, ..plain },
        Kind::DuplicatingLink => Policy { duplicate: share, ..plain },
        Kind::ReorderingLink => Policy { jitter: ms, reorder: true, ..plain },
        Kind::CorruptingLink => Policy { corrupt: share, ..plain },
        Kind::LargeFramesLost => {
            Policy { larger_than: Some(usize::try_from(amount).unwrap_or(usize::MAX)), ..plain }
        }
        _ => Policy { cut: true, ..plain },
    }
}

fn effect(kind: Kind, before: Counts, after: Counts) -> Effect {
    let (count, word) = match kind {
        Kind::SlowLink => (after.delayed - before.delayed, "held back"),
        Kind::ReorderingLink => (after.delayed - before.delayed, "let overtake one another"),
        Kind::DuplicatingLink => (after.duplicated - before.duplicated, "sent twice"),
        Kind::CorruptingLink => (after.corrupted - before.corrupted, "with a bit flipped"),
        _ => (after.dropped - before.dropped, "dropped"),
    };
    let sent = after.sent - before.sent;
    Effect::if_so(count > 0, format!("{count} of {sent} frames {word}"))
}
