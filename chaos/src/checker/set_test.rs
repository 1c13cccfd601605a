//! Sets that lose, repeat and invent elements, and lists that are not what they say.

use super::story::{Story, assert_rejects, get, page, put};
use super::{Verdict, lists, set};
use crate::history::{Action, History, Op, Outcome, Page, Reply, Step, StepReply};

fn value_mut(op: &mut Op) -> &mut String {
    let Outcome::Ok(reply) = &mut op.outcome else { panic!("no answer") };
    let Some(StepReply::Read { found }) = reply.steps.first_mut() else { panic!("no read") };
    &mut found[0].value
}

/// Additions of a, b and c, the last one without an answer; reads at places 1, 3 and 5.
fn good() -> History {
    let mut story = Story::new();
    story.ok(put("set/1", "|a")).ok(get("set/1")).ok(put("set/1", "a|b")).ok(get("set/1"));
    story.happens(put("set/1", "a b|c"), false).ok(get("set/1"));
    story.finish()
}

fn judged(change: impl FnOnce(&mut History)) -> Verdict {
    let mut history = good();
    change(&mut history);
    set::check(&history)
}

#[test]
fn a_set_that_keeps_everything() {
    assert!(judged(|_| {}).passed());
    // What was not acknowledged may be missing.
    let missing = judged(|history| *value_mut(&mut history.ops[5]) = "a|b".to_owned());
    assert!(missing.passed(), "{missing:#?}");
}

#[test]
fn an_element_that_is_lost() {
    let verdict = judged(|history| *value_mut(&mut history.ops[5]) = "b|c".to_owned());
    assert_rejects(&verdict, "lost");
}

#[test]
fn an_element_that_is_seen_late() {
    let verdict = judged(|history| *value_mut(&mut history.ops[3]) = "|a".to_owned());
    assert_rejects(&verdict, "stale");
}

#[test]
fn an_element_that_is_there_twice() {
    let verdict = judged(|history| *value_mut(&mut history.ops[3]) = "a b|b".to_owned());
    assert_rejects(&verdict, "duplicate");
}

#[test]
fn an_element_that_nobody_added() {
    let verdict = judged(|history| *value_mut(&mut history.ops[3]) = "a b|z".to_owned());
    assert_rejects(&verdict, "phantom");
    let verdict = judged(|history| history.ops[4].outcome = Outcome::Refused("no".to_owned()));
    assert_rejects(&verdict, "phantom");
}

/// A list in two pages of two at revision 5, while key d is written at 6.
fn pages() -> Story {
    let mut story = Story::new();
    for (key, value) in [("p/a", "1"), ("p/b", "2"), ("p/c", "3"), ("q", "4")] {
        story.ok(put(key, value));
    }
    page(&mut story, "", 2, 0);
    story.ok(put("p/d", "5"));
    page(&mut story, "p/b", 2, 5);
    story
}

fn changed(place: usize, change: impl FnOnce(&mut StepReply)) -> Verdict {
    let mut history = pages().finish();
    let Outcome::Ok(reply) = &mut history.ops[place].outcome else { panic!("no answer") };
    change(&mut reply.steps[0]);
    lists::check(&history)
}

#[test]
fn p1_a_page_with_a_key_of_another_revision_or_without_one() {
    assert!(changed(4, |_| {}).passed());
    let verdict = changed(6, |reply| {
        let StepReply::Page { found, .. } = reply else { panic!("no page") };
        found[0].key = "p/d".to_owned();
    });
    assert_rejects(&verdict, "P1");
    let verdict = changed(4, |reply| {
        let StepReply::Page { found, .. } = reply else { panic!("no page") };
        found.remove(0);
    });
    assert_rejects(&verdict, "P1");
}

#[test]
fn p2_a_page_that_counts_wrong() {
    for change in
        [|more: &mut bool, _: &mut i64| *more = !*more, |_: &mut bool, count: &mut i64| *count += 1]
    {
        let verdict = changed(4, |reply| {
            let StepReply::Page { more, count, .. } = reply else { panic!("no page") };
            change(more, count);
        });
        assert_rejects(&verdict, "P2");
    }
}

fn refused(action: Action, why: &str) -> Story {
    let mut story = pages();
    story.record(action, Outcome::Refused(format!("OutOfRange: etcdserver: mvcc: {why}")));
    story
}

const COMPACTED: &str = "required revision has been compacted";
const FUTURE: &str = "required revision is a future revision";

fn compact(story: &mut Story, revision: i64) {
    let reply = Reply { revision: story.store.revision, succeeded: true, steps: Vec::new() };
    story.record(Action::Compact { revision }, Outcome::Ok(reply));
}

fn old_page() -> Action {
    let (prefix, after) = ("p/".to_owned(), String::new());
    Action::Page(Page { prefix, after, limit: 2, revision: 4 })
}

#[test]
fn p3_a_page_that_is_refused_though_nobody_compacted() {
    let mut story = refused(old_page(), COMPACTED);
    assert_rejects(&lists::check(&story.finish()), "P3");
    let mut story = pages();
    compact(&mut story, 5);
    let why = format!("OutOfRange: etcdserver: mvcc: {COMPACTED}");
    story.record(old_page(), Outcome::Refused(why));
    assert!(lists::check(&story.finish()).passed());
}

#[test]
fn p4_a_page_of_what_was_compacted() {
    let mut story = pages();
    compact(&mut story, 6);
    page(&mut story, "p/b", 2, 5);
    assert_rejects(&lists::check(&story.finish()), "P4");
}

#[test]
fn p5_a_compaction_that_is_refused_for_no_reason() {
    let mut story = refused(Action::Compact { revision: 3 }, COMPACTED);
    assert_rejects(&lists::check(&story.finish()), "P5");
    let mut story = refused(Action::Compact { revision: 3 }, FUTURE);
    assert_rejects(&lists::check(&story.finish()), "P5");
    let mut story = refused(Action::Compact { revision: 900 }, FUTURE);
    assert!(lists::check(&story.finish()).passed());
    let step = Step::Get { key: "p/a".to_owned() };
    story.ok(Action::Single { step, serializable: false });
}
