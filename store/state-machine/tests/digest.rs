//! D1 to D3: what makes the digest, and what does not.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use proptest::prelude::*;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, LeaseGrantRequest, LeaseRevokeRequest,
};
use proto::orlop::store::v1::command::Op;
use proto::orlop::store::v1::{DigestRestart, Fence};
use store_state_machine::{Digest, Entry, StateMachine};
use support::logs::{log, ops};
use support::{Store, delete, entry, put, small};

fn digests(log: &[Entry]) -> Vec<Digest> {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = StateMachine::open(dir.path(), &small()).unwrap();
    machine.apply(log.to_vec()).unwrap().into_iter().map(|applied| applied.digest).collect()
}

fn begins_anew(entry: &Entry) -> bool {
    let anew = |op: &Op| matches!(op, Op::DigestRestart(_) | Op::Alarm(_));
    entry.commands.iter().filter_map(|command| command.op.as_ref()).any(anew)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..Default::default() })]

    #[test]
    fn another_entry_is_another_digest_for_good(ops in ops(), at: prop::sample::Index) {
        let log = log(ops);
        let at = at.index(log.len());
        let right = digests(&log);
        prop_assert_eq!(&right[..], &digests(&log)[..], "D1");

        let mut other_place = log.clone();
        other_place[at].log_id = [&other_place[at].log_id[..], &[0]].concat().into();
        let mut one_more = log.clone();
        one_more[at].commands.extend(entry(0, vec![Op::Put(put("one more", ""))]).commands);
        for changed in [other_place, one_more] {
            let wrong = digests(&changed);
            prop_assert_eq!(&right[..at], &wrong[..at]);
            let until = (at + 1..log.len()).find(|at| begins_anew(&log[*at]));
            for after in at..until.unwrap_or(log.len()) {
                prop_assert_ne!(right[after], wrong[after], "D2: entry {}, as of {}", at, after);
            }
        }
    }

    #[test]
    fn how_far_the_compaction_has_come_makes_no_difference(
        ops in proptest::collection::vec(writes_of_few_keys(), 1..60), cut in 1..9usize,
    ) {
        let (mut swift, mut slow) = (Store::new(), Store::new());
        for entries in log(ops).chunks(cut) {
            let mut digests = Vec::new();
            for entry in entries {
                digests.push(swift.get().apply(vec![entry.clone()]).unwrap()[0].digest);
                while !swift.get().compact_step(1).unwrap().done {}
            }
            let applied = slow.get().apply(entries.to_vec()).unwrap();
            let others: Vec<_> = applied.into_iter().map(|applied| applied.digest).collect();
            prop_assert_eq!(digests, others, "D1");
        }
        let same = support::digest(swift.get()) == support::digest(slow.get());
        prop_assert!(same, "A1: what was removed late leaves the same");
    }
}

/// Keys come and go, and are compacted soon.
fn writes_of_few_keys() -> impl Strategy<Value = Op> {
    let key = || (0..3u8).prop_map(|key| format!("k{key}"));
    prop_oneof![
        2 => key().prop_map(|key| Op::Put(put(&key, "v"))),
        2 => key().prop_map(|key| Op::DeleteRange(delete(&key, ""))),
        2 => (1..40i64).prop_map(|revision| {
            Op::Compact(CompactionRequest { revision, physical: false })
        }),
    ]
}

/// What the digest is after the last of some commands.
fn digest_of(ops: &[Op]) -> Digest {
    let mut store = Store::new();
    for op in ops {
        let _any_outcome = store.run(op.clone());
    }
    store.get().view().digest()
}

#[test]
fn every_byte_that_is_stored_counts_and_every_refusal() {
    let grant = |ttl| Op::LeaseGrant(LeaseGrantRequest { id: 7, ttl });
    let revoke = |id| Op::LeaseRevoke(LeaseRevokeRequest { id });
    let leased = |lease| {
        let mut put = put("k", "v");
        put.lease = lease;
        Op::Put(put)
    };
    let ways = [
        vec![grant(60), leased(0)],
        vec![grant(61), leased(0)],
        vec![grant(60), leased(7)],
        vec![grant(60), Op::Put(put("k", "w"))],
        vec![grant(60), Op::Put(put("l", "v"))],
        // Refused: for two reasons, then not at all.
        vec![grant(60), leased(8)],
        vec![grant(60), grant(60)],
        vec![grant(60), revoke(7)],
        vec![grant(60), Op::DeleteRange(delete("k", ""))],
    ];
    let mut seen: Vec<Digest> = ways.iter().map(|ops| digest_of(ops)).collect();
    assert!(seen.iter().all(|digest| digest.entries == 2));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), ways.len(), "D2");
}

#[test]
fn what_was_compacted_on_one_member_only_makes_no_difference() {
    let (mut swift, mut slow) = (Store::new(), Store::new());
    let before = [
        Op::Put(put("k", "v")),
        Op::DeleteRange(delete("k", "")),
        Op::Put(put("other", "v")),
        Op::Compact(CompactionRequest { revision: 4, physical: false }),
    ];
    for op in before {
        let swift = swift.run(op.clone()).1.digest;
        assert_eq!(swift, slow.run(op).1.digest);
    }
    while !swift.get().compact_step(2).unwrap().done {}
    let key_counts = |store: &mut Store| store.get().view().key_counts();
    assert_ne!(key_counts(&mut swift), key_counts(&mut slow), "the deletion is gone on one");
    let again = Op::Put(put("k", "w"));
    assert_eq!(swift.run(again.clone()).1.digest, slow.run(again).1.digest, "D1");
}

#[test]
fn a_digest_begins_anew_where_it_is_told_to_and_where_an_operator_clears_the_alarm() {
    let alarm = |action, alarm: AlarmType| {
        Op::Alarm(AlarmRequest { action, member_id: 0, alarm: alarm.into() })
    };
    let put = || Op::Put(put("k", "v"));
    let entries = |ops: &[Op]| digest_of(ops).entries;
    assert_eq!(entries(&[put(), put()]), 2);
    assert_eq!(entries(&[put(), Op::DigestRestart(DigestRestart {}), put()]), 2);
    // The same restart after something else is the same digest: that is what it is for.
    let restart = || Op::DigestRestart(DigestRestart {});
    assert_eq!(digest_of(&[put(), restart()]), digest_of(&[put(), restart()]));

    let (raise, clear) = (1, 2);
    let fence = Op::Fence(Fence { member_id: 3, lifted: false });
    assert_eq!(entries(&[fence.clone(), put(), alarm(clear, AlarmType::None), put()]), 2);
    assert_eq!(entries(&[alarm(raise, AlarmType::Corrupt), alarm(clear, AlarmType::Corrupt)]), 1);
    assert_eq!(entries(&[alarm(raise, AlarmType::Nospace), alarm(clear, AlarmType::None)]), 2);
    assert_eq!(entries(&[fence, alarm(clear, AlarmType::Nospace), put()]), 3);
    let lifted = Op::Fence(Fence { member_id: 3, lifted: true });
    assert_eq!(entries(&[put(), lifted, put()]), 3);
}

#[test]
fn a_digest_goes_on_over_a_restart() {
    let (mut one, mut two) = (Store::new(), Store::new());
    for round in 0..5 {
        let op = Op::Put(put("k", &round.to_string()));
        assert_eq!(one.run(op.clone()).1.digest, two.run(op).1.digest);
        two.get().flush().unwrap();
        two.reopen();
    }
    assert_eq!(one.get().view().digest(), two.get().view().digest());
}
