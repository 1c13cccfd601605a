//! JSON as Go writes a struct: fields in the order of the type, and some letters escaped.

use std::fmt::Write as _;

use serde_json::Value;

use crate::schema::{Kind, Schema, Shape, Special, TypeId};

/// A text between quotation marks.
pub(super) fn text(text: &str) -> String {
    let mut out = String::new();
    for letter in Value::from(text).to_string().chars() {
        if matches!(letter, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
            write!(out, "\\u{:04x}", u32::from(letter)).expect("a String takes all");
        } else {
            out.push(letter);
        }
    }
    out
}

/// A list of messages of one type.
pub(super) fn list(id: TypeId, items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(|item| message(id, item)).collect();
    format!("[{}]", items.join(","))
}

/// A message whose zero values are as they should be.
fn message(id: TypeId, value: &Value) -> String {
    let schema = Schema::get();
    if schema.of(id).special != Special::None {
        return plain(value);
    }
    let mut parts = Vec::new();
    // Go's order is that of the numbers, in the types that are carried.
    for field in schema.of(id).fields.iter().filter(|field| !field.is_inline()) {
        let Some(value) = value.get(&field.json) else { continue };
        let written = match (field.kind, field.shape, value) {
            (Kind::Message(id), Shape::One, Value::Object(_)) => message(id, value),
            (Kind::Message(id), Shape::List, Value::Array(items)) => list(id, items),
            _ => plain(value),
        };
        parts.push(format!("{}:{written}", text(&field.json)));
    }
    format!("{{{}}}", parts.join(","))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(letters) => text(letters),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => {
            let parts: Vec<String> =
                map.iter().map(|(key, value)| format!("{}:{}", text(key), plain(value))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
