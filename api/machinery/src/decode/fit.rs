//! Fits a tree to its type where it lies: what [`super::walk`] makes of a document that nothing is
//! to be said about, without building another tree.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | F1 | A tree that fits becomes what the walk makes of it, to the last value. |
//! | F2 | Whatever is wrong or unknown is left to the walk, which says so; it says the same of |
//! |    | the tree as it was left here. What may be of several shapes is left to it, too. |

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, json};

use super::walk::{self, canonical_base64};
use crate::limits::{BODY_DEPTH_MAX, NESTING_DEPTH_MAX};
use crate::schema::{Field, Kind, Presence, Schema, Shape, Special, TypeId};
use crate::{quantity, time};

/// The walk has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit;

/// Reads JSON whose objects have each key once; anything else is a [`Misfit`].
pub(crate) fn read(bytes: &[u8]) -> Result<Map<String, Value>, Misfit> {
    let depth = Cell::new(0);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let tree = Once(&depth).deserialize(&mut deserializer).map_err(|_| Misfit)?;
    deserializer.end().map_err(|_| Misfit)?;
    match tree {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Misfit)
        }
    }
}

/// Reads a value, as deep as the cell says.
#[derive(Clone, Copy)]
struct Once<'a>(&'a Cell<usize>);

impl Once<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<(), E> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > BODY_DEPTH_MAX { Err(E::custom(super::depth::TOO_DEEP)) } else { Ok(()) }
    }

    fn back(self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        self.back();
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(self)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key comes twice"));
            }
        }
        self.back();
        Ok(Value::Object(map))
    }
}

/// Fits an object to its type.
pub(crate) fn object(id: TypeId, map: &mut Map<String, Value>) -> Result<(), Misfit> {
    // An empty list asks that all managers be forgotten: the walk knows.
    let managers = map.get("metadata").and_then(|metadata| metadata.get("managedFields"));
    if managers.and_then(Value::as_array).is_some_and(Vec::is_empty) {
        return Err(Misfit);
    }
    Fit { schema: Schema::get() }.message(id, map, 0)
}

struct Fit {
    schema: &'static Schema,
}

impl Fit {
    /// `depth` counts the steps from the root, as the walk's path does.
    fn message(
        &self,
        id: TypeId,
        map: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Misfit> {
        if depth > NESTING_DEPTH_MAX {
            return Err(Misfit);
        }
        let mut outcome = Ok(());
        map.retain(|key, value| {
            if outcome.is_err() {
                return true;
            }
            match self.member(id, (key, value), depth + 1) {
                Ok(is_kept) => is_kept,
                Err(misfit) => {
                    outcome = Err(misfit);
                    true
                }
            }
        });
        outcome?;
        for field in self.schema.always(id) {
            if !map.contains_key(&field.json) {
                map.insert(field.json.clone(), self.absent(field));
            }
        }
        Ok(())
    }

    /// A member of an object; false when Go does not write it.
    fn member(
        &self,
        id: TypeId,
        (key, value): (&str, &mut Value),
        depth: usize,
    ) -> Result<bool, Misfit> {
        if let Some(field) = self.schema.field(id, key) {
            return self.field(field, value, depth);
        }
        match value {
            _ if !self.schema.of(id).has_type_meta || !matches!(key, "apiVersion" | "kind") => {
                Err(Misfit)
            }
            Value::String(_) => Ok(true),
            Value::Null => Ok(false),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(Misfit),
        }
    }

    fn field(&self, field: &Field, value: &mut Value, depth: usize) -> Result<bool, Misfit> {
        match (field.shape, &mut *value) {
            (_, Value::Null) => {}
            (Shape::One, value) => self.one(field.kind, value, depth)?,
            (Shape::List, Value::Array(items)) => {
                for item in items {
                    self.item(field.kind, item, depth + 1)?;
                }
            }
            (Shape::Map, Value::Object(members)) => {
                for value in members.values_mut() {
                    self.item(field.kind, value, depth + 1)?;
                }
            }
            (Shape::List | Shape::Map, _) => return Err(Misfit),
        }
        let is_null = value.is_null();
        let is_zero = is_null || walk::is_zero(value, field);
        Ok(match field.presence {
            Presence::Pointer => !is_null,
            Presence::DropZero | Presence::DropEmpty => !is_zero,
            Presence::Struct if is_null => {
                *value = self.absent(field);
                true
            }
            Presence::Struct | Presence::NullPointer => true,
            Presence::KeepZero | Presence::NullTime | Presence::NullEmpty => {
                if is_zero {
                    *value = self.absent(field);
                }
                true
            }
        })
    }

    /// What Go writes for a field that nobody has set.
    fn absent(&self, field: &Field) -> Value {
        match field.presence {
            Presence::KeepZero => walk::zero_of(field.kind),
            Presence::Struct => walk::empty_struct(self.schema, field),
            Presence::Pointer
            | Presence::NullPointer
            | Presence::DropZero
            | Presence::DropEmpty
            | Presence::NullTime
            | Presence::NullEmpty => Value::Null,
        }
    }

    /// A member of a list or map: null is the zero value there.
    fn item(&self, kind: Kind, value: &mut Value, depth: usize) -> Result<(), Misfit> {
        if !value.is_null() {
            return self.one(kind, value, depth);
        }
        *value = match kind {
            Kind::Message(id) => match self.schema.of(id).special {
                Special::None => {
                    let mut map = Map::new();
                    self.message(id, &mut map, depth)?;
                    Value::Object(map)
                }
                Special::Quantity => "0".into(),
                Special::Items => json!([]),
                Special::IntOrString
                | Special::Time
                | Special::MicroTime
                | Special::Duration
                | Special::AnyJson
                | Special::RawExtension => Value::Null,
            },
            Kind::String | Kind::Bytes | Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Bool => {
                walk::zero_of(kind)
            }
        };
        Ok(())
    }

    fn one(&self, kind: Kind, value: &mut Value, depth: usize) -> Result<(), Misfit> {
        let fits = match (kind, &mut *value) {
            (Kind::String, Value::String(_)) | (Kind::Bool, Value::Bool(_)) => true,
            (Kind::Double, Value::Number(number)) => {
                *number = walk::canonical_double(number.clone());
                true
            }
            (Kind::Bytes, Value::String(text)) => {
                *text = canonical_base64(text).map_err(|_| Misfit)?;
                true
            }
            (Kind::Int32, Value::Number(number)) => is_int32(number),
            (Kind::Int64, Value::Number(number)) => number.is_i64(),
            (Kind::Message(id), _) => return self.special(id, value, depth),
            _ => false,
        };
        if fits { Ok(()) } else { Err(Misfit) }
    }

    fn special(&self, id: TypeId, value: &mut Value, depth: usize) -> Result<(), Misfit> {
        let fits = match (self.schema.of(id).special, &mut *value) {
            (Special::None, Value::Object(map)) => return self.message(id, map, depth),
            (Special::Quantity, Value::String(text)) => {
                let canonical = quantity::canonical(text).map_err(|_| Misfit)?;
                *text = canonical;
                true
            }
            (Special::Quantity, Value::Number(number)) => {
                let canonical = quantity::canonical(&number.to_string()).map_err(|_| Misfit)?;
                *value = canonical.into();
                true
            }
            (Special::IntOrString, Value::Number(number)) => is_int32(number),
            (Special::IntOrString | Special::Duration, Value::String(_)) => true,
            (Special::Time, Value::String(text)) if is_written(text, SECONDS) => true,
            (Special::MicroTime, Value::String(text)) if is_written(text, MICROS) => true,
            (Special::Time, Value::String(text)) => {
                *value = walk::canonical_time(text, time::seconds).map_err(|_| Misfit)?;
                true
            }
            (Special::MicroTime, Value::String(text)) => {
                *value = walk::canonical_time(text, time::micros).map_err(|_| Misfit)?;
                true
            }
            // The walk knows what may stand there.
            (Special::AnyJson, _) if self.schema.of(id).is_either() => false,
            (Special::AnyJson | Special::RawExtension, _) => true,
            (Special::Items, Value::Array(items)) => items.iter().all(Value::is_string),
            _ => false,
        };
        if fits { Ok(()) } else { Err(Misfit) }
    }
}

fn is_int32(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

const SECONDS: &[u8] = b"0000-00-00T00:00:00Z";
const MICROS: &[u8] = b"0000-00-00T00:00:00.000000Z";

/// Whether a time is written as it will be: of those that are easily seen to be, which nearly all
/// are.
fn is_written(text: &str, pattern: &[u8]) -> bool {
    /// Where two digits stand, with the least and the most that every month and minute has.
    const PARTS: [(usize, u8, u8); 5] =
        [(5, 1, 12), (8, 1, 28), (11, 0, 23), (14, 0, 59), (17, 0, 59)];

    let text = text.as_bytes();
    let is_like = |(byte, wanted): (&u8, &u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte == wanted,
    };
    text.len() == pattern.len()
        && text.iter().zip(pattern).all(is_like)
        && text[0] != b'0'
        && PARTS.iter().all(|(at, least, most)| {
            let number = (text[*at] - b'0') * 10 + (text[at + 1] - b'0');
            (*least..=*most).contains(&number)
        })
}

#[cfg(test)]
#[path = "fit_test.rs"]
mod fit_test;
