//! A history as lines, in the shape of Jepsen's: each operation is a line when it is sent and
//! another one when it is answered, so that tools made for such histories can read it.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E1 | Lines are in the order of time; `index` is the line's place, `op` the operation's. |
//! | E2 | A client's process is a number. Everybody else's is a word, which checkers pass over. |
//! | E3 | `value` is a list of `[:w key value]`, `[:r key value]`, `[:delete key]`, |
//! |    | `[:list prefix [[key value]]]`; what is read is nil until it is answered. A call that is |
//! |    | not about keys is one such list: its name and what it was given. |
//! | E4 | EDN and JSON say the same, and nothing of a history is left out. |

use std::io::{self, Write};

use super::form::Form;
use super::moment::{Moment, moments};
use super::{
    Action, AdminCall, Event, EventKind, History, KeyValue, LeaseCall, LockCall, Op, Outcome,
    Reply, Step, StepReply, WatchLog, WatchSeen,
};

/// Writes one JSON object a line.
pub fn write_json_lines(history: &History, out: &mut impl Write) -> io::Result<()> {
    for line in lines(history) {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Writes one EDN map a line.
pub fn write_edn_lines(history: &History, out: &mut impl Write) -> io::Result<()> {
    for line in lines(history) {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn lines(history: &History) -> impl Iterator<Item = Form> + '_ {
    moments(history).into_iter().enumerate().map(|(index, (time_ns, moment))| {
        let mut line = vec![("index", index.into()), ("time", time_ns.into())];
        line.extend(entries(&moment));
        Form::Map(line)
    })
}

/// What a line says after its index and time.
fn entries(moment: &Moment<'_>) -> Vec<(&'static str, Form)> {
    let info = |process, what, value| {
        let (process, what) = (Form::Keyword(process), Form::Keyword(what));
        vec![("type", Form::Keyword("info")), ("process", process), ("f", what), ("value", value)]
    };
    match moment {
        Moment::Base(history) => {
            let kinds = Form::list(&history.kinds, |kind| Form::text(kind.name()));
            let value = vec![("revision", history.base_revision.into()), ("workloads", kinds)];
            info("harness", "base", Form::Map(value))
        }
        Moment::Invoked(op) => invoked(op),
        Moment::Completed(op) => completed(op),
        Moment::Injected(fault) => {
            let mut value = fault_value(&fault.name, &fault.members);
            let leader = Form::or_nothing(fault.leader_before, Form::from);
            value.extend([("leader", leader), ("term", fault.term_before.into())]);
            info("nemesis", "inject", Form::Map(value))
        }
        Moment::Healed(fault) => {
            info("nemesis", "heal", Form::Map(fault_value(&fault.name, &fault.members)))
        }
        Moment::Recovered(fault) => {
            let mut value = fault_value(&fault.name, &fault.members);
            let leader = Form::or_nothing(fault.leader_after, Form::from);
            value.extend([("leader", leader), ("term", fault.term_after.into())]);
            value.push(("recovered", Form::Truth(fault.recovered_ns.is_some())));
            info("nemesis", "recover", Form::Map(value))
        }
        Moment::Watched(watch, seen) => info("watcher", "watch", Form::Map(watched(watch, seen))),
        Moment::Final(state) => {
            let value = Form::Map(vec![
                ("member", state.member.into()),
                ("rev", state.revision.into()),
                ("hash", Form::or_nothing(state.hash, |hash| u64::from(hash).into())),
                ("live", Form::list(&state.live, key_value)),
                ("log", Form::list(&state.log, event)),
            ]);
            info("harness", "final", value)
        }
        Moment::Restored(state) => {
            let value = Form::Map(vec![
                ("member", state.member.into()),
                ("rev", state.revision.into()),
                ("live", Form::list(&state.live, key_value)),
            ]);
            info("harness", "restored", value)
        }
    }
}

fn watched(watch: &WatchLog, seen: &WatchSeen) -> Vec<(&'static str, Form)> {
    let mut value = vec![
        ("watcher", watch.watcher.into()),
        ("name", Form::text(&watch.name)),
        ("stream", seen.stream.into()),
        ("member", seen.member.into()),
        ("start", seen.start_revision.into()),
        ("rev", seen.revision.into()),
        ("created", Form::Truth(seen.created)),
        ("canceled", Form::or_nothing(seen.canceled.as_deref(), Form::text)),
        ("events", Form::list(&seen.events, event)),
    ];
    if seen.created {
        value.push(("asked", Form::text(&format!("{:?}", watch.asked))));
    }
    if seen.compact_revision != 0 {
        value.push(("compacted", seen.compact_revision.into()));
    }
    if seen.fragment {
        value.push(("fragment", Form::Truth(true)));
    }
    value
}

fn fault_value(name: &str, members: &[usize]) -> Vec<(&'static str, Form)> {
    vec![("fault", Form::text(name)), ("members", Form::list(members, |member| (*member).into()))]
}

fn head(kind: &'static str, op: &Op, value: Form) -> Vec<(&'static str, Form)> {
    vec![
        ("type", Form::Keyword(kind)),
        ("process", op.process.into()),
        ("f", Form::Keyword(op.action.kind())),
        ("value", value),
        ("op", op.index.into()),
        ("member", op.member.into()),
    ]
}

fn invoked(op: &Op) -> Vec<(&'static str, Form)> {
    let mut line = head("invoke", op, asked(&op.action));
    match &op.action {
        Action::Single { serializable: true, .. } => {
            line.push(("serializable", Form::Truth(true)));
        }
        Action::Single { serializable: false, .. }
        | Action::Page(_)
        | Action::Compact { .. }
        | Action::Lease(_)
        | Action::Lock(_)
        | Action::Admin(_) => {}
        Action::As { user, .. } => line.push(("user", Form::text(user))),
        Action::Txn { guards, otherwise, .. } => {
            let guards = Form::list(guards, |guard| {
                Form::List(vec![Form::text(&guard.key), guard.mod_revision.into()])
            });
            line.extend([("guards", guards), ("else", steps_asked(otherwise))]);
        }
    }
    line
}

fn completed(op: &Op) -> Vec<(&'static str, Form)> {
    let failed = |kind, why: &str| {
        let mut line = head(kind, op, asked(&op.action));
        line.push(("error", Form::text(why)));
        line
    };
    match &op.outcome {
        Outcome::Ok(reply) => {
            let value = if op.action.is_of_steps() {
                answered(op.action.steps(reply.succeeded), reply)
            } else {
                asked(&op.action)
            };
            let mut line = head("ok", op, value);
            line.push(("rev", reply.revision.into()));
            line.push(("succeeded", Form::Truth(reply.succeeded)));
            line.push(("answers", Form::list(&reply.steps, answer)));
            line
        }
        Outcome::Refused(why) => failed("fail", why),
        Outcome::Unknown(why) => failed("info", why),
    }
}

fn asked(action: &Action) -> Form {
    let words = match action {
        Action::Single { .. } | Action::As { .. } | Action::Txn { .. } => {
            return steps_asked(action.steps(true));
        }
        Action::Page(page) => vec![
            Form::Keyword("page"),
            Form::text(&page.prefix),
            Form::text(&page.after),
            page.limit.into(),
            page.revision.into(),
        ],
        Action::Compact { revision } => vec![Form::Keyword("compact"), (*revision).into()],
        Action::Lease(call) => lease(*call),
        Action::Lock(LockCall::Lock { name, lease }) => {
            vec![Form::Keyword("lock"), Form::text(name), (*lease).into()]
        }
        Action::Lock(LockCall::Unlock { key }) => vec![Form::Keyword("unlock"), Form::text(key)],
        Action::Admin(call) => admin(call),
    };
    Form::List(vec![Form::List(words)])
}

fn lease(call: LeaseCall) -> Vec<Form> {
    match call {
        LeaseCall::Grant { lease, ttl_s } => {
            vec![Form::Keyword("grant"), lease.into(), ttl_s.into()]
        }
        LeaseCall::Revoke { lease } => vec![Form::Keyword("revoke"), lease.into()],
        LeaseCall::KeepAlive { lease } => vec![Form::Keyword("keep-alive"), lease.into()],
        LeaseCall::TimeToLive { lease } => vec![Form::Keyword("time-to-live"), lease.into()],
    }
}

fn admin(call: &AdminCall) -> Vec<Form> {
    let words = |name, texts: &[&str]| {
        let texts = texts.iter().map(|text| Form::text(text));
        std::iter::once(Form::Keyword(name)).chain(texts).collect()
    };
    match call {
        AdminCall::AddUser { user } => words("add-user", &[user]),
        AdminCall::AddRole { role } => words("add-role", &[role]),
        AdminCall::GrantRole { user, role } => words("grant-role", &[user, role]),
        AdminCall::RevokeRole { user, role } => words("revoke-role", &[user, role]),
        AdminCall::Permit { role, prefix, write: true } => words("permit-write", &[role, prefix]),
        AdminCall::Permit { role, prefix, write: false } => words("permit-read", &[role, prefix]),
        AdminCall::Forbid { role, prefix } => words("forbid", &[role, prefix]),
        AdminCall::Enable => words("enable", &[]),
        AdminCall::Disable => words("disable", &[]),
        AdminCall::Status => words("status", &[]),
    }
}

fn steps_asked(steps: &[Step]) -> Form {
    Form::list(steps, |step| micro_op(step, Form::Nothing))
}

fn answered(steps: &[Step], reply: &Reply) -> Form {
    let answers = reply.steps.iter().map(Some).chain(std::iter::repeat(None));
    let answered = steps.iter().zip(answers).map(|(step, answer)| {
        let seen = match (step, answer) {
            (Step::Get { .. }, Some(StepReply::Read { found })) => {
                Form::or_nothing(found.first(), |kv| Form::text(&kv.value))
            }
            (Step::List { .. }, Some(StepReply::Read { found })) => {
                Form::list(found, |kv| Form::List(vec![Form::text(&kv.key), Form::text(&kv.value)]))
            }
            (
                Step::Put { .. }
                | Step::PutLeased { .. }
                | Step::Delete { .. }
                | Step::Get { .. }
                | Step::List { .. },
                _,
            ) => Form::Nothing,
        };
        micro_op(step, seen)
    });
    Form::List(answered.collect())
}

fn micro_op(step: &Step, seen: Form) -> Form {
    Form::List(match step {
        Step::Put { key, value } => {
            vec![Form::Keyword("w"), Form::text(key), Form::text(value)]
        }
        Step::PutLeased { key, value, lease } => {
            vec![Form::Keyword("w"), Form::text(key), Form::text(value), (*lease).into()]
        }
        Step::Delete { key } => vec![Form::Keyword("delete"), Form::text(key)],
        Step::Get { key } => vec![Form::Keyword("r"), Form::text(key), seen],
        Step::List { prefix } => vec![Form::Keyword("list"), Form::text(prefix), seen],
    })
}

fn answer(answer: &StepReply) -> Form {
    Form::Map(match answer {
        StepReply::Put { previous } => {
            vec![("replaced", Form::or_nothing(previous.as_ref(), key_value))]
        }
        StepReply::Delete { previous } => vec![("deleted", Form::list(previous, key_value))],
        StepReply::Read { found } => vec![("found", Form::list(found, key_value))],
        StepReply::Page { found, more, count } => vec![
            ("found", Form::list(found, key_value)),
            ("more", Form::Truth(*more)),
            ("count", (*count).into()),
        ],
        StepReply::Lease { ttl_s, granted_s } => {
            vec![("ttl", (*ttl_s).into()), ("granted", (*granted_s).into())]
        }
        StepReply::Locked { key } => vec![("key", Form::text(key))],
        StepReply::Users { enabled, revision } => {
            vec![("enabled", Form::Truth(*enabled)), ("revision", (*revision).into())]
        }
    })
}

fn event(event: &Event) -> Form {
    let kind = match event.kind {
        EventKind::Put => "put",
        EventKind::Delete => "delete",
    };
    Form::Map(vec![
        ("kind", Form::Keyword(kind)),
        ("kv", key_value(&event.kv)),
        ("previous", Form::or_nothing(event.previous.as_ref(), key_value)),
    ])
}

fn key_value(kv: &KeyValue) -> Form {
    let mut entries = vec![
        ("key", Form::text(&kv.key)),
        ("value", Form::text(&kv.value)),
        ("create", kv.create_revision.into()),
        ("mod", kv.mod_revision.into()),
        ("version", kv.version.into()),
    ];
    if kv.lease != 0 {
        entries.push(("lease", kv.lease.into()));
    }
    Form::Map(entries)
}
