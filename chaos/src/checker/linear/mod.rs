//! Linearizability of each key by search: a second opinion on the store that does not believe in
//! revisions. It knows values, what an answer says was there before, and when things were sent and
//! answered; nothing else.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L1 | The operations on a key can be ordered, none before one that was answered before it was |
//! |    | sent, so that each finds what the one before it left. |
//! | L2 | In this order an unanswered operation stands once after it was sent, or nowhere; a refused |
//! |    | one nowhere. |
//! | L3 | A key that needs more configurations than the limit is not judged, and that is a failure. |
//!
//! It relies on H3: a value that was written over does not come back.
//!
//! Not claimed: that a transaction or a list is atomic over several keys. It takes part in each of
//! its keys by itself, which accepts more than the store promises and never less, because a legal
//! order of everything is a legal order of each key. Serializable reads are left out, and keys that end
//! with a lease, which nobody deletes. The revision
//! in a guard only names the value that was shown together with it; a guard on a revision that
//! nobody was shown says nothing.

mod project;
mod search;

use std::collections::BTreeMap;

use project::{KeyHistory, KeyOp, Value};
use search::{Config, End, Search};

use super::Verdict;
use crate::history::History;
use crate::limits;

/// Checks L1 to L3.
pub fn check(history: &History) -> Verdict {
    check_within(history, limits::LINEAR_CONFIGURATIONS_MAX)
}

/// The same with a limit of configurations of the caller's choice.
pub(super) fn check_within(history: &History, configurations_max: usize) -> Verdict {
    let mut verdict = Verdict::new("linear");
    let Some(keys) = project::by_key(history) else {
        let most = limits::LINEAR_OPERATIONS_MAX;
        verdict.fail("L3", Vec::new(), format!("unknown: more than {most} operations on keys"));
        return verdict;
    };
    for (key, operations) in &keys {
        verdict.checked += operations.answered.len() as u64;
        check_key(key, operations, configurations_max, &mut verdict);
    }
    verdict
}

/// Orders one key, window after window. Between two windows no answered operation is under way, so
/// that all which the later one needs to know are the configurations that the earlier one can end in.
fn check_key(key: &str, operations: &KeyHistory, configurations_max: usize, verdict: &mut Verdict) {
    let mut unanswered = operations.unanswered.clone();
    let mut starts = vec![Config::start(project::ABSENT)];
    for window in windows(&operations.answered) {
        let search = Search { window, unanswered: &unanswered, configurations_max };
        match search.run(&starts) {
            End::Ordered(ends) => starts = ends,
            End::TooMany => {
                let text = format!(
                    "unknown: key {key:?} takes more than {configurations_max} configurations to \
                     order {} operations from {} ns on",
                    window.len(),
                    window[0].invoked_ns
                );
                verdict.fail("L3", Vec::new(), text);
                return;
            }
            End::Stuck { .. } => {
                report(key, operations, &search, &starts, verdict);
                return;
            }
        }
        settle(&mut starts, &mut unanswered);
    }
}

/// Forgets the unanswered operations that happened whichever way the past is ordered.
fn settle(configs: &mut [Config], unanswered: &mut Vec<KeyOp>) {
    let Some((first, rest)) = configs.split_first() else { return };
    let happened: Vec<usize> = first
        .happened
        .iter()
        .copied()
        .filter(|op| rest.iter().all(|config| config.happened.contains(op)))
        .collect();
    if happened.is_empty() {
        return;
    }
    unanswered.retain(|known| !happened.contains(&known.op));
    for config in configs {
        config.happened.retain(|op| !happened.contains(op));
    }
}

/// Cuts where every earlier answer was there before the next operation was sent.
fn windows(answered: &[KeyOp]) -> impl Iterator<Item = &[KeyOp]> {
    let mut rest = answered;
    std::iter::from_fn(move || {
        let mut last_ns = rest.first()?.completed_ns;
        let mut end = 1;
        while end < rest.len() && rest[end].invoked_ns <= last_ns {
            last_ns = last_ns.max(rest[end].completed_ns);
            end += 1;
        }
        let (window, after) = rest.split_at(end);
        rest = after;
        Some(window)
    })
}

/// Reports the shortest beginning of a window that has no order: up to which answer there still is
/// one is found by halving, as every beginning of an orderable history is orderable.
fn report(
    key: &str,
    operations: &KeyHistory,
    whole: &Search<'_>,
    starts: &[Config],
    verdict: &mut Verdict,
) {
    let configurations_max = whole.configurations_max;
    let mut answers: Vec<u64> = whole.window.iter().map(|op| op.completed_ns).collect();
    answers.sort_unstable();
    let shortest = answers.partition_point(|end_ns| {
        let (window, unanswered) = until(whole, *end_ns);
        let search = Search { window: &window, unanswered: &unanswered, configurations_max };
        matches!(search.run(starts), End::Ordered(_))
    });
    let end_ns = answers.get(shortest).copied().unwrap_or(u64::MAX);
    let (window, unanswered) = until(whole, end_ns);
    let search = Search { window: &window, unanswered: &unanswered, configurations_max };
    let End::Stuck { ordered, state, left } = search.run(starts) else {
        // Only when a beginning, with its answers still open, takes more configurations than the whole.
        let shown = whole.window.iter().map(|op| op.op).collect();
        verdict.fail("L1", shown, format!("key {key:?} has no order"));
        return;
    };

    let mut writers: BTreeMap<Value, usize> = BTreeMap::new();
    for op in operations.answered.iter().chain(&operations.unanswered) {
        if let Some(value) = op.effect.filter(|value| *value != project::ABSENT) {
            writers.insert(value, op.op);
        }
    }
    let needs: Vec<String> = left
        .iter()
        .map(|op| format!("operation {} needs {}", op.op, operations.describe(op.need)))
        .collect();
    let mut shown: Vec<usize> = writers.get(&state).copied().into_iter().collect();
    shown.extend(left.iter().map(|op| op.op));
    shown.dedup();
    verdict.fail(
        "L1",
        shown,
        format!(
            "key {key:?} has no order: of {} operations answered from {} to {} ns, {ordered} can be \
             ordered and leave {}, but {}",
            window.len(),
            window.first().map_or(0, |op| op.invoked_ns),
            end_ns,
            operations.value(state),
            needs.join(", ")
        ),
    );
}

/// What was known of a window at a time: later answers are still open, but if the operation has
/// happened then as its answer will say.
fn until(whole: &Search<'_>, end_ns: u64) -> (Vec<KeyOp>, Vec<KeyOp>) {
    let (window, open): (Vec<KeyOp>, Vec<KeyOp>) =
        whole.window.iter().cloned().partition(|op| op.completed_ns <= end_ns);
    let mut unanswered = whole.unanswered.to_vec();
    unanswered.extend(open.into_iter().filter(|op| op.effect.is_some()));
    unanswered.sort_by_key(|op| op.invoked_ns);
    (window, unanswered)
}
