//! What the server adds to a new pod: labels in selectors that say "as mine", the condition of one
//! that must not be scheduled yet, and AppArmor's profiles from where they once stood.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Object;

/// The conditions of a new pod: none, or that something holds back its scheduling.
pub(super) fn conditions(pod: &Object, now: &str) -> Option<Value> {
    let gates = pod.at(&["spec", "schedulingGates"]).and_then(Value::as_array);
    gates.filter(|gates| !gates.is_empty())?;
    Some(json!([{
        "type": "PodScheduled", "status": "False",
        "lastProbeTime": null, "lastTransitionTime": now, "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }]))
}

/// `matchLabelKeys` and `mismatchLabelKeys` become part of the selectors that they stand beside.
pub(super) fn merge_label_keys(pod: &mut Object) {
    let spec = pod.at(&["spec"]);
    let has = |key: &str| spec.is_some_and(|spec| spec.get(key).is_some_and(|one| !one.is_null()));
    if !has("affinity") && !has("topologySpreadConstraints") {
        return;
    }
    let labels = pod.labels();
    let Some(spec) = pod.0.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for side in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = spec.get_mut("affinity").and_then(|affinity| affinity.get_mut(side))
        else {
            continue;
        };
        for term in items(terms, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = term.get_mut("podAffinityTerm").and_then(Value::as_object_mut) {
                merge(term, &labels);
            }
        }
        for term in items(terms, "requiredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = term.as_object_mut() {
                merge(term, &labels);
            }
        }
    }
    let constraints = spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
    for constraint in constraints.into_iter().flatten().filter_map(Value::as_object_mut) {
        merge(constraint, &labels);
    }
}

fn items<'a>(tree: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    tree.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Where there is no selector nothing is selected, with these labels or without.
fn merge(term: &mut Map<String, Value>, labels: &BTreeMap<String, String>) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = term.get(field).and_then(Value::as_array).into_iter().flatten();
        for key in keys.filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let selector = term.get_mut("labelSelector").and_then(Value::as_object_mut);
    let Some(selector) = selector.filter(|_| !added.is_empty()) else { return };
    match selector.get_mut("matchExpressions") {
        Some(Value::Array(held)) => held.extend(added),
        _ => {
            selector.insert("matchExpressions".to_owned(), added.into());
        }
    }
}

/// What annotations begin with that said a container's profile, before there was a field.
pub(crate) const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Profiles of AppArmor that annotations say become fields of the containers. What is to be told of
/// it is told whether the pod is good or not.
pub fn profiles_from_annotations(pod: &mut Object) -> Vec<String> {
    let annotations = pod.at(&["metadata", "annotations"]).and_then(Value::as_object);
    let said: BTreeMap<String, String> = annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| {
            Some((key.strip_prefix(APP_ARMOR_ANNOTATION)?.to_owned(), value.as_str()?.to_owned()))
        })
        .collect();
    if said.is_empty() || pod.text(&["spec", "os", "name"]) == "windows" {
        return Vec::new();
    }
    let whole = pod.at(&["spec", "securityContext", "appArmorProfile"]).cloned();
    let mut told = Vec::new();
    let Some(spec) = pod.0.get_mut("spec") else { return told };
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list).filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let context = container.get("securityContext");
            let is_set = context.is_some_and(|one| !one["appArmorProfile"].is_null());
            let Some(text) = said.get(&name).filter(|_| !is_set) else { continue };
            let profile = app_armor_profile(text);
            if profile.is_some() && profile == whole {
                continue;
            }
            if let Some(profile) = profile {
                let context = container.entry("securityContext").or_insert_with(|| json!({}));
                if context.is_null() {
                    *context = json!({});
                }
                context["appArmorProfile"] = profile;
            }
            told.push(format!(
                "metadata.annotations[{APP_ARMOR_ANNOTATION}{name}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    }
    told
}

/// The field for an annotation; `None` when it says nothing that there is.
pub(crate) fn app_armor_profile(text: &str) -> Option<Value> {
    match text {
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(json!({"type": "Unconfined"})),
        text => {
            let name = text.strip_prefix("localhost/")?;
            let is_good = !name.is_empty() && name.trim() == name && name.len() <= 4095;
            is_good.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn keys_of_labels_become_expressions_of_the_selector_beside_them() {
        let term = |more: Value| {
            json!({"labelSelector": {"matchExpressions": more}, "topologyKey": "z",
                "matchLabelKeys": ["k", "absent"], "mismatchLabelKeys": ["a"]})
        };
        let with = |term: Value, spread: Value| {
            json!({"metadata": {"labels": {"k": "v", "a": "b"}}, "spec": {
                "affinity": {"podAffinity":
                    {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
                    "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                        [{"weight": 1, "podAffinityTerm": term}]}},
                "topologySpreadConstraints": [spread, {"matchLabelKeys": ["k"]}]}})
        };
        let spread = json!({"labelSelector": {}, "matchLabelKeys": ["k"]});
        let mut made = pod(with(term(json!([])), spread));
        merge_label_keys(&mut made);
        let is = json!({"key": "k", "operator": "In", "values": ["v"]});
        let merged = json!([is, {"key": "a", "operator": "NotIn", "values": ["b"]}]);
        let spread = json!({"labelSelector": {"matchExpressions": [is]}, "matchLabelKeys": ["k"]});
        assert_eq!(made, pod(with(term(merged), spread)));
    }

    #[test]
    fn app_armor_profiles_move_from_annotations_to_fields() {
        let annotated = |text: &str, spec: Value| {
            let key = format!("{APP_ARMOR_ANNOTATION}c");
            pod(json!({"metadata": {"annotations": {key: text}}, "spec": spec}))
        };
        let told = format!(
            "metadata.annotations[{APP_ARMOR_ANNOTATION}c]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        );
        let bare = json!({"containers": [{"name": "c"}, {"name": "d"}]});
        for (text, field) in [
            ("runtime/default", json!({"type": "RuntimeDefault"})),
            ("unconfined", json!({"type": "Unconfined"})),
            ("localhost/prof", json!({"type": "Localhost", "localhostProfile": "prof"})),
            ("what", Value::Null),
        ] {
            let mut made = annotated(text, bare.clone());
            assert_eq!(profiles_from_annotations(&mut made), std::slice::from_ref(&told), "{text}");
            let set = &made.0["spec"]["containers"][0]["securityContext"]["appArmorProfile"];
            assert_eq!(*set, field, "{text}");
        }
        let mut same = annotated(
            "runtime/default",
            json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "c"}]}),
        );
        assert!(profiles_from_annotations(&mut same).is_empty(), "the pod says it already");
    }
}
