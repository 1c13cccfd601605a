//! The volume claims that a StatefulSet makes.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::quantity::Quantity;
use crate::validate::{invalid_each, items, names, selectors, shown, text};

const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// The spec of a new claim.
pub(super) fn spec(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    access_modes(spec, path, errors);
    let size_path = path.child("resources").key("storage");
    match spec["resources"]["requests"]["storage"].as_str() {
        None => errors.push(Error::required(&size_path, "")),
        Some(size) => {
            let too_small = |size: &Quantity| size.is_negative() || size.is_zero();
            if let Some(size) = size.parse::<Quantity>().ok().filter(too_small) {
                let why = "must be greater than zero";
                errors.push(Error::invalid(&size_path, size.to_string(), why));
            }
        }
    }
    class_name(spec, "storageClassName", path, errors);
    if let Some(mode) = spec["volumeMode"].as_str().filter(|mode| !VOLUME_MODES.contains(mode)) {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, &VOLUME_MODES));
    }
    sources(spec, path, errors);
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn access_modes(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path_of_modes = path.child("accessModes");
    let modes: Vec<_> = items(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        errors.push(Error::required(&path_of_modes, "at least 1 access mode is required"));
    }
    selectors::label_selector(&spec["selector"], &path.child("selector"), errors);
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(Error::not_supported(&path_of_modes, *mode, &ACCESS_MODES));
    }
    let alone = "ReadWriteOncePod";
    if modes.contains(&alone)
        && modes.iter().any(|mode| *mode != alone && ACCESS_MODES.contains(mode))
    {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&path_of_modes, why));
    }
}

fn class_name(spec: &Value, field: &str, path: &Path, errors: &mut Vec<Error>) {
    let name = text(spec, field);
    if !name.is_empty() {
        invalid_each(&path.child(field), name, names::subdomain_1123(name), errors);
    }
}

fn sources(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    for (field, value) in [("dataSource", source), ("dataSourceRef", reference)] {
        if !value.is_null() {
            data_source(value, &path.child(field), errors);
        }
    }
    if source.is_null() || reference.is_null() {
        return;
    }
    // Upstream shows a path here instead of a value, which is an empty object as JSON.
    if !text(reference, "namespace").is_empty() {
        let why = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(shown::invalid(path, "{}", why));
    } else if ["apiGroup", "kind", "name"].iter().any(|key| source[*key] != reference[*key]) {
        errors.push(shown::invalid(path, "{}", "must match dataSourceRef"));
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
    } else if !group.is_empty() {
        invalid_each(&path.child("apiGroup"), group, names::subdomain_1123(group), errors);
    }
    let namespace = text(source, "namespace");
    if !namespace.is_empty() {
        invalid_each(&path.child("namespace"), namespace, names::label_1123(namespace), errors);
    }
}
