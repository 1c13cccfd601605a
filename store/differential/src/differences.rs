//! The known differences from etcd that are accepted, in one table, each with its reason.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::range_request::SortTarget;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb::KeyValue;
use tonic::Code;

use crate::answer::Answer;
use crate::step::Step;
use crate::wire;

/// What a difference is judged by.
pub(crate) struct Seen<'a> {
    pub(crate) step: &'a Step,
    pub(crate) etcd: &'a Answer,
    pub(crate) ours: &'a Answer,
    /// etcd's version.
    pub(crate) version: (u64, u64, u64),
}

/// A difference that is accepted.
pub struct Known {
    /// A short name, which reports count by.
    pub name: &'static str,
    /// Why it is accepted.
    pub reason: &'static str,
    applies: fn(&Seen<'_>) -> bool,
}

/// All of them.
pub const KNOWN: &[Known] = &[
    Known {
        name: "undecodable",
        reason: "bytes that are no message are refused with the same code; the text names the \
                 decoder's own complaint, which no client reads",
        applies: |seen| {
            same_code(seen, Code::Internal)
                && message(seen.etcd).is_some_and(|text| text.contains("unmarshal"))
        },
    },
    Known {
        name: "groups",
        reason: "etcd's decoder skips a group without a look at the numbers of the fields in it or \
                 of its end, ours refuses what is not right; nothing sends groups",
        applies: |seen| {
            let Step::Raw { bytes, .. } = seen.step else { return false };
            let undecodable =
                |answer| message(answer).is_some_and(|text| text.contains("error unmarshalling"));
            wire::has_group(bytes) && undecodable(seen.ours) && !undecodable(seen.etcd)
        },
    },
    Known {
        name: "too large for gRPC",
        reason: "the text has the size and the limit of the server's own gRPC library",
        applies: |seen| {
            same_code(seen, Code::ResourceExhausted)
                && message(seen.etcd).is_some_and(|text| text.contains("larger than max"))
        },
    },
    Known {
        name: "which refusal first",
        reason: "until 3.5, etcd looked at all puts of a transaction before its ranges; since 3.6, \
                 and here, operations are checked in their order",
        applies: |seen| {
            let refused = |answer: &Answer| {
                matches!(answer, Answer::Error { code, .. }
                    if [Code::NotFound, Code::InvalidArgument, Code::OutOfRange].contains(code))
            };
            seen.version < (3, 6, 0)
                && txn(seen.step).is_some()
                && refused(seen.etcd)
                && refused(seen.ours)
        },
    },
    Known {
        name: "deletion from a key on",
        reason: "etcd does not see that a deletion of all keys from one on covers a put of the same \
                 transaction; if the put needs the old key (ignore_value, ignore_lease) such a \
                 transaction kills every member, so it is refused here",
        applies: |seen| {
            let refused = message(seen.ours)
                .is_some_and(|text| text == "etcdserver: duplicate key given in txn request");
            refused && txn(seen.step).is_some_and(|txn| deletes_from(&txn))
        },
    },
    Known {
        name: "order of equal ones",
        reason: "until 3.5, etcd's sort did not keep the order of what is equal in a sorted range; \
                 since 3.6, and here, it is the order of the keys",
        applies: |seen| {
            let (Answer::Message(etcd), Answer::Message(ours)) = (seen.etcd, seen.ours) else {
                return false;
            };
            if seen.version >= (3, 6, 0) {
                return false;
            }
            if let Some(range) = seen.step.request::<pb::RangeRequest>("KV/Range") {
                return blurred(&range, wire::typed(etcd)) == blurred(&range, wire::typed(ours));
            }
            txn(seen.step).is_some_and(|txn| {
                let (mut etcd, mut ours) = (wire::typed(etcd), wire::typed(ours));
                blur(&txn, &mut etcd);
                blur(&txn, &mut ours);
                etcd == ours
            })
        },
    },
    Known {
        name: "hash of a compacted revision",
        reason: "etcd until 3.5 refuses the compacted revision itself; since 3.6 it keeps what its last \
                 ten compactions computed, over records that were still there then, and answers that",
        applies: |seen| {
            let Some(asked) = seen.step.request::<pb::HashKvRequest>("Maintenance/HashKV") else {
                return false;
            };
            let etcd: Option<pb::HashKvResponse> = seen.etcd.as_type("HashKVResponse");
            let ours: Option<pb::HashKvResponse> = seen.ours.as_type("HashKVResponse");
            match (etcd, ours) {
                (_, Some(ours)) => asked.revision == ours.compact_revision,
                (Some(etcd), None) => {
                    seen.version >= (3, 6, 0) && etcd.hash_revision == asked.revision
                }
                (None, None) => false,
            }
        },
    },
    Known {
        name: "hash_revision",
        reason: "the field came with 3.6",
        applies: |seen| {
            let etcd: Option<pb::HashKvResponse> = seen.etcd.as_type("HashKVResponse");
            let ours: Option<pb::HashKvResponse> = seen.ours.as_type("HashKVResponse");
            let (Some(etcd), Some(mut ours)) = (etcd, ours) else { return false };
            ours.hash_revision = 0;
            seen.version < (3, 6, 0) && etcd == ours
        },
    },
];

/// The known difference that explains this one.
pub(crate) fn known(seen: &Seen<'_>) -> Option<&'static Known> {
    KNOWN.iter().find(|known| (known.applies)(seen))
}

fn message(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Error { message, .. } => Some(message),
        Answer::Message(_) | Answer::Frames(_) => None,
    }
}

fn same_code(seen: &Seen<'_>, wanted: Code) -> bool {
    let is = |answer: &Answer| matches!(answer, Answer::Error { code, .. } if *code == wanted);
    is(seen.etcd) && is(seen.ours)
}

/// A sorted range without the order of equal ones; if some are cut off, without which they are.
fn blurred(range: &pb::RangeRequest, mut told: pb::RangeResponse) -> pb::RangeResponse {
    let target = range.sort_target();
    let what = |kv: &KeyValue| match target {
        SortTarget::Key => (0, kv.key.clone()),
        SortTarget::Version => (kv.version, Bytes::new()),
        SortTarget::Create => (kv.create_revision, Bytes::new()),
        SortTarget::Mod => (kv.mod_revision, Bytes::new()),
        SortTarget::Value => (0, if range.keys_only { Bytes::new() } else { kv.value.clone() }),
    };
    if range.keys_only && target == SortTarget::Value {
        // What it was sorted by is not told.
        told.kvs.sort_by(|a, b| a.key.cmp(&b.key));
        if told.more {
            told.kvs.fill(KeyValue::default());
        }
        return told;
    }
    for run in told.kvs.chunk_by_mut(|a, b| what(a) == what(b)) {
        run.sort_by(|a, b| a.key.cmp(&b.key));
    }
    if told.more {
        let (number, value) = told.kvs.last().map(&what).unwrap_or_default();
        for kv in told.kvs.iter_mut().filter(|kv| what(kv) == (number, value.clone())) {
            *kv = KeyValue::default();
        }
    }
    told
}

fn blur(txn: &pb::TxnRequest, told: &mut pb::TxnResponse) {
    let taken = if told.succeeded { &txn.success } else { &txn.failure };
    for (asked, told) in taken.iter().zip(&mut told.responses) {
        match (&asked.request, &mut told.response) {
            (Some(Request::RequestRange(range)), Some(Response::ResponseRange(told))) => {
                *told = blurred(range, std::mem::take(told));
            }
            (Some(Request::RequestTxn(txn)), Some(Response::ResponseTxn(told))) => blur(txn, told),
            _ => {}
        }
    }
}

fn txn(step: &Step) -> Option<pb::TxnRequest> {
    step.request("KV/Txn")
}

/// Whether there is a deletion from a key on in the transaction, nested ones included.
pub(crate) fn deletes_from(txn: &pb::TxnRequest) -> bool {
    let from = |op: &pb::RequestOp| match &op.request {
        Some(Request::RequestDeleteRange(delete)) => delete.range_end.as_ref() == [0],
        Some(Request::RequestTxn(txn)) => deletes_from(txn),
        Some(Request::RequestRange(_) | Request::RequestPut(_)) | None => false,
    };
    txn.success.iter().chain(&txn.failure).any(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(step: &str, etcd: &str, ours: &str) -> Option<&'static str> {
        let step: Step = step.parse().unwrap();
        let (Step::Call { method, .. } | Step::Raw { method, .. }) = &step else {
            panic!("{step}")
        };
        let answer = |text: &str| Answer::parse(&method.output, &[text]).unwrap();
        let (etcd, ours) = (answer(etcd), answer(ours));
        known(&Seen { step: &step, etcd: &etcd, ours: &ours, version: (3, 5, 1) })
            .map(|known| known.name)
    }

    const REFUSED: &str =
        "! Internal grpc: error unmarshalling request: proto: invalid tag value: 0";

    #[test]
    fn what_our_decoder_refuses_is_only_known_where_there_is_a_group() {
        let lease = "= header{revision:1},TTL:-1";
        let group = "raw Lease/LeaseTimeToLive 1b050cb41f6314";
        assert_eq!(name_of(group, lease, REFUSED), Some("groups"));
        // Ours must not take what etcd refuses, nor refuse a right message.
        assert_eq!(name_of(group, REFUSED, lease), None);
        assert_eq!(name_of("raw Lease/LeaseTimeToLive 0805", lease, REFUSED), None);
        assert_eq!(name_of("Lease/LeaseTimeToLive ID:5", lease, REFUSED), None);
    }

    #[test]
    fn equal_ones_of_a_request_of_bytes_have_no_order_either() {
        let etcd = r#"= kvs:[{key:"b",version:1},{key:"a",version:1},{key:"c",version:2}],count:3"#;
        let ours = r#"= kvs:[{key:"a",version:1},{key:"b",version:1},{key:"c",version:2}],count:3"#;
        let wrong =
            r#"= kvs:[{key:"c",version:2},{key:"a",version:1},{key:"b",version:1}],count:3"#;
        let sorted = r#"KV/Range key:"a",range_end:"\000",sort_target:VERSION"#;
        for step in [sorted, "raw KV/Range 0a016112010030013001"] {
            assert_eq!(name_of(step, etcd, ours), Some("order of equal ones"), "{step}");
            assert_eq!(name_of(step, etcd, wrong), None, "{step}");
        }
    }
}
