//! Where a pod is to run: labels of nodes, and other pods.

use serde_json::Value;

use super::Pod;
use crate::validate::{items, names, text};
use crate::warnings::labels;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// Node selector, node affinity and spread.
pub(super) fn nodes(pod: Pod<'_>, told: &mut Vec<String>) {
    let Pod { prefix, spec, .. } = pod;
    for label in spec["nodeSelector"].as_object().into_iter().flat_map(serde_json::Map::keys) {
        if let Some(what) = labels::told(label) {
            told.push(format!("{prefix}spec.nodeSelector[{label}]: {what}"));
        }
    }
    let affinity = &spec["affinity"]["nodeAffinity"];
    let path = "spec.affinity.nodeAffinity";
    for (index, one) in items(&affinity[REQUIRED], "nodeSelectorTerms").iter().enumerate() {
        let path = format_args!("{prefix}{path}.{REQUIRED}.nodeSelectorTerms[{index}]");
        term(one, false, path, told);
    }
    for (index, one) in items(affinity, PREFERRED).iter().enumerate() {
        let path = format_args!("{prefix}{path}.{PREFERRED}[{index}].preference");
        term(&one["preference"], true, path, told);
    }
    for (index, one) in items(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = format_args!("{prefix}spec.topologySpreadConstraints[{index}]");
        let key = text(one, "topologyKey");
        if let Some(what) = labels::told(key) {
            told.push(format!("{path}.topologyKey: {key} is {what}"));
        }
        if one["labelSelector"].is_null() {
            told.push(format!("{path}.labelSelector: {NO_SELECTOR}"));
        }
    }
}

/// A term of a selector of nodes. Wrong values are refused where the term is required.
fn term(term: &Value, has_any_value: bool, path: std::fmt::Arguments<'_>, told: &mut Vec<String>) {
    for (index, one) in items(term, "matchExpressions").iter().enumerate() {
        let key = text(one, "key");
        if let Some(what) = labels::told(key) {
            told.push(format!("{path}.matchExpressions[{index}].key: {key} is {what}"));
        }
        let values = if has_any_value { items(one, "values") } else { &[] };
        for (at, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            for why in names::label_value(value) {
                told.push(format!(
                    "{path}.matchExpressions[{index}].values[{at}]: {value} is invalid, {why}"
                ));
            }
        }
    }
}

/// Pods to be near to or far from.
pub(super) fn pods(pod: Pod<'_>, told: &mut Vec<String>) {
    let Pod { prefix, spec, .. } = pod;
    for side in ["podAffinity", "podAntiAffinity"] {
        let affinity = &spec["affinity"][side];
        let path = format_args!("{prefix}spec.affinity.{side}");
        for (index, term) in items(affinity, REQUIRED).iter().enumerate() {
            if term["labelSelector"].is_null() {
                told.push(format!("{path}.{REQUIRED}[{index}].labelSelector: {NO_SELECTOR}"));
            }
        }
        for (index, term) in items(affinity, PREFERRED).iter().enumerate() {
            if term["podAffinityTerm"]["labelSelector"].is_null() {
                let path = format_args!("{path}.{PREFERRED}[{index}].podAffinityTerm");
                told.push(format!("{path}.labelSelector: {NO_SELECTOR}"));
            }
        }
    }
}
