//! Judges of a history. Each is a pure function, has its rules numbered at the top of its file, and
//! is itself tested on histories that it must reject.

pub mod answers;
pub mod append;
pub mod auth;
pub mod bookkeeping;
pub mod converged;
pub mod durable;
mod floor;
pub mod lease;
pub mod linear;
pub mod lists;
pub mod lock;
mod owners;
pub mod revisions;
pub mod set;
pub mod watch;

#[cfg(test)]
mod append_test;
#[cfg(test)]
mod checker_test;
#[cfg(test)]
mod lease_test;
#[cfg(test)]
mod linear_test;
#[cfg(test)]
mod lock_test;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod set_test;
#[cfg(test)]
mod story;
#[cfg(test)]
mod watch_test;

use serde::Serialize;

use crate::history::{Event, History, Kind};
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
    /// What is worth knowing and breaks no promise.
    pub notes: Vec<String>,
}

impl Verdict {
    /// One in which nothing was compared yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, checked: 0, broken: 0, violations: Vec::new(), notes: Vec::new() }
    }

    /// Notes a broken promise.
    pub fn fail(&mut self, rule: &'static str, ops: Vec<usize>, text: String) {
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

/// All checkers of the store's own promises, and those of the workloads in the mix, in the order in
/// which their findings are best read.
pub fn check_all(history: &History) -> Vec<Verdict> {
    let mut verdicts = vec![
        bookkeeping::check(history),
        durable::check(history),
        revisions::check(history),
        answers::check(history),
        linear::check(history),
        watch::check(history),
        converged::check(history),
    ];
    let had = |kinds: &[Kind]| history.kinds.iter().any(|kind| kinds.contains(kind));
    if had(&[Kind::Append]) {
        verdicts.push(append::check(history));
    }
    if had(&[Kind::Set]) {
        verdicts.push(set::check(history));
    }
    if had(&[Kind::Lease, Kind::Kube, Kind::Lock]) {
        verdicts.push(lease::check(history));
    }
    if had(&[Kind::Lock]) {
        verdicts.push(lock::check(history));
    }
    if had(&[Kind::Auth]) {
        verdicts.push(auth::check(history));
    }
    if had(&[Kind::Kube, Kind::Watch]) {
        verdicts.push(lists::check(history));
    }
    verdicts
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
