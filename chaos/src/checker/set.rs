//! A set that one key holds: what was added is there for everybody who looks later (Jepsen's set-full,
//! linearizable). An element is known when its addition was acknowledged, or when somebody first saw it.
//!
//! | Rule | What never is |
//! |------|---------------|
//! | lost | A read that was sent after an element was known does not have it, nor has any later one. |
//! | stale | The same, but a later read has it. |
//! | duplicate | A read has an element twice. |
//! | phantom | A read has an element that nobody added, or that was certainly not added. |

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{History, Op, Outcome, Step};
use crate::model::list;
use crate::workload::SETS;

/// Checks all sets.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("set");
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    for op in &history.ops {
        take(op, &mut sets);
    }
    for (key, set) in &sets {
        verdict.checked += set.reads.len() as u64;
        set.judge(key, &mut verdict);
    }
    verdict
}

#[derive(Default)]
struct Set<'a> {
    /// Elements that were or may have been added: when that was acknowledged, and by which operation.
    added: BTreeMap<&'a str, (u64, usize)>,
    reads: Vec<Read<'a>>,
}

struct Read<'a> {
    op: usize,
    invoked_ns: u64,
    completed_ns: u64,
    elements: Vec<&'a str>,
}

fn take<'a>(op: &'a Op, sets: &mut BTreeMap<&'a str, Set<'a>>) {
    let (succeeded, answered_ns) = match &op.outcome {
        Outcome::Ok(reply) => (reply.succeeded, op.completed_ns),
        Outcome::Unknown(_) => (true, u64::MAX),
        Outcome::Refused(_) => return,
    };
    let of_sets = |key: &&str| key.starts_with(SETS);
    for (place, step) in op.action.steps(succeeded).iter().enumerate() {
        let Some(key) = step.key().filter(of_sets) else { continue };
        let set = sets.entry(key).or_default();
        if let Some((_, value, _)) = step.put() {
            for element in list::decode(value).1 {
                set.added.insert(element, (answered_ns, op.index));
            }
        }
        if let (Step::Get { .. }, Some(reply)) = (step, op.reply())
            && !op.action.is_serializable()
        {
            let found = reply.steps.get(place).and_then(|answer| answer.found().first());
            let elements = found.map(|kv| list::elements(&kv.value)).unwrap_or_default();
            let (invoked_ns, completed_ns) = (op.invoked_ns, op.completed_ns);
            set.reads.push(Read { op: op.index, invoked_ns, completed_ns, elements });
        }
    }
}

impl Set<'_> {
    fn judge(&self, key: &str, verdict: &mut Verdict) {
        // When each element was known, by whom, and when the last read that has it was sent.
        let mut known: BTreeMap<&str, (u64, usize, u64)> = BTreeMap::new();
        for (element, (at_ns, op)) in &self.added {
            if *at_ns != u64::MAX {
                known.insert(element, (*at_ns, *op, 0));
            }
        }
        for read in &self.reads {
            let mut before = BTreeSet::new();
            for element in &read.elements {
                if !before.insert(element) {
                    let text = format!("{key} has {element} twice");
                    verdict.fail("duplicate", vec![read.op], text);
                }
                if !self.added.contains_key(element) {
                    let text = format!("{key} has {element}, which nobody added");
                    verdict.fail("phantom", vec![read.op], text);
                }
                let first = (read.completed_ns, read.op, 0);
                let (at_ns, by, seen_ns) = known.entry(element).or_insert(first);
                if read.completed_ns < *at_ns {
                    (*at_ns, *by) = (read.completed_ns, read.op);
                }
                *seen_ns = (*seen_ns).max(read.invoked_ns);
            }
        }
        for read in &self.reads {
            let elements: BTreeSet<&&str> = read.elements.iter().collect();
            for (element, (at_ns, by, seen_ns)) in &known {
                if *at_ns < read.invoked_ns && !elements.contains(element) {
                    let rule = if *seen_ns > read.invoked_ns { "stale" } else { "lost" };
                    let text = format!("{key} had {element}, but a read sent later has not");
                    verdict.fail(rule, vec![*by, read.op], text);
                }
            }
        }
    }
}
