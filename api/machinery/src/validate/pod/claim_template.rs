//! The claim that is made for an ephemeral volume.

use serde_json::Value;

use super::restart::supported;
use super::{container_resources, given, invalid_each, items, meta, names, text};
use crate::field::{Error, Path};
use crate::validate::selectors;

/// What the metadata of a template for a claim cannot have, in the order of upstream's type.
const NOT_IN_METADATA: [&str; 12] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
];

pub(super) fn template(template: &Value, path: &Path, errors: &mut Vec<Error>) {
    let metadata = &template["metadata"];
    let metadata_path = path.child("metadata");
    meta::annotations(&metadata["annotations"], &metadata_path.child("annotations"), errors);
    meta::labels(&metadata["labels"], &metadata_path.child("labels"), errors);
    for field in NOT_IN_METADATA {
        let is_set = match &metadata[field] {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Number(number) => number.as_i64() != Some(0),
            _ => true,
        };
        if is_set {
            let field = if field == "uid" { "uID" } else { field };
            errors.push(Error::forbidden(&metadata_path.child(field), "cannot be set"));
        }
    }
    claim_spec(&template["spec"], &path.child("spec"), errors);
}

const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The spec of a claim.
pub(super) fn claim_spec(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    access_modes(spec, path, errors);
    let storage_path = path.child("resources").key("storage");
    match container_resources::read(&spec["resources"]["requests"]["storage"]) {
        None => errors.push(Error::required(&storage_path, "")),
        Some(size) if size.is_zero() || size.is_negative() => {
            let why = "must be greater than zero";
            errors.push(Error::invalid(&storage_path, size.to_string(), why));
        }
        Some(_) => {}
    }
    super::named(spec, path, ("storageClassName", names::subdomain_1123), errors);
    if let Some(mode) = spec["volumeMode"].as_str() {
        supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"], errors);
    }
    let (source, reference) = (given(spec, "dataSource"), given(spec, "dataSourceRef"));
    if let Some(source) = source {
        data_source(source, &path.child("dataSource"), errors);
    }
    if let Some(reference) = reference {
        let path = path.child("dataSourceRef");
        data_source(reference, &path, errors);
        super::named(reference, &path, ("namespace", names::label_1123), errors);
    }
    if let (Some(source), Some(reference)) = (source, reference) {
        let same = ["apiGroup", "kind", "name"]
            .iter()
            .all(|field| text(source, field) == text(reference, field));
        let why = if text(reference, "namespace").is_empty() {
            "must match dataSourceRef"
        } else {
            "may not be specified when dataSourceRef.namespace is specified"
        };
        if !same || !text(reference, "namespace").is_empty() {
            // Upstream shows an empty object for the path here.
            errors.push(Error::invalid(path, Value::Object(serde_json::Map::new()), why));
        }
    }
    super::named(spec, path, ("volumeAttributesClassName", names::subdomain_1123), errors);
}

fn access_modes(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let modes_path = path.child("accessModes");
    let modes: Vec<_> =
        items(spec, "accessModes").iter().map(|mode| mode.as_str().unwrap_or("")).collect();
    if modes.is_empty() {
        errors.push(Error::required(&modes_path, "at least 1 access mode is required"));
    }
    if let Some(selector) = given(spec, "selector") {
        selectors::label_selector(selector, &path.child("selector"), errors);
    }
    for mode in &modes {
        supported(&modes_path, mode, &ACCESS_MODES, errors);
    }
    let is_other = |mode: &&str| ACCESS_MODES.contains(mode) && *mode != "ReadWriteOncePod";
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(is_other) {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&modes_path, why));
    }
}

fn data_source(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    for field in ["name", "kind"] {
        if text(source, field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(path, kind, why));
    }
    if !group.is_empty() {
        invalid_each(&path.child("apiGroup"), group, names::subdomain_1123(group), errors);
    }
}
