//! Nothing acknowledged is lost, nothing happens that nobody asked for.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | An acknowledged write is in the final log at its revision, with exactly what it wrote. |
//! | D2 | A refused operation is nowhere in the log. |
//! | D3 | An operation with unknown outcome is in the log once and whole, or not at all. |
//! | D4 | Every revision in the log belongs to an operation that was asked for before. |
//! |    | A lease that ends owns the deletion of its keys, the lock service's calls own its keys. |
//! | D5 | The log's revisions rise by exactly one, from the first on. |
//! | D6 | A lease takes all its keys with it in one revision. |

use std::collections::{BTreeMap, BTreeSet};

use super::floor::Floor;
use super::owners::Owners;
use super::{Verdict, by_revision};
use crate::history::{Event, EventKind, History, Op, Outcome, Step, StepReply};
use crate::model::kv::Store;

/// Checks D1 to D5.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("durable");
    let log: BTreeMap<i64, &[Event]> = by_revision(history.log()).collect();
    check_dense(history, &mut verdict);

    let mut owned = BTreeSet::new();
    for op in &history.ops {
        let Some(reply) = op.write() else { continue };
        verdict.checked += 1;
        owned.insert(reply.revision);
        let wrote = claimed_changes(op);
        match log.get(&reply.revision) {
            Some(events) if changes(events) == wrote => {}
            Some(events) => verdict.fail(
                "D1",
                vec![op.index],
                format!(
                    "acknowledged at revision {} as {wrote:?}, but the log has {:?} there",
                    reply.revision,
                    changes(events)
                ),
            ),
            None => verdict.fail(
                "D1",
                vec![op.index],
                format!("acknowledged at revision {}, which is not in the log", reply.revision),
            ),
        }
    }
    find_owners(history, &owned, &mut verdict);
    verdict
}

/// One change of one key: kind, key, and the value and lease of a put.
type Change<'a> = (EventKind, &'a str, &'a str, i64);

fn changes(events: &[Event]) -> Vec<Change<'_>> {
    let changes = events.iter();
    changes.map(|e| (e.kind, e.kv.key.as_str(), e.kv.value.as_str(), e.kv.lease)).collect()
}

/// What an acknowledged write says that it did.
fn claimed_changes(op: &Op) -> Vec<Change<'_>> {
    let Some(reply) = op.reply() else { return Vec::new() };
    let mut claimed = Vec::new();
    for (step, answer) in op.action.steps(reply.succeeded).iter().zip(&reply.steps) {
        match (step, answer) {
            (Step::Put { key, value }, StepReply::Put { .. }) => {
                claimed.push((EventKind::Put, key.as_str(), value.as_str(), 0));
            }
            (Step::PutLeased { key, value, lease }, StepReply::Put { .. }) => {
                claimed.push((EventKind::Put, key.as_str(), value.as_str(), *lease));
            }
            (Step::Delete { key }, StepReply::Delete { previous }) if !previous.is_empty() => {
                claimed.push((EventKind::Delete, key.as_str(), "", 0));
            }
            (
                Step::Put { .. }
                | Step::PutLeased { .. }
                | Step::Delete { .. }
                | Step::Get { .. }
                | Step::List { .. },
                _,
            ) => {}
        }
    }
    claimed
}

fn check_dense(history: &History, verdict: &mut Verdict) {
    let mut expected = history.base_revision + 1;
    for (revision, _) in by_revision(history.log()) {
        verdict.checked += 1;
        if revision != expected {
            verdict.fail(
                "D5",
                Vec::new(),
                format!("the log goes to revision {revision} where {expected} comes next"),
            );
        }
        expected = revision + 1;
    }
}

/// Finds who wrote each revision that nobody was told about (D2, D3, D4, D6).
fn find_owners(history: &History, owned: &BTreeSet<i64>, verdict: &mut Verdict) {
    let floor = Floor::of(history);
    let writers = writers_by_value(&history.ops);
    let mut owners = Owners::of(history, &floor);
    let mut used = BTreeSet::new();
    let mut store = Store::at(history.base_revision);

    for (revision, events) in by_revision(history.log()) {
        if !owned.contains(&revision) {
            verdict.checked += 1;
            let put = events.iter().find(|event| event.kind == EventKind::Put);
            match put {
                Some(put) if Owners::puts_lock(put) => {
                    if !owners.claim_lock(revision, events) {
                        let text =
                            format!("revision {revision} has {events:?}, which nobody asked");
                        verdict.fail("D4", Vec::new(), text);
                    }
                }
                Some(put) => match writers.get(put.kv.value.as_str()) {
                    Some(index) => {
                        let op = &history.ops[*index];
                        let unused = used.insert(*index);
                        judge_owner(&store, &floor, op, unused, (revision, events), verdict);
                    }
                    None => {
                        let value = &put.kv.value;
                        let text =
                            format!("revision {revision} has value {value:?}, which nobody wrote");
                        verdict.fail("D4", Vec::new(), text);
                    }
                },
                // Deletes carry no value.
                None => {
                    if let Err(rule) = owners.claim_deletes(&store, revision, events) {
                        let text =
                            format!("revision {revision} deletes {events:?}, which nobody asked");
                        verdict.fail(rule, Vec::new(), text);
                    }
                }
            }
        }
        store.apply(revision, events);
    }
}

fn judge_owner(
    store: &Store,
    floor: &Floor,
    op: &Op,
    unused: bool,
    (revision, events): (i64, &[Event]),
    verdict: &mut Verdict,
) {
    match &op.outcome {
        Outcome::Refused(reason) => verdict.fail(
            "D2",
            vec![op.index],
            format!("refused ({reason}), but it is in the log at revision {revision}"),
        ),
        Outcome::Ok(reply) => verdict.fail(
            "D3",
            vec![op.index],
            format!("acknowledged at revision {}, but also at {revision}", reply.revision),
        ),
        Outcome::Unknown(_) if !unused => verdict.fail(
            "D3",
            vec![op.index],
            format!("happened more than once, the last time at revision {revision}"),
        ),
        Outcome::Unknown(_) => {
            let predicted = store.predict(&op.action);
            if changes(&predicted.events) != changes(events) {
                verdict.fail(
                    "D3",
                    vec![op.index],
                    format!(
                        "happened in part at revision {revision}: {:?} instead of {:?}",
                        changes(events),
                        changes(&predicted.events)
                    ),
                );
            }
            let (known, source) = floor.before(op.invoked_ns);
            if revision <= known {
                let ops = std::iter::once(op.index).chain(source.op()).collect();
                verdict.fail(
                    "D4",
                    ops,
                    format!(
                        "is at revision {revision}, but was sent after {} knew revision {known}",
                        source.describe()
                    ),
                );
            }
        }
    }
}

fn writers_by_value(ops: &[Op]) -> BTreeMap<&str, usize> {
    let mut writers = BTreeMap::new();
    for op in ops {
        for step in op.action.steps(true).iter().chain(op.action.steps(false)) {
            if let Some((_, value, _)) = step.put() {
                writers.insert(value, op.index);
            }
        }
    }
    writers
}
