//! Operations, answers and times in words.

use crate::history::{
    Action, AdminCall, Guard, KeyValue, LeaseCall, LockCall, Op, Outcome, Step, StepReply,
};

/// What was asked.
pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Single { step: one, serializable } => {
            let suffix = if *serializable { " (serializable)" } else { "" };
            format!("{}{suffix}", step(one))
        }
        Action::Txn { guards, then, otherwise } => {
            let steps = |steps: &[Step]| steps.iter().map(step).collect::<Vec<_>>().join(", ");
            if guards.is_empty() {
                return format!("txn: {}", steps(then));
            }
            let guards = guards.iter().map(guard).collect::<Vec<_>>().join(" and ");
            format!("txn: if {guards} then {} else {}", steps(then), steps(otherwise))
        }
        Action::As { user, step: one } => format!("{} as {user}", step(one)),
        Action::Page(page) => format!(
            "list {} of {}* behind {:?} at revision {}",
            page.limit, page.prefix, page.after, page.revision
        ),
        Action::Compact { revision } => format!("compact to {revision}"),
        Action::Lease(call) => lease(*call),
        Action::Lock(LockCall::Lock { name, lease }) => format!("lock {name} for lease {lease}"),
        Action::Lock(LockCall::Unlock { key }) => format!("unlock {key}"),
        Action::Admin(call) => admin(call),
    }
}

fn lease(call: LeaseCall) -> String {
    match call {
        LeaseCall::Grant { lease, ttl_s } => format!("grant lease {lease} for {ttl_s} s"),
        LeaseCall::Revoke { lease } => format!("revoke lease {lease}"),
        LeaseCall::KeepAlive { lease } => format!("renew lease {lease}"),
        LeaseCall::TimeToLive { lease } => format!("how long has lease {lease}?"),
    }
}

fn admin(call: &AdminCall) -> String {
    match call {
        AdminCall::AddUser { user } => format!("add user {user}"),
        AdminCall::AddRole { role } => format!("add role {role}"),
        AdminCall::GrantRole { user, role } => format!("grant {user} role {role}"),
        AdminCall::RevokeRole { user, role } => format!("take role {role} from {user}"),
        AdminCall::Permit { role, prefix, write } => {
            let what = if *write { "read and write" } else { "read" };
            format!("let {role} {what} {prefix}*")
        }
        AdminCall::Forbid { role, prefix } => format!("forbid {role} {prefix}*"),
        AdminCall::Enable => "enable users".to_owned(),
        AdminCall::Disable => "disable users".to_owned(),
        AdminCall::Status => "are users enabled?".to_owned(),
    }
}

fn guard(guard: &Guard) -> String {
    match guard.mod_revision {
        0 => format!("no {}", guard.key),
        revision => format!("{} is of revision {revision}", guard.key),
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::Put { key, value } => format!("put {key} = {value}"),
        Step::PutLeased { key, value, lease } => {
            format!("put {key} = {value} with lease {lease}")
        }
        Step::Delete { key } => format!("delete {key}"),
        Step::Get { key } => format!("get {key}"),
        Step::List { prefix } => format!("list {prefix}*"),
    }
}

/// What was answered.
pub(super) fn outcome(op: &Op) -> String {
    match &op.outcome {
        Outcome::Ok(reply) => {
            let branch = match (&op.action, reply.succeeded) {
                (Action::Txn { guards, .. }, true) if !guards.is_empty() => "then, ",
                (Action::Txn { .. }, false) => "else, ",
                _ => "",
            };
            let steps: Vec<String> = reply.steps.iter().map(answer).collect();
            format!("ok at revision {}: {branch}{}", reply.revision, steps.join("; "))
        }
        Outcome::Refused(why) => format!("refused: {why}"),
        Outcome::Unknown(why) => format!("unknown: {why}"),
    }
}

fn answer(answer: &StepReply) -> String {
    match answer {
        StepReply::Put { previous: None } => "put, was not there".to_owned(),
        StepReply::Put { previous: Some(kv) } => format!("put over {}", key_value(kv)),
        StepReply::Delete { previous } if previous.is_empty() => "nothing to delete".to_owned(),
        StepReply::Delete { previous } => format!("deleted {}", key_values(previous)),
        StepReply::Read { found } if found.is_empty() => "found nothing".to_owned(),
        StepReply::Read { found } => format!("found {}", key_values(found)),
        StepReply::Page { found, more, count } => {
            let more = if *more { ", and there is more" } else { "" };
            format!("{} of {count}: {}{more}", found.len(), key_values(found))
        }
        StepReply::Lease { ttl_s, granted_s } => format!("has {ttl_s} s of {granted_s} s"),
        StepReply::Locked { key } => format!("holds it as {key}"),
        StepReply::Users { enabled, revision } => {
            format!("{}, revision {revision}", if *enabled { "enabled" } else { "disabled" })
        }
    }
}

fn key_values(found: &[KeyValue]) -> String {
    let count = if found.len() > 1 { format!("{}: ", found.len()) } else { String::new() };
    format!("{count}{}", found.iter().map(key_value).collect::<Vec<_>>().join(", "))
}

fn key_value(kv: &KeyValue) -> String {
    format!("{} = {} @{}", kv.key, kv.value, kv.mod_revision)
}

/// Who asked: a number beyond all clients' is the harness itself.
pub(super) fn process(op: &Op) -> String {
    match op.process.checked_sub(crate::limits::TOMBSTONE_PROCESS) {
        Some(_) => "the harness".to_owned(),
        None => format!("client {}", op.process),
    }
}

/// The beginning of a text that may be long.
pub(crate) fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A point of time.
#[expect(clippy::cast_precision_loss, reason = "for people, not for comparing")]
pub(super) fn at(ns: u64) -> String {
    if ns == u64::MAX { "never".to_owned() } else { format!("{:.3} s", ns as f64 / 1e9) }
}

/// A length of time.
#[expect(clippy::cast_precision_loss, reason = "for people, not for comparing")]
pub(super) fn took(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        1_000_000..10_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        10_000_000..10_000_000_000 => format!("{:.0} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// How long an operation took.
pub(super) fn op_took(op: &Op) -> String {
    if op.completed_ns == u64::MAX {
        "never answered".to_owned()
    } else {
        took(op.completed_ns.saturating_sub(op.invoked_ns))
    }
}

/// A power of ten of nanoseconds.
pub(super) fn decade(power: u32) -> String {
    let zeros = |count: u32| "0".repeat(count as usize);
    match power {
        0..3 => format!("1{} ns", zeros(power)),
        3..6 => format!("1{} µs", zeros(power - 3)),
        6..9 => format!("1{} ms", zeros(power - 6)),
        _ => format!("1{} s", zeros(power - 9)),
    }
}
