//! What is published of types and fields beyond the schema: a table of exceptions and enums.
//!
//! A line without indent names a type. An indented line is a field of it, or, when it begins with
//! `=`, the type itself; behind it stand words: `required`, `omissible`, `default=` (a tilde for
//! none), `enum=`, `items-enum=`, `map=` and `unions=`, with JSON that has no blanks (`\u0020`
//! within texts).
//! The table is part of the binary, so a line that does not parse is a bug and panics at first use.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::schema::{Field, Kind, Presence, Shape};

/// What is said of one field, or of a type as a whole.
#[derive(Debug, Default)]
pub(super) struct Facts {
    is_required: Option<bool>,
    /// The outer option is whether anything is said.
    default: Option<Option<Value>>,
    pub(super) values: Option<Value>,
    pub(super) item_values: Option<Value>,
    pub(super) map_type: Option<&'static str>,
    pub(super) unions: Option<Value>,
}

/// By type, then by field.
type Table = HashMap<&'static str, HashMap<&'static str, Facts>>;

static TABLE: LazyLock<Table> = LazyLock::new(|| parse(include_str!("../tables/published.txt")));
static NOTHING: LazyLock<Facts> = LazyLock::new(Facts::default);

/// What is said of a field of a type; of the type itself when the field is `=`.
pub(super) fn facts(ty: &str, field: &str) -> &'static Facts {
    TABLE.get(ty).and_then(|fields| fields.get(field)).unwrap_or(&NOTHING)
}

impl Facts {
    pub(super) fn is_required(&self, field: &Field) -> bool {
        self.is_required.unwrap_or_else(|| {
            let is_written = matches!(
                field.presence,
                Presence::KeepZero | Presence::NullEmpty | Presence::Struct
            );
            is_written && !field.optional
        })
    }

    /// What a field is when nothing is said: what Go writes for it.
    pub(super) fn default_of(&self, field: &Field) -> Option<Value> {
        if let Some(said) = &self.default {
            return said.clone();
        }
        if field.shape != Shape::One {
            return None;
        }
        match (field.presence, field.kind) {
            (Presence::Struct, Kind::Message(_)) => Some(Value::Object(serde_json::Map::new())),
            (Presence::KeepZero, Kind::String) => Some("".into()),
            (Presence::KeepZero, Kind::Bool) => Some(false.into()),
            (Presence::KeepZero, Kind::Int32 | Kind::Int64 | Kind::Double) => Some(0.into()),
            _ => None,
        }
    }
}

fn parse(text: &'static str) -> Table {
    let mut table = Table::new();
    let mut owner = "";
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let Some(field) = line.strip_prefix(' ') else {
            owner = line;
            continue;
        };
        let mut words = field.split(' ');
        let name = words.next().unwrap_or_default();
        let mut facts = Facts::default();
        for word in words {
            match word.split_once('=') {
                None if word == "required" => facts.is_required = Some(true),
                None if word == "omissible" => facts.is_required = Some(false),
                Some(("default", "~")) => facts.default = Some(None),
                Some(("default", value)) => facts.default = Some(Some(json(value, line))),
                Some(("enum", value)) => facts.values = Some(json(value, line)),
                Some(("items-enum", value)) => facts.item_values = Some(json(value, line)),
                Some(("map", value)) => facts.map_type = Some(value),
                Some(("unions", value)) => facts.unions = Some(json(value, line)),
                _ => unreadable(line),
            }
        }
        table.entry(owner).or_default().insert(name, facts);
    }
    table
}

fn json(text: &str, line: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| unreadable(line))
}

#[expect(clippy::panic, reason = "the table is compiled in: a bad line cannot come from outside")]
fn unreadable(line: &str) -> ! {
    panic!("the table of what is published has a line that cannot be read: {line:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn every_line_is_about_a_field_that_is_there() {
        let schema = Schema::get();
        for (ty, fields) in TABLE.iter() {
            let id = schema.find(ty).unwrap_or_else(|| panic!("{ty}"));
            for field in fields.keys() {
                assert!(*field == "=" || schema.field(id, field).is_some(), "{ty}.{field}");
            }
        }
    }
}
