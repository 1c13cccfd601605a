//! Which nodes a pod wants, and near which other pods; and label selectors.

use std::collections::HashSet;

use serde_json::Value;

use super::{given, invalid_each, items, names, number, text};
use crate::field::{Error, Path};
use crate::validate::selectors;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(affinity: &Value, path: &Path, errors: &mut Vec<Error>) {
    let node = &affinity["nodeAffinity"];
    let node_path = path.child("nodeAffinity");
    if let Some(required) = given(node, REQUIRED) {
        node_selector(required, &node_path.child(REQUIRED), errors);
    }
    for (index, term) in items(node, PREFERRED).iter().enumerate() {
        let path = node_path.child(PREFERRED).index(index);
        weight(term, &path, errors);
        // Values of labels are not looked at in preferences.
        node_term(&term["preference"], false, &path.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (index, term) in items(&affinity[kind], REQUIRED).iter().enumerate() {
            pod_term(term, &path.child(REQUIRED).index(index), errors);
        }
        for (index, term) in items(&affinity[kind], PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(index);
            weight(term, &path, errors);
            pod_term(&term["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Vec<Error>) {
    let weight = number(term, "weight");
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn node_selector(selector: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path = path.child("nodeSelectorTerms");
    let terms = items(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(index), errors);
    }
}

fn node_term(term: &Value, values_matter: bool, path: &Path, errors: &mut Vec<Error>) {
    for (index, one) in items(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = items(one, "values");
        let (operator, values_path) = (text(one, "operator"), path.child("values"));
        if matches!(operator, "Gt" | "Lt") {
            if values.len() != 1 {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(Error::required(&values_path, why));
            }
        } else {
            self::operator(one, &path, errors);
        }
        label_name(one, "key", &path, errors);
        if values_matter {
            label_values(values, &values_path, errors);
        }
    }
    for (index, one) in items(term, "matchFields").iter().enumerate() {
        node_field(one, &path.child("matchFields").index(index), errors);
    }
}

fn node_field(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (values, key) = (items(one, "values"), text(one, "key"));
    let operator = text(one, "operator");
    if !matches!(operator, "In" | "NotIn") {
        let why = "not a valid selector operator";
        errors.push(Error::invalid(&path.child("operator"), operator, why));
    } else if values.len() != 1 {
        let why =
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.push(Error::required(&path.child("values"), why));
    }
    if key != "metadata.name" {
        let why = "not a valid field selector key";
        errors.push(Error::invalid(&path.child("key"), key, why));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or("");
        let path = path.child("values").index(index);
        invalid_each(&path, value, names::subdomain_1123(value), errors);
    }
}

/// What the operators of all selectors need of the values.
fn operator(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let is_empty = items(one, "values").is_empty();
    match text(one, "operator") {
        "In" | "NotIn" if is_empty => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(Error::required(&path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !is_empty => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(Error::forbidden(&path.child("values"), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let why = "not a valid selector operator";
            errors.push(Error::invalid(&path.child("operator"), other, why));
        }
    }
}

fn label_name(one: &Value, field: &str, path: &Path, errors: &mut Vec<Error>) {
    let name = text(one, field);
    invalid_each(&path.child(field), name, names::qualified_name(name), errors);
}

fn label_values(values: &[Value], path: &Path, errors: &mut Vec<Error>) {
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or("");
        invalid_each(&path.index(index), value, names::label_value(value), errors);
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut Vec<Error>) {
    for field in ["labelSelector", "namespaceSelector"] {
        selectors::label_selector(&term[field], &path.child(field), errors);
    }
    for name in items(term, "namespaces") {
        let name = name.as_str().unwrap_or("");
        invalid_each(&path.child("namespace"), name, names::label_1123(name), errors);
    }
    label_keys(term, path, errors);
    if text(term, "topologyKey").is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    label_name(term, "topologyKey", path, errors);
}

/// The keys whose values are taken from the pod's own labels.
pub(super) fn label_keys(term: &Value, path: &Path, errors: &mut Vec<Error>) {
    let texts = |field: &str| -> Vec<&str> {
        items(term, field).iter().map(|key| key.as_str().unwrap_or("")).collect()
    };
    let selector = given(term, "labelSelector");
    let (matched, mismatched) = (texts("matchLabelKeys"), texts("mismatchLabelKeys"));
    for (field, keys) in [("matchLabelKeys", &matched), ("mismatchLabelKeys", &mismatched)] {
        let path = path.child(field);
        if selector.is_none() && !keys.is_empty() {
            let why = "must not be specified when labelSelector is not set";
            errors.push(Error::forbidden(&path, why));
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            invalid_each(&path.index(index), key, names::qualified_name(key), errors);
        }
    }
    if let Some(selector) = selector {
        let labels = selector["matchLabels"].as_object();
        let mut seen: HashSet<&str> =
            labels.into_iter().flat_map(|map| map.keys()).map(String::as_str).collect();
        for one in items(selector, "matchExpressions") {
            let key = text(one, "key");
            // The keys were merged into the selector already: twice means that one was the user's.
            let found = matched.iter().rposition(|wanted| *wanted == key);
            if let Some(index) = found.filter(|_| seen.contains(&key)) {
                let why = "exists in both matchLabelKeys and labelSelector";
                errors.push(Error::invalid(&path.index(index), key, why));
            }
            seen.insert(key);
        }
    }
    for (index, key) in matched.iter().enumerate().filter(|(_, key)| mismatched.contains(key)) {
        let path = path.child("matchLabelKeys").index(index);
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(Error::invalid(&path, *key, why));
    }
}
