//! What an autoscaler measures, and what it aims at.

use serde_json::Value;

use super::{Group, reference};
use crate::field::{Error, Path};
use crate::quantity::Quantity;
use crate::resource_names::{is_extended, is_huge_page, is_native, is_standard};
use crate::validate::{invalid_each, items, names, text};

/// Each source: its type and its field, in the order in which upstream looks at them.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
const NEITHER: &str = "must set either a target raw value or a target utilization";
const BOTH: &str = "may not set both a target raw value and a target utilization";

pub(super) fn check(spec: &Value, path: &Path, group: Group, errors: &mut Vec<Error>) {
    let metrics = items(spec, "metrics");
    for (index, metric) in metrics.iter().enumerate() {
        one_metric(metric, &path.index(index), group, errors);
    }
    // Without any pod there is nothing that could be measured in pods.
    let any = metrics.iter().any(|metric| matches!(text(metric, "type"), "Object" | "External"));
    if spec["minReplicas"] == 0 && !any {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(path, why));
    }
}

fn one_metric(metric: &Value, path: &Path, group: Group, errors: &mut Vec<Error>) {
    let (kind, path_of_type) = (text(metric, "type"), path.child("type"));
    if kind.is_empty() {
        errors.push(Error::required(&path_of_type, "must specify a metric source type"));
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if expected.is_none() {
        errors.push(Error::not_supported(&path_of_type, kind, &TYPES));
    }
    let present: Vec<_> =
        SOURCES.iter().map(|(_, field)| *field).filter(|one| !metric[*one].is_null()).collect();
    if let Some(field) = present.first() {
        source(field, &metric[*field], &path.child(field), group, errors);
    }
    match expected {
        Some(field) if metric[field].is_null() => {
            let why = "must populate information for the given metric source";
            errors.push(Error::required(&path.child(field), why));
        }
        Some(_) => {}
        None => errors.push(Error::not_supported(&path_of_type, kind, &TYPES)),
    }
    if present.len() > 1 {
        for extra in present.iter().filter(|field| Some(**field) != expected) {
            let why = "must populate the given metric source only";
            errors.push(Error::forbidden(&path.child(extra), why));
        }
    }
}

fn source(field: &str, source: &Value, path: &Path, group: Group, errors: &mut Vec<Error>) {
    match field {
        "object" => {
            let path = path.child("describedObject");
            reference(&source["describedObject"], &path, group, errors);
        }
        "resource" | "containerResource" if text(source, "name").is_empty() => {
            errors.push(Error::required(&path.child("name"), "must specify a resource name"));
        }
        "containerResource" => resource_name(text(source, "name"), &path.child("name"), errors),
        _ => {}
    }
    if field == "containerResource" {
        let (container, path) = (text(source, "container"), path.child("container"));
        if container.is_empty() {
            errors.push(Error::required(&path, "must specify a container"));
        } else {
            invalid_each(&path, container, names::label_1123(container), errors);
        }
    }
    if matches!(field, "object" | "external" | "pods") {
        let (name, path) = (text(&source["metric"], "name"), path.child("metric").child("name"));
        if name.is_empty() {
            errors.push(Error::required(&path, "must specify a metric name"));
        } else {
            invalid_each(&path, name, names::path_segment(name), errors);
        }
    }
    target(field, &source["target"], &path.child("target"), errors);
}

fn target(field: &str, target: &Value, path: &Path, errors: &mut Vec<Error>) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(&path.child("type"), kind, why));
    }
    for field in ["value", "averageValue"] {
        let quantity = target[field].as_str().and_then(|text| text.parse::<Quantity>().ok());
        if let Some(bad) = quantity.filter(|one| one.is_zero() || one.is_negative()) {
            let path = path.child(field);
            errors.push(Error::invalid(&path, bad.to_string(), "must be positive"));
        }
    }
    if let Some(percent) = target["averageUtilization"].as_i64().filter(|percent| *percent < 1) {
        let path = path.child("averageUtilization");
        errors.push(Error::invalid(&path, percent, "must be greater than 0"));
    }
    let has = |field: &str| !target[field].is_null();
    let (value, average, percent) = (has("value"), has("averageValue"), has("averageUtilization"));
    let mut required =
        |field: &str, why: &str| errors.push(Error::required(&path.child(field), why));
    match field {
        "object" if !value && !average => {
            required("averageValue", "must set either a target value or averageValue");
        }
        "external" if !value && !average => {
            let why = "must set either a target value for metric or a per-pod target";
            required("averageValue", why);
        }
        "external" if value && average => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.push(Error::forbidden(&path.child("value"), why));
        }
        "pods" if !average => {
            required("averageValue", "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if !percent && !average => {
            required("averageUtilization", NEITHER);
        }
        "resource" | "containerResource" if percent && average => {
            errors.push(Error::forbidden(&path.child("averageValue"), BOTH));
        }
        _ => {}
    }
}

/// A resource that a container can ask for.
fn resource_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
    let problems = names::qualified_name(name);
    let is_name = problems.is_empty();
    invalid_each(path, name, problems, errors);
    if !name.contains('/') {
        if STANDARD.contains(&name) || is_huge_page(name) {
            return;
        }
        // A resource, but not of containers.
        let is_standard = is_standard(name) || name.starts_with("requests.hugepages-");
        if is_name && !is_standard {
            let why = "must be a standard resource type or fully qualified";
            errors.push(Error::invalid(path, name, why));
        }
        errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
        return;
    }
    if !is_native(name) && !is_extended(name) {
        let why = "doesn't follow extended resource name standard";
        errors.push(Error::invalid(path, name, why));
    }
}
