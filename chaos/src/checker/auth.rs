//! What users may do. One who administers changes it, one change after the other; a decision that was
//! made while a change was under way, or about which a change without an answer has a say, may be either.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | U1 | Nobody reads or writes what none of his roles let him at any time while he was asking. |
//! | U2 | Nobody is refused what one of his roles let him all the time while he was asking. |
//! | U3 | The number of changes that a member tells never goes down. |
//! | U4 | A change that was acknowledged is counted: who asks later is told a higher number. |
//! | U5 | Root, who may do everything, is never denied anything while users are enabled. |

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Action, AdminCall, History, Op, Outcome, Step, StepReply};

/// Checks U1 to U5.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("auth");
    let rights = Rights::of(history);
    for op in &history.ops {
        if let Action::As { user, step } = &op.action {
            rights.judge(user, step, op, &mut verdict);
        }
    }
    check_root(history, &mut verdict);
    check_numbers(history, &mut verdict);
    verdict
}

/// Whether it was let; `None` where nobody decided that.
fn was_let(op: &Op) -> Option<bool> {
    match &op.outcome {
        Outcome::Ok(_) => Some(true),
        Outcome::Refused(why) if why.contains("permission denied") => Some(false),
        Outcome::Refused(_) | Outcome::Unknown(_) => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum May {
    Not,
    Perhaps,
    Surely,
}

/// One thing that changes over time: whether a user has a role, or what a role lets do.
#[derive(Default)]
struct Changes {
    /// From when to when, which operation, and what holds afterwards.
    answered: Vec<(u64, u64, usize, Level)>,
    /// When each change without an answer was sent, and what holds after it. It may come at any time.
    open: Vec<(u64, Level)>,
}

/// What a role lets do; for a user's having a role everything or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[default]
    Nothing,
    Read,
    Write,
}

impl Changes {
    /// Whether it was at a level or above during an operation, and by which change.
    fn at_least(&self, level: Level, op: &Op) -> (May, Option<usize>) {
        let overlaps = |from: u64, to: u64| from <= op.completed_ns && to >= op.invoked_ns;
        if self.answered.iter().any(|(from, to, ..)| overlaps(*from, *to)) {
            return (May::Perhaps, None);
        }
        let before = self.answered.iter().rfind(|(_, to, ..)| *to < op.invoked_ns);
        let (now, by) = before.map_or((Level::Nothing, None), |(.., by, now)| (*now, Some(*by)));
        let is_enough = now >= level;
        // What says the same, such as a change that was asked for once more, leaves no doubt.
        let mut open = self.open.iter().filter(|(sent_ns, _)| *sent_ns <= op.completed_ns);
        if open.any(|(_, other)| (*other >= level) != is_enough) {
            return (May::Perhaps, None);
        }
        (if is_enough { May::Surely } else { May::Not }, by)
    }
}

/// All that was changed.
#[derive(Default)]
struct Rights<'a> {
    roles: BTreeMap<&'a str, BTreeMap<&'a str, Changes>>,
    permissions: BTreeMap<&'a str, BTreeMap<&'a str, Changes>>,
}

impl<'a> Rights<'a> {
    fn of(history: &'a History) -> Self {
        let mut rights = Self::default();
        for op in &history.ops {
            let Action::Admin(call) = &op.action else { continue };
            let (changes, level) = match call {
                AdminCall::GrantRole { user, role } => (rights.role(user, role), Level::Write),
                AdminCall::RevokeRole { user, role } => (rights.role(user, role), Level::Nothing),
                AdminCall::Permit { role, prefix, write } => {
                    let level = if *write { Level::Write } else { Level::Read };
                    (rights.permission(role, prefix), level)
                }
                AdminCall::Forbid { role, prefix } => {
                    (rights.permission(role, prefix), Level::Nothing)
                }
                AdminCall::AddUser { .. }
                | AdminCall::AddRole { .. }
                | AdminCall::Enable
                | AdminCall::Disable
                | AdminCall::Status => continue,
            };
            match op.outcome {
                Outcome::Ok(_) => {
                    changes.answered.push((op.invoked_ns, op.completed_ns, op.index, level));
                }
                Outcome::Unknown(_) => changes.open.push((op.invoked_ns, level)),
                Outcome::Refused(_) => {}
            }
        }
        rights
    }

    fn role(&mut self, user: &'a str, role: &'a str) -> &mut Changes {
        self.roles.entry(user).or_default().entry(role).or_default()
    }

    fn permission(&mut self, role: &'a str, prefix: &'a str) -> &mut Changes {
        self.permissions.entry(role).or_default().entry(prefix).or_default()
    }

    /// U1 and U2.
    fn judge(&self, user: &str, step: &Step, op: &Op, verdict: &mut Verdict) {
        let (Some(allowed), Some(key)) = (was_let(op), step.key()) else { return };
        let write = !matches!(step, Step::Get { .. } | Step::List { .. });
        let (may, why) = self.may(user, key, write, op);
        let rule = match (allowed, may) {
            (_, May::Perhaps) => return,
            (true, May::Surely) | (false, May::Not) => None,
            (true, May::Not) => Some("U1"),
            (false, May::Surely) => Some("U2"),
        };
        verdict.checked += 1;
        let Some(rule) = rule else { return };
        let asked = if write { "write" } else { "read" };
        let answer = if allowed { "was let" } else { "was refused" };
        let text = format!("{user} {answer} to {asked} {key} by member {}", op.member);
        verdict.fail(rule, why.into_iter().chain([op.index]).collect(), text);
    }

    /// Whether a user might do something while he asked for it, and the changes that say so.
    fn may(&self, user: &str, key: &str, write: bool, op: &Op) -> (May, Vec<usize>) {
        let level = if write { Level::Write } else { Level::Read };
        let mut best = (May::Not, Vec::new());
        for (role, had) in self.roles.get(user).into_iter().flatten() {
            let (has, granted) = had.at_least(Level::Write, op);
            for (prefix, changes) in self.permissions.get(role).into_iter().flatten() {
                if !key.starts_with(prefix) {
                    continue;
                }
                let (lets, permitted) = changes.at_least(level, op);
                let both = has.min(lets);
                let by: Vec<usize> = granted.into_iter().chain(permitted).collect();
                if both > best.0 || best.1.is_empty() {
                    best = (both.max(best.0), by);
                }
            }
        }
        best
    }
}

fn is_call(op: &Op, call: &AdminCall) -> bool {
    matches!(&op.action, Action::Admin(asked) if asked == call)
}

/// U5, from when users were enabled until somebody began to disable them.
fn check_root(history: &History, verdict: &mut Verdict) {
    let is_enabled = |op: &&Op| op.reply().is_some() && is_call(op, &AdminCall::Enable);
    let Some(enabled) = history.ops.iter().find(is_enabled) else { return };
    // One that was refused did not happen.
    let begins =
        |op: &&Op| is_call(op, &AdminCall::Disable) && !matches!(op.outcome, Outcome::Refused(_));
    let disabled_ns = history.ops.iter().find(begins).map_or(u64::MAX, |op| op.invoked_ns);
    verdict.checked += 1;
    for op in &history.ops {
        let is_roots = !matches!(op.action, Action::As { .. });
        let is_meanwhile = op.invoked_ns > enabled.completed_ns && op.completed_ns < disabled_ns;
        if is_roots && is_meanwhile && was_let(op) == Some(false) {
            let text = format!("root was denied {} by member {}", op.action.kind(), op.member);
            verdict.fail("U5", vec![enabled.index, op.index], text);
        }
    }
}

/// U3 and U4.
fn check_numbers(history: &History, verdict: &mut Verdict) {
    let mut told: BTreeMap<usize, (u64, u64, usize)> = BTreeMap::new();
    let mut statuses: Vec<(&Op, u64)> = Vec::new();
    for op in &history.ops {
        if let Some(reply) = op.reply()
            && let Some(StepReply::Users { revision, .. }) = reply.steps.first()
        {
            verdict.checked += 1;
            statuses.push((op, *revision));
            let (known, known_ns, by) = told.get(&op.member).copied().unwrap_or_default();
            if known_ns < op.invoked_ns && *revision < known {
                let text = format!("member {} tells {revision} after {known}", op.member);
                verdict.fail("U3", vec![by, op.index], text);
            }
            if *revision >= known {
                told.insert(op.member, (*revision, op.completed_ns, op.index));
            }
        }
    }
    for pair in statuses.windows(2) {
        let [(before, low), (after, high)] = pair else { continue };
        let counted = history.ops[before.index..after.index].iter().filter(|op| {
            let change = matches!(&op.action, Action::Admin(call) if changes(call));
            change
                && before.member == after.member
                && op.reply().is_some()
                && op.invoked_ns > before.completed_ns
                && op.completed_ns < after.invoked_ns
        });
        let counted: Vec<usize> = counted.map(|op| op.index).collect();
        // What changes nothing is acknowledged, too: one change at least is certain only where a
        // role lost something.
        if *high <= *low && counted.iter().any(|op| takes(&history.ops[*op].action)) {
            let text = format!("{} changes, but the number is {high} after {low}", counted.len());
            verdict.fail("U4", vec![before.index, after.index], text);
        }
    }
}

fn changes(call: &AdminCall) -> bool {
    !matches!(call, AdminCall::Status)
}

/// Whether it is refused when there is nothing to change.
fn takes(action: &Action) -> bool {
    matches!(action, Action::Admin(AdminCall::RevokeRole { .. } | AdminCall::Forbid { .. }))
}
