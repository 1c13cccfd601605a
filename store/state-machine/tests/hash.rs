//! The hash of a history is the one that etcd makes of it: the numbers here were answered by a real
//! etcd 3.5.1 (`etcdctl endpoint hashkv`) after the same commands.

mod support;

use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{CompactionRequest, TxnRequest};
use proto::orlop::store::v1::command::Op;
use support::{Store, delete, op, put};

#[test]
fn a_history_hashes_as_in_etcd() {
    let mut store = Store::new();
    for command in [
        Op::Put(put("a", "1")),
        Op::Put(put("a", "2")),
        Op::Put(put("b", "1")),
        Op::DeleteRange(delete("a", "")),
        Op::Txn(TxnRequest {
            success: vec![
                op(Request::RequestPut(put("c", "1"))),
                op(Request::RequestPut(put("d", "2"))),
                op(Request::RequestDeleteRange(delete("b", ""))),
            ],
            ..Default::default()
        }),
        Op::Put(put("b", "3")),
    ] {
        store.run(command).0.unwrap();
    }
    let view = store.get().view();
    assert_eq!(view.hash_kv(0).unwrap().hash, 1461599399, "the whole history");
    assert_eq!(view.hash_kv(4).unwrap().hash, 1662700350, "up to a revision");

    // Compacted at a revision without a deletion: there all versions of etcd agree.
    store.run(Op::Compact(CompactionRequest { revision: 7, physical: false })).0.unwrap();
    let before = view.hash_kv(0).unwrap();
    while !store.get().compact_step(2).unwrap().done {}
    assert_eq!(before, view.hash_kv(0).unwrap(), "removed from disk or not");
    assert_eq!(before.hash, 281538510, "after a compaction");
}

/// Answered alike by etcd 3.5.1 and 3.6.13: compacted at a deletion, then changed, then emptied.
#[test]
fn a_compacted_history_hashes_as_in_etcd() {
    let mut store = Store::new();
    let compact = |revision| Op::Compact(CompactionRequest { revision, physical: false });
    for command in [
        Op::Put(put("a", "")),
        compact(2),
        Op::Put(put("b", "1")),
        Op::Put(put("b", "2")),
        Op::Put(put("c", "1")),
        Op::DeleteRange(delete("c", "")),
        compact(6),
    ] {
        store.run(command).0.unwrap();
    }
    let hash = |store: &mut Store| store.get().view().hash_kv(0).unwrap().hash;
    // A deletion at the compacted revision does not count.
    assert_eq!(hash(&mut store), 863901685);
    while !store.get().compact_step(100).unwrap().done {}
    assert_eq!(hash(&mut store), 863901685, "removed from disk or not");
    // What was compacted and has been replaced since does not count either,
    store.run(Op::Put(put("b", "3"))).0.unwrap();
    assert_eq!(hash(&mut store), 3436365384);
    // unless no key is left at all.
    store.run(Op::DeleteRange(delete("\0", "\0"))).0.unwrap();
    assert_eq!(hash(&mut store), 537303149);
}
