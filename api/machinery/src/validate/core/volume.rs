//! PersistentVolumes. Their sources are in `volume_sources`.

use serde_json::Value;

use super::{quota, volume_sources};
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::{invalid_each, items, names, selectors, text};

pub(super) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(super) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const INLINE: &str = "may not be specified in the context of inline volumes";

pub(super) fn volume(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    volume_spec(spec, Some(object.name()), &Path::new("spec"), errors);
    mount_options(object, spec, errors);
}

/// Only some sources know mount options.
fn mount_options(object: &Object, spec: &Value, errors: &mut Vec<Error>) {
    let knows = |source: &&str| !spec[*source].is_null();
    if !volume_sources::WITH_MOUNT_OPTIONS.iter().any(knows)
        && object.annotations().contains_key(MOUNT_OPTIONS)
    {
        let path = Path::new("metadata").child("annotations").child(MOUNT_OPTIONS);
        let why = "may not specify mount options for this volume type";
        errors.push(Error::forbidden(&path, why));
    }
}

pub(super) fn access_modes(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path = path.child("accessModes");
    let (mut is_single_pod, mut is_other) = (false, false);
    for mode in items(spec, "accessModes") {
        let mode = mode.as_str().unwrap_or("");
        if !ACCESS_MODES.contains(&mode) {
            errors.push(Error::not_supported(&path, mode, &ACCESS_MODES));
        } else if mode == "ReadWriteOncePod" {
            is_single_pod = true;
        } else {
            is_other = true;
        }
    }
    if is_single_pod && is_other {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&path, why));
    }
}

/// Checks the spec of a volume; without a name it is inline in an attachment.
pub(in crate::validate) fn volume_spec(
    spec: &Value,
    name: Option<&str>,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let is_inline = name.is_none();
    if is_inline {
        for field in ["claimRef", "capacity"] {
            let is_set = !spec[field].is_null() && spec[field] != Value::Object(Default::default());
            if is_set {
                errors.push(Error::forbidden(&path.child(field), INLINE));
            }
        }
        if spec["csi"].is_null() {
            let why = "has to be specified in the context of inline volumes";
            errors.push(Error::required(&path.child("csi"), why));
        }
    }
    if items(spec, "accessModes").is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    access_modes(spec, path, errors);
    if !is_inline {
        capacity(&spec["capacity"], &path.child("capacity"), errors);
    }
    reclaim_policy(spec, is_inline, path, errors);
    let affinity = &spec["nodeAffinity"];
    let affinity_path = path.child("nodeAffinity");
    if !affinity.is_null() && is_inline {
        errors.push(Error::forbidden(&affinity_path, INLINE));
    } else if !affinity.is_null() && affinity["required"].is_null() {
        let why = "must specify required node constraints";
        errors.push(Error::required(&affinity_path.child("required"), why));
    } else if !affinity.is_null() {
        selectors::nodes(&affinity["required"], &affinity_path.child("required"), errors);
    }
    volume_sources::sources(spec, name.unwrap_or(""), path, errors);
    classes(spec, is_inline, path, errors);
}

fn capacity(capacity: &Value, path: &Path, errors: &mut Vec<Error>) {
    let count = capacity.as_object().map_or(0, serde_json::Map::len);
    if count == 0 {
        errors.push(Error::required(path, ""));
    }
    if capacity["storage"].is_null() || count > 1 {
        errors.push(Error::not_supported(path, capacity.clone(), &["storage"]));
    }
    for (name, value) in capacity.as_object().into_iter().flatten() {
        let Some(value) = quota::quantity(value) else { continue };
        quota::basic(value, &path.key(name), errors);
        quota::positive(value, &path.key(name), errors);
    }
}

fn reclaim_policy(spec: &Value, is_inline: bool, path: &Path, errors: &mut Vec<Error>) {
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    let path = path.child("persistentVolumeReclaimPolicy");
    let policies = ["Delete", "Recycle", "Retain"];
    if is_inline && !matches!(policy, "" | "Retain") {
        let why = "may only be Retain in the context of inline volumes";
        errors.push(Error::forbidden(&path, why));
    } else if !is_inline && !policy.is_empty() && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path, policy, &policies));
    }
}

fn classes(spec: &Value, is_inline: bool, path: &Path, errors: &mut Vec<Error>) {
    let host_path = text(&spec["hostPath"], "path");
    let is_root = host_path.starts_with('/')
        && host_path.split('/').all(|part| matches!(part, "" | "." | ".."));
    if is_root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), why));
    }
    let class = text(spec, "storageClassName");
    let class_path = path.child("storageClassName");
    if !class.is_empty() && is_inline {
        errors.push(Error::forbidden(&class_path, INLINE));
    } else if !class.is_empty() {
        invalid_each(&class_path, class, names::subdomain_1123(class), errors);
    }
    if let Some(mode) = spec["volumeMode"].as_str() {
        let path = path.child("volumeMode");
        if is_inline && mode != "Filesystem" {
            let why =
                "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(Error::forbidden(&path, why));
        } else if !is_inline && !VOLUME_MODES.contains(&mode) {
            errors.push(Error::not_supported(&path, mode, &VOLUME_MODES));
        }
    }
    let attributes = spec["volumeAttributesClassName"].as_str();
    // Upstream does not look at the class of an inline volume.
    let Some(attributes) = attributes.filter(|_| !is_inline) else { return };
    let attributes_path = path.child("volumeAttributesClassName");
    if attributes.is_empty() {
        errors.push(Error::required(&attributes_path, "an empty string is disallowed"));
    } else {
        let problems = names::subdomain_1123(attributes);
        invalid_each(&attributes_path, attributes, problems, errors);
    }
    if spec["csi"].is_null() {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.push(Error::required(&path.child("csi"), why));
    }
}

pub(super) fn volume_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    volume(new, errors);
    let null = Value::Null;
    let (spec, before) = (new.at(&["spec"]).unwrap_or(&null), old.at(&["spec"]).unwrap_or(&null));
    volume_sources::unchanged(spec, before, errors);
    if spec["volumeMode"] != before["volumeMode"] {
        let shown = spec["volumeMode"].clone();
        errors.push(Error::invalid(&Path::new("volumeMode"), shown, "field is immutable"));
    }
    affinity_update(spec, before, errors);
    let class = "volumeAttributesClassName";
    if spec[class].is_null() && !before[class].is_null() {
        let why = "update from non-nil value to nil is forbidden";
        errors.push(Error::forbidden(&Path::new("spec").child(class), why));
    }
}

/// Labels that were renamed: a volume may change from the old name to the new one.
const RENAMED: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
];

fn affinity_update(spec: &Value, before: &Value, errors: &mut Vec<Error>) {
    let (now, was) = (&spec["nodeAffinity"], &before["nodeAffinity"]);
    if was.is_null() || same_affinity(now, was) {
        return;
    }
    errors.push(Error::invalid(&Path::new("nodeAffinity"), now.clone(), "field is immutable"));
}

fn same_affinity(now: &Value, was: &Value) -> bool {
    match (now, was) {
        (Value::Object(now), Value::Object(was)) => {
            now.len() == was.len()
                && was.iter().all(|(name, was)| match (name.as_str(), now.get(name)) {
                    (_, None) => false,
                    ("key", Some(now)) => {
                        now == was || RENAMED.iter().any(|(old, new)| was == old && now == new)
                    }
                    (_, Some(now)) => same_affinity(now, was),
                })
        }
        (Value::Array(now), Value::Array(was)) => {
            now.len() == was.len() && now.iter().zip(was).all(|(now, was)| same_affinity(now, was))
        }
        _ => now == was,
    }
}
