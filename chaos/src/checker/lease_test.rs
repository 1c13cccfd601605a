//! Leases that end too early, too late, in parts or not at all, and revisions that they own.

use super::story::{Story, assert_rejects, put};
use super::{durable, lease};
use crate::history::{
    Action, Fault, History, LeaseCall, LockCall, Outcome, Reply, Step, StepReply,
};

const SECOND: u64 = 1_000_000_000;

fn leased(key: &str, value: &str, lease: i64) -> Action {
    let (key, value) = (key.to_owned(), value.to_owned());
    Action::Single { step: Step::PutLeased { key, value, lease }, serializable: false }
}

impl Story {
    fn answered(&mut self, call: LeaseCall, ttl_s: i64) -> &mut Self {
        let steps = match call {
            LeaseCall::Revoke { .. } => Vec::new(),
            _ => vec![StepReply::Lease { ttl_s, granted_s: ttl_s.max(0) }],
        };
        let revision = self.store.revision;
        self.record(Action::Lease(call), Outcome::Ok(Reply { revision, succeeded: true, steps }))
    }

    fn waits(&mut self, seconds: u64) -> &mut Self {
        self.clock += seconds * SECOND;
        self
    }

    /// Keys vanish in one revision without an operation.
    fn loses(&mut self, keys: &[&str]) -> &mut Self {
        let delete = |key: &&str| Step::Delete { key: (*key).to_owned() };
        let then = keys.iter().map(delete).collect();
        self.happens(Action::Txn { guards: Vec::new(), then, otherwise: Vec::new() }, false);
        self.history.ops.pop();
        self
    }
}

/// Granted for 3 s with two keys at 0 s, renewed at 2 s, gone at 6 s, known by the next write.
fn story() -> Story {
    let mut story = Story::new();
    story.answered(LeaseCall::Grant { lease: 7, ttl_s: 3 }, 3);
    story.ok(leased("lease/a", "1", 7)).ok(leased("lease/b", "2", 7)).waits(2);
    story.answered(LeaseCall::KeepAlive { lease: 7 }, 3).waits(4);
    story
}

fn ended() -> Story {
    let mut story = story();
    story.loses(&["lease/a", "lease/b"]).ok(put("x", "3"));
    story
}

fn rejected(story: &mut Story, rule: &str) {
    assert_rejects(&lease::check(&story.finish()), rule);
}

#[test]
fn a_lease_that_is_renewed_and_then_ends() {
    let history = ended().finish();
    for verdict in [lease::check(&history), durable::check(&history)] {
        assert!(verdict.passed(), "{verdict:#?}");
    }
}

#[test]
fn e1_a_lease_that_ends_before_its_time() {
    let mut story = story();
    story.clock -= 2 * SECOND;
    rejected(story.loses(&["lease/a", "lease/b"]).ok(put("x", "3")), "E1");
    // Told by whom it was asked.
    let mut story = Story::new();
    story.answered(LeaseCall::Grant { lease: 7, ttl_s: 3 }, 3).waits(2);
    rejected(story.answered(LeaseCall::TimeToLive { lease: 7 }, -1), "E1");
}

#[test]
fn a_lease_that_is_revoked_ends_at_once() {
    let mut story = story();
    story.loses(&["lease/a", "lease/b"]).answered(LeaseCall::Revoke { lease: 7 }, 0);
    story.answered(LeaseCall::TimeToLive { lease: 7 }, -1);
    let history = story.finish();
    for verdict in [lease::check(&history), durable::check(&history)] {
        assert!(verdict.passed(), "{verdict:#?}");
    }
}

#[test]
fn e2_a_lease_that_ends_too_late_or_never() {
    let mut late = story();
    late.waits(10).loses(&["lease/a", "lease/b"]).ok(put("x", "3"));
    rejected(&mut late, "E2");
    rejected(story().waits(10).ok(put("x", "3")), "E2");
    rejected(story().waits(10).answered(LeaseCall::TimeToLive { lease: 7 }, 1), "E2");
}

#[test]
fn e2_a_fault_gives_a_lease_its_time_anew() {
    let mut late = story();
    late.waits(10).loses(&["lease/a", "lease/b"]).ok(put("x", "3"));
    let mut history = late.finish();
    history.faults.push(Fault {
        name: "kill leader".to_owned(),
        members: vec![0],
        injected_ns: 4 * SECOND,
        healed_ns: 9 * SECOND,
        recovered_ns: Some(11 * SECOND),
        leader_before: Some(0),
        leader_after: Some(1),
        term_before: 1,
        term_after: 2,
        ..Fault::default()
    });
    let verdict = lease::check(&history);
    assert!(verdict.passed(), "{verdict:#?}");
    history.faults[0].injected_ns = 15 * SECOND;
    assert_rejects(&lease::check(&history), "E2");
}

/// The story of a lease that ends 10 s late, beside a fault from 4 s to 9 s that is over at 11 s.
fn late(fault: Fault) -> History {
    let mut late = story();
    late.waits(10).loses(&["lease/a", "lease/b"]).ok(put("x", "3"));
    let mut history = late.finish();
    let recovered_ns = fault.recovered_ns.map(|_| 11 * SECOND);
    let (injected_ns, healed_ns) = (4 * SECOND, 9 * SECOND);
    history.faults.push(Fault { injected_ns, healed_ns, recovered_ns, ..fault });
    history
}

fn fault(name: &str, proof: &str) -> Fault {
    let (name, proof) = (name.to_owned(), proof.to_owned());
    Fault { name, proof, recovered_ns: Some(0), term_before: 1, term_after: 1, ..Fault::default() }
}

#[test]
fn e2_a_fault_that_holds_nothing_up_gives_no_time() {
    let struck = "took effect: as was seen";
    assert!(lease::check(&late(fault("pause", struck))).passed());
    for none in [
        fault("pause", "NO EFFECT: it was down"),
        fault("restore", "LEFT OUT: no tool"),
        fault("backup", struck),
        fault("clock-jump", struck),
    ] {
        assert_rejects(&lease::check(&late(none.clone())), "E2");
        let led_anew = Fault { term_after: 2, ..none };
        assert!(lease::check(&late(led_anew)).passed(), "each has its time anew");
    }
}

#[test]
fn e2_a_member_that_never_comes_back_does_not_free_every_lease() {
    let never = Fault { recovered_ns: None, ..fault("pause", "took effect: as was seen") };
    let waited = late(never);
    let verdict = lease::check(&waited);
    assert!(verdict.passed(), "it was waited for until then: {verdict:#?}");
    let mut later = story();
    later.waits(80).loses(&["lease/a", "lease/b"]).ok(put("x", "3"));
    let later = History { faults: waited.faults, ..later.finish() };
    assert_rejects(&lease::check(&later), "E2");
}

#[test]
fn e2_counts_the_leases_whose_end_was_seen() {
    let checked = |story: &mut Story| lease::check(&story.finish()).checked;
    // Two renewals and one end, that was judged; then one that was ended by somebody; then none.
    assert_eq!(checked(&mut ended()), 4);
    let mut revoked = story();
    revoked.loses(&["lease/a", "lease/b"]).answered(LeaseCall::Revoke { lease: 7 }, 0);
    assert_eq!(checked(&mut revoked), 4, "two renewals and two signs of its end");
    assert_eq!(checked(&mut story()), 2);
}

#[test]
fn e3_d6_a_lease_that_takes_its_keys_one_by_one() {
    let mut story = story();
    story.loses(&["lease/a"]).loses(&["lease/b"]).ok(put("x", "3"));
    rejected(&mut story, "E3");
    assert_rejects(&durable::check(&story.finish()), "D6");
}

#[test]
fn e4_a_lease_that_comes_back() {
    rejected(ended().answered(LeaseCall::KeepAlive { lease: 7 }, 3), "E4");
    rejected(ended().answered(LeaseCall::TimeToLive { lease: 7 }, 3), "E4");
    rejected(ended().ok(leased("lease/c", "4", 7)), "E4");
}

#[test]
fn e5_a_revoke_that_leaves_keys() {
    rejected(story().answered(LeaseCall::Revoke { lease: 7 }, 0), "E5");
}

#[test]
fn e6_a_lease_that_is_granted_for_less() {
    let mut story = Story::new();
    rejected(story.answered(LeaseCall::Grant { lease: 7, ttl_s: 3 }, 2), "E6");
}

#[test]
fn d4_keys_of_a_lease_that_nobody_was_granted() {
    let mut story = Story::new();
    story.ok(leased("lease/a", "1", 7)).loses(&["lease/a"]);
    assert!(!durable::check(&story.finish()).passed());
}

/// The lock service puts a key for who waits, and deletes it when he unlocks or gives up.
#[test]
fn d4_the_keys_of_locks_have_owners() {
    let lock = |story: &mut Story, outcome: Outcome| {
        let name = "lock/a".to_owned();
        story.record(Action::Lock(LockCall::Lock { name, lease: 31 }), outcome);
    };
    let lost = || Outcome::Unknown("lost".to_owned());
    let happens = |story: &mut Story| {
        story.happens(leased("lock/a/1f", "", 31), false);
        story.history.ops.pop();
    };
    let judged = |story: &mut Story| durable::check(&story.finish());

    let mut story = Story::new();
    lock(&mut story, lost());
    happens(&mut story);
    assert!(judged(&mut story).passed(), "he waits");
    story.loses(&["lock/a/1f"]);
    assert!(judged(&mut story).passed(), "he gave up");
    happens(&mut story);
    assert_rejects(&judged(&mut story), "D4");

    let mut story = Story::new();
    let steps = vec![StepReply::Locked { key: "lock/a/1f".to_owned() }];
    lock(&mut story, Outcome::Ok(Reply { revision: 2, succeeded: true, steps }));
    happens(&mut story);
    story.loses(&["lock/a/1f"]);
    assert_rejects(&judged(&mut story), "D6");
    let unlock = Action::Lock(LockCall::Unlock { key: "lock/a/1f".to_owned() });
    story.history.ops[0].invoked_ns = 0;
    story.record(unlock, lost());
    let unlocked: &mut History = &mut story.history;
    unlocked.ops[1].invoked_ns = 0;
    assert!(judged(&mut story).passed(), "he unlocked");
}
