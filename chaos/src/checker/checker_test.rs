//! Each checker accepts a good history and rejects the history that its rule is about.

use super::story::{Story, assert_rejects, both, delete, get, good, put, reply_mut};
use super::{answers, bookkeeping, converged, durable, linear, revisions, watch};
use crate::history::{
    Action, EventKind, History, KeyValue, Outcome, Restored, Step, StepReply, WatchSeen,
};

fn forget_revision(history: &mut History, revision: i64) {
    for state in &mut history.finals {
        state.log.retain(|event| event.kv.mod_revision != revision);
    }
}

#[test]
fn a_good_history_passes_every_checker_that_judges_the_store() {
    let history = good();
    for verdict in [
        durable::check(&history),
        revisions::check(&history),
        answers::check(&history),
        linear::check(&history),
        watch::check(&history),
        converged::check(&history),
    ] {
        assert!(verdict.passed(), "{verdict:#?}");
    }
}

#[test]
fn an_empty_history_is_never_a_pass() {
    let history = History::default();
    for verdict in super::check_all(&history) {
        assert!(!verdict.passed(), "{verdict:#?}");
    }
}

#[test]
fn d1_an_acknowledged_write_that_is_gone() {
    let mut history = good();
    forget_revision(&mut history, 6);
    assert_rejects(&durable::check(&history), "D1");
}

#[test]
fn d1_an_acknowledged_transaction_of_which_half_is_there() {
    let mut history = good();
    for state in &mut history.finals {
        state.log.retain(|e| !(e.kv.mod_revision == 4 && e.kv.key == "b"));
    }
    assert_rejects(&durable::check(&history), "D1");
}

#[test]
fn d2_a_refused_write_that_happened() {
    let mut history = good();
    history.ops[0].outcome = Outcome::Refused("no".to_owned());
    assert_rejects(&durable::check(&history), "D2");
}

#[test]
fn d3_an_unanswered_write_may_happen_once_or_not_at_all() {
    let mut story = Story::new();
    story.ok(put("a", "1")).happens(put("a", "2"), false).ok(put("a", "3"));
    story.record(put("a", "never"), Outcome::Unknown("lost".to_owned()));
    story.record(delete("a"), Outcome::Unknown("lost".to_owned()));
    assert!(durable::check(&story.finish()).passed());
}

#[test]
fn d3_an_unanswered_write_that_happened_twice() {
    let mut story = Story::new();
    story.happens(put("a", "1"), false).happens(put("a", "1"), false);
    story.history.ops.truncate(1);
    assert_rejects(&durable::check(&story.finish()), "D3");
}

#[test]
fn d3_an_acknowledged_write_that_a_hidden_retry_did_again() {
    let mut story = Story::new();
    story.ok(put("a", "1")).happens(put("a", "1"), false);
    story.history.ops.truncate(1);
    assert_rejects(&durable::check(&story.finish()), "D3");
}

#[test]
fn d3_an_unanswered_transaction_of_which_half_is_there() {
    let mut story = Story::new();
    story.happens(both("a", "b", "x"), false);
    let mut history = story.finish();
    for state in &mut history.finals {
        state.log.pop();
    }
    assert_rejects(&durable::check(&history), "D3");
}

#[test]
fn d4_a_revision_that_nobody_wrote() {
    let mut story = Story::new();
    story.ok(put("a", "1")).happens(put("a", "phantom"), false);
    story.history.ops.truncate(1);
    assert_rejects(&durable::check(&story.finish()), "D4");
}

#[test]
fn d4_a_delete_that_nobody_asked_for() {
    let mut story = Story::new();
    story.ok(put("a", "1")).happens(delete("a"), false);
    assert!(durable::check(&story.finish()).passed(), "an unanswered delete explains it");
    story.history.ops.truncate(1);
    assert_rejects(&durable::check(&story.finish()), "D4");
}

#[test]
fn d4_a_write_in_the_log_before_it_was_sent() {
    let mut story = Story::new();
    story.happens(put("a", "1"), false).ok(put("b", "2"));
    let mut history = story.finish();
    history.ops[0].invoked_ns = 1_000;
    assert_rejects(&durable::check(&history), "D4");
}

#[test]
fn d5_a_log_with_a_hole() {
    let mut history = good();
    forget_revision(&mut history, 3);
    assert_rejects(&durable::check(&history), "D5");
}

#[test]
fn r1_a_revision_given_to_two_writes() {
    let mut history = good();
    reply_mut(&mut history, 2).revision = 2;
    assert_rejects(&revisions::check(&history), "R1");
}

#[test]
fn r2_a_write_whose_revision_went_back() {
    let mut history = good();
    reply_mut(&mut history, 7).revision = 3;
    assert_rejects(&revisions::check(&history), "R2");
}

#[test]
fn r3_a_stale_read_though_its_answer_is_right_for_its_revision() {
    let mut story = Story::new();
    story.ok(put("a", "1")).ok(get("a")).ok(put("a", "2")).ok(get("a"));
    let stale = story.history.ops[1].outcome.clone();
    story.history.ops[3].outcome = stale;
    let history = story.finish();
    assert!(answers::check(&history).passed(), "the answer fits its revision");
    assert_rejects(&revisions::check(&history), "R3");
}

#[test]
fn r3_a_read_below_what_a_watcher_was_told_before() {
    let mut story = Story::new();
    story.ok(put("a", "1")).ok(get("a")).happens(put("a", "2"), false);
    let mut history = story.finish();
    history.ops[1].invoked_ns = 1_000;
    history.ops[1].completed_ns = 1_001;
    assert_rejects(&revisions::check(&history), "R3");
}

#[test]
fn serializable_reads_may_be_old_but_not_wrong() {
    let mut story = Story::new();
    story.ok(put("a", "1")).ok(get("a")).ok(put("a", "2"));
    let old = story.history.ops[1].outcome.clone();
    let step = Step::Get { key: "a".to_owned() };
    story.record(Action::Single { step, serializable: true }, old);
    let mut history = story.finish();
    assert!(revisions::check(&history).passed() && answers::check(&history).passed());
    reply_mut(&mut history, 3).revision = 3;
    assert_rejects(&answers::check(&history), "A1");
}

#[test]
fn a1_a_read_with_a_value_of_another_revision() {
    let mut history = good();
    reply_mut(&mut history, 1).steps = vec![StepReply::Read { found: Vec::new() }];
    assert_rejects(&answers::check(&history), "A1");
}

#[test]
fn a2_a_write_with_a_wrong_previous_value() {
    let mut history = good();
    reply_mut(&mut history, 2).steps = vec![StepReply::Put { previous: Some(KeyValue::default()) }];
    assert_rejects(&answers::check(&history), "A2");
}

#[test]
fn a2_a_guard_that_did_not_hold_but_the_write_was_done() {
    let mut story = Story::new();
    story.ok(put("a", "1"));
    let then = vec![Step::Put { key: "a".to_owned(), value: "2".to_owned() }];
    story.ok(Action::Txn { guards: Vec::new(), then: then.clone(), otherwise: Vec::new() });
    let guards = vec![crate::history::Guard { key: "a".to_owned(), mod_revision: 0 }];
    story.history.ops[1].action = Action::Txn { guards, then, otherwise: Vec::new() };
    assert_rejects(&answers::check(&story.finish()), "A2");
}

#[test]
fn a3_an_answer_from_beyond_the_log() {
    let mut history = good();
    reply_mut(&mut history, 8).revision = 99;
    assert_rejects(&answers::check(&history), "A3");
}

fn told(history: &mut History) -> &mut Vec<WatchSeen> {
    &mut history.watches[0].seen
}

#[test]
fn w1_a_watcher_that_is_told_the_past() {
    let mut history = good();
    told(&mut history)[2].events[0].kv.mod_revision = 1;
    assert_rejects(&watch::check(&history), "W1");
}

#[test]
fn w2_a_watcher_that_is_told_twice() {
    let mut history = good();
    let again = told(&mut history)[1].clone();
    told(&mut history).insert(2, again);
    assert_rejects(&watch::check(&history), "W2");
}

#[test]
fn w3_a_revision_in_two_responses() {
    let mut history = good();
    let mut second = told(&mut history)[2].clone();
    second.events.remove(0);
    told(&mut history)[2].events.pop();
    told(&mut history).insert(3, second);
    assert_rejects(&watch::check(&history), "W3");
}

#[test]
fn w4_a_missing_event_in_the_middle_and_at_the_end() {
    let mut history = good();
    told(&mut history).remove(1);
    assert_rejects(&watch::check(&history), "W4");
    let mut history = good();
    told(&mut history).pop();
    assert_rejects(&watch::check(&history), "W4");
}

#[test]
fn w6_progress_before_the_events_that_it_promises() {
    let mut history = good();
    let mut early = told(&mut history)[3].clone();
    early.events.clear();
    told(&mut history).insert(2, early);
    assert_rejects(&watch::check(&history), "W6");
}

#[test]
fn w8_a_wrong_previous_value_to_one_watcher_or_in_the_log() {
    let mut history = good();
    told(&mut history)[3].events[0].previous = None;
    assert_rejects(&watch::check(&history), "W8");
    let mut history = good();
    for state in &mut history.finals {
        state.log[2].kv.version = 9;
    }
    assert_rejects(&watch::check(&history), "W8");
}

#[test]
fn w9_a_watch_that_was_cancelled() {
    let mut history = good();
    told(&mut history)[3].canceled = Some("no reason".to_owned());
    assert_rejects(&watch::check(&history), "W9");
}

#[test]
fn c1_to_c4_a_member_that_is_not_like_the_others() {
    let mut history = good();
    history.finals[1].revision -= 1;
    assert_rejects(&converged::check(&history), "C1");
    let mut history = good();
    history.finals[1].live.pop();
    assert_rejects(&converged::check(&history), "C2");
    let mut history = good();
    history.finals[2].log[0].kind = EventKind::Delete;
    assert_rejects(&converged::check(&history), "C3");
    let mut history = good();
    history.finals[2].hash = Some(8);
    assert_rejects(&converged::check(&history), "C4");
}

#[test]
fn c5_what_was_restored_is_not_what_was_there() {
    let mut history = good();
    let state = history.finals[0].clone();
    let whole = Restored { member: 1, revision: state.revision, live: state.live };
    history.restored = vec![whole.clone()];
    assert!(converged::check(&history).passed());
    // A key is gone; there is one more; it is of another time.
    history.restored[0].live.pop();
    assert_rejects(&converged::check(&history), "C5");
    history.restored = vec![Restored { revision: whole.revision - 1, ..whole.clone() }];
    assert_rejects(&converged::check(&history), "C5");
    history.restored = vec![Restored { revision: whole.revision + 1, ..whole }];
    assert_rejects(&converged::check(&history), "C5");
}

mod runs {
    use super::{bookkeeping, good};
    use crate::checker::checker_test::assert_rejects;
    use crate::history::{Fault, Outcome};

    fn fault() -> Fault {
        Fault {
            name: "kill leader".to_owned(),
            members: vec![0],
            injected_ns: 3,
            healed_ns: 4,
            recovered_ns: Some(5),
            leader_before: Some(0),
            leader_after: Some(1),
            term_before: 2,
            term_after: 3,
            ..Fault::default()
        }
    }

    #[test]
    fn b1_b2_b5_a_run_that_proves_nothing() {
        let mut history = good();
        history.ops.retain(|op| op.member != 1);
        assert_rejects(&bookkeeping::check(&history), "B1");
        let mut history = good();
        history.faults.push(Fault { term_after: 2, ..fault() });
        assert_rejects(&bookkeeping::check(&history), "B2");
        let mut history = good();
        history.watches[0].seen.clear();
        assert_rejects(&bookkeeping::check(&history), "B5");
    }

    #[test]
    fn b3_b4_a_cluster_that_does_not_come_back_in_time() {
        let mut history = good();
        history.faults.push(Fault { recovered_ns: Some(11_000_000_000), ..fault() });
        assert_rejects(&bookkeeping::check(&history), "B3");
        let mut history = good();
        history.faults.push(fault());
        for op in history.ops.iter_mut().skip(1) {
            op.outcome = Outcome::Unknown("no leader".to_owned());
        }
        assert_rejects(&bookkeeping::check(&history), "B4");
    }
}
