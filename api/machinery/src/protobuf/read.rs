//! Protobuf messages to JSON trees.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::wire::{Reader, Wire};
use super::{Error, MAGIC, decode, either};
use crate::decode::walk::finish;
use crate::limits::NESTING_DEPTH_MAX;
use crate::schema::{Field, Kind, Schema, Shape, Special, Type, TypeId};
use crate::time;

pub(super) struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let mut out = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(type_meta)) => {
                let mut inner = Reader::new(type_meta);
                while let Some((number, wire)) = inner.field()? {
                    match (number, wire) {
                        (1, Wire::Bytes(bytes)) => out.api_version = text(bytes),
                        (2, Wire::Bytes(bytes)) => out.kind = text(bytes),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => out.raw = bytes,
            _ => {}
        }
    }
    Ok(out)
}

/// Unknown fields are skipped, as upstream does.
pub(super) fn message(id: TypeId, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Error> {
    let schema = Schema::get();
    let mut out = Map::new();
    add_fields(schema.of(id), bytes, depth, &mut out)?;
    finish(schema, id, &mut out);
    Ok(out)
}

/// Adds what the bytes say, and nothing that they leave out.
pub(super) fn add_fields(
    ty: &Type,
    bytes: &[u8],
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<(), Error> {
    if depth > NESTING_DEPTH_MAX {
        return Err(Error::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Some(field) = ty.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        match (field.kind, wire) {
            (Kind::Message(inner), Wire::Bytes(bytes)) if field.is_inline() => {
                add_fields(Schema::get().of(inner), bytes, depth + 1, out)?;
            }
            _ => add(field, wire, depth, out)?,
        }
    }
    Ok(())
}

fn add(
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<(), Error> {
    match field.shape {
        Shape::One => {
            out.insert(field.json.clone(), one(field, wire, depth)?);
        }
        Shape::List => {
            let slot = out.entry(field.json.clone()).or_insert_with(|| json!([]));
            let items = slot.as_array_mut().expect("only this arm fills the slot");
            match (field.kind, wire) {
                (Kind::Int32 | Kind::Int64 | Kind::Bool, Wire::Bytes(packed)) => {
                    let mut reader = Reader::new(packed);
                    while !reader.is_empty() {
                        items.push(one(field, Wire::Varint(reader.varint()?), depth)?);
                    }
                }
                _ => items.push(one(field, wire, depth)?),
            }
        }
        Shape::Map => {
            let Wire::Bytes(entry) = wire else { return Err(wrong(field, wire)) };
            let (mut key, mut value) = (String::new(), None);
            let mut reader = Reader::new(entry);
            while let Some((number, wire)) = reader.field()? {
                match (number, wire) {
                    (1, Wire::Bytes(bytes)) => key = text(bytes),
                    (2, wire) => value = Some(one(field, wire, depth)?),
                    _ => {}
                }
            }
            let value = match value {
                Some(value) => value,
                None => one(field, empty(field.kind), depth)?,
            };
            let slot = out.entry(field.json.clone()).or_insert_with(|| json!({}));
            slot.as_object_mut().expect("only this arm fills the slot").insert(key, value);
        }
    }
    Ok(())
}

fn empty(kind: Kind) -> Wire<'static> {
    match kind {
        Kind::Int32 | Kind::Int64 | Kind::Bool => Wire::Varint(0),
        Kind::Double => Wire::Fixed64([0; 8]),
        Kind::String | Kind::Bytes | Kind::Message(_) => Wire::Bytes(&[]),
    }
}

fn wrong(field: &Field, wire: Wire<'_>) -> Error {
    Error::WireType { field: field.number, wire_type: wire.wire_type() }
}

fn one(field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match (field.kind, wire) {
        (Kind::String, Wire::Bytes(bytes)) => text(bytes).into(),
        (Kind::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Kind::Bool, Wire::Varint(value)) => (value != 0).into(),
        // A 32-bit number stands on the wire as its 64-bit sign extension; the low half is it.
        (Kind::Int32, Wire::Varint(value)) => (value as u32).cast_signed().into(),
        (Kind::Int64, Wire::Varint(value)) => value.cast_signed().into(),
        (Kind::Double, Wire::Fixed64(bytes)) => double(f64::from_le_bytes(bytes)),
        (Kind::Message(id), Wire::Bytes(bytes)) => special(id, bytes, depth + 1)?,
        (_, wire) => return Err(wrong(field, wire)),
    })
}

/// As Go writes it into JSON: a whole number has no fraction.
fn double(value: f64) -> Value {
    /// All whole numbers up to here are exact.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

    if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the range")]
        let whole = value as i64;
        return whole.into();
    }
    value.into()
}

fn special(id: TypeId, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let ty = Schema::get().of(id);
    let special = ty.special;
    if special == Special::None {
        return Ok(Value::Object(message(id, bytes, depth)?));
    }
    if ty.is_either() {
        return either::from_message(ty, bytes, depth);
    }
    let (mut numbers, mut texts) = ([0_i64; 4], Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match wire {
            Wire::Varint(value) if (1..4).contains(&number) => {
                numbers[number as usize] = value.cast_signed();
            }
            Wire::Bytes(bytes) => texts.push(bytes),
            _ => {}
        }
    }
    let first = texts.first().copied().unwrap_or_default();
    Ok(match special {
        Special::None => Value::Null,
        Special::Quantity if first.is_empty() => "0".into(),
        Special::Quantity => crate::quantity::canonical(&text(first))
            .map_err(|error| Error::Value(error.to_string()))?
            .into(),
        Special::IntOrString if numbers[1] == 0 => numbers[2].into(),
        Special::IntOrString => text(first).into(),
        // Upstream writes an unset time as an empty message.
        Special::Time | Special::MicroTime if bytes.is_empty() => Value::Null,
        Special::Time => stamp(numbers, time::seconds)?,
        Special::MicroTime => stamp(numbers, time::micros)?,
        Special::Duration => go_duration(numbers[1]).into(),
        Special::AnyJson => any_json(first)?,
        Special::RawExtension if first.starts_with(&MAGIC) => decode(first)?.into_value(),
        Special::RawExtension => any_json(first)?,
        Special::Items => texts.into_iter().map(|bytes| Value::String(text(bytes))).collect(),
    })
}

fn any_json(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|error| Error::Value(error.to_string()))
}

fn stamp(numbers: [i64; 4], write: fn(jiff::Timestamp) -> String) -> Result<Value, Error> {
    let nanos = i32::try_from(numbers[2]).unwrap_or(0);
    let time =
        jiff::Timestamp::new(numbers[1], nanos).map_err(|error| Error::Value(error.to_string()))?;
    Ok(write(time).into())
}

/// Go's text of a duration in nanoseconds: `1h2m3.5s`.
fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let trimmed = |value: f64, unit: &str| format!("{sign}{value}{unit}");
    match total {
        0 => return "0s".to_owned(),
        n if n < 1_000 => return format!("{sign}{n}ns"),
        n if n < 1_000_000 => return trimmed(n as f64 / 1e3, "µs"),
        n if n < 1_000_000_000 => return trimmed(n as f64 / 1e6, "ms"),
        _ => {}
    }
    let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
    let seconds = (total % 60_000_000_000) as f64 / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
