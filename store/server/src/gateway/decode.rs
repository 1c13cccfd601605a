//! From JSON to the wire: as leniently as etcd's gateway reads it.
//!
//! Names may be the contract's (`range_end`) or JSON's (`rangeEnd`), numbers may be strings, bytes
//! may be either alphabet of base64 with or without padding, `null` is nothing, and unknown names
//! are passed over.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

use super::schema::{Field, Kind, Message, SCHEMA};

/// Why a request cannot be read; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadRequest(pub(super) String);

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The bytes of the message `name` that `value` describes.
pub(super) fn message(name: &str, value: &Value) -> Result<Vec<u8>, BadRequest> {
    let mut out = Vec::new();
    match value {
        Value::Null => {}
        Value::Object(object) => fields(SCHEMA.message(name), object, &mut out)?,
        other => return Err(BadRequest(format!("{} is no {name}", kind_of(other)))),
    }
    Ok(out)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn fields(
    message: &Message,
    object: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), BadRequest> {
    let mut chosen = Vec::new();
    for (name, value) in object {
        let Some(field) = message.named(name) else { continue };
        if value.is_null() {
            continue;
        }
        if let Some(oneof) = field.oneof {
            if chosen.contains(&oneof) {
                let why = format!("field {name:?} overwrites another choice of the same kind");
                return Err(BadRequest(why));
            }
            chosen.push(oneof);
        }
        match value {
            Value::Array(values) if field.repeated => {
                for value in values {
                    one(field, value, out)?;
                }
            }
            _ if field.repeated => {
                return Err(BadRequest(format!("field {name:?}: {} is no list", kind_of(value))));
            }
            value => one(field, value, out)?,
        }
    }
    Ok(())
}

fn one(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), BadRequest> {
    let wrong = || BadRequest(format!("field {:?}: {} does not fit", field.name, kind_of(value)));
    let number = |out: &mut Vec<u8>, number: u64| {
        encode_key(field.number, WireType::Varint, out);
        encode_varint(number, out);
    };
    match &field.kind {
        Kind::Bool => number(out, u64::from(value.as_bool().ok_or_else(wrong)?)),
        Kind::Int32 => {
            let found = integer(value).and_then(|n| i32::try_from(n).ok()).ok_or_else(wrong)?;
            number(out, i64::from(found).cast_unsigned());
        }
        Kind::Uint32 => {
            let found = integer(value).and_then(|n| u32::try_from(n).ok()).ok_or_else(wrong)?;
            number(out, found.into());
        }
        Kind::Int64 => {
            let found = integer(value).and_then(|n| i64::try_from(n).ok()).ok_or_else(wrong)?;
            number(out, found.cast_unsigned());
        }
        Kind::Uint64 => {
            number(out, integer(value).and_then(|n| u64::try_from(n).ok()).ok_or_else(wrong)?);
        }
        Kind::Enum(name) => {
            let found = match value {
                Value::String(text) => SCHEMA.one_enum(name).number(text),
                other => integer(other).and_then(|n| i32::try_from(n).ok()),
            };
            number(out, i64::from(found.ok_or_else(wrong)?).cast_unsigned());
        }
        Kind::Text => bytes(field.number, value.as_str().ok_or_else(wrong)?.as_bytes(), out),
        Kind::Bytes => {
            let text = value.as_str().ok_or_else(wrong)?;
            let decoded = base64(text).ok_or_else(|| {
                BadRequest(format!("field {:?}: illegal base64 data", field.name))
            })?;
            bytes(field.number, &decoded, out);
        }
        Kind::Message(name) => {
            let Value::Object(object) = value else { return Err(wrong()) };
            let mut inner = Vec::new();
            fields(SCHEMA.message(name), object, &mut inner)?;
            bytes(field.number, &inner, out);
        }
    }
    Ok(())
}

fn bytes(number: u32, content: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.put_slice(content);
}

/// A whole number, as a number or as a string of one.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => text.parse::<i128>().ok(),
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                return Some(number.into());
            }
            if let Some(number) = number.as_u64() {
                return Some(number.into());
            }
            // 1e3 and 2.0 are whole numbers too.
            let float = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
            let whole =
                (float.fract() == 0.0 && float.abs() < 2f64.powi(64)).then_some(float as i128);
            whole
        }
        _ => None,
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let text: std::borrow::Cow<'_, str> = if text.contains(['\r', '\n']) {
        text.replace(['\r', '\n'], "").into()
    } else {
        text.into()
    };
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    engine.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::{
        LeaseGrantRequest, MemberAddRequest, RangeRequest, TxnRequest, WatchCreateRequest,
        compare::TargetUnion, request_op,
    };
    use serde_json::json;

    use super::*;

    fn read<T: prost::Message + Default>(name: &str, value: &Value) -> Result<T, BadRequest> {
        Ok(T::decode(message(name, value)?.as_slice()).unwrap())
    }

    #[test]
    fn every_spelling_that_clients_use_is_read() {
        for value in [
            json!({"key": "/w==", "range_end": "AA==", "limit": "5", "sort_order": "DESCEND"}),
            json!({"key": "_w", "rangeEnd": "AA", "limit": 5, "sortOrder": 2, "unknown": [1]}),
            json!({"key": "/w\n==", "rangeEnd": "AA", "limit": 5.0, "sortOrder": 2, "revision": null}),
        ] {
            let range: RangeRequest = read("etcdserverpb.RangeRequest", &value).unwrap();
            assert_eq!(range.key.as_ref(), [0xff], "{value}");
            assert_eq!(range.range_end.as_ref(), [0], "{value}");
            assert_eq!((range.limit, range.sort_order), (5, 2), "{value}");
        }
        let grant: LeaseGrantRequest =
            read("etcdserverpb.LeaseGrantRequest", &json!({"TTL": "-3", "ID": i64::MAX})).unwrap();
        assert_eq!((grant.ttl, grant.id), (-3, i64::MAX));
        let add = json!({"peerURLs": ["http://a", "http://b"], "isLearner": true});
        let add: MemberAddRequest = read("etcdserverpb.MemberAddRequest", &add).unwrap();
        assert_eq!((add.peer_urls.len(), add.is_learner), (2, true));
        let create = json!({"filters": ["NODELETE", 0]});
        let create: WatchCreateRequest = read("etcdserverpb.WatchCreateRequest", &create).unwrap();
        assert_eq!(create.filters, [1, 0]);
    }

    #[test]
    fn transactions_nest() {
        let txn = json!({
            "compare": [{"key": "YQ==", "target": "VALUE", "value": "YQ==", "result": "EQUAL"}],
            "success": [{"requestTxn": {"failure": [{"request_put": {"key": "YQ=="}}]}}],
        });
        let txn: TxnRequest = read("etcdserverpb.TxnRequest", &txn).unwrap();
        assert_eq!(txn.compare[0].target_union, Some(TargetUnion::Value("a".into())));
        let Some(request_op::Request::RequestTxn(inner)) = &txn.success[0].request else {
            panic!("{txn:?}");
        };
        assert_eq!(inner.failure.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let refuse = |value: Value| message("etcdserverpb.PutRequest", &value).unwrap_err().0;
        assert_eq!(refuse(json!({"key": "?"})), "field \"key\": illegal base64 data");
        assert_eq!(refuse(json!({"lease": "x"})), "field \"lease\": a string does not fit");
        assert_eq!(refuse(json!({"prev_kv": 1})), "field \"prev_kv\": a number does not fit");
        assert_eq!(refuse(json!([])), "a list is no etcdserverpb.PutRequest");
        let both = json!({"version": "1", "value": "YQ=="});
        assert!(message("etcdserverpb.Compare", &both).is_err());
    }
}
