//! Judges of a history. Each is a pure function, has its rules numbered at the top of its file, and
//! is itself tested on histories that it must reject.

pub mod answers;
pub mod bookkeeping;
pub mod converged;
pub mod durable;
mod floor;
pub mod revisions;
pub mod watch;

#[cfg(test)]
mod checker_test;

use serde::Serialize;

use crate::history::{Event, History};
use crate::limits;

/// One broken promise.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// The rule, as numbered in the checker's file ("D1").
    pub rule: &'static str,
    /// What was expected and what was seen.
    pub text: String,
    /// The operations that show it: the fewer, the better the counter-example.
    pub ops: Vec<usize>,
}

/// What one checker found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The checker's name.
    pub name: &'static str,
    /// How many facts were compared; zero is never a pass.
    pub checked: u64,
    /// How many of them were wrong.
    pub broken: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
}

impl Verdict {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, checked: 0, broken: 0, violations: Vec::new() }
    }

    pub(crate) fn fail(&mut self, rule: &'static str, ops: Vec<usize>, text: String) {
        self.broken += 1;
        if self.violations.len() < limits::VIOLATIONS_LISTED_MAX {
            self.violations.push(Violation { rule, text, ops });
        }
    }

    /// Whether something was checked and nothing was wrong.
    pub fn passed(&self) -> bool {
        self.checked > 0 && self.broken == 0
    }
}

/// All checkers, in the order in which their findings are best read.
pub fn check_all(history: &History) -> Vec<Verdict> {
    vec![
        bookkeeping::check(history),
        durable::check(history),
        revisions::check(history),
        answers::check(history),
        watch::check(history),
        converged::check(history),
    ]
}

/// The violation that takes the fewest operations to show, over all verdicts.
pub fn shortest_counter_example(verdicts: &[Verdict]) -> Option<(&'static str, &Violation)> {
    verdicts
        .iter()
        .flat_map(|verdict| verdict.violations.iter().map(|violation| (verdict.name, violation)))
        .min_by_key(|(_, violation)| (violation.ops.is_empty(), violation.ops.len()))
}

/// Splits a log into its revisions: neighbours with the same revision belong together.
pub(crate) fn by_revision(log: &[Event]) -> impl Iterator<Item = (i64, &[Event])> {
    log.chunk_by(|left, right| left.kv.mod_revision == right.kv.mod_revision)
        .map(|events| (events[0].kv.mod_revision, events))
}
