//! OpenAPI documents as protobuf: the messages of gnostic, in which clients ask for them.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | The messages say what the JSON says; what they have no field for is left out. |
//! | P2 | Values of any form are JSON, which readers of YAML understand. |
//! | P3 | Fields are in the order of the tables of messages, which is that of their numbers. |

mod messages;

use serde_json::Value;

use self::messages::Form;
use self::messages::{Choice, Message};
use crate::protobuf::wire::{put_bytes, put_double, put_number};

/// Levels of a document that are written; those below are left out.
const DEPTH_MAX: usize = 300;

/// A document of version 3.
#[must_use]
pub fn v3(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(document, &messages::v3::DOCUMENT, 0, &mut out);
    out
}

/// A document of version 2 whose maps are written already, each as the entries of its message.
pub(super) fn v2(head: &Value, [paths, definitions, parameters]: [&[u8]; 3]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(head, &messages::v2::DOCUMENT, 0, &mut out);
    put_bytes(8, paths, &mut out);
    put_bytes(9, definitions, &mut out);
    put_bytes(10, parameters, &mut out);
    out
}

pub(super) fn v2_path(name: &str, item: &Value, out: &mut Vec<u8>) {
    named(2, (name, item), messages::v2::path_item, 0, out);
}

pub(super) fn v2_definition(name: &str, schema: &Value, out: &mut Vec<u8>) {
    named(1, (name, schema), messages::v2::schema, 0, out);
}

pub(super) fn v2_parameter(name: &str, parameter: &Value, out: &mut Vec<u8>) {
    named(1, (name, parameter), messages::v2::shared_parameter, 0, out);
}

/// An entry of a map: a name and a message.
fn named(
    number: u32,
    (name, value): (&str, &Value),
    choice: Choice,
    depth: usize,
    out: &mut Vec<u8>,
) {
    let mut entry = Vec::new();
    put_bytes(1, name.as_bytes(), &mut entry);
    put_bytes(2, &chosen(value, choice, depth), &mut entry);
    put_bytes(number, &entry, out);
}

fn named_any(number: u32, name: &str, value: &Value, out: &mut Vec<u8>) {
    let mut entry = Vec::new();
    put_bytes(1, name.as_bytes(), &mut entry);
    put_bytes(2, &any(value), &mut entry);
    put_bytes(number, &entry, out);
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(2, format!("{value}\n").as_bytes(), &mut out);
    out
}

/// One of several messages, within those that say which one it is.
fn chosen(value: &Value, choice: Choice, depth: usize) -> Vec<u8> {
    let (way, message) = choice(value);
    let mut out = Vec::new();
    encode(value, message, depth + 1, &mut out);
    for number in way.iter().rev() {
        let mut outer = Vec::new();
        put_bytes(*number, &out, &mut outer);
        out = outer;
    }
    out
}

fn encode(value: &Value, message: &Message, depth: usize, out: &mut Vec<u8>) {
    if depth > DEPTH_MAX {
        return;
    }
    let Value::Object(said) = value else { return };
    for (key, number, form) in message.fields {
        if let Some(value) = said.get(*key) {
            field(value, *number, *form, depth, out);
        }
    }
    for (key, value) in said {
        if key.starts_with("x-") {
            named_any(message.extensions, key, value, out);
        } else if let Some((number, choice)) = message.others {
            named(number, (key, value), choice, depth, out);
        }
    }
}

fn field(value: &Value, number: u32, form: Form, depth: usize, out: &mut Vec<u8>) {
    let items = || value.as_array().into_iter().flatten();
    match form {
        Form::Text => put_bytes(number, value.as_str().unwrap_or_default().as_bytes(), out),
        Form::Texts => items()
            .filter_map(Value::as_str)
            .for_each(|text| put_bytes(number, text.as_bytes(), out)),
        Form::Flag => put_number(number, i64::from(value == true), out),
        Form::Double => put_double(number, value.as_f64().unwrap_or_default(), out),
        Form::Integer => put_number(number, value.as_i64().unwrap_or_default(), out),
        Form::Any => put_bytes(number, &any(value), out),
        Form::Anys => items().for_each(|one| put_bytes(number, &any(one), out)),
        Form::One(choice) => put_bytes(number, &chosen(value, choice, depth), out),
        Form::Many(choice) => {
            items().for_each(|one| put_bytes(number, &chosen(one, choice, depth), out));
        }
        Form::Map(choice) => {
            let mut entries = Vec::new();
            for (name, one) in value.as_object().into_iter().flatten() {
                named(1, (name, one), choice, depth, &mut entries);
            }
            put_bytes(number, &entries, out);
        }
        Form::Wrapped(choice) => {
            let mut inner = Vec::new();
            match (choice, value) {
                (None, _) => {
                    put_bytes(1, value.as_str().unwrap_or_default().as_bytes(), &mut inner);
                }
                (Some(_), Value::Bool(flag)) => put_number(2, i64::from(*flag), &mut inner),
                (Some(choice), _) => put_bytes(1, &chosen(value, choice, depth), &mut inner),
            }
            put_bytes(number, &inner, out);
        }
        Form::Scalar => {
            let mut inner = Vec::new();
            match value {
                Value::Number(one) => put_double(1, one.as_f64().unwrap_or_default(), &mut inner),
                Value::Bool(flag) => put_number(2, i64::from(*flag), &mut inner),
                Value::String(text) => put_bytes(3, text.as_bytes(), &mut inner),
                Value::Null | Value::Array(_) | Value::Object(_) => return,
            }
            put_bytes(number, &inner, out);
        }
        Form::Requirement => items().for_each(|one| {
            let mut entries = Vec::new();
            for name in one.as_object().into_iter().flat_map(serde_json::Map::keys) {
                let mut entry = Vec::new();
                put_bytes(1, name.as_bytes(), &mut entry);
                put_bytes(2, &[], &mut entry);
                put_bytes(1, &entry, &mut entries);
            }
            put_bytes(number, &entries, out);
        }),
    }
}
