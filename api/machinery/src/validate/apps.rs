//! Deployments, ReplicaSets and their pod templates.

use serde_json::Value;

use super::core::unchanged;
use super::{invalid_each, items, meta, names, not_negative, pod, text};
use crate::field::{Error, Path};
use crate::selector::Labels;
use crate::{Object, ResourceInfo};

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Deployment" => deployment(object, errors),
        "ReplicaSet" => replica_set(object, errors),
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    create(info, new, errors);
    if matches!(info.kind, "Deployment" | "ReplicaSet") {
        unchanged(new, old, &["spec", "selector"], errors);
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    _old: &Object,
    errors: &mut Vec<Error>,
) {
    if matches!(info.kind, "Deployment" | "ReplicaSet") {
        status(new, errors);
    }
}

fn replica_set(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    not_negative(&path.child("replicas"), &spec["replicas"], errors);
    not_negative(&path.child("minReadySeconds"), &spec["minReadySeconds"], errors);
    selector_and_template(spec, &path, errors);
}

fn deployment(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    not_negative(&path.child("replicas"), &spec["replicas"], errors);
    selector_and_template(spec, &path, errors);
    strategy(&spec["strategy"], &path.child("strategy"), errors);
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(&path.child(field), &spec[field], errors);
    }
    let (deadline, ready) =
        (spec["progressDeadlineSeconds"].as_i64(), spec["minReadySeconds"].as_i64().unwrap_or(0));
    if let Some(deadline) = deadline.filter(|deadline| *deadline <= ready && *deadline >= 0) {
        let why = "must be greater than minReadySeconds";
        errors.push(Error::invalid(&path.child("progressDeadlineSeconds"), deadline, why));
    }
}

fn strategy(strategy: &Value, path: &Path, errors: &mut Vec<Error>) {
    let kind = text(strategy, "type");
    let rolling = &strategy["rollingUpdate"];
    if kind == "Recreate" && !rolling.is_null() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        errors.push(Error::forbidden(&path.child("rollingUpdate"), why));
    }
    if !matches!(kind, "Recreate" | "RollingUpdate") {
        // Upstream shows the whole strategy here, by its Go field names.
        let shown = serde_json::json!({"RollingUpdate": rolling, "Type": kind});
        errors.push(Error::not_supported(path, shown, &["Recreate", "RollingUpdate"]));
    }
    if kind != "RollingUpdate" || rolling.is_null() {
        return;
    }
    let path = path.child("rollingUpdate");
    for field in ["maxUnavailable", "maxSurge"] {
        int_or_percent(&path.child(field), &rolling[field], errors);
    }
    let is_zero = |field: &str| rolling[field] == 0 || rolling[field] == "0%";
    if is_zero("maxUnavailable") && is_zero("maxSurge") {
        let value = rolling["maxUnavailable"].clone();
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(Error::invalid(&path.child("maxUnavailable"), value, why));
    }
}

fn int_or_percent(path: &Path, value: &Value, errors: &mut Vec<Error>) {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or("");
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.push(Error::invalid(path, text.as_str(), why));
            } else if path.to_string().ends_with("maxUnavailable")
                && digits.parse::<u64>().is_ok_and(|percent| percent > 100)
            {
                errors.push(Error::invalid(path, text.as_str(), "must not be greater than 100%"));
            }
        }
        other => not_negative(path, other, errors),
    }
}

fn selector_and_template(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let selector = &spec["selector"];
    let selector_path = path.child("selector");
    let before = errors.len();
    if selector.is_null() {
        errors.push(Error::required(&selector_path, ""));
    } else {
        label_selector(selector, &selector_path, errors);
        let parsed = Labels::from_object(selector);
        if parsed.is_empty() {
            let why = "empty selector is invalid for deployment";
            errors.push(Error::invalid(&selector_path, selector.clone(), why));
        }
    }
    let (template, template_path) = (&spec["template"], path.child("template"));
    let labels = &template["metadata"]["labels"];
    // A missing selector matches nothing; one that is wrong in itself is not asked.
    let is_wrong = errors.len() > before;
    let matches = Labels::from_object(selector).matches(|key| labels[key].as_str());
    if selector.is_null() || !is_wrong && !matches {
        let shown = labels.clone();
        let why = "`selector` does not match template `labels`";
        let path = template_path.child("metadata").child("labels");
        errors.push(Error::invalid(&path, shown, why));
    }
    meta::common(&template["metadata"], &template_path.child("metadata"), errors);
    pod::spec(&template["spec"], &template_path.child("spec"), errors);
    let policy = text(&template["spec"], "restartPolicy");
    if matches!(policy, "OnFailure" | "Never") {
        let path = template_path.child("spec").child("restartPolicy");
        errors.push(Error::not_supported(&path, policy, &["Always"]));
    }
}

fn label_selector(selector: &Value, path: &Path, errors: &mut Vec<Error>) {
    meta::labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    for (index, one) in items(selector, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let key = text(one, "key");
        invalid_each(&path.child("key"), key, names::qualified_name(key), errors);
        let values = items(one, "values");
        match text(one, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), why));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), why));
            }
            "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.push(Error::invalid(&path.child("operator"), other, why));
            }
        }
    }
}

/// The counters of a status are not negative.
fn status(object: &Object, errors: &mut Vec<Error>) {
    let status = object.at(&["status"]).unwrap_or(&Value::Null);
    for field in [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ] {
        not_negative(&Path::new("status").child(field), &status[field], errors);
    }
}
