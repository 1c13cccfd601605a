//! Locks that are given to the wrong one and guard nothing, and users who are let what they may not.

use super::story::{Story, assert_rejects, put};
use super::{Verdict, auth, lock};
use crate::history::{
    Action, AdminCall, Guard, History, LockCall, Outcome, Reply, Step, StepReply,
};

fn waits(story: &mut Story, key: &str, lease: i64) {
    let step = Step::PutLeased { key: key.to_owned(), value: String::new(), lease };
    story.happens(Action::Single { step, serializable: false }, false);
    story.history.ops.pop();
}

fn goes(story: &mut Story, key: &str) {
    let step = Step::Delete { key: key.to_owned() };
    story.happens(Action::Single { step, serializable: false }, false);
    story.history.ops.pop();
}

fn given(story: &mut Story, key: &str, lease: i64) {
    let steps = vec![StepReply::Locked { key: key.to_owned() }];
    let reply = Reply { revision: story.store.revision, succeeded: true, steps };
    let name = "lock/0".to_owned();
    story.record(Action::Lock(LockCall::Lock { name, lease }), Outcome::Ok(reply));
}

fn fenced(key: &str, mod_revision: i64, value: &str) -> Action {
    let then = vec![Step::Put { key: "guarded/0".to_owned(), value: value.to_owned() }];
    let guards = vec![Guard { key: key.to_owned(), mod_revision }];
    Action::Txn { guards, then, otherwise: Vec::new() }
}

/// One holds (2) and writes (3), another one waits (4), the first goes (5), the second writes (6).
fn story(second: &str) -> Story {
    let mut story = Story::new();
    waits(&mut story, "lock/0/a", 10);
    given(&mut story, "lock/0/a", 10);
    story.ok(fenced("lock/0/a", 2, "|x"));
    waits(&mut story, "lock/0/b", 11);
    goes(&mut story, "lock/0/a");
    given(&mut story, "lock/0/b", 11);
    story.ok(fenced("lock/0/b", 4, second)).ok(put("z", "1"));
    story
}

fn judged(story: &mut Story) -> Verdict {
    lock::check(&story.finish())
}

#[test]
fn a_lock_that_goes_from_hand_to_hand() {
    let verdict = judged(&mut story("x|y"));
    assert!(verdict.passed(), "{verdict:#?}");
    assert_eq!(verdict.notes.len(), 1);
}

#[test]
fn k1_what_a_lock_guards_is_lost() {
    assert_rejects(&judged(&mut story("|y")), "K1");
}

#[test]
fn k2_a_fenced_write_of_one_who_waits() {
    let mut story = Story::new();
    waits(&mut story, "lock/0/a", 10);
    waits(&mut story, "lock/0/b", 11);
    story.ok(fenced("lock/0/b", 3, "|x"));
    assert_rejects(&judged(&mut story), "K2");
}

#[test]
fn k3_a_lock_that_is_given_while_another_one_waits_for_longer() {
    let mut story = Story::new();
    waits(&mut story, "lock/0/a", 10);
    waits(&mut story, "lock/0/b", 11);
    given(&mut story, "lock/0/b", 11);
    story.ok(put("z", "1"));
    goes(&mut story, "lock/0/a");
    assert_rejects(&judged(&mut story), "K3");
}

#[test]
fn k4_a_lock_that_is_given_to_one_who_is_gone() {
    let mut story = Story::new();
    waits(&mut story, "lock/0/a", 10);
    waits(&mut story, "lock/0/b", 11);
    goes(&mut story, "lock/0/b");
    goes(&mut story, "lock/0/a");
    given(&mut story, "lock/0/b", 11);
    story.ok(put("z", "1"));
    assert_rejects(&judged(&mut story), "K4");
    let mut story = Story::new();
    given(&mut story, "lock/0/b", 11);
    assert_rejects(&judged(&mut story), "K4");
}

fn admin(story: &mut Story, call: AdminCall) {
    let reply = Reply { revision: story.store.revision, succeeded: true, steps: Vec::new() };
    story.record(Action::Admin(call), Outcome::Ok(reply));
}

fn status(story: &mut Story, revision: u64) {
    let steps = vec![StepReply::Users { enabled: true, revision }];
    let reply = Reply { revision: story.store.revision, succeeded: true, steps };
    story.record(Action::Admin(AdminCall::Status), Outcome::Ok(reply));
    story.history.ops.last_mut().expect("it was recorded").member = 0;
}

fn role() -> String {
    "reader".to_owned()
}

fn prefix() -> String {
    "auth/0/".to_owned()
}

fn grant() -> AdminCall {
    AdminCall::GrantRole { user: "ann".to_owned(), role: role() }
}

fn forbid() -> AdminCall {
    AdminCall::Forbid { role: role(), prefix: prefix() }
}

fn permit(write: bool) -> AdminCall {
    AdminCall::Permit { role: role(), prefix: prefix(), write }
}

fn get() -> Step {
    Step::Get { key: "auth/0/k".to_owned() }
}

fn asks(story: &mut Story, step: Step, allowed: bool) {
    let action = Action::As { user: "ann".to_owned(), step };
    if allowed {
        story.ok(action);
    } else {
        let why = "PermissionDenied: etcdserver: permission denied".to_owned();
        story.record(action, Outcome::Refused(why));
    }
}

fn write() -> Step {
    Step::Put { key: "auth/0/k".to_owned(), value: "1".to_owned() }
}

#[test]
fn a_user_who_may_what_his_roles_may() {
    let mut story = Story::new();
    asks(&mut story, get(), false);
    admin(&mut story, grant());
    asks(&mut story, get(), false);
    admin(&mut story, permit(false));
    asks(&mut story, get(), true);
    asks(&mut story, write(), false);
    admin(&mut story, permit(true));
    asks(&mut story, write(), true);
    admin(&mut story, forbid());
    asks(&mut story, get(), false);
    let verdict = auth::check(&story.finish());
    assert!(verdict.passed(), "{verdict:#?}");
}

#[test]
fn u1_a_user_who_reads_and_writes_what_he_may_not() {
    let mut story = Story::new();
    admin(&mut story, grant());
    admin(&mut story, permit(false));
    asks(&mut story, write(), true);
    assert_rejects(&auth::check(&story.finish()), "U1");
    let mut story = Story::new();
    admin(&mut story, grant());
    admin(&mut story, permit(true));
    admin(&mut story, forbid());
    asks(&mut story, get(), true);
    assert_rejects(&auth::check(&story.finish()), "U1");
}

#[test]
fn u2_a_user_who_is_refused_what_he_may() {
    let mut story = Story::new();
    admin(&mut story, grant());
    admin(&mut story, permit(false));
    asks(&mut story, get(), false);
    assert_rejects(&auth::check(&story.finish()), "U2");
    // While the right is given, both are lawful; and after a change that nobody answered.
    let mut history = story.finish();
    history.ops[1].completed_ns = history.ops[2].completed_ns;
    assert_undecided(&history);
    let mut history = story.finish();
    history.ops[1].outcome = Outcome::Unknown("lost".to_owned());
    assert_undecided(&history);
}

/// Nothing is wrong, and nothing counts as checked.
fn assert_undecided(history: &History) {
    let verdict = auth::check(history);
    assert_eq!((verdict.checked, verdict.broken), (0, 0), "{verdict:#?}");
}

/// What is asked for again after it had no answer is settled, until something else is asked for.
#[test]
fn u2_a_change_that_was_answered_when_it_was_asked_for_again() {
    let mut story = Story::new();
    story.record(Action::Admin(grant()), Outcome::Unknown("lost".to_owned()));
    admin(&mut story, grant());
    admin(&mut story, permit(false));
    asks(&mut story, get(), true);
    let verdict = auth::check(&story.finish());
    assert!(verdict.passed() && verdict.checked == 1, "{verdict:#?}");
    // The lost one may come after this one.
    admin(&mut story, AdminCall::RevokeRole { user: "ann".to_owned(), role: role() });
    asks(&mut story, get(), true);
    let verdict = auth::check(&story.finish());
    assert!(verdict.passed() && verdict.checked == 1, "{verdict:#?}");
    let mut story = Story::new();
    story.record(Action::Admin(grant()), Outcome::Unknown("lost".to_owned()));
    admin(&mut story, grant());
    admin(&mut story, permit(false));
    asks(&mut story, get(), false);
    assert_rejects(&auth::check(&story.finish()), "U2");
}

#[test]
fn u5_root_is_denied_something() {
    let denied = || Outcome::Refused("PermissionDenied: etcdserver: permission denied".to_owned());
    let mut story = Story::new();
    story.record(put("a", "1"), denied());
    admin(&mut story, AdminCall::Enable);
    // Who does not say who he is is not root, and a disabling may be done before it is answered.
    let nobody = "InvalidArgument: etcdserver: user name is empty".to_owned();
    story.record(put("a", "2"), Outcome::Refused(nobody));
    let history = story.history.clone();
    let mut disabled = Story { history, clock: story.clock, ..Story::new() };
    let lost = Outcome::Unknown("lost".to_owned());
    disabled.record(Action::Admin(AdminCall::Disable), lost);
    disabled.record(put("a", "3"), denied());
    let verdict = auth::check(&disabled.finish());
    assert!(verdict.passed(), "{verdict:#?}");
    story.record(Action::Admin(AdminCall::Disable), denied());
    assert_rejects(&auth::check(&story.finish()), "U5");
}

#[test]
fn u3_u4_the_number_of_changes() {
    let mut story = Story::new();
    status(&mut story, 5);
    status(&mut story, 4);
    assert_rejects(&auth::check(&story.finish()), "U3");
    let mut story = Story::new();
    status(&mut story, 5);
    admin(&mut story, forbid());
    status(&mut story, 5);
    assert_rejects(&auth::check(&story.finish()), "U4");
}
