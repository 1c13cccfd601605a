//! PodDisruptionBudgets.

use serde_json::Value;

use super::selectors::{self, Values};
use super::shown::{self, Field, Shape};
use super::{apps, conditions, items, not_negative};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

const SPEC: &[Field] = &[
    ("minAvailable", "MinAvailable", Shape::Json),
    ("selector", "Selector", Shape::Selector),
    ("maxUnavailable", "MaxUnavailable", Shape::Json),
    ("unhealthyPodEvictionPolicy", "UnhealthyPodEvictionPolicy", Shape::Json),
];
const EVICTIONS: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    if info.kind == "PodDisruptionBudget" {
        let mut of_spec = Vec::new();
        budget(object, false, &mut of_spec);
        // Upstream only looks at a budget's metadata when all else is well.
        if !of_spec.is_empty() {
            *errors = of_spec;
        }
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    if info.kind == "PodDisruptionBudget" {
        // A selector that was wrong before its rule came may stay, as far as its values go.
        let mut stored = Vec::new();
        let selector = old.at(&["spec", "selector"]).unwrap_or(&Value::Null);
        selectors::label_selector(selector, &Path::default(), &mut stored);
        budget(new, !stored.is_empty(), errors);
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    _old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind != "PodDisruptionBudget" {
        return;
    }
    let (status, path) = (new.at(&["status"]).unwrap_or(&Value::Null), Path::new("status"));
    conditions::each(items(status, "conditions"), &path.child("conditions"), errors);
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        not_negative(&path.child(field), &status[field], errors);
    }
}

fn budget(object: &Object, any_value: bool, errors: &mut Vec<Error>) {
    let (spec, path) = (object.at(&["spec"]).unwrap_or(&Value::Null), Path::new("spec"));
    let numbers = ["minAvailable", "maxUnavailable"];
    if numbers.iter().all(|field| !spec[*field].is_null()) {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(shown::invalid(&path, &shown::structure(spec, SPEC), why));
    }
    for field in numbers {
        apps::int_or_percent(&path.child(field), &spec[field], errors);
        apps::at_most_all(&path.child(field), &spec[field], errors);
    }
    selectors::labels(
        &spec["selector"],
        Values::beside(any_value),
        &path.child("selector"),
        errors,
    );
    let field = "unhealthyPodEvictionPolicy";
    if let Some(policy) = spec[field].as_str().filter(|policy| !EVICTIONS.contains(policy)) {
        errors.push(Error::not_supported(&path.child(field), policy, &EVICTIONS));
    }
}
