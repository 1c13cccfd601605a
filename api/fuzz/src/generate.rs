//! Objects of built-in kinds made of bytes: each byte decides what the schema leaves open.

use api_machinery::schema::{Field, Kind, Schema, Shape, Special, TypeId};
use api_machinery::{ResourceInfo, kinds};
use serde_json::{Map, Value, json};
use testbed::fuzz::Input;

/// Deeper than any type of interest, and the schema has types that hold themselves.
const DEPTH_MAX: usize = 14;
/// Values of one list or map.
const ITEMS_MAX: usize = 3;

const TEXTS: [&str; 24] = [
    "",
    "a",
    "b",
    "x-1",
    "a.b.c",
    "A",
    "-",
    "10.0.0.1",
    "::1",
    "10.0.0.0/8",
    "Always",
    "TCP",
    "ClusterIP",
    "Never",
    "IfNotPresent",
    "example.com/x",
    "default",
    "http",
    "Exists",
    "In",
    "1.5",
    "ü",
    "true",
    "a b",
];
const QUANTITIES: [&str; 8] = ["0", "1", "100m", "1Gi", "1.5", "2e3", "-1", "x"];
const TIMES: [&str; 4] =
    ["2026-01-02T03:04:05Z", "1969-12-31T23:59:59Z", "2026-01-02T03:04:05.000006Z", "x"];

/// A kind that is stored.
pub(crate) fn kind(input: &mut Input<'_>) -> &'static ResourceInfo {
    let all: Vec<_> = kinds::all().iter().filter(|kind| kind.is_stored()).collect();
    all[input.choice(all.len())]
}

/// An object of a kind: fields are there or not, with values that are right or nearly so.
pub(crate) fn object(info: &ResourceInfo, input: &mut Input<'_>) -> Value {
    let mut out = message(info.type_id(), input, 0);
    out.insert("apiVersion".to_owned(), info.api_version().into());
    out.insert("kind".to_owned(), info.kind.into());
    Value::Object(out)
}

fn message(id: TypeId, input: &mut Input<'_>, depth: usize) -> Map<String, Value> {
    let mut out = Map::new();
    if depth > DEPTH_MAX {
        return out;
    }
    for field in Schema::get().json_fields(id) {
        // Nothing more is decided by bytes that are not there.
        if input.is_empty() {
            break;
        }
        let is_needed = matches!(field.json.as_str(), "metadata" | "spec" | "name");
        if input.byte() & 3 == 0 || is_needed {
            out.insert(field.json.clone(), values(field, input, depth));
        }
    }
    out
}

fn values(field: &Field, input: &mut Input<'_>, depth: usize) -> Value {
    match field.shape {
        Shape::One => value(field.kind, input, depth),
        Shape::List => {
            let count = usize::from(input.byte()) % (ITEMS_MAX + 1);
            (0..count).map(|_| value(field.kind, input, depth)).collect()
        }
        Shape::Map => {
            let count = usize::from(input.byte()) % (ITEMS_MAX + 1);
            let pairs = (0..count).map(|_| (text(input), value(field.kind, input, depth)));
            Value::Object(pairs.collect())
        }
    }
}

fn text(input: &mut Input<'_>) -> String {
    let byte = usize::from(input.byte());
    TEXTS[byte % TEXTS.len()].to_owned()
}

fn number(input: &mut Input<'_>) -> i64 {
    match input.byte() {
        255 => i64::MAX,
        254 => i64::from(i32::MAX),
        253 => -1,
        252 => 65_536,
        small => i64::from(small),
    }
}

fn value(kind: Kind, input: &mut Input<'_>, depth: usize) -> Value {
    match kind {
        Kind::String => text(input).into(),
        Kind::Int32 => (number(input) & i64::from(i32::MAX)).into(),
        Kind::Int64 => number(input).into(),
        Kind::Bool => (input.byte() & 1 == 1).into(),
        Kind::Bytes => ["", "AAEC", "YQ=="][usize::from(input.byte()) % 3].into(),
        Kind::Double => f64::from(input.byte()).into(),
        Kind::Message(id) => match Schema::get().of(id).special {
            Special::None => Value::Object(message(id, input, depth + 1)),
            Special::Quantity => QUANTITIES[usize::from(input.byte()) % QUANTITIES.len()].into(),
            Special::IntOrString => match input.byte() & 1 {
                0 => number(input).rem_euclid(1 << 31).into(),
                _ => ["25%", "http", "x%"][usize::from(input.byte()) % 3].into(),
            },
            Special::Time | Special::MicroTime => {
                TIMES[usize::from(input.byte()) % TIMES.len()].into()
            }
            Special::Duration => ["1s", "1h2m", "x"][usize::from(input.byte()) % 3].into(),
            Special::AnyJson => json!({"f:spec": {"f:x": {}}}),
            Special::RawExtension => json!({"apiVersion": "v1", "kind": "X", "a": [1]}),
            Special::Items => json!([text(input)]),
        },
    }
}
