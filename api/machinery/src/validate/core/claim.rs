//! PersistentVolumeClaims.

use serde_json::{Value, json};

use super::shown::{self, Shown};
use super::{quota, volume};
use crate::Object;
use crate::field::{Error, Path};
use crate::quantity::Quantity;
use crate::validate::{invalid_each, items, names, selectors, text};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const REQUESTED: [&str; 4] = ["spec", "resources", "requests", "storage"];
const ATTRIBUTES: &str = "volumeAttributesClassName";

pub(super) fn claim(object: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    // A group that was stored under older rules may stay as it is.
    let keeps_group = old.and_then(|old| old.at(&["spec"])).is_some_and(|spec| {
        ["dataSource", "dataSourceRef"].iter().any(|field| !spec[*field]["apiGroup"].is_null())
    });
    claim_spec(spec, keeps_group, &Path::new("spec"), errors);
}

pub(in crate::validate) fn claim_spec(
    spec: &Value,
    keeps_group: bool,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    if items(spec, "accessModes").is_empty() {
        let why = "at least 1 access mode is required";
        errors.push(Error::required(&path.child("accessModes"), why));
    }
    selectors::label_selector(&spec["selector"], &path.child("selector"), errors);
    volume::access_modes(spec, path, errors);
    let storage = path.child("resources").key("storage");
    match quota::quantity(&spec["resources"]["requests"]["storage"]) {
        None => errors.push(Error::required(&storage, "")),
        Some(size) => quota::positive(size, &storage, errors),
    }
    class_name(spec, "storageClassName", path, errors);
    if let Some(mode) = spec["volumeMode"].as_str()
        && !volume::VOLUME_MODES.contains(&mode)
    {
        let path = path.child("volumeMode");
        errors.push(Error::not_supported(&path, mode, &volume::VOLUME_MODES));
    }
    data_sources(spec, keeps_group, path, errors);
    class_name(spec, ATTRIBUTES, path, errors);
}

fn class_name(spec: &Value, field: &str, path: &Path, errors: &mut Vec<Error>) {
    let name = text(spec, field);
    if !name.is_empty() {
        invalid_each(&path.child(field), name, names::subdomain_1123(name), errors);
    }
}

fn data_sources(spec: &Value, keeps_group: bool, path: &Path, errors: &mut Vec<Error>) {
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    for field in ["dataSource", "dataSourceRef"] {
        if !spec[field].is_null() {
            data_source(&spec[field], keeps_group, &path.child(field), errors);
        }
    }
    let namespace = text(reference, "namespace");
    if !namespace.is_empty() {
        let path = path.child("dataSourceRef").child("namespace");
        invalid_each(&path, namespace, names::label_1123(namespace), errors);
    }
    let same = ["apiGroup", "kind", "name"].iter().all(|field| source[*field] == reference[*field]);
    let why = match () {
        () if source.is_null() || reference.is_null() => return,
        () if !namespace.is_empty() => {
            "may not be specified when dataSourceRef.namespace is specified"
        }
        () if !same => "must match dataSourceRef",
        () => return,
    };
    // Upstream shows a path here, which has nothing to show.
    errors.push(Error::invalid(path, json!({}), why));
}

fn data_source(source: &Value, keeps_group: bool, path: &Path, errors: &mut Vec<Error>) {
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
    if !group.is_empty() && !keeps_group {
        invalid_each(&path.child("apiGroup"), group, names::subdomain_1123(group), errors);
    }
}

pub(super) fn claim_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    claim(new, Some(old), errors);
    let null = Value::Null;
    let (spec, before) = (new.at(&["spec"]).unwrap_or(&null), old.at(&["spec"]).unwrap_or(&null));
    class_annotation(new, old, errors);
    let compared = comparable(new, old);
    if shown_spec(&compared).compact() != shown_spec(before).compact() {
        let difference = shown::difference(&shown_spec(before), &shown_spec(&compared));
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
        );
        errors.push(Error::forbidden(&Path::new("spec"), why));
    }
    size_update(new, old, errors);
    if spec["volumeMode"] != before["volumeMode"] {
        let shown = spec["volumeMode"].clone();
        errors.push(Error::invalid(&Path::new("volumeMode"), shown, "field is immutable"));
    }
    let had_attributes = old.at(&["status", "currentVolumeAttributesClassName"]);
    if spec[ATTRIBUTES] != before[ATTRIBUTES] && had_attributes.is_some_and(|v| !v.is_null()) {
        let to = match &spec[ATTRIBUTES] {
            Value::Null => "nil",
            Value::String(name) if name.is_empty() => "empty string",
            _ => return,
        };
        let why = format!(
            "update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
        );
        errors.push(Error::forbidden(&Path::new("spec").child(ATTRIBUTES), why));
    }
}

fn annotated_class(object: &Object) -> Option<&str> {
    object.at(&["metadata", "annotations", CLASS_ANNOTATION]).and_then(Value::as_str)
}

/// The old annotation may only turn into the field, with the same class.
fn class_moves_to_field(new: &Object, old: &Object) -> bool {
    let field =
        |object: &'_ Object| object.at(&["spec", "storageClassName"]).cloned().unwrap_or_default();
    let Some(was) = annotated_class(old) else { return false };
    field(old).is_null()
        && field(new) == was
        && annotated_class(new).is_none_or(|class| class == was)
}

fn class_annotation(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let (now, was) = (annotated_class(new).unwrap_or(""), annotated_class(old).unwrap_or(""));
    if now != was && !class_moves_to_field(new, old) {
        let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.push(Error::invalid(&path, now, "field is immutable"));
    }
}

/// The new spec with what may change set back to what it was.
fn comparable(new: &Object, old: &Object) -> Value {
    let mut spec = new.at(&["spec"]).cloned().unwrap_or_default();
    let before = old.at(&["spec"]).cloned().unwrap_or_default();
    let Value::Object(map) = &mut spec else { return spec };
    if text(&before, "volumeName").is_empty() {
        map.remove("volumeName");
    }
    let class = "storageClassName";
    let may_get_class = before[class].is_null()
        && map.get(class).is_some_and(|class| {
            !class.is_null() && annotated_class(old).is_none_or(|was| class == was)
        });
    if may_get_class {
        map.remove(class);
    }
    if new.text(&["status", "phase"]) != "Bound" {
        return spec;
    }
    map.insert(ATTRIBUTES.to_owned(), before[ATTRIBUTES].clone());
    let requests = map.get_mut("resources").and_then(|resources| resources.get_mut("requests"));
    if let Some(Value::Object(requests)) = requests
        && let Some(size) = old.at(&REQUESTED)
    {
        requests.insert("storage".to_owned(), size.clone());
    }
    spec
}

fn shown_spec(spec: &Value) -> Shown {
    let list = |value: &Value| match value {
        Value::Object(map) if map.is_empty() => Value::Null,
        value => value.clone(),
    };
    let reference = |value: &Value, names: &[(&'static str, &str)]| match value {
        Value::Null => Shown::Value(Value::Null),
        value => Shown::members(value, names),
    };
    let local = [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")];
    let other = [local[0], local[1], local[2], ("Namespace", "namespace")];
    Shown::Fields(vec![
        ("AccessModes", spec["accessModes"].clone().into()),
        ("Selector", spec["selector"].clone().into()),
        (
            "Resources",
            Shown::Fields(vec![
                ("Limits", list(&spec["resources"]["limits"]).into()),
                ("Requests", list(&spec["resources"]["requests"]).into()),
            ]),
        ),
        ("VolumeName", json!(text(spec, "volumeName")).into()),
        ("StorageClassName", spec["storageClassName"].clone().into()),
        ("VolumeMode", spec["volumeMode"].clone().into()),
        ("DataSource", reference(&spec["dataSource"], &local)),
        ("DataSourceRef", reference(&spec["dataSourceRef"], &other)),
        ("VolumeAttributesClassName", spec[ATTRIBUTES].clone().into()),
    ])
}

/// A request shrinks only to what is more than the volume already has.
fn size_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let size = |object: &Object, path: &[&str]| {
        object.at(path).and_then(quota::quantity).unwrap_or_else(|| Quantity::units(0))
    };
    let (now, before) = (size(new, &REQUESTED), size(old, &REQUESTED));
    if now < before && now <= size(old, &["status", "capacity", "storage"]) {
        let path = Path::new(&REQUESTED.join("."));
        errors.push(Error::forbidden(&path, "field can not be less than status.capacity"));
    }
}

const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
];

pub(super) fn claim_status(new: &Object, errors: &mut Vec<Error>) {
    let null = Value::Null;
    let status = new.at(&["status"]).unwrap_or(&null);
    if items(new.at(&["spec"]).unwrap_or(&null), "accessModes").is_empty() {
        errors.push(Error::required(&Path::new("Spec").child("accessModes"), ""));
    }
    let path = Path::new("status");
    for (name, value) in status["capacity"].as_object().into_iter().flatten() {
        if let Some(value) = quota::quantity(value) {
            quota::basic(value, &path.child("capacity").key(name), errors);
        }
    }
    let states = path.child("allocatedResourceStatuses");
    let mut sorted = RESIZE_STATES;
    sorted.sort_unstable();
    for (name, state) in status["allocatedResourceStatuses"].as_object().into_iter().flatten() {
        quota::claim_resource(name, &states, errors);
        if !RESIZE_STATES.contains(&state.as_str().unwrap_or("")) {
            errors.push(Error::not_supported(&states, name.as_str(), &sorted));
        }
    }
    let allocated = path.child("allocatedResources");
    for (name, value) in status["allocatedResources"].as_object().into_iter().flatten() {
        let before = errors.len();
        quota::claim_resource(name, &allocated, errors);
        let Some(value) = quota::quantity(value) else { continue };
        if errors.len() == before {
            quota::basic(value, &allocated.key(name), errors);
        }
    }
}
