//! I3 and I4: what writers were told is what the store has.

use std::collections::{BTreeSet, HashMap};

use super::timeline::{Step, Timeline};
use crate::checker::Verdict;
use crate::informer::record::{Call, History, Object, Outcome, Verb};

/// Checks I3 and I4.
pub(super) fn check(history: &History, timeline: &Timeline<'_>) -> Verdict {
    let mut verdict = Verdict::new("writes");
    let mut books = Books::of(history);
    for step in &timeline.steps {
        // Others write in namespaces of their own.
        if books.namespaces.contains(step.name.namespace.as_str()) {
            check_step(step, &mut books, &mut verdict);
        }
    }
    check_acknowledged(history, timeline, &books, &mut verdict);
    check_order(history, timeline, &books, &mut verdict);
    verdict
}

/// What is known of tokens and lives.
struct Books<'a> {
    namespaces: BTreeSet<&'a str>,
    writers: HashMap<&'a str, &'a Call>,
    deletes: HashMap<&'a str, Vec<&'a Call>>,
    collections: Vec<&'a Call>,
    /// Where each token was first seen: revision and life.
    seen: HashMap<&'a str, (i64, &'a str)>,
    /// Lives that have begun.
    lives: BTreeSet<&'a str>,
}

impl<'a> Books<'a> {
    fn of(history: &'a History) -> Self {
        let mut deletes: HashMap<&str, Vec<&Call>> = HashMap::new();
        for call in history.calls.iter().filter(|call| call.verb == Verb::Delete) {
            deletes.entry(call.uid.as_deref().unwrap_or_default()).or_default().push(call);
        }
        let calls = || history.calls.iter();
        Self {
            namespaces: calls().map(|call| call.name.namespace.as_str()).collect(),
            writers: calls().filter_map(|call| Some((call.token.as_deref()?, call))).collect(),
            deletes,
            collections: calls().filter(|call| call.verb == Verb::DeleteCollection).collect(),
            seen: HashMap::new(),
            lives: history.base.iter().map(|object| object.uid.as_str()).collect(),
        }
    }
}

fn check_step<'a>(step: &Step<'a>, books: &mut Books<'a>, verdict: &mut Verdict) {
    verdict.checked += 1;
    let same_life = match (step.before, step.after) {
        (Some(before), Some(after)) => before.uid == after.uid,
        (None, _) | (_, None) => false,
    };
    if let Some(before) = step.before
        && !same_life
    {
        check_deleted(step, before, books, verdict);
    }
    let Some(after) = step.after else { return };
    if !same_life && !books.lives.insert(after.uid.as_str()) {
        let text = format!("{:?} came back as {} at {}", step.name, after.uid, step.revision);
        verdict.fail("I4", Vec::new(), text);
    }
    let before = step.before.filter(|_| same_life);
    let fail = |verdict: &mut Verdict, ops: Vec<usize>, text: &str| {
        let at = format!("{:?} at {}", step.name, step.revision);
        verdict.fail("I3", ops, format!("{at}: {text}: {before:?} became {after:?}"));
    };
    let (list, marks) = before.map_or((&[][..], None), |it| (&it.list[..], Some(&it.marks)));
    let is_kept =
        after.list.starts_with(list) && marks.is_none_or(|marks| marks.is_subset(&after.marks));
    if !is_kept {
        fail(verdict, Vec::new(), "a token was lost");
        return;
    }
    let appended = &after.list[list.len()..];
    let marked = after.marks.iter().filter(|mark| marks.is_none_or(|marks| !marks.contains(*mark)));
    let added: Vec<(&String, bool)> = appended
        .iter()
        .map(|token| (token, true))
        .chain(marked.map(|mark| (mark, false)))
        .collect();
    let [(token, in_list)] = added[..] else {
        fail(verdict, Vec::new(), "a version adds one token");
        return;
    };
    let Some(call) = books.writers.get(token.as_str()) else {
        fail(verdict, Vec::new(), "nobody wrote this token");
        return;
    };
    let is_its_kind = match call.verb {
        Verb::Create => in_list && before.is_none(),
        Verb::Replace => in_list && before.is_some(),
        Verb::Patch => !in_list && before.is_some(),
        Verb::Apply => !in_list,
        Verb::Get | Verb::Delete | Verb::DeleteCollection => false,
    };
    if !is_its_kind || call.name != *step.name {
        fail(verdict, vec![call.index], "the call that wrote this token asked for something else");
    }
    if call.is_refused() {
        fail(verdict, vec![call.index], "a refused token");
    }
    if let Some((first, _)) = books.seen.insert(token, (step.revision, after.uid.as_str())) {
        fail(verdict, vec![call.index], &format!("a token a second time, after {first}"));
    }
}

fn check_deleted(step: &Step<'_>, before: &Object, books: &Books<'_>, verdict: &mut Verdict) {
    let by_name = books.deletes.get(before.uid.as_str()).into_iter().flatten();
    let mut willing = by_name.filter(|call| !call.is_refused());
    let by_collection = books.collections.iter().any(|call| {
        // Part of it may be done whatever the answer is, unless nobody listened.
        let is_sent = !matches!(call.outcome, Outcome::Refused(0, _));
        is_sent && call.name.kind == step.name.kind && call.name.namespace == step.name.namespace
    });
    if willing.next().is_none() && !by_collection {
        let text = format!("{:?} ({}) was deleted by nobody", step.name, before.uid);
        verdict.fail("I4", Vec::new(), text);
    }
}

/// What was acknowledged is there, and where the answer says.
fn check_acknowledged(
    history: &History,
    timeline: &Timeline<'_>,
    books: &Books<'_>,
    verdict: &mut Verdict,
) {
    for call in history.calls.iter().filter(|call| call.is_ok()) {
        let Some(token) = call.token.as_deref() else { continue };
        verdict.checked += 1;
        let Outcome::Ok(Some(answer)) = &call.outcome else {
            let text = format!("{:?} of {token} was answered without its object", call.verb);
            verdict.fail("I3", vec![call.index], text);
            continue;
        };
        let answered = (answer.revision, answer.uid.as_str());
        let seen = books.seen.get(token).copied();
        if seen != Some(answered) {
            let text = format!("{token} was acknowledged at {answered:?} and is at {seen:?}");
            verdict.fail("I3", vec![call.index], text);
        } else if timeline.object_at(&call.name, answer.revision) != Some(answer) {
            let text = format!("{token} was answered as {answer:?}, which the store never had");
            verdict.fail("I3", vec![call.index], text);
        }
    }
    for (uid, calls) in &books.deletes {
        let acknowledged: Vec<usize> =
            calls.iter().filter(|call| call.is_ok()).map(|call| call.index).collect();
        if acknowledged.is_empty() {
            continue;
        }
        verdict.checked += 1;
        let ended = timeline.deleted_at(uid);
        if ended.is_none() || acknowledged.len() > 1 {
            let times = acknowledged.len();
            let text = format!("{uid}: {times} deletes were acknowledged, and it ended: {ended:?}");
            verdict.fail("I4", acknowledged, text);
        }
    }
}

/// Of two calls one of which ended before the other began, the first has the lower revision.
fn check_order(
    history: &History,
    timeline: &Timeline<'_>,
    books: &Books<'_>,
    verdict: &mut Verdict,
) {
    let revision_of = |call: &Call| match &call.token {
        Some(token) => books.seen.get(token.as_str()).map(|(revision, _)| *revision),
        None => call.uid.as_deref().and_then(|uid| timeline.deleted_at(uid)),
    };
    let is_write = |call: &&Call| call.verb != Verb::Get && !call.is_refused();
    let mut ended: Vec<(u64, i64, usize)> = history
        .calls
        .iter()
        .filter(|call| is_write(call) && call.is_ok())
        .filter_map(|call| Some((call.completed_ns, revision_of(call)?, call.index)))
        .collect();
    ended.sort_unstable();
    let mut ended = ended.into_iter().peekable();
    let mut highest: Option<(i64, usize)> = None;
    for call in history.calls.iter().filter(is_write) {
        while let Some((_, revision, index)) =
            ended.next_if(|(completed_ns, ..)| *completed_ns < call.invoked_ns)
        {
            highest = highest.max(Some((revision, index)));
        }
        // The life that an unacknowledged delete was for may have been ended by another one.
        let is_own = call.token.is_some() || call.is_ok();
        let (Some((before, index)), Some(revision)) = (highest, revision_of(call)) else {
            continue;
        };
        verdict.checked += 1;
        if is_own && revision <= before {
            let text = format!("{} is at {revision}, {index} before it at {before}", call.index);
            verdict.fail("I3", vec![index, call.index], text);
        }
    }
}
