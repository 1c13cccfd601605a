//! Watchers of every shape who are told wrong, one for each rule.

use super::story::{Story, assert_rejects, both, delete, put, told};
use super::watch;
use crate::history::{Action, Asked, EventKind, History, Keys, Outcome, WatchLog, WatchSeen};

/// Revisions 2 to 8: put a, put b, both, delete a, put a, put b, put c.
fn story() -> Story {
    let mut story = Story::new();
    story.ok(put("a", "1")).ok(put("b", "2")).ok(both("a", "b", "3-")).ok(delete("a"));
    story.ok(put("a", "4")).ok(put("b", "5")).ok(put("c", "6"));
    story
}

fn created(revision: i64) -> WatchSeen {
    WatchSeen { revision, created: true, ..WatchSeen::default() }
}

/// The story with one watcher, told all that it wants, and then changed.
fn with(asked: Asked, change: impl FnOnce(&mut WatchLog)) -> History {
    let mut history = story().finish();
    let seen = told(history.log(), &asked, asked.start_revision);
    let mut watch = WatchLog { asked, seen, ..WatchLog::default() };
    change(&mut watch);
    history.watches = vec![watch];
    history
}

fn of_a() -> Asked {
    Asked { keys: Keys::One("a".to_owned()), ..Asked::everything(2) }
}

fn rejected(asked: Asked, rule: &str, change: impl FnOnce(&mut WatchLog)) {
    assert_rejects(&watch::check(&with(asked, change)), rule);
}

fn accepted(asked: Asked, change: impl FnOnce(&mut WatchLog)) {
    let verdict = watch::check(&with(asked, change));
    assert!(verdict.passed(), "{verdict:#?}");
}

#[test]
fn watchers_of_every_shape_who_are_told_the_truth() {
    for keys in [Keys::All, Keys::One("b".to_owned()), Keys::Under("a".to_owned())] {
        for start_revision in 1..12 {
            for flags in 0..8 {
                let (no_put, no_delete, prev_kv) = (flags & 1 > 0, flags & 2 > 0, flags & 4 > 0);
                let keys = keys.clone();
                let asked = Asked { keys, start_revision, no_put, no_delete, prev_kv, ..of_a() };
                accepted(asked, |_| {});
            }
        }
    }
}

#[test]
fn w2_w1_a_narrow_watcher_who_is_told_twice_or_the_past() {
    rejected(of_a(), "W2", |watch| watch.seen.push(watch.seen[1].clone()));
    rejected(of_a(), "W1", |watch| {
        let mut past = watch.seen[0].clone();
        past.events[0].kv.key = "a".to_owned();
        past.events[0].kv.mod_revision = 3;
        watch.seen.push(past);
    });
}

#[test]
fn w3_a_response_in_pieces_for_whom_did_not_ask_for_them() {
    let cut = |watch: &mut WatchLog| {
        let mut rest = watch.seen[2].clone();
        rest.events.remove(0);
        watch.seen[2].events.pop();
        watch.seen[2].fragment = true;
        watch.seen.insert(3, rest);
    };
    let asked = Asked { fragment: true, ..Asked::everything(2) };
    accepted(asked, cut);
    rejected(Asked::everything(2), "W3", cut);
}

#[test]
fn a_response_of_which_a_piece_was_lost_with_its_stream_is_told_again() {
    accepted(Asked { fragment: true, ..Asked::everything(2) }, |watch| {
        let whole = watch.seen[2].clone();
        watch.seen[2].events.pop();
        watch.seen[2].fragment = true;
        watch.seen.insert(3, whole);
        for seen in &mut watch.seen[3..] {
            (seen.stream, seen.start_revision) = (1, 4);
        }
    });
}

#[test]
fn w4_an_event_that_one_watcher_was_never_told() {
    rejected(of_a(), "W4", |watch| {
        watch.seen.remove(1);
    });
    rejected(of_a(), "W4", |watch| {
        watch.seen.pop();
    });
    accepted(of_a(), |watch| {
        watch.seen.pop();
        watch.ended = true;
    });
}

#[test]
fn w5_a_stream_that_does_not_begin_where_it_was_asked_to() {
    rejected(of_a(), "W5", |watch| {
        watch.seen.remove(0);
    });
    // Resumed at revision 5, but begun at 6.
    rejected(of_a(), "W5", |watch| {
        watch.seen.remove(2);
        (watch.seen[2].stream, watch.seen[2].start_revision) = (1, 5);
    });
    // From the future on, but told what is before it.
    rejected(Asked { start_revision: 6, ..of_a() }, "W5", |watch| {
        let log = story().finish().log().to_vec();
        watch.seen = told(&log, &of_a(), 2);
    });
}

#[test]
fn w5_from_now_on_begins_behind_the_revision_of_its_creation() {
    let from_now = || Asked { start_revision: 0, ..of_a() };
    let log = story().finish().log().to_vec();
    for (revision, first) in [(4, 5), (1, 2), (8, 9)] {
        accepted(from_now(), |watch| {
            watch.seen = told(&log, &of_a(), first);
            watch.seen.insert(0, created(revision));
        });
    }
    rejected(from_now(), "W5", |watch| {
        watch.seen = told(&log, &of_a(), 4);
        watch.seen.insert(0, created(4));
    });
    rejected(from_now(), "W5", |watch| watch.seen = told(&log, &of_a(), 5));
}

#[test]
fn w6_progress_ahead_of_events_or_before_the_start() {
    let progress = |revision| WatchSeen { revision, ..WatchSeen::default() };
    accepted(of_a(), |watch| watch.seen.insert(1, progress(3)));
    rejected(of_a(), "W6", |watch| watch.seen.insert(1, progress(4)));
    rejected(Asked { start_revision: 6, ..of_a() }, "W6", |watch| {
        watch.seen.insert(0, progress(4));
    });
}

#[test]
fn w7_an_event_that_nobody_wants() {
    rejected(Asked { no_delete: true, ..of_a() }, "W7", |watch| {
        let log = story().finish().log().to_vec();
        watch.seen = told(&log, &of_a(), 2);
    });
    rejected(of_a(), "W7", |watch| watch.seen[0].events[0].kv.key = "b".to_owned());
}

#[test]
fn w8_previous_values() {
    let event = |watch: &mut WatchLog| watch.seen[1].events[0].clone();
    rejected(of_a(), "W8", |watch| watch.seen[1].events[0].previous = None);
    rejected(Asked { prev_kv: false, ..of_a() }, "W8", |watch| {
        let mut told = event(watch);
        told.previous = Some(told.kv.clone());
        watch.seen[1].events[0] = told;
    });
    let mut history = with(of_a(), |watch| {
        assert_eq!(watch.seen[2].events[0].kind, EventKind::Delete);
        watch.seen[2].events[0].previous = None;
        watch.seen[2].time_ns = 1000;
    });
    assert_rejects(&watch::check(&history), "W8");
    // It is lawful where somebody compacted up to there before.
    compact(&mut history, 5);
    assert!(watch::check(&history).passed());
}

/// Somebody sends a compaction at time 0, and nobody hears of it.
fn compact(history: &mut History, revision: i64) {
    let mut op = history.ops[0].clone();
    (op.index, op.invoked_ns, op.action) = (history.ops.len(), 0, Action::Compact { revision });
    op.outcome = Outcome::Unknown("lost".to_owned());
    history.ops.push(op);
}

#[test]
fn w9_a_watch_is_cancelled_only_for_what_it_needs_and_somebody_compacted() {
    let cancelled = |compact_revision| {
        with(of_a(), |watch| {
            watch.seen.truncate(1);
            watch.seen.push(WatchSeen {
                compact_revision,
                canceled: Some(String::new()),
                ..WatchSeen::default()
            });
            watch.ended = true;
        })
    };
    let mut history = cancelled(4);
    assert_rejects(&watch::check(&history), "W9");
    compact(&mut history, 4);
    assert!(watch::check(&history).passed());
    // It was told 2 and needs 3: that is still there.
    let mut history = cancelled(3);
    compact(&mut history, 3);
    assert_rejects(&watch::check(&history), "W9");
    assert_rejects(&watch::check(&cancelled(0)), "W9");
}
