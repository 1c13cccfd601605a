//! What goes through the gateway comes out as it went in, and nothing that a client sends harms it.

use proptest::{collection::vec, prelude::*};
use proto::{
    etcdserverpb::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
        compare::TargetUnion, request_op::Request, watch_request::RequestUnion,
    },
    mvccpb::{Event, KeyValue},
};
use serde_json::Value;

use super::{decode, encode};

fn bytes() -> impl Strategy<Value = bytes::Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Into::into)
}

fn range() -> impl Strategy<Value = RangeRequest> {
    (bytes(), bytes(), any::<i64>(), any::<bool>(), 0..3i32, 0..5i32).prop_map(
        |(key, range_end, limit, keys_only, sort_order, sort_target)| RangeRequest {
            key,
            range_end,
            limit,
            keys_only,
            sort_order,
            sort_target,
            ..RangeRequest::default()
        },
    )
}

fn op() -> impl Strategy<Value = RequestOp> {
    let leaf = prop_oneof![
        range().prop_map(Request::RequestRange),
        (bytes(), bytes(), any::<i64>()).prop_map(|(key, value, lease)| {
            Request::RequestPut(PutRequest { key, value, lease, ..PutRequest::default() })
        }),
    ];
    let nested = leaf.prop_recursive(4, 20, 4, |inner| {
        vec(inner, 0..4).prop_map(|ops| {
            let success = ops.into_iter().map(|op| RequestOp { request: Some(op) }).collect();
            Request::RequestTxn(TxnRequest { success, ..TxnRequest::default() })
        })
    });
    nested.prop_map(|request| RequestOp { request: Some(request) })
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        any::<i64>().prop_map(TargetUnion::Version),
        any::<i64>().prop_map(TargetUnion::Lease),
        bytes().prop_map(TargetUnion::Value),
    ];
    (bytes(), 0..4i32, 0..5i32, proptest::option::of(target)).prop_map(
        |(key, result, target, target_union)| Compare {
            key,
            result,
            target,
            target_union,
            ..Compare::default()
        },
    )
}

/// There and back.
fn again<T: prost::Message + Default>(name: &str, message: &T) -> T {
    let mut json = Vec::new();
    encode::message(name, &message.encode_to_vec(), &mut json).unwrap();
    let value: Value = serde_json::from_slice(&json).unwrap();
    T::decode(decode::message(name, &value).unwrap().as_slice()).unwrap()
}

/// JSON of any shape, with names and values that mean something here and there.
fn document() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "key",
        "range_end",
        "rangeEnd",
        "limit",
        "compare",
        "success",
        "request_put",
        "filters",
        "create_request",
        "value",
        "version",
        "sort_order",
        "TTL",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[A-Za-z0-9+/=_-]{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((names.clone(), inner), 0..5).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn requests_come_out_as_they_went_in(
        compare in vec(compare(), 0..4),
        success in vec(op(), 0..4),
        failure in vec(op(), 0..4),
    ) {
        let txn = TxnRequest { compare, success, failure };
        prop_assert_eq!(again("etcdserverpb.TxnRequest", &txn), txn);
    }

    #[test]
    fn watches_come_out_as_they_went_in(
        key in bytes(), watch_id in any::<i64>(), filters in vec(0..2i32, 0..4),
    ) {
        let create =
            WatchCreateRequest { key, watch_id, filters, ..WatchCreateRequest::default() };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        prop_assert_eq!(again("etcdserverpb.WatchRequest", &request), request);
    }

    #[test]
    fn events_come_out_as_they_went_in(kind in -2..3i32, key in bytes(), lease in any::<i64>()) {
        let kv = Some(KeyValue { key, lease, ..KeyValue::default() });
        let event = Event { r#type: kind, kv, ..Event::default() };
        prop_assert_eq!(again("mvccpb.Event", &event), event);
    }

    #[test]
    fn no_document_and_no_bytes_do_harm(
        document in document(), wire in vec(any::<u8>(), 0..200),
    ) {
        for name in [
            "etcdserverpb.TxnRequest", "etcdserverpb.WatchRequest", "etcdserverpb.RangeRequest",
            "etcdserverpb.LeaseGrantRequest", "etcdserverpb.MemberAddRequest",
        ] {
            // Whatever is made of it is a message; nothing may be, and that is said.
            if let Ok(bytes) = decode::message(name, &document) {
                encode::message(name, &bytes, &mut Vec::new()).unwrap();
            }
            // These may be refused, and must be survived.
            let _refused = encode::message(name, &wire, &mut Vec::new()).is_err();
        }
    }
}
