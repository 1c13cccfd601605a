//! The promises of a watch, in etcd's words.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | Ordered: revisions never go down, over all streams of a watcher. |
//! | W2 | Unique: no event is delivered twice. |
//! | W3 | Atomic: all events of a revision arrive in one response. |
//! | W4 | Reliable: no event between the first revision and the end is missing. |
//! | W6 | Bookmarkable: a response at revision N comes after every event up to N. |
//! | W8 | What an event says, its previous value included, is true and the same on every member. |
//! | W9 | A watch is not cancelled while its revision is there. |

use super::{Verdict, by_revision};
use crate::history::{Event, History, WatchLog, WatchSeen};
use crate::model::kv::Store;

/// Checks all watchers against the first member's log, and that log against the model.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::new("watch");
    let mut store = Store::at(history.base_revision);
    for (revision, events) in by_revision(history.log()) {
        for event in events {
            verdict.checked += 1;
            let expected = store.expect_event(revision, event);
            if *event != expected {
                verdict.fail("W8", Vec::new(), format!("the log has {event:?}, not {expected:?}"));
            }
        }
        store.apply(revision, events);
    }
    for watch in &history.watches {
        check_watcher(watch, history.log(), &mut verdict);
    }
    verdict
}

/// After its first wrong event a watcher is out of step: one finding for each watcher is enough.
fn check_watcher(watch: &WatchLog, log: &[Event], verdict: &mut Verdict) {
    let mut next = 0;
    for seen in &watch.seen {
        if let Some(reason) = &seen.canceled {
            verdict.fail("W9", Vec::new(), format!("{}: cancelled: {reason}", watch.name));
            return;
        }
        match check_response(seen, log, next) {
            Ok(after) => {
                verdict.checked += 1;
                next = after;
            }
            Err((rule, text)) => {
                verdict.fail(rule, Vec::new(), format!("{}: {text}", describe(watch, seen)));
                return;
            }
        }
    }
    verdict.checked += 1;
    if next < log.len() {
        verdict.fail(
            "W4",
            Vec::new(),
            format!("{}: was never told {:?} and what follows", watch.name, log[next]),
        );
    }
}

fn describe(watch: &WatchLog, seen: &WatchSeen) -> String {
    format!(
        "watcher {} ({}), stream {} from revision {} on member {}",
        watch.watcher, watch.name, seen.stream, seen.start_revision, seen.member
    )
}

/// Compares one response with the log from place `next` on; returns the place after it.
fn check_response(
    seen: &WatchSeen,
    log: &[Event],
    mut next: usize,
) -> Result<usize, (&'static str, String)> {
    for event in &seen.events {
        match log.get(next) {
            Some(expected) if event == expected => next += 1,
            expected => return Err(classify(event, expected, &log[..next])),
        }
    }
    let told = next.checked_sub(1).map_or(0, |last| log[last].kv.mod_revision);
    if !seen.events.is_empty() {
        if log.get(next).is_some_and(|event| event.kv.mod_revision == told) {
            return Err(("W3", format!("a response ends inside revision {told}")));
        }
        if seen.revision < told {
            let text = format!("a response at revision {} has events of {told}", seen.revision);
            return Err(("W6", text));
        }
    } else if !seen.created
        && let Some(missing) = log.get(next)
        && missing.kv.mod_revision <= seen.revision
    {
        let text = format!("progress to revision {} before {missing:?}", seen.revision);
        return Err(("W6", text));
    }
    Ok(next)
}

fn classify(event: &Event, expected: Option<&Event>, told: &[Event]) -> (&'static str, String) {
    let revision = event.kv.mod_revision;
    if told.contains(event) {
        return ("W2", format!("told {event:?} again"));
    }
    if told.last().is_some_and(|last| revision < last.kv.mod_revision) {
        return ("W1", format!("went back to {event:?}"));
    }
    match expected {
        Some(expected)
            if expected.kv.mod_revision == revision && expected.kv.key == event.kv.key =>
        {
            ("W8", format!("told {event:?}, which is {expected:?} in the log"))
        }
        Some(expected) => ("W4", format!("told {event:?} where {expected:?} comes next")),
        None => ("W8", format!("told {event:?}, which is not in the log")),
    }
}
