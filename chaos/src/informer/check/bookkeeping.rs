//! I0: whether the run was worth judging.

use crate::checker::Verdict;
use crate::informer::record::{ApiFault, Ask, Exchange, Fault, History, Verb, What};
use crate::limits;

/// Checks I0.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("bookkeeping");
    check_variety(history, &mut verdict);
    for fault in &history.faults {
        verdict.checked += 1;
        if fault.recovered_ns.is_none() {
            verdict.fail("I0", Vec::new(), format!("{}: it was never over", fault.name));
        }
        if !fault.is_felt || !has_effect(history, fault) {
            verdict.fail("I0", Vec::new(), format!("{}: nobody felt it", fault.name));
        }
    }
    for informer in &history.informers {
        verdict.checked += 1;
        let told = informer.exchanges.iter().flat_map(|exchange| &exchange.told);
        let mut events = told.filter(|told| matches!(told.what, What::Event { .. }));
        if events.next().is_none() {
            verdict.fail("I0", Vec::new(), format!("{} was told no event", informer.name));
        }
    }
    verdict
}

fn check_variety(history: &History, verdict: &mut Verdict) {
    let acknowledged = || history.calls.iter().filter(|call| call.is_ok());
    for verb in [Verb::Get, Verb::Create, Verb::Replace, Verb::Patch, Verb::Delete] {
        verdict.checked += 1;
        if !acknowledged().any(|call| call.verb == verb) {
            verdict.fail("I0", Vec::new(), format!("no {verb:?} was acknowledged"));
        }
    }
    let healed_ns = history.faults.iter().map(|fault| fault.healed_ns).max().unwrap_or(0);
    for server in 0..history.finals.servers.len() {
        verdict.checked += 1;
        let mut writes = acknowledged().filter(|call| call.verb != Verb::Get);
        if !writes.any(|call| call.server == server && call.invoked_ns >= healed_ns) {
            let text = format!("API server {server} acknowledged no write after the last fault");
            verdict.fail("I0", Vec::new(), text);
        }
    }
}

/// Whether it shows that something was done to an API server.
fn has_effect(history: &History, fault: &Fault) -> bool {
    let Some((server, how)) = fault.api else { return true };
    let informers = history.informers.iter().filter(|informer| informer.server == Some(server));
    let mut exchanges = informers.flat_map(|informer| &informer.exchanges);
    let deadline_ns = u64::try_from(limits::OPERATION_DEADLINE.as_nanos()).unwrap_or(u64::MAX);
    match how {
        // A stream that was open is cut.
        ApiFault::Kill => exchanges.any(|exchange| {
            is_stream(exchange)
                && exchange.asked_ns < fault.injected_ns
                && (fault.injected_ns..fault.healed_ns).contains(&exchange.ended_ns)
        }),
        // A call has to wait.
        ApiFault::Pause | ApiFault::Cut => history.calls.iter().any(|call| {
            let waited_ns = call.completed_ns.saturating_sub(call.invoked_ns);
            let held_ns = fault.healed_ns - fault.injected_ns;
            call.server == server
                && call.invoked_ns < fault.healed_ns
                && call.completed_ns > fault.injected_ns
                // A call is given up before a long fault is over.
                && waited_ns >= held_ns.min(deadline_ns) / 2
        }),
        // Somebody is sent to list again.
        ApiFault::Strand => exchanges.any(|exchange| {
            let is_gone = |what: &What| matches!(what, What::Failed { code: 410, .. });
            is_stream(exchange)
                && exchange.ended_ns > fault.healed_ns
                && exchange.told.iter().any(|told| is_gone(&told.what))
        }),
    }
}

fn is_stream(exchange: &Exchange) -> bool {
    matches!(exchange.ask, Ask::Watch { .. } | Ask::WatchList)
}
