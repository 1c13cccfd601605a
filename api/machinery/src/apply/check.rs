//! Whether a value fits its type, with upstream's messages.

use std::collections::BTreeSet;

use serde_json::Value;

use super::path::{PathElement, number_text};
use super::types::{Form, Items, ListForm, NodeType, Scalar};

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    path: String,
    message: String,
}

/// Whether equal items of a list are let through: live objects may have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duplicates {
    Allowed,
    Refused,
}

/// Checks a value against its type.
///
/// # Errors
/// Upstream's message, with all that does not fit.
pub(super) fn check(value: &Value, node: &NodeType, duplicates: Duplicates) -> Result<(), String> {
    let mut found = Vec::new();
    walk(value, node, duplicates, &mut found);
    let lines: Vec<String> = found
        .iter()
        .map(|Mismatch { path, message }| match path.as_str() {
            "" => message.clone(),
            path => format!("{path}: {message}"),
        })
        .collect();
    match lines.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn mismatch(message: String) -> Mismatch {
    Mismatch { path: String::new(), message }
}

/// Walks a child, and puts the step to it before the paths of what was found.
fn walk_child(
    element: impl Fn() -> PathElement,
    value: &Value,
    node: &NodeType,
    duplicates: Duplicates,
    found: &mut Vec<Mismatch>,
) {
    let before = found.len();
    walk(value, node, duplicates, found);
    for one in &mut found[before..] {
        one.path.insert_str(0, &element().to_string());
    }
}

fn walk(value: &Value, node: &NodeType, duplicates: Duplicates, found: &mut Vec<Mismatch>) {
    match node.form(Some(value)) {
        Form::Scalar(scalar) => found.extend(check_scalar(value, scalar).map(mismatch)),
        Form::List(list) => match value {
            Value::Null => {}
            Value::Array(items) => walk_list(items, &list, duplicates, found),
            _ => found.push(mismatch(format!("expected list, got &{{{}}}", plain(value)))),
        },
        Form::Map(_) => match value {
            Value::Null => {}
            Value::Object(map) => {
                for (key, value) in map {
                    let element = || PathElement::field(key);
                    let Some(child) = node.child(key) else {
                        let message = "field not declared in schema".to_owned();
                        found.push(Mismatch { path: element().to_string(), message });
                        // Upstream looks no further either.
                        return;
                    };
                    walk_child(element, value, &child.node, duplicates, found);
                }
            }
            _ => found.push(mismatch(format!("expected map, got &{{{}}}", plain(value)))),
        },
    }
}

fn walk_list(
    items: &[Value],
    list: &ListForm<'_>,
    duplicates: Duplicates,
    found: &mut Vec<Mismatch>,
) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let place = || PathElement::Index(i64::try_from(index).unwrap_or(i64::MAX));
        if list.items == Items::Atomic {
            walk_child(place, item, &list.element, duplicates, found);
            continue;
        }
        let element = || list.element_of(item).unwrap_or_else(|_| place());
        if duplicates == Duplicates::Allowed && list.has_key(item) {
            walk_child(element, item, &list.element, duplicates, found);
            continue;
        }
        match list.element_of(item) {
            Ok(element) => {
                if !seen.insert(element.clone()) && duplicates == Duplicates::Refused {
                    found.push(mismatch(format!("duplicate entries for key {element}")));
                }
            }
            Err(why) => {
                found.push(mismatch(format!("element {index}: {why}")));
                return;
            }
        }
        walk_child(element, item, &list.element, duplicates, found);
    }
}

fn check_scalar(value: &Value, scalar: Scalar) -> Option<String> {
    match (scalar, value) {
        (_, Value::Null)
        | (Scalar::Number, Value::Number(_))
        | (Scalar::Text, Value::String(_))
        | (Scalar::Flag, Value::Bool(_))
        | (Scalar::Any, Value::Bool(_) | Value::Number(_) | Value::String(_)) => None,
        (Scalar::Number, _) => {
            Some(format!("expected numeric (int or float), got {}", go_type(value)))
        }
        (Scalar::Text, _) => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go_syntax(value)
        )),
        (Scalar::Flag, _) => Some(format!("expected boolean, got &{{{}}}", plain(value))),
        (Scalar::Any, _) => Some(format!("expected any scalar, got &{{{}}}", plain(value))),
    }
}

/// A value as Go's `%v` prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number_text(number),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// A value as Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Number(number) => number_text(number),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key:?}:{}", go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
    }
}

/// The name of the Go type that holds a value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
