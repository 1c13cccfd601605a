//! What may change in a job's spec: little, and more while it waits.

use serde_json::Value;

use super::policies;
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::{items, shown, text};

/// A field that never changes, and how it is shown.
type Fixed = (&'static str, fn(&Value) -> String);

const IMMUTABLE: &str = "field is immutable";

pub(super) fn spec(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let (now, before) =
        (new.at(&["spec"]).unwrap_or(&Value::Null), old.at(&["spec"]).unwrap_or(&Value::Null));
    let path = Path::new("spec");
    completions(now, before, &path, errors);
    let fixed: [Fixed; 6] = [
        ("selector", shown::selector),
        ("completionMode", Value::to_string),
        ("podFailurePolicy", |value| pointer(value, policies::POD_FAILURE)),
        ("backoffLimitPerIndex", Value::to_string),
        ("managedBy", Value::to_string),
        ("successPolicy", |value| pointer(value, policies::SUCCESS)),
    ];
    for (field, show) in fixed {
        if now[field] != before[field] {
            let path = path.child(field);
            errors.push(shown::invalid(&path, &show(&now[field]), IMMUTABLE));
        }
        // Its place in upstream's order.
        if field == "selector" {
            template(now, old, &path.child("template"), errors);
        }
    }
}

fn pointer(value: &Value, fields: &[shown::Field]) -> String {
    if value.is_null() { "null".to_owned() } else { shown::structure(value, fields) }
}

/// Indexed jobs grow and shrink, all at once.
fn completions(now: &Value, before: &Value, path: &Path, errors: &mut Vec<Error>) {
    let count = &now["completions"];
    if *count == before["completions"] {
        return;
    }
    let path = path.child("completions");
    if text(now, "completionMode") != "Indexed" {
        errors.push(Error::invalid(&path, count.clone(), IMMUTABLE));
    } else if !count.is_null() && *count != now["parallelism"] {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.push(Error::invalid(&path, count.clone(), why));
    }
}

/// Whether the job waits, and none of its pods is left.
fn is_waiting(old: &Object) -> bool {
    let status = old.at(&["status"]).unwrap_or(&Value::Null);
    let suspended = items(status, "conditions")
        .iter()
        .any(|one| text(one, "type") == "Suspended" && text(one, "status") == "True");
    old.at(&["spec", "suspend"]) == Some(&Value::Bool(true))
        && (status["startTime"].is_null() || suspended)
        && status["active"].as_i64().unwrap_or(0) == 0
}

/// A job that waits may be given other nodes and other resources.
fn template(now: &Value, old: &Object, path: &Path, errors: &mut Vec<Error>) {
    let now = &now["template"];
    let mut before = old.at(&["spec", "template"]).cloned().unwrap_or(Value::Null);
    let waits = is_waiting(old);
    if waits {
        for field in ["annotations", "labels"] {
            take(&mut before["metadata"], &now["metadata"], field);
        }
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            take(&mut before["spec"], &now["spec"], field);
        }
        node_affinity(&mut before["spec"], &now["spec"]["affinity"]);
        for list in ["containers", "initContainers"] {
            resources(&mut before["spec"][list], items(&now["spec"], list));
        }
        if !same(&now["spec"], &before["spec"]) {
            let path = path.child("spec");
            errors.push(Error::invalid(&path, now["spec"].clone(), IMMUTABLE));
        }
    } else if !same(now, &before) {
        errors.push(Error::invalid(path, now.clone(), IMMUTABLE));
    }
}

/// Copies a field, or that it is missing.
fn take(to: &mut Value, from: &Value, field: &str) {
    to[field] = from[field].clone();
}

/// Only the affinity to nodes may change, but one without anything else may come and go.
fn node_affinity(before: &mut Value, now: &Value) {
    let affinity = &mut before["affinity"];
    if now.is_null() && affinity.is_null() {
        return;
    }
    take(affinity, now, "nodeAffinity");
    let has_any = affinity.as_object().is_some_and(|map| map.values().any(|one| !one.is_null()));
    if now.is_null() && !has_any {
        *affinity = Value::Null;
    }
}

fn resources(before: &mut Value, now: &[Value]) {
    let Some(before) = before.as_array_mut() else { return };
    if before.len() != now.len() {
        return;
    }
    for (before, now) in before.iter_mut().zip(now) {
        if before["name"] == now["name"] {
            take(before, now, "resources");
        }
    }
}

/// Whether two values mean the same: what is null or an empty list is not there.
fn same(one: &Value, other: &Value) -> bool {
    let is_nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match (one, other) {
        (Value::Object(left), Value::Object(right)) => {
            left.keys().chain(right.keys()).all(|key| same(&one[key], &other[key]))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(a, b))
        }
        _ => one == other || is_nothing(one) && is_nothing(other),
    }
}
