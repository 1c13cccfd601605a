//! Whether the run was worth judging, and whether the cluster came back in time.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | B1 | There was a workload, and operations of every kind that each consists of were |
//! |    | acknowledged, and some through every member. |
//! | B2 | Every fault had effect: clients felt it, and one on the leader brought a later term. |
//! | B3 | A healed member serves linearizable reads within the recovery deadline. |
//! | B4 | While a quorum is left, a write is acknowledged within the recovery deadline of a fault; |
//! |    | else within that of its healing. |
//! | B5 | Everybody who watched everything to the end was told something. |

use std::collections::BTreeSet;

use super::Verdict;
use crate::history::{Fault, History};
use crate::limits;

/// Checks B1 to B5.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("bookkeeping");
    check_variety(history, &mut verdict);
    for fault in &history.faults {
        check_effect(history, fault, &mut verdict);
        check_recovery(history, fault, &mut verdict);
    }
    for watch in history.watches.iter().filter(|w| w.asked.is_everything() && !w.ended) {
        verdict.checked += 1;
        if watch.seen.iter().all(|seen| seen.events.is_empty()) {
            verdict.fail("B5", Vec::new(), format!("watcher {} was told nothing", watch.name));
        }
    }
    verdict
}

fn check_variety(history: &History, verdict: &mut Verdict) {
    let acknowledged = || history.ops.iter().filter(|op| op.reply().is_some());
    for state in &history.finals {
        verdict.checked += 1;
        if !acknowledged().any(|op| op.member == state.member) {
            let text = format!("member {} acknowledged nothing", state.member);
            verdict.fail("B1", Vec::new(), text);
        }
    }
    if history.kinds.is_empty() {
        verdict.fail("B1", Vec::new(), "there was no workload".to_owned());
    }
    let kinds: BTreeSet<&str> =
        history.kinds.iter().flat_map(|kind| kind.actions()).copied().collect();
    for kind in kinds {
        verdict.checked += 1;
        if !acknowledged().any(|op| op.action.kind() == kind) {
            verdict.fail("B1", Vec::new(), format!("no {kind} was acknowledged"));
        }
    }
}

fn check_effect(history: &History, fault: &Fault, verdict: &mut Verdict) {
    verdict.checked += 1;
    let on_leader = fault.leader_before.is_some_and(|leader| fault.members.contains(&leader));
    if on_leader && fault.term_after <= fault.term_before {
        verdict.fail(
            "B2",
            Vec::new(),
            format!("{}: the term stayed {}: no new election", fault.name, fault.term_after),
        );
    }
    let felt = history.ops.iter().any(|op| {
        // Failed, or waited for at least half of the fault (a paused member answers late).
        let held_ns = fault.healed_ns - fault.injected_ns;
        let waited = op.completed_ns - op.invoked_ns >= held_ns / 2;
        (op.reply().is_none() || waited)
            && op.invoked_ns <= fault.healed_ns
            && op.completed_ns >= fault.injected_ns
    });
    if !felt {
        verdict.fail("B2", Vec::new(), format!("{}: no client felt it", fault.name));
    }
}

fn check_recovery(history: &History, fault: &Fault, verdict: &mut Verdict) {
    verdict.checked += 2;
    let deadline_ms = u64::try_from(limits::RECOVERY_DEADLINE.as_millis()).unwrap_or(u64::MAX);
    let name = &fault.name;
    match fault.recovered_ns {
        None => {
            verdict.fail("B3", Vec::new(), format!("{name}: {:?} never came back", fault.members));
        }
        Some(recovered) => {
            let took_ms = recovered.saturating_sub(fault.healed_ns) / 1_000_000;
            if took_ms > deadline_ms {
                let text = format!("{name}: {:?} took {took_ms} ms to come back", fault.members);
                verdict.fail("B3", Vec::new(), text);
            }
        }
    }
    match write_gap_ms(history, fault) {
        Some(gap_ms) if gap_ms <= deadline_ms => {}
        gap => {
            let text = format!("{name}: no write within {deadline_ms} ms, but {gap:?} ms");
            verdict.fail("B4", Vec::new(), text);
        }
    }
}

/// Time from a fault (or from its healing, when it left no quorum) to the first acknowledgement of
/// a write that was sent after it, in milliseconds; `None` when there was none.
pub fn write_gap_ms(history: &History, fault: &Fault) -> Option<u64> {
    let next = next_write_ns(history, fault)?;
    Some((next - awaited_since_ns(history, fault)) / 1_000_000)
}

/// When that acknowledgement came.
pub fn next_write_ns(history: &History, fault: &Fault) -> Option<u64> {
    let since = awaited_since_ns(history, fault);
    history
        .ops
        .iter()
        .filter(|op| op.invoked_ns >= since && op.write().is_some())
        .map(|op| op.completed_ns)
        .min()
}

fn awaited_since_ns(history: &History, fault: &Fault) -> u64 {
    let quorum_left = fault.members.len() * 2 < history.finals.len();
    if quorum_left { fault.injected_ns } else { fault.healed_ns }
}
