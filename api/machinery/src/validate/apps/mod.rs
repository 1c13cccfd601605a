//! Workloads: Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers.

mod claims;
mod rolling;
mod stateful_set;
mod status;
mod template;
#[cfg(test)]
mod test;

use serde_json::{Value, json};

use super::selectors::{self, Values};
use super::{not_negative, pod, shown};
use crate::field::{Error, Path};
use crate::selector::Labels;
use crate::{Object, ResourceInfo};

pub(super) use rolling::{at_most_all, int_or_percent};
pub(super) use template::{has_invalid_value, matches, no_match};

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Deployment" => deployment(object, errors),
        "ReplicaSet" => replica_set(object, errors),
        "StatefulSet" => stateful_set::create(object, errors),
        "DaemonSet" => daemon_set(object, &Value::Null, errors),
        "ControllerRevision" => {
            revision(object, errors);
            revision_data(object, errors);
        }
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let selector = old.at(&["spec", "selector"]).unwrap_or(&Value::Null);
    match info.kind {
        "Deployment" => {
            deployment(new, errors);
            same_selector(new, selector, errors);
        }
        "ReplicaSet" => {
            replica_set(new, errors);
            same_selector(new, selector, errors);
        }
        "StatefulSet" => stateful_set::update(new, old, errors),
        "DaemonSet" => {
            same_selector(new, selector, errors);
            daemon_set(new, selector, errors);
        }
        "ControllerRevision" => {
            revision(new, errors);
            let (now, before) = (new.at(&["data"]), old.at(&["data"]));
            if now != before {
                let shown = now.cloned().unwrap_or(Value::Null);
                errors.push(Error::invalid(&Path::new("data"), shown, "field is immutable"));
            }
        }
        _ => {}
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    status::update(info.kind, new, old, errors);
}

fn same_selector(new: &Object, before: &Value, errors: &mut Vec<Error>) {
    let now = new.at(&["spec", "selector"]).unwrap_or(&Value::Null);
    if now != before {
        let path = Path::new("spec").child("selector");
        errors.push(shown::invalid(&path, &shown::selector(now), "field is immutable"));
    }
}

fn replica_set(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    not_negative(&path.child("replicas"), &spec["replicas"], errors);
    not_negative(&path.child("minReadySeconds"), &spec["minReadySeconds"], errors);
    template::selector_and_template(spec, &path, errors);
}

fn deployment(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    not_negative(&path.child("replicas"), &spec["replicas"], errors);
    template::selector_and_template(spec, &path, errors);
    rolling::deployment(&spec["strategy"], &path.child("strategy"), errors);
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(&path.child(field), &spec[field], errors);
    }
    let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
    if let Some(deadline) =
        spec["progressDeadlineSeconds"].as_i64().filter(|deadline| *deadline <= ready)
    {
        let why = "must be greater than minReadySeconds";
        errors.push(Error::invalid(&path.child("progressDeadlineSeconds"), deadline, why));
    }
}

/// `stored_selector` is that of the object before, if there was one.
fn daemon_set(object: &Object, stored_selector: &Value, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    let (selector, path_of_selector) = (&spec["selector"], path.child("selector"));
    let (pods, path_of_pods) = (&spec["template"], path.child("template"));
    let any_value = has_invalid_value(stored_selector);
    let before = errors.len();
    selectors::labels(selector, Values::beside(any_value), &path_of_selector, errors);
    let understood = errors.len() == before && !(any_value && has_invalid_value(selector));
    if understood && !matches(selector, pods) {
        errors.push(no_match(pods, &path_of_pods));
    }
    if !selector.is_null() && Labels::from_object(selector).is_empty() {
        let why = "empty selector is invalid for daemonset";
        errors.push(shown::invalid(&path_of_selector, &shown::selector(selector), why));
    }
    pod::template(pods, &path_of_pods, errors);
    template::runs_forever(pods, &path_of_pods, "DaemonSet", errors);
    not_negative(&path.child("minReadySeconds"), &spec["minReadySeconds"], errors);
    rolling::daemon_set(&spec["updateStrategy"], &path.child("updateStrategy"), errors);
    let limit = "revisionHistoryLimit";
    not_negative(&path.child(limit), &spec[limit], errors);
}

fn revision(object: &Object, errors: &mut Vec<Error>) {
    let number = object.at(&["revision"]).unwrap_or(&Value::Null);
    not_negative(&Path::new("revision"), number, errors);
}

fn revision_data(object: &Object, errors: &mut Vec<Error>) {
    match object.at(&["data"]) {
        Some(Value::Object(_)) => {}
        None | Some(Value::Null) => {
            errors.push(Error::required(&Path::new("data"), "data is mandatory"));
        }
        Some(_) => {
            let why = "data must be a valid JSON object";
            errors.push(Error::required(&Path::new("data"), why));
        }
    }
}

/// A ReplicationController: its selector is a map of labels.
pub(super) fn replication_controller(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    not_negative(&path.child("minReadySeconds"), &spec["minReadySeconds"], errors);
    let labels = &spec["selector"];
    let is_empty = labels.as_object().is_none_or(serde_json::Map::is_empty);
    if is_empty {
        errors.push(Error::required(&path.child("selector"), ""));
    }
    if spec["replicas"].is_null() {
        errors.push(Error::required(&path.child("replicas"), ""));
    } else {
        not_negative(&path.child("replicas"), &spec["replicas"], errors);
    }
    let (pods, path) = (&spec["template"], path.child("template"));
    if pods.is_null() {
        errors.push(Error::required(&path, ""));
        return;
    }
    if !is_empty && !matches(&json!({"matchLabels": labels}), pods) {
        errors.push(no_match(pods, &path));
    }
    pod::template(pods, &path, errors);
    template::runs_forever(pods, &path, "ReplicationController", errors);
}

/// The status of a ReplicationController.
pub(super) fn replication_controller_status(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    status::update("ReplicationController", new, old, errors);
}
