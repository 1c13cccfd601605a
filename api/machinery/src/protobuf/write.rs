//! JSON trees to protobuf messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::{put_bytes, put_double, put_number};
use super::{Error, either, encode};
use crate::schema::{Field, Kind, Schema, Shape, Special, TypeId};
use crate::time;

pub(super) fn message(
    id: TypeId,
    map: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let ty = Schema::get().of(id);
    for field in &ty.fields {
        if field.is_inline() {
            if let Kind::Message(inner) = field.kind {
                let mut body = Vec::new();
                message(inner, map, &mut body)?;
                put_bytes(field.number, &body, out);
            }
            continue;
        }
        let Some(value) = map.get(&field.json).filter(|value| !value.is_null()) else { continue };
        match (field.shape, value) {
            (Shape::One, value) => one(field, field.number, value, out)?,
            (Shape::List, Value::Array(items)) => {
                for item in items {
                    one(field, field.number, item, out)?;
                }
            }
            (Shape::Map, Value::Object(members)) => {
                for (key, value) in members {
                    let mut entry = Vec::new();
                    put_bytes(1, key.as_bytes(), &mut entry);
                    one(field, 2, value, &mut entry)?;
                    put_bytes(field.number, &entry, out);
                }
            }
            (_, value) => return Err(wrong(field, value)),
        }
    }
    Ok(())
}

fn wrong(field: &Field, value: &Value) -> Error {
    Error::Value(format!("{}: {value}", field.json))
}

pub(super) fn one(
    field: &Field,
    number: u32,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    match (field.kind, value) {
        (Kind::String, Value::String(text)) => put_bytes(number, text.as_bytes(), out),
        (Kind::Bytes, Value::String(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_| wrong(field, value))?;
            put_bytes(number, &bytes, out);
        }
        (Kind::Bool, Value::Bool(flag)) => put_number(number, i64::from(*flag), out),
        (Kind::Int32 | Kind::Int64, Value::Number(n)) => {
            put_number(number, n.as_i64().ok_or_else(|| wrong(field, value))?, out);
        }
        (Kind::Double, Value::Number(n)) => {
            put_double(number, n.as_f64().ok_or_else(|| wrong(field, value))?, out);
        }
        (Kind::Message(id), value) => {
            let mut body = Vec::new();
            special(field, id, value, &mut body)?;
            put_bytes(number, &body, out);
        }
        _ => return Err(wrong(field, value)),
    }
    Ok(())
}

fn special(field: &Field, id: TypeId, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let ty = Schema::get().of(id);
    if ty.is_either() {
        return either::to_message(ty, value, out);
    }
    match (ty.special, value) {
        (Special::None, Value::Object(map)) => message(id, map, out)?,
        (Special::Quantity, Value::String(text)) => put_bytes(1, text.as_bytes(), out),
        (Special::IntOrString, Value::Number(n)) => {
            put_number(1, 0, out);
            put_number(2, n.as_i64().ok_or_else(|| wrong(field, value))?, out);
            put_bytes(3, b"", out);
        }
        (Special::IntOrString, Value::String(text)) => {
            put_number(1, 1, out);
            put_number(2, 0, out);
            put_bytes(3, text.as_bytes(), out);
        }
        (Special::Time | Special::MicroTime, Value::String(text)) => {
            let at = time::parse(text).ok_or_else(|| wrong(field, value))?;
            put_number(1, at.as_second(), out);
            put_number(2, i64::from(at.subsec_nanosecond()), out);
        }
        (Special::Duration, Value::String(text)) => {
            put_number(1, nanos(text).ok_or_else(|| wrong(field, value))?, out);
        }
        (Special::RawExtension, value)
            if value.get("apiVersion").is_some() && value.get("kind").is_some() =>
        {
            // A known kind travels as protobuf, anything else as its JSON.
            let raw = encode(value).unwrap_or_else(|_| value.to_string().into_bytes());
            put_bytes(1, &raw, out);
        }
        (Special::AnyJson | Special::RawExtension, value) => {
            put_bytes(1, value.to_string().as_bytes(), out);
        }
        (Special::Items, Value::Array(items)) => {
            for item in items {
                put_bytes(1, item.as_str().ok_or_else(|| wrong(field, value))?.as_bytes(), out);
            }
        }
        (_, Value::Null) => {}
        _ => return Err(wrong(field, value)),
    }
    Ok(())
}

/// Go's duration text in nanoseconds.
fn nanos(text: &str) -> Option<i64> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let mut total = 0.0;
    while !rest.is_empty() && rest != "0" {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = &rest[end..];
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        let (name, scale) = units.iter().find(|(name, _)| unit.starts_with(name))?;
        total += number * scale;
        rest = &unit[name.len()..];
    }
    Some((sign * total) as i64)
}
