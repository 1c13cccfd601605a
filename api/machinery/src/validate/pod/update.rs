//! What may change in a pod that is there.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::annotations;
use super::{given, items, scheduling, text};
use crate::Object;
use crate::field::{Error, ErrorKind, Path};
use crate::validate::meta;

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(in crate::validate) fn update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    repeated_checks(new, old, errors);
    annotation_changes(new, old, errors);
    let null = Value::Null;
    let (now, before) = (new.at(&["spec"]).unwrap_or(&null), old.at(&["spec"]).unwrap_or(&null));
    let path = Path::new("spec");
    for list in ["containers", "initContainers"] {
        if !container_changes(now, before, list, errors) {
            return;
        }
    }
    if !deadline_change(now, before, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    toleration_changes(now, before, &path.child("tolerations"), errors);
    gate_changes(now, before, &path.child("schedulingGates"), errors);
    if same(now, before) {
        return;
    }
    let mut frozen = frozen(now, before);
    if !items(before, "schedulingGates").is_empty() {
        thaw_node_choice(&mut frozen, before, errors);
    }
    if !same(&frozen, before) {
        errors.push(Error::forbidden(&path, MUTABLE));
    }
}

/// The checks of a new pod hold for an old one too, but for those that it did not pass already:
/// what was once let in can still be updated.
pub(super) fn repeated_checks(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let null = Value::Null;
    meta::common(new.at(&["metadata"]).unwrap_or(&null), &Path::new("metadata"), errors);
    let (mut found, mut known) = (Vec::new(), Vec::new());
    super::metadata_and_spec(new, &mut found);
    if found.is_empty() {
        return;
    }
    super::metadata_and_spec(old, &mut known);
    for is_forgiven in FORGIVEN {
        if known.iter().any(is_forgiven) {
            found.retain(|error| !is_forgiven(error));
        }
    }
    errors.append(&mut found);
}

/// The checks that are younger than pods that may still be there.
const FORGIVEN: [fn(&Error) -> bool; 10] = [
    annotations::is_about_deletion_cost,
    |error| error.detail.contains(" is not positive integer multiple of "),
    |error| {
        let is_pod_affinity =
            error.field.contains(".podAffinity.") || error.field.contains(".podAntiAffinity.");
        is_pod_affinity && error.field.contains("Selector.matchExpressions[") && is_of_values(error)
    },
    |error| error.field.contains(".nodeAffinity.required") && is_of_values(error),
    |error| is_of_spreading(error) && error.field.contains("].labelSelector."),
    |error| is_of_spreading(error) && error.detail.contains("matchLabelKeys"),
    |error| error.kind == ErrorKind::Invalid && error.field.ends_with(".projected.path"),
    |error| error.detail.starts_with("may not be specified when 'host"),
    |error| error.field.ends_with(".volumeDevices") && error.detail == "when `hostUsers` is false",
    |error| error.detail.ends_with("for non-sidecar initContainers"),
];

fn is_of_values(error: &Error) -> bool {
    error.kind == ErrorKind::Invalid && error.field.contains(".values[")
}

fn is_of_spreading(error: &Error) -> bool {
    error.field.contains(".topologySpreadConstraints[")
}

pub(super) fn annotation_changes(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let null = Value::Null;
    let [now, before] =
        [new, old].map(|pod| pod.at(&["metadata", "annotations"]).unwrap_or(&Value::Null));
    let path = Path::new("metadata").child("annotations");
    annotations::update(now, before, &path, errors);
    let mut found = Vec::new();
    annotations::annotations(now, new.at(&["spec"]).unwrap_or(&null), &path, &mut found);
    if found.iter().any(annotations::is_about_deletion_cost) {
        let mut known = Vec::new();
        annotations::annotations(before, old.at(&["spec"]).unwrap_or(&null), &path, &mut known);
        if known.iter().any(annotations::is_about_deletion_cost) {
            found.retain(|error| !annotations::is_about_deletion_cost(error));
        }
    }
    errors.append(&mut found);
}

/// Whether the list is as long as it was.
fn container_changes(now: &Value, before: &Value, list: &str, errors: &mut Vec<Error>) -> bool {
    let path = Path::new("spec").child(list);
    if items(now, list).len() != items(before, list).len() {
        let why = "pod updates may not add or remove containers";
        errors.push(Error::forbidden(&path, why));
        return false;
    }
    for (index, one) in items(now, list).iter().enumerate() {
        let path = path.index(index);
        if text(one, "image").is_empty() {
            errors.push(Error::required(&path.child("image"), ""));
        }
        super::containers::image_whitespace(one, &path, errors);
    }
    true
}

/// Whether the change is worth looking further.
fn deadline_change(now: &Value, before: &Value, path: &Path, errors: &mut Vec<Error>) -> bool {
    let of = |spec: &Value| spec["activeDeadlineSeconds"].as_i64();
    match (of(before), of(now)) {
        (_, Some(is)) if !(0..=i64::from(i32::MAX)).contains(&is) => {
            let why = "must be between 0 and 2147483647, inclusive";
            errors.push(Error::invalid(path, is, why));
            false
        }
        (Some(was), Some(is)) if was < is => {
            let why = "must be less than or equal to previous value";
            errors.push(Error::invalid(path, is, why));
            false
        }
        (Some(_), None) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(Error::invalid(path, Value::Null, why));
            true
        }
        _ => true,
    }
}

fn toleration_changes(now: &Value, before: &Value, path: &Path, errors: &mut Vec<Error>) {
    let tolerations = items(now, "tolerations");
    let without_seconds = |one: &Value| {
        ["key", "operator", "value", "effect"].map(|field| text(one, field).to_owned())
    };
    let kept: HashSet<_> = tolerations.iter().map(without_seconds).collect();
    let is_kept = |old: &Value| kept.contains(&without_seconds(old));
    if items(before, "tolerations").iter().all(is_kept) {
        scheduling::tolerations(tolerations, path, errors);
    } else {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(path, why));
    }
}

fn gate_changes(now: &Value, before: &Value, path: &Path, errors: &mut Vec<Error>) {
    let known: HashSet<_> =
        items(before, "schedulingGates").iter().map(|old| text(old, "name")).collect();
    for (index, gate) in items(now, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !known.contains(name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(Error::forbidden(&path.index(index).child("name"), why));
        }
    }
}

/// Whether two trees say the same: what is null or an empty list is as good as left out.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            // Each pair once: looking from both sides would double the work at every level.
            one.iter().all(|(key, value)| same(value, other.get(key).unwrap_or(&Value::Null)))
                && other
                    .iter()
                    .filter(|(key, _)| !one.contains_key(*key))
                    .all(|(_, value)| same(&Value::Null, value))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => one == other || is_nothing(one) && is_nothing(other),
    }
}

/// Puts a field back as it was.
pub(super) fn put_back(spec: &mut Value, before: &Value, field: &str) {
    let Value::Object(map) = spec else { return };
    map.remove(field);
    map.extend(given(before, field).map(|value| (field.to_owned(), value.clone())));
}

/// The new spec with everything that may change put back.
fn frozen(now: &Value, before: &Value) -> Value {
    let mut out = now.clone();
    for list in ["containers", "initContainers"] {
        for (index, old) in items(before, list).iter().enumerate() {
            if let Some(one) = out[list].get_mut(index) {
                put_back(one, old, "image");
            }
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put_back(&mut out, before, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if now[grace] == 1 && before[grace].as_i64().is_some_and(|seconds| seconds < 0) {
        put_back(&mut out, before, grace);
    }
    out
}

/// A pod that still waits at a gate may be told more about the nodes it may go to, but not less.
fn thaw_node_choice(frozen: &mut Value, before: &Value, errors: &mut Vec<Error>) {
    let path = Path::new("spec");
    if !same(&frozen["nodeSelector"], &before["nodeSelector"]) {
        let kept = before["nodeSelector"].as_object().into_iter().flatten();
        if !kept.into_iter().all(|(key, value)| frozen["nodeSelector"].get(key) == Some(value)) {
            let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            let shown = frozen["nodeSelector"].clone();
            errors.push(Error::invalid(&path.child("nodeSelector"), shown, why));
        }
        put_back(frozen, before, "nodeSelector");
    }
    let (now, was) = (&frozen["affinity"]["nodeAffinity"], &before["affinity"]["nodeAffinity"]);
    if same(now, was) {
        return;
    }
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let path = path.child("affinity").child("nodeAffinity").child(required);
    node_term_changes(&now[required], &was[required], &path.child("nodeSelectorTerms"), errors);
    let others = ["podAffinity", "podAntiAffinity"];
    let is_alone = others.iter().all(|kind| frozen["affinity"][kind].is_null());
    if before["affinity"].is_null() && is_alone {
        put_back(frozen, before, "affinity");
    } else {
        if frozen["affinity"].is_null() {
            frozen["affinity"] = json!({});
        }
        put_back(&mut frozen["affinity"], &before["affinity"], "nodeAffinity");
    }
}

fn node_term_changes(now: &Value, was: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (new, old) = (items(now, "nodeSelectorTerms"), items(was, "nodeSelectorTerms"));
    if old.is_empty() {
        return;
    }
    if new.len() != old.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown: Vec<_> = new.iter().map(go_term).collect();
        errors.push(Error::invalid(path, shown, why));
        return;
    }
    for (index, (new, old)) in new.iter().zip(old).enumerate() {
        let lists = ["matchExpressions", "matchFields"];
        let is_kept = lists.iter().all(|list| {
            let (new, old) = (items(new, list), items(old, list));
            new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
        });
        let is_empty = |term: &Value| lists.iter().all(|list| items(term, list).is_empty());
        if !is_kept || is_empty(old) && !is_empty(new) {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(Error::invalid(&path.index(index), go_term(new), why));
        }
    }
}

/// A term as upstream's own type shows it.
fn go_term(term: &Value) -> Value {
    let list = |key: &str| -> Value {
        let one = |one: &Value| json!({"Key": text(one, "key"), "Operator": text(one, "operator"), "Values": one["values"]});
        match &term[key] {
            Value::Array(list) => list.iter().map(one).collect(),
            _ => Value::Null,
        }
    };
    json!({"MatchExpressions": list("matchExpressions"), "MatchFields": list("matchFields")})
}
