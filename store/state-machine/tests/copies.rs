//! A state made from an export, and one made from a checkpoint, show what the original showed.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use proto::etcdserverpb::{
    AlarmRequest, AuthRoleAddRequest, AuthUserAddRequest, CompactionRequest, LeaseGrantRequest,
    LeaseRevokeRequest, Member, RangeRequest,
};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::auth_change::Change;
use proto::orlop::store::v1::command::Op;
use proto::orlop::store::v1::{AuthChange, AuthRecord};
use store_state_machine::{
    Fault, Imported, Importer, ReadError, Refusal, Seed, StateMachine, View, reseed,
};
use support::{Store, delete, everything, put, small};

fn op() -> impl Strategy<Value = Op> {
    let key = || (0..9u8).prop_map(|key| format!("k{key}"));
    let change = prop_oneof![
        (0..3u8).prop_map(|name| Change::UserAdd(AuthUserAddRequest {
            name: format!("u{name}"),
            hashed_password: "hashed".to_owned(),
            ..Default::default()
        })),
        (0..3u8).prop_map(|name| Change::RoleAdd(AuthRoleAddRequest { name: format!("r{name}") })),
    ];
    prop_oneof![
        8 => (key(), any::<u8>(), 0..4i64).prop_map(|(key, value, lease)| {
            let mut put = put(&key, &value.to_string());
            put.lease = lease;
            Op::Put(put)
        }),
        2 => (key(), key()).prop_map(|(from, to)| Op::DeleteRange(delete(&from, &to))),
        2 => (1..4i64).prop_map(|id| Op::LeaseGrant(LeaseGrantRequest { id, ttl: 10 + id })),
        1 => (1..4i64).prop_map(|id| Op::LeaseRevoke(LeaseRevokeRequest { id })),
        1 => (1..60i64).prop_map(|revision| {
            Op::Compact(CompactionRequest { revision, physical: false })
        }),
        1 => Just(Op::Alarm(AlarmRequest { action: 1, member_id: 1, alarm: 1 })),
        1 => Just(Op::MemberSet(Member { id: 1, ..Default::default() })),
        1 => change.prop_map(|change| Op::Auth(AuthChange { change: Some(change) })),
    ]
}

/// What clients can see, at every revision that can be read.
fn shown(view: &View) -> String {
    let mut text = format!("{:?} {:?}", view.hash_kv(0).unwrap(), view.auth());
    for revision in view.compact_revision().max(1)..=view.revision() {
        let range = view.range(&RangeRequest { revision, ..everything() }).unwrap();
        text += &format!("{revision}: {:?} {}\n", range.kvs, range.count);
    }
    for lease in view.leases() {
        text += &format!("{:?}", view.lease(lease.id));
    }
    text
}

fn seed(bump_revision: i64) -> Seed {
    Seed {
        applied: Bytes::from_static(b"beginning"),
        membership: Bytes::from_static(b"voters"),
        cluster_id: 77,
        members: vec![Member { id: 9, name: "new".to_owned(), ..Default::default() }],
        bump_revision,
    }
}

fn import(view: &View, dir: &Path, seed: &Seed) {
    view.export::<_, Fault>(|export| {
        let mut importer = Importer::create(dir, &small())?;
        export.records::<Fault>(|written| {
            let kv = KeyValue::decode(Bytes::copy_from_slice(written.kv)).unwrap();
            if written.deleted {
                assert_eq!(kv, KeyValue { key: kv.key.clone(), ..Default::default() });
            }
            importer.record(written.revision, written.deleted, kv)
        })?;
        let facts = &export.facts;
        let imported = Imported {
            revision: facts.revision,
            compacted: facts.compacted,
            leases: facts.leases.clone(),
            auth: Some(AuthRecord {
                enabled: facts.auth.enabled(),
                revision: facts.auth.revision(),
            }),
            users: facts.auth.users().cloned().collect(),
            roles: facts.auth.roles().cloned().collect(),
        };
        importer.finish(&imported, seed)
    })
    .unwrap();
}

fn copy(machine: &StateMachine, dir: &Path, seed: &Seed) {
    std::fs::create_dir(dir).unwrap();
    machine.checkpoint(&dir.join("db-1")).unwrap();
    reseed(dir, &small(), seed).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn copies_show_what_the_original_showed(
        ops in proptest::collection::vec(op(), 1..60),
        steps in 0usize..4,
    ) {
        let mut store = Store::new();
        for op in ops {
            drop(store.run(op));
        }
        // Some of what is compacted is gone from the disk, and some is still there.
        for _ in 0..steps {
            store.get().compact_step(5).unwrap();
        }
        let view = store.get().view();
        let dir = tempfile::tempdir().unwrap();
        let (imported, copied) = (dir.path().join("imported"), dir.path().join("copied"));
        import(&view, &imported, &seed(0));
        copy(store.get(), &copied, &seed(0));
        for path in [imported, copied] {
            let mut machine = StateMachine::open(&path, &small()).unwrap();
            let copy = machine.view();
            prop_assert_eq!(shown(&copy), shown(&view));
            let first = Some(Bytes::from_static(b"beginning"));
            let voters = Some(Bytes::from_static(b"voters"));
            prop_assert_eq!(machine.applied(), (first, voters));
            prop_assert_eq!(copy.members(), seed(0).members);
            prop_assert_eq!(copy.cluster().0, 77);
            prop_assert!(copy.alarms().is_empty());
            prop_assert!(!copy.was_removed(1));
            while !machine.compact_step(3).unwrap().done {}
            prop_assert_eq!(shown(&copy), shown(&view));
        }
    }

    #[test]
    fn a_raised_revision_is_above_all_and_hides_the_past(bump in 1i64..1_000_000_000) {
        let mut store = Store::new();
        for key in ["a", "b", "a"] {
            store.run(Op::Put(put(key, "1"))).0.unwrap();
        }
        store.run(Op::DeleteRange(delete("b", ""))).0.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        import(&store.get().view(), &path, &seed(bump));
        store.machine = Some(StateMachine::open(&path, &small()).unwrap());
        let view = store.get().view();
        prop_assert_eq!((view.revision(), view.compact_revision()), (5 + bump, 5 + bump));
        let past = view.range(&RangeRequest { revision: 5, ..everything() });
        prop_assert!(matches!(past, Err(ReadError::Refused(Refusal::Compacted))));
        prop_assert!(matches!(view.events(5, i64::MAX, 9), Err(ReadError::Refused(Refusal::Compacted))));

        let before = view.range(&everything()).unwrap();
        while !store.get().compact_step(3).unwrap().done {}
        prop_assert_eq!(&view.range(&everything()).unwrap(), &before);
        prop_assert_eq!((before.count, before.kvs[0].mod_revision, before.kvs[0].version), (1, 4, 2));
        let (_, applied) = store.run(Op::Put(put("a", "2")));
        prop_assert_eq!(applied.revision, 6 + bump);
        store.get().flush().unwrap();
        drop(view);
        store.machine = None;
        let reopened = StateMachine::open(&path, &small()).unwrap();
        prop_assert_eq!(reopened.view().revision(), 6 + bump);
    }
}

#[test]
fn records_out_of_order_and_used_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut importer = Importer::create(&path, &small()).unwrap();
    let kv = KeyValue { key: Bytes::from_static(b"a"), version: 1, ..Default::default() };
    let at = |main| store_state_machine::Revision { main, sub: 0 };
    importer.record(at(7), false, kv.clone()).unwrap();
    assert!(matches!(importer.record(at(7), false, kv), Err(Fault::Damaged(_))));
    drop(importer);
    assert!(matches!(Importer::create(&path, &small()), Err(Fault::Damaged(_))));
}
