//! Defaults of each kind, as upstream fills them in, with its default feature gates.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | Idempotent: a second pass changes nothing. |
//! | D2 | What the client wrote stays, except what upstream itself cannot hold (`conversion.rs`). |

mod admission;
mod autoscaling;
mod batch;
mod conversion;
mod core;
mod image;
mod networking;
mod pod;
mod resources;
mod storage;
mod volume;
mod workloads;

#[cfg(test)]
mod defaults_test;

use serde_json::{Map, Value, json};

use crate::{Object, ResourceInfo};

type Tree = Map<String, Value>;

/// Fills in what the object leaves out.
pub fn apply(info: &ResourceInfo, object: &mut Object) {
    if info.is_custom() {
        return;
    }
    if info.group == "apiextensions.k8s.io" {
        crate::custom::definition::defaults::apply(object);
        return;
    }
    let (kind, map) = (info.kind, &mut object.0);
    match info.group {
        "" => core::apply(kind, map),
        "apps" => workloads::apply(kind, map),
        "batch" => batch::apply(kind, map),
        "autoscaling" => autoscaling::apply(info, map),
        "apiregistration.k8s.io" => admission::apply(kind, map),
        "networking.k8s.io" | "discovery.k8s.io" => networking::apply(kind, map),
        "storage.k8s.io" | "resource.k8s.io" => storage::apply(kind, map),
        "admissionregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "policy"
        | "rbac.authorization.k8s.io"
        | "scheduling.k8s.io" => admission::apply(kind, map),
        _ => {}
    }
}

/// A default that fits into a table.
#[derive(Clone, Copy, Debug)]
enum Scalar {
    Text(&'static str),
    Number(i64),
    Flag(bool),
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text.into(),
            Scalar::Number(number) => number.into(),
            Scalar::Flag(flag) => flag.into(),
        }
    }
}

/// Fields and their defaults.
type Table = [(&'static str, Scalar)];

/// Sets what is missing: for fields that upstream holds behind a pointer.
fn fill(map: &mut Tree, table: &Table) {
    for (key, value) in table {
        set(map, key, *value);
    }
}

/// Sets what is missing, empty text or the number 0: for fields that upstream holds by value.
fn fill_zero(map: &mut Tree, table: &Table) {
    for (key, value) in table {
        set_zero(map, key, *value);
    }
}

/// Sets a field that is missing or null.
fn set(map: &mut Tree, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a field that is missing, null, empty text or the number 0.
fn set_zero(map: &mut Tree, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(is_zero) {
        map.insert(key.to_owned(), value.into());
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Whether a list or map is missing, null or empty.
fn is_empty(map: &Tree, key: &str) -> bool {
    match map.get(key) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(entries)) => entries.is_empty(),
        Some(other) => other.is_null(),
        None => true,
    }
}

/// The text of a field, or `""`.
fn text<'a>(map: &'a Tree, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or("")
}

fn child<'a>(map: &'a mut Tree, key: &str) -> Option<&'a mut Tree> {
    map.get_mut(key)?.as_object_mut()
}

/// The object at a path of keys.
fn descend<'a>(map: &'a mut Tree, path: &[&str]) -> Option<&'a mut Tree> {
    path.iter().try_fold(map, |map, key| child(map, key))
}

/// The object of a key, made when missing.
fn ensure<'a>(map: &'a mut Tree, key: &str) -> Option<&'a mut Tree> {
    set(map, key, json!({}));
    child(map, key)
}

/// The objects in a list.
fn items<'a>(map: &'a mut Tree, key: &str) -> impl Iterator<Item = &'a mut Tree> {
    let list = map.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The labels of a workload are those of its template when it has none of its own.
fn labels_from_template(map: &mut Tree) {
    let path = ["spec", "template", "metadata", "labels"];
    let Some(labels) = crate::object::at(map, &path).filter(|labels| has_entries(labels)).cloned()
    else {
        return;
    };
    if let Some(metadata) = ensure(map, "metadata")
        && is_empty(metadata, "labels")
    {
        metadata.insert("labels".to_owned(), labels);
    }
}

fn has_entries(value: &Value) -> bool {
    value.as_object().is_some_and(|map| !map.is_empty())
}
