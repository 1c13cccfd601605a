//! Fits a document to the schema: finds unknown and duplicate fields, checks types, and writes
//! zero values as Go does, so that what is stored is what upstream would have stored.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

use super::raw::Raw;
use crate::limits::{NESTING_DEPTH_MAX, STRICT_ERRORS_MAX};
use crate::schema::{Field, Kind, Presence, Schema, Shape, Special, TypeId};
use crate::{quantity, time};

/// Objects with more members are not searched one by one for keys that come twice.
const MEMBERS_COMPARED_MAX: usize = 16;

/// What says of which type an object is.
const TYPE_META: [&str; 2] = ["apiVersion", "kind"];

/// A step of the way to a value. It is put in words for errors only.
enum Step {
    Field(&'static str),
    Key(String),
    Item(usize),
}

impl Step {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Field(name) => Cow::Borrowed(name),
            Self::Key(key) => Cow::Borrowed(key),
            Self::Item(index) => Cow::Owned(format!("[{index}]")),
        }
    }
}

/// One pass over one document.
pub(crate) struct Walk {
    schema: &'static Schema,
    path: Vec<Step>,
    /// `unknown field "…"`, `duplicate field "…"`, in document order.
    pub strict_errors: Vec<String>,
}

/// A value of the wrong type; the text goes behind "cannot be handled as a …: ".
pub(crate) type TypeError = String;

impl Walk {
    pub(crate) fn new() -> Self {
        Self { schema: Schema::get(), path: Vec::new(), strict_errors: Vec::new() }
    }

    fn path(&self) -> String {
        let mut out = String::new();
        for part in self.path.iter().map(Step::text) {
            if !out.is_empty() && !part.starts_with('[') {
                out.push('.');
            }
            out.push_str(&part);
        }
        out
    }

    fn strict(&mut self, what: &str, key: &str) {
        if self.strict_errors.len() >= STRICT_ERRORS_MAX {
            return;
        }
        self.path.push(Step::Key(key.to_owned()));
        let text = format!("{what} field \"{}\"", self.path());
        self.path.pop();
        if !self.strict_errors.contains(&text) {
            self.strict_errors.push(text);
        }
    }

    fn mismatch(&self, owner: TypeId, found: &str, wanted: &str) -> TypeError {
        // Go's errors name the fields of structs and nothing else.
        let path: Vec<_> = self
            .path
            .iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(*name),
                Step::Key(_) | Step::Item(_) => None,
            })
            .collect();
        let owner = self.schema.of(owner).short_name();
        format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{} of type {wanted}",
            path.join(".")
        )
    }

    /// An object of a type; `null` is an empty one.
    pub(crate) fn message(
        &mut self,
        id: TypeId,
        raw: Raw,
    ) -> Result<Map<String, Value>, TypeError> {
        let members = match raw {
            Raw::Object(members) => members,
            Raw::Null => Vec::new(),
            other => {
                let wanted = self.schema.of(id).go_name().to_owned();
                return Err(self.mismatch(id, other.go_kind(), &wanted));
            }
        };
        if self.path.len() > NESTING_DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        let mut out = Map::new();
        let repeated = repeated(&members);
        for (place, (key, value)) in members.into_iter().enumerate() {
            if repeated.binary_search(&place).is_ok() {
                self.strict("duplicate", &key);
            }
            let type_meta = TYPE_META.into_iter().find(|name| *name == key);
            let type_meta = type_meta.filter(|_| self.schema.of(id).has_type_meta);
            if let Some(field) = self.schema.field(id, &key) {
                self.path.push(Step::Field(&field.json));
                let value = self.field(id, field, value)?;
                self.path.pop();
                out.insert(key, value);
            } else if let Some(name) = type_meta {
                match value {
                    Raw::Text(text) => {
                        out.insert(key, text.into());
                    }
                    Raw::Null => {}
                    other => {
                        self.path.push(Step::Field(name));
                        return Err(self.mismatch(id, other.go_kind(), "string"));
                    }
                }
            } else {
                self.strict("unknown", &key);
            }
        }
        // An empty list asks that all managers be forgotten: it is more than no list.
        let is_reset = matches!(self.path[..], [Step::Field("metadata")])
            && out.get("managedFields").and_then(Value::as_array).is_some_and(Vec::is_empty);
        finish(self.schema, id, &mut out);
        if is_reset {
            out.insert("managedFields".to_owned(), json!([]));
        }
        Ok(out)
    }

    fn field(&mut self, owner: TypeId, field: &Field, raw: Raw) -> Result<Value, TypeError> {
        if raw == Raw::Null {
            return Ok(Value::Null);
        }
        match (field.shape, raw) {
            (Shape::One, raw) => self.one(owner, field.kind, raw),
            (Shape::List, Raw::List(items)) => {
                let mut out = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let last = self.path.len();
                    self.path.push(Step::Item(index));
                    out.push(self.item(owner, field.kind, item)?);
                    self.path.truncate(last);
                }
                Ok(Value::Array(out))
            }
            (Shape::Map, Raw::Object(members)) => {
                let mut out = Map::new();
                for (key, value) in members {
                    if out.contains_key(&key) {
                        self.strict("duplicate", &key);
                    }
                    if let Some(error) = self.map_mismatch(owner, field.kind, &value) {
                        return Err(error);
                    }
                    self.path.push(Step::Key(key.clone()));
                    let value = self.item(owner, field.kind, value)?;
                    self.path.pop();
                    out.insert(key, value);
                }
                Ok(Value::Object(out))
            }
            (shape, other) => {
                let wanted = self.go_type(shape, field.kind);
                Err(self.mismatch(owner, other.go_kind(), &wanted))
            }
        }
    }

    /// The path with a map's key left out, as Go's errors show it.
    fn map_mismatch(&self, owner: TypeId, kind: Kind, raw: &Raw) -> Option<TypeError> {
        let fits = !matches!((kind, raw), (Kind::String, other) if !matches!(other, Raw::Text(_) | Raw::Null));
        (!fits).then(|| self.mismatch(owner, raw.go_kind(), "string"))
    }

    /// A member of a list or map: null is the zero value there.
    fn item(&mut self, owner: TypeId, kind: Kind, raw: Raw) -> Result<Value, TypeError> {
        if raw != Raw::Null {
            return self.one(owner, kind, raw);
        }
        Ok(match kind {
            Kind::String | Kind::Bytes => "".into(),
            Kind::Int32 | Kind::Int64 | Kind::Double => 0.into(),
            Kind::Bool => false.into(),
            Kind::Message(id) => match self.schema.of(id).special {
                Special::None => Value::Object(self.message(id, Raw::Null)?),
                Special::Quantity => "0".into(),
                Special::Items => json!([]),
                _ => Value::Null,
            },
        })
    }

    fn one(&mut self, owner: TypeId, kind: Kind, raw: Raw) -> Result<Value, TypeError> {
        let found = raw.go_kind();
        let value = match (kind, raw) {
            (Kind::String, Raw::Text(text)) => Some(text.into()),
            (Kind::Bytes, Raw::Text(text)) => Some(canonical_base64(&text)?.into()),
            (Kind::Bool, Raw::Bool(flag)) => Some(flag.into()),
            (Kind::Int32, Raw::Number(number)) => {
                let value = number.as_i64().filter(|n| i32::try_from(*n).is_ok());
                let wrong = format!("number {number}");
                Some(value.ok_or_else(|| self.mismatch(owner, &wrong, "int32"))?.into())
            }
            (Kind::Int64, Raw::Number(number)) => {
                let wrong = format!("number {number}");
                let value = number.as_i64().ok_or_else(|| self.mismatch(owner, &wrong, "int64"));
                Some(value?.into())
            }
            (Kind::Double, Raw::Number(number)) => Some(Value::Number(canonical_double(number))),
            (Kind::Message(id), raw) => return self.special(owner, id, raw),
            _ => None,
        };
        value.ok_or_else(|| self.mismatch(owner, found, &self.go_type(Shape::One, kind)))
    }

    fn special(&mut self, owner: TypeId, id: TypeId, raw: Raw) -> Result<Value, TypeError> {
        let found = raw.go_kind();
        match (self.schema.of(id).special, raw) {
            (Special::None, raw) => Ok(Value::Object(self.message(id, raw)?)),
            (Special::Quantity, Raw::Text(text)) => {
                quantity::canonical(&text).map(Into::into).map_err(|error| error.to_string())
            }
            (Special::Quantity, Raw::Number(number)) => quantity::canonical(&number.to_string())
                .map(Into::into)
                .map_err(|error| error.to_string()),
            (Special::IntOrString, Raw::Number(number)) => {
                let value = number.as_i64().filter(|n| i32::try_from(*n).is_ok());
                value.map(Into::into).ok_or_else(|| {
                    format!("json: cannot unmarshal number {number} into Go value of type int32")
                })
            }
            (Special::IntOrString | Special::Duration, Raw::Text(text)) => Ok(text.into()),
            (Special::Time, Raw::Text(text)) => canonical_time(&text, time::seconds),
            (Special::MicroTime, Raw::Text(text)) => canonical_time(&text, time::micros),
            (Special::AnyJson, raw) if self.schema.of(id).is_either() => {
                self.either(owner, id, raw)
            }
            (Special::AnyJson | Special::RawExtension, raw) => Ok(raw.into_value()),
            (Special::Items, Raw::List(items)) => {
                items.into_iter().map(|item| self.one(owner, Kind::String, item)).collect()
            }
            _ => {
                let wanted = self.schema.of(id).go_name();
                Err(self.mismatch(owner, found, wanted))
            }
        }
    }

    /// A schema, or what else may stand in its place. Go's types for these decode themselves, and are strict
    /// about nothing; what has neither shape is nothing, unless a boolean could stand there.
    fn either(&mut self, owner: TypeId, id: TypeId, raw: Raw) -> Result<Value, TypeError> {
        let strict_errors = self.strict_errors.len();
        let of = |shape: Shape| {
            let fields = &self.schema.of(id).fields;
            fields.iter().find(move |field| field.shape == shape && field.kind != Kind::Bool)
        };
        let has_bool = self.schema.of(id).fields.iter().any(|field| field.kind == Kind::Bool);
        let value = match raw {
            Raw::Bool(flag) if has_bool => Value::Bool(flag),
            raw @ Raw::Object(_) => match of(Shape::One) {
                Some(field) => self.one(owner, field.kind, raw)?,
                None => Value::Null,
            },
            _ if has_bool => return Err("boolean or JSON schema expected".to_owned()),
            raw @ Raw::List(_) => match of(Shape::List) {
                Some(field) => self.field(owner, field, raw)?,
                None => Value::Null,
            },
            _ => Value::Null,
        };
        self.strict_errors.truncate(strict_errors);
        Ok(value)
    }

    fn go_type(&self, shape: Shape, kind: Kind) -> String {
        let one = match kind {
            Kind::String => "string",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Bool => "bool",
            Kind::Bytes => "[]uint8",
            Kind::Double => "float64",
            Kind::Message(id) => self.schema.of(id).go_name(),
        };
        match shape {
            Shape::One => one.to_owned(),
            Shape::List => format!("[]{one}"),
            Shape::Map => format!("map[string]{one}"),
        }
    }
}

/// Places of members whose keys came before, in order.
pub(super) fn repeated(members: &[(String, Raw)]) -> Vec<usize> {
    if members.len() <= MEMBERS_COMPARED_MAX {
        let came_before =
            |place: &usize| members[..*place].iter().any(|(key, _)| *key == members[*place].0);
        return (1..members.len()).filter(came_before).collect();
    }
    let mut seen = HashSet::with_capacity(members.len());
    let keys = members.iter().enumerate();
    keys.filter(|(_, (key, _))| !seen.insert(key.as_str())).map(|(place, _)| place).collect()
}

pub(super) fn canonical_base64(text: &str) -> Result<String, TypeError> {
    // Go ignores line breaks inside base64.
    let dense: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(&dense).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(length) => length / 4 * 4,
            base64::DecodeError::InvalidPadding => dense.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    Ok(STANDARD.encode(bytes))
}

/// Go writes a whole number without a fraction, however it was read.
pub(super) fn canonical_double(number: Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        // In this range each whole number is one.
        Some(value) if value.fract() == 0.0 && value.abs() <= EXACT => Number::from(value as i64),
        Some(_) | None => number,
    }
}

pub(super) fn canonical_time(
    text: &str,
    write: fn(jiff::Timestamp) -> String,
) -> Result<Value, TypeError> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let time = time::parse(text).ok_or_else(|| {
        format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?}")
    })?;
    Ok(write(time).into())
}

/// Drops and adds zero values as Go's JSON does for the type.
pub(crate) fn finish(schema: &Schema, id: TypeId, map: &mut Map<String, Value>) {
    for field in &schema.of(id).fields {
        if field.is_inline() {
            if let Kind::Message(inner) = field.kind {
                finish(schema, inner, map);
            }
            continue;
        }
        let zero = map.get(&field.json).is_none_or(|value| is_zero(value, field));
        match field.presence {
            Presence::Pointer => {
                if map.get(&field.json).is_some_and(Value::is_null) {
                    map.remove(&field.json);
                }
            }
            Presence::DropZero | Presence::DropEmpty => {
                if zero {
                    map.remove(&field.json);
                }
            }
            Presence::KeepZero => {
                if zero {
                    map.insert(field.json.clone(), zero_of(field.kind));
                }
            }
            Presence::Struct => {
                if map.get(&field.json).is_none_or(Value::is_null) {
                    map.insert(field.json.clone(), empty_struct(schema, field));
                }
            }
            Presence::NullPointer => {
                map.entry(field.json.clone()).or_insert(Value::Null);
            }
            // An empty list is none: upstream's storage does not tell them apart.
            Presence::NullTime | Presence::NullEmpty => {
                if zero {
                    map.insert(field.json.clone(), Value::Null);
                }
            }
        }
    }
}

pub(super) fn is_zero(value: &Value, field: &Field) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && field.shape == Shape::Map,
    }
}

pub(super) fn zero_of(kind: Kind) -> Value {
    match kind {
        Kind::String | Kind::Bytes => "".into(),
        Kind::Int32 | Kind::Int64 | Kind::Double => 0.into(),
        Kind::Bool => false.into(),
        Kind::Message(_) => Value::Null,
    }
}

pub(crate) fn empty_struct(schema: &Schema, field: &Field) -> Value {
    let Kind::Message(id) = field.kind else { return Value::Null };
    match schema.of(id).special {
        Special::None => {
            let mut map = Map::new();
            finish(schema, id, &mut map);
            Value::Object(map)
        }
        Special::Quantity => "0".into(),
        Special::IntOrString => 0.into(),
        Special::Items => json!([]),
        _ => Value::Null,
    }
}

#[cfg(test)]
#[path = "walk_test.rs"]
mod walk_test;
