//! What changes in an object because upstream's own types cannot hold it as it was written.

use serde_json::{Value, json};

use super::{Tree, child, is_empty, set, text};

/// `serviceAccount` is the old name of `serviceAccountName`; both are always written.
pub(super) fn service_account(spec: &mut Tree) {
    let name = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !name.is_empty() {
        spec.insert("serviceAccountName".to_owned(), name.as_str().into());
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

/// A pod (not a template) has no negative grace period.
pub(super) fn grace_period(spec: &mut Tree) {
    let key = "terminationGracePeriodSeconds";
    if spec.get(key).and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert(key.to_owned(), 1.into());
    }
}

/// `podIP` is the first of `podIPs`, and wins over it.
pub(super) fn pod_ips(status: &mut Tree) {
    let first = first(status, "podIPs").and_then(|one| one["ip"].as_str()).map(str::to_owned);
    let one = text(status, "podIP").to_owned();
    match first {
        // What is empty is left out, as Go writes it.
        Some(first) if one.is_empty() && first.is_empty() => {
            status.remove("podIP");
        }
        Some(first) if one.is_empty() => {
            status.insert("podIP".to_owned(), first.into());
        }
        first if !one.is_empty() && first.as_deref() != Some(&one) => {
            status.insert("podIPs".to_owned(), json!([{"ip": one}]));
        }
        _ => {}
    }
}

/// `podCIDR` is the first of `podCIDRs`, and wins over it.
pub(super) fn pod_cidrs(spec: &mut Tree) {
    let first = first(spec, "podCIDRs").and_then(Value::as_str).map(str::to_owned);
    let one = text(spec, "podCIDR").to_owned();
    match first {
        Some(first) if one.is_empty() && first.is_empty() => {
            spec.remove("podCIDR");
        }
        Some(first) if one.is_empty() => {
            spec.insert("podCIDR".to_owned(), first.into());
        }
        first if !one.is_empty() && first.as_deref() != Some(&one) => {
            spec.insert("podCIDRs".to_owned(), json!([one]));
        }
        _ => {}
    }
}

fn first<'a>(map: &'a Tree, key: &str) -> Option<&'a Value> {
    map.get(key)?.as_array()?.first()
}

const INIT_CONTAINER_ANNOTATIONS: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

/// Annotations that once were init containers are not kept on pods and templates.
pub(super) fn init_container_annotations(map: &mut Tree) {
    drop_annotations(map, &INIT_CONTAINER_ANNOTATIONS);
}

const AUTOSCALER_ANNOTATIONS: [&str; 6] = [
    "autoscaling.alpha.kubernetes.io/metrics",
    "autoscaling.alpha.kubernetes.io/behavior",
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
    "autoscaling.alpha.kubernetes.io/current-metrics",
    "autoscaling.alpha.kubernetes.io/conditions",
];

/// Annotations in which older versions carry what this one has fields for.
pub(super) fn autoscaler_annotations(map: &mut Tree) {
    drop_annotations(map, &AUTOSCALER_ANNOTATIONS);
}

fn drop_annotations(map: &mut Tree, names: &[&str]) {
    let Some(metadata) = child(map, "metadata") else { return };
    if let Some(annotations) = child(metadata, "annotations") {
        annotations.retain(|name, _| !names.contains(&name.as_str()));
        if is_empty(metadata, "annotations") {
            metadata.remove("annotations");
        }
    }
}

/// Numbers of a rolling update are 0 when unset, whatever the type of the strategy.
pub(super) fn rolling_update(strategy: &mut Tree, keys: &[&str]) {
    if let Some(rolling) = child(strategy, "rollingUpdate") {
        for key in keys {
            set(rolling, key, 0);
        }
    }
}

/// Claim templates say what they are.
pub(super) fn claim_template(claim: &mut Tree) {
    claim.insert("apiVersion".to_owned(), "v1".into());
    claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
}

const EMPTY_SELECTOR: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

/// The label by which an older version says "all" or "none" is taken out of other selectors.
pub(super) fn disruption_budget(map: &mut Tree) {
    let Some(selector) = super::descend(map, &["spec", "selector"]) else { return };
    let is_marker = |requirement: &Value| requirement["key"] == EMPTY_SELECTOR;
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    // On its own it says "none", to this version too.
    let is_alone = is_empty(selector, "matchLabels")
        && expressions.is_some_and(|list| {
            list.len() == 1
                && list[0]["operator"] == "Exists"
                && list[0]["values"].as_array().is_none_or(Vec::is_empty)
        });
    if is_alone {
        return;
    }
    if let Some(list) = selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        list.retain(|requirement| !is_marker(requirement));
        if list.is_empty() {
            selector.remove("matchExpressions");
        }
    }
}
