//! Which nodes a pod wants, and near which other pods; and label selectors.

use std::collections::HashSet;

use serde_json::Value;

use super::{given, invalid_each, items, names, number, text};
use crate::field::{Error, Path};
use crate::validate::selectors::{self, Values};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(affinity: &Value, path: &Path, errors: &mut Vec<Error>) {
    let node = &affinity["nodeAffinity"];
    let node_path = path.child("nodeAffinity");
    if let Some(required) = given(node, REQUIRED) {
        selectors::nodes(required, &node_path.child(REQUIRED), errors);
    }
    for (index, term) in items(node, PREFERRED).iter().enumerate() {
        let path = node_path.child(PREFERRED).index(index);
        weight(term, &path, errors);
        // Values of labels are not looked at in preferences.
        selectors::node_term(&term["preference"], Values::Any, &path.child("preference"), errors);
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

fn label_name(one: &Value, field: &str, path: &Path, errors: &mut Vec<Error>) {
    let name = text(one, field);
    invalid_each(&path.child(field), name, names::qualified_name(name), errors);
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
