//! When all is healed, every member is the same.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | C1 | Every member answers at the same revision, the log's last. |
//! | C2 | Every member has the same live keys: those that the log leaves. |
//! | C3 | Every member delivers the same log, event by event. |
//! | C4 | Every member that offers a hash of its history offers the same one. |
//! | C5 | What is made of a backup holds what the log leaves at the backup's revision. |

use super::{Verdict, by_revision};
use crate::history::{FinalState, History, KeyValue, Restored};
use crate::model::kv::Store;

/// Checks C1 to C5.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("converged");
    let mut store = Store::at(history.base_revision);
    for (revision, events) in by_revision(history.log()) {
        store.apply(revision, events);
    }
    for state in &history.finals {
        check_member(state, &store, history, &mut verdict);
    }
    check_restored(history, &mut verdict);
    let mut hashes = history.finals.iter().filter_map(|state| Some((state.member, state.hash?)));
    if let Some((first, hash)) = hashes.next() {
        for (member, other) in hashes {
            verdict.checked += 1;
            if other != hash {
                verdict.fail(
                    "C4",
                    Vec::new(),
                    format!("hash {other:08x} on member {member}, {hash:08x} on member {first}"),
                );
            }
        }
    }
    verdict
}

/// What keys are live that should not be, or the other way round.
fn difference(live: &[KeyValue], store: &Store) -> Option<String> {
    if live.iter().eq(store.live()) {
        return None;
    }
    let expected: Vec<&KeyValue> = store.live().collect();
    let wrong = live
        .iter()
        .find(|kv| !expected.contains(kv))
        .or_else(|| expected.iter().copied().find(|kv| !live.contains(kv)));
    let (has, left) = (live.len(), expected.len());
    Some(format!("{has} keys, the log leaves {left}; first difference: {wrong:?}"))
}

/// C5, going through the log once.
fn check_restored(history: &History, verdict: &mut Verdict) {
    let mut restored: Vec<&Restored> = history.restored.iter().collect();
    restored.sort_by_key(|state| state.revision);
    let mut store = Store::at(history.base_revision);
    let mut log = by_revision(history.log()).peekable();
    for state in restored {
        while let Some((revision, events)) = log.next_if(|(at, _)| *at <= state.revision) {
            store.apply(revision, events);
        }
        verdict.checked += 1;
        let of = format!("what was restored of member {} at {}", state.member, state.revision);
        if store.revision != state.revision {
            verdict.fail("C5", Vec::new(), format!("{of}: no such revision in the log"));
        } else if let Some(difference) = difference(&state.live, &store) {
            verdict.fail("C5", Vec::new(), format!("{of} has {difference}"));
        }
    }
}

fn check_member(state: &FinalState, store: &Store, history: &History, verdict: &mut Verdict) {
    let member = state.member;
    verdict.checked += 3;
    if state.revision != store.revision {
        verdict.fail(
            "C1",
            Vec::new(),
            format!("member {member} is at revision {}, not {}", state.revision, store.revision),
        );
    }
    if let Some(difference) = difference(&state.live, store) {
        verdict.fail("C2", Vec::new(), format!("member {member} has {difference}"));
    }
    if state.log != history.log() {
        let place = state.log.iter().zip(history.log()).position(|(left, right)| left != right);
        let place = place.unwrap_or_else(|| state.log.len().min(history.log().len()));
        verdict.fail(
            "C3",
            Vec::new(),
            format!(
                "member {member} delivers another log ({} events, not {}), from {:?} on; it should \
                 be {:?}",
                state.log.len(),
                history.log().len(),
                state.log.get(place),
                history.log().get(place)
            ),
        );
    }
}
