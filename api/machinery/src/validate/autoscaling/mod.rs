//! HorizontalPodAutoscalers, and the Scale of any workload.

mod metrics;
#[cfg(test)]
mod test;

use serde_json::Value;

use super::{invalid_each, items, names, not_negative, text};
use crate::field::{Error, Path};
use crate::quantity::Quantity;
use crate::{Object, ResourceInfo};

const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;
const SELECTIONS: [&str; 3] = ["Disabled", "Max", "Min"];
const POLICIES: [&str; 2] = ["Percent", "Pods"];

/// Which `apiVersion` a reference may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Named,
    NamedOrCore,
    /// It is as it was, so it may be wrong.
    Any,
}

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    if info.kind == "HorizontalPodAutoscaler" {
        let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
        check(spec, &Value::Null, errors);
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    if info.kind == "HorizontalPodAutoscaler" {
        let spec = new.at(&["spec"]).unwrap_or(&Value::Null);
        check(spec, old.at(&["spec"]).unwrap_or(&Value::Null), errors);
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    _old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind == "HorizontalPodAutoscaler" {
        for field in ["currentReplicas", "desiredReplicas"] {
            let value = new.at(&["status", field]).unwrap_or(&Value::Null);
            not_negative(&Path::new("status").child(field), value, errors);
        }
    }
}

/// `stored` is the spec before, or null.
fn check(spec: &Value, stored: &Value, errors: &mut Vec<Error>) {
    let path = Path::new("spec");
    let (min, max) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or(0));
    let least = if stored["minReplicas"] == 0 { 0 } else { 1 };
    if let Some(min) = min.filter(|min| *min < least) {
        let why = format!("must be greater than or equal to {least}");
        errors.push(Error::invalid(&path.child("minReplicas"), min, why));
    }
    let path_of_max = path.child("maxReplicas");
    if max == 0 {
        errors.push(Error::required(&path_of_max, "must be set and greater than 0"));
    } else if max < 0 {
        errors.push(Error::invalid(&path_of_max, max, "must be greater than or equal to 1"));
    }
    if min.is_some_and(|min| max < min) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(Error::invalid(&path_of_max, max, why));
    }
    let target = &spec["scaleTargetRef"];
    let unchanged = ["apiVersion", "kind"]
        .iter()
        .all(|key| text(&stored["scaleTargetRef"], key) == text(target, key));
    let group = match text(target, "kind") {
        _ if unchanged && !stored.is_null() => Group::Any,
        "ReplicationController" => Group::NamedOrCore,
        _ => Group::Named,
    };
    reference(target, &path.child("scaleTargetRef"), group, errors);
    let was_wrong = items(stored, "metrics")
        .iter()
        .filter(|metric| text(metric, "type") == "Object" && !metric["object"].is_null())
        .any(|metric| {
            text(&metric["object"]["describedObject"], "apiVersion").matches('/').count() > 1
        });
    let group = if was_wrong { Group::Any } else { Group::NamedOrCore };
    metrics::check(spec, &path.child("metrics"), group, errors);
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if !rules.is_null() {
            scaling_rules(rules, &path.child("behavior").child(direction), errors);
        }
    }
}

/// A reference to an object of any kind and version.
fn reference(reference: &Value, path: &Path, group: Group, errors: &mut Vec<Error>) {
    for field in ["kind", "name"] {
        let value = text(reference, field);
        if value.is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        } else {
            invalid_each(&path.child(field), value, names::path_segment(value), errors);
        }
    }
    let version = text(reference, "apiVersion");
    let why = match version.split('/').collect::<Vec<_>>().as_slice() {
        _ if group == Group::Any => return,
        [_] | ["", _] if group == Group::NamedOrCore => return,
        [_] | ["", _] => "apiVersion must specify API group".to_owned(),
        [_, _] => return,
        _ => format!("unexpected GroupVersion string: {version}"),
    };
    errors.push(Error::invalid(&path.child("apiVersion"), version, why));
}

fn scaling_rules(rules: &Value, path: &Path, errors: &mut Vec<Error>) {
    let window = path.child("stabilizationWindowSeconds");
    match rules["stabilizationWindowSeconds"].as_i64() {
        Some(seconds) if seconds < 0 => {
            let why = "must be greater than or equal to zero";
            errors.push(Error::invalid(&window, seconds, why));
        }
        Some(seconds) if seconds > WINDOW_SECONDS_MAX => {
            let why = format!("must be less than or equal to {WINDOW_SECONDS_MAX}");
            errors.push(Error::invalid(&window, seconds, why));
        }
        _ => {}
    }
    if let Some(policy) = rules["selectPolicy"].as_str().filter(|one| !SELECTIONS.contains(one)) {
        errors.push(Error::not_supported(&path.child("selectPolicy"), policy, &SELECTIONS));
    }
    let (policies, path_of_policies) = (items(rules, "policies"), path.child("policies"));
    if policies.is_empty() {
        errors.push(Error::required(&path_of_policies, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        scaling_policy(policy, &path_of_policies.index(index), errors);
    }
    let tolerance = rules["tolerance"].as_str().and_then(|text| text.parse::<Quantity>().ok());
    if let Some(tolerance) = tolerance.filter(Quantity::is_negative) {
        let path = path.child("tolerance");
        errors.push(Error::invalid(&path, tolerance.to_string(), super::NOT_NEGATIVE));
    }
}

fn scaling_policy(policy: &Value, path: &Path, errors: &mut Vec<Error>) {
    let kind = text(policy, "type");
    if !POLICIES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &POLICIES));
    }
    for field in ["value", "periodSeconds"] {
        let number = policy[field].as_i64().unwrap_or(0);
        if number <= 0 {
            errors.push(Error::invalid(&path.child(field), number, "must be greater than zero"));
        }
    }
    let period = policy["periodSeconds"].as_i64().unwrap_or(0);
    if period > PERIOD_SECONDS_MAX {
        let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
        errors.push(Error::invalid(&path.child("periodSeconds"), period, why));
    }
}
