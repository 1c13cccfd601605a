//! A plain map of every revision is the judge: reads, events and counts must agree with it.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::range_request::SortOrder;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{CompactionRequest, Compare, RangeRequest, TxnRequest};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::command::Op;
use store_state_machine::{KeyRange, ReadError, Refusal};
use support::{Store, delete, op, put};

type Snapshot = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    /// If the version of the first key is this, put and delete, else put another.
    Txn(u8, i64, u8, u8),
    Compact(u8),
    Remove(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..12u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..12u8, 0..14u8).prop_map(|(from, to)| Step::Delete(from, to)),
        4 => (0..12u8, 0..3i64, 0..12u8, 0..12u8)
            .prop_map(|(key, version, put, delete)| Step::Txn(key, version, put, delete)),
        2 => (0..6u8).prop_map(Step::Compact),
        2 => (1..6usize).prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

fn name(key: u8) -> String {
    format!("k{key:02}")
}

/// The judge: what the store was at each revision.
struct Model {
    history: BTreeMap<i64, Snapshot>,
    compacted: i64,
}

impl Model {
    fn now(&self) -> (i64, &Snapshot) {
        self.history.last_key_value().map(|(revision, snapshot)| (*revision, snapshot)).unwrap()
    }

    fn put(snapshot: &mut Snapshot, revision: i64, key: &str, value: &str) {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let old = snapshot.get(&key);
        let kv = KeyValue {
            create_revision: old.map_or(revision, |old| old.create_revision),
            version: old.map_or(1, |old| old.version + 1),
            mod_revision: revision,
            value: Bytes::copy_from_slice(value.as_bytes()),
            key: key.clone(),
            lease: 0,
        };
        snapshot.insert(key, kv);
    }

    fn commit(&mut self, change: impl FnOnce(&mut Snapshot, i64)) {
        let (revision, mut snapshot) = (self.now().0 + 1, self.now().1.clone());
        let before = snapshot.clone();
        change(&mut snapshot, revision);
        if snapshot != before {
            self.history.insert(revision, snapshot);
        }
    }
}

fn carry_out(step: &Step, store: &mut Store, model: &mut Model) {
    match step {
        Step::Put(key, value) => {
            let (key, value) = (name(*key), value.to_string());
            store.run(Op::Put(put(&key, &value))).0.unwrap();
            model.commit(|snapshot, revision| Model::put(snapshot, revision, &key, &value));
        }
        Step::Delete(from, to) => {
            let (from, to) = (name(*from), name(*to));
            store.run(Op::DeleteRange(delete(&from, &to))).0.unwrap();
            model.commit(|snapshot, _| {
                snapshot.retain(|key, _| {
                    key.as_ref() < from.as_bytes() || key.as_ref() >= to.as_bytes()
                });
            });
        }
        Step::Txn(key, version, one, other) => {
            let (key, one, other) = (name(*key), name(*one), name(*other));
            let compare = Compare {
                result: CompareResult::Equal.into(),
                target: CompareTarget::Version.into(),
                key: Bytes::copy_from_slice(key.as_bytes()),
                target_union: Some(TargetUnion::Version(*version)),
                ..Default::default()
            };
            let txn = TxnRequest {
                compare: vec![compare],
                success: vec![
                    op(Request::RequestPut(put(&one, "then"))),
                    op(Request::RequestDeleteRange(delete(&other, ""))),
                ],
                failure: vec![op(Request::RequestPut(put(&one, "else")))],
            };
            let outcome = store.run(Op::Txn(txn)).0;
            if one == other {
                assert_eq!(outcome, Err(Refusal::DuplicateKey));
                return;
            }
            outcome.unwrap();
            let bytes = Bytes::from(key);
            model.commit(|snapshot, revision| {
                if snapshot.get(&bytes).map_or(0, |kv| kv.version) == *version {
                    Model::put(snapshot, revision, &one, "then");
                    snapshot.remove(other.as_bytes());
                } else {
                    Model::put(snapshot, revision, &one, "else");
                }
            });
        }
        Step::Compact(back) => {
            let revision = model.now().0 - i64::from(*back);
            let request = CompactionRequest { revision, physical: false };
            let outcome = store.run(Op::Compact(request)).0;
            if revision <= model.compacted {
                assert_eq!(outcome, Err(Refusal::Compacted));
            } else {
                outcome.unwrap();
                model.compacted = revision;
            }
        }
        Step::Remove(limit) => {
            store.get().compact_step(*limit).unwrap();
        }
        Step::Reopen => store.reopen(),
    }
}

fn check_reads(store: &mut Store, model: &Model, from: u8, to: u8, limit: i64) {
    let view = store.get().view();
    let now = model.now().0;
    assert_eq!(view.revision(), now, "K1");
    assert_eq!(view.key_counts().0, model.now().1.len());
    for revision in 0..=now + 1 {
        let mut request = RangeRequest {
            key: Bytes::from(name(from)),
            range_end: Bytes::from(name(to)),
            revision,
            limit,
            ..Default::default()
        };
        let answer = view.range(&request);
        let at = if revision == 0 { now } else { revision };
        if at > now {
            assert!(matches!(answer, Err(ReadError::Refused(Refusal::FutureRevision))));
            continue;
        }
        if at < model.compacted {
            assert!(matches!(answer, Err(ReadError::Refused(Refusal::Compacted))));
            continue;
        }
        let range = KeyRange::new(&request.key, &request.range_end);
        let (_, snapshot) = model.history.range(..=at).next_back().unwrap();
        let all: Vec<&KeyValue> = snapshot.values().filter(|kv| range.contains(&kv.key)).collect();
        let cut =
            if limit == 0 { all.len() } else { all.len().min(usize::try_from(limit).unwrap()) };

        let answer = answer.unwrap();
        assert_eq!(answer.kvs.iter().collect::<Vec<_>>(), all[..cut], "K4 at {at}");
        assert_eq!((answer.count, answer.more), (all.len() as i64, cut < all.len()));

        request.keys_only = true;
        request.sort_order = SortOrder::Descend.into();
        let keys = view.range(&request).unwrap();
        let wanted: Vec<_> = all.iter().rev().take(cut).map(|kv| kv.key.clone()).collect();
        assert_eq!(keys.kvs.into_iter().map(|kv| kv.key).collect::<Vec<_>>(), wanted);

        request.count_only = true;
        let count = view.range(&request).unwrap();
        assert_eq!((count.count, count.kvs.len()), (all.len() as i64, 0));
    }
}

/// Events from any readable revision lead from the snapshot before it to the present one.
fn check_events(store: &mut Store, model: &Model) {
    let view = store.get().view();
    let now = model.now().0;
    for from in model.compacted.max(2)..=now {
        let Some((_, before)) = model.history.range(..from).next_back() else { continue };
        let mut snapshot = before.clone();
        let mut next = from;
        while next <= now {
            let page = view.events(next, now, 3).unwrap();
            let Some(last) = page.last() else { break };
            next = last.revision + 1;
            for revision in page {
                for event in revision.events {
                    assert_eq!(event.kv.mod_revision, revision.revision);
                    let old = snapshot.get(&event.kv.key).cloned();
                    if event.kv.mod_revision > model.compacted {
                        assert_eq!(view.previous_kv(&event).unwrap(), old, "W8");
                    }
                    if event.deleted {
                        assert!(old.is_some(), "a deletion of nothing is no event");
                        snapshot.remove(&event.kv.key);
                    } else {
                        snapshot.insert(event.kv.key.clone(), event.kv.clone());
                    }
                }
            }
        }
        assert_eq!(&snapshot, model.now().1, "W4 from {from}");
    }
    if model.compacted > 1 {
        let refused = view.events(model.compacted - 1, now, 10);
        assert!(matches!(refused, Err(ReadError::Refused(Refusal::Compacted))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..Default::default() })]
    #[test]
    fn the_store_agrees_with_a_map_of_every_revision(
        steps in steps(), from in 0..12u8, to in 0..14u8, limit in 0..4i64,
    ) {
        let mut store = Store::new();
        let mut model = Model { history: BTreeMap::from([(1, Snapshot::new())]), compacted: 0 };
        for step in &steps {
            carry_out(step, &mut store, &mut model);
        }
        check_reads(&mut store, &model, from, to, limit);
        check_events(&mut store, &model);

        // K5: removing all that may go changes no answer, and leaves nothing of deleted keys.
        while !store.get().compact_step(3).unwrap().done {}
        check_reads(&mut store, &model, from, to, limit);
        check_events(&mut store, &model);
    }
}
