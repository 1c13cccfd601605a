//! StatefulSets.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::template::{matches, no_match, runs_forever, selector_of};
use super::{claims, rolling};
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::{invalid_each, items, meta, names, not_negative, pod, shown, text};

const MUTABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];
const OTHERS_CHANGED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

/// Which parts are checked. An update leaves out what can only be as it was.
#[derive(Clone, Copy)]
struct Parts {
    fixed: bool,
    template: bool,
}

pub(super) fn create(object: &Object, errors: &mut Vec<Error>) {
    check(object, Parts { fixed: true, template: true }, errors);
}

pub(super) fn update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    // A template that was wrong before its rule came may stay.
    let mut stored = Vec::new();
    check(old, Parts { fixed: false, template: true }, &mut stored);
    check(new, Parts { fixed: false, template: stored.is_empty() }, errors);
    let fixed = |object: &Object| {
        let mut spec = object.at(&["spec"]).and_then(Value::as_object).cloned().unwrap_or_default();
        spec.retain(|key, value| !MUTABLE.contains(&key.as_str()) && !value.is_null());
        spec
    };
    if fixed(new) != fixed(old) {
        errors.push(Error::forbidden(&Path::new("spec"), OTHERS_CHANGED));
    }
}

fn check(object: &Object, parts: Parts, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    let policy_path = path.child("podManagementPolicy");
    match text(spec, "podManagementPolicy") {
        "" => errors.push(Error::required(&policy_path, "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            errors.push(Error::invalid(&policy_path, other, why));
        }
    }
    rolling::stateful_set(&spec["updateStrategy"], &path.child("updateStrategy"), errors);
    retention(spec, &path, errors);
    if parts.fixed {
        for (index, claim) in items(spec, "volumeClaimTemplates").iter().enumerate() {
            let path = path.child("volumeClaimTemplates").index(index).child("spec");
            claims::spec(&claim["spec"], &path, errors);
        }
    }
    for field in ["replicas", "minReadySeconds"] {
        not_negative(&path.child(field), &spec[field], errors);
    }
    not_negative(&path.child("ordinals.start"), &spec["ordinals"]["start"], errors);
    let service = text(spec, "serviceName");
    if parts.fixed && !service.is_empty() {
        invalid_each(&path.child("serviceName"), service, names::label_1123(service), errors);
    }
    let path_of_selector = path.child("selector");
    let understood = selector_of(&spec["selector"], &path_of_selector, "statefulset", errors);
    let path_of_template = path.child("template");
    if understood {
        template(spec, &path_of_template, parts, errors);
    } else {
        let shown = shown::selector(&spec["selector"]);
        errors.push(shown::invalid(&path_of_selector, &shown, ""));
    }
    runs_forever(&spec["template"], &path_of_template, "StatefulSet", errors);
}

fn retention(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let field = "persistentVolumeClaimRetentionPolicy";
    if spec[field].is_null() {
        return;
    }
    for when in ["whenDeleted", "whenScaled"] {
        let value = text(&spec[field], when);
        if !matches!(value, "Retain" | "Delete") {
            let path = path.child(field).child(when);
            errors.push(Error::not_supported(&path, value, &["Retain", "Delete"]));
        }
    }
}

fn template(spec: &Value, path: &Path, parts: Parts, errors: &mut Vec<Error>) {
    let template = &spec["template"];
    if !matches(&spec["selector"], template) {
        errors.push(no_match(template, path));
    }
    if parts.template {
        pod::template(&as_made(spec), path, errors);
    }
    // Upstream asks these twice, and so tells them twice.
    let metadata = &template["metadata"];
    meta::labels(&metadata["labels"], &path.child("labels"), errors);
    meta::annotations(&metadata["annotations"], &path.child("annotations"), errors);
}

/// The template with what the controller puts in: names of its own, and the claims' volumes.
fn as_made(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return template;
    };
    pod.remove("subdomain");
    pod.remove("hostname");
    let claims = items(spec, "volumeClaimTemplates");
    if claims.is_empty() {
        return template;
    }
    let mut volumes: Vec<Value> = Vec::new();
    let mut names = HashSet::new();
    for claim in claims {
        let name = text(&claim["metadata"], "name");
        if names.insert(name) {
            volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        }
    }
    let own = items(&spec["template"]["spec"], "volumes").iter();
    volumes.extend(own.filter(|volume| !names.contains(&text(volume, "name"))).cloned());
    pod.insert("volumes".to_owned(), volumes.into());
    template
}
