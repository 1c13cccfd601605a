//! Volumes, claims and what describes them.

use serde_json::Value;

use super::{at, spec};
use crate::Object;
use crate::field::Path;
use crate::quantity::{Format, Quantity};
use crate::validate::{items, text};
use crate::warnings::{labels, plugins};

const STORAGE_CLASS: (&str, &str) = (
    "volume.beta.kubernetes.io/storage-class",
    "deprecated since v1.8; use \"storageClassName\" attribute instead",
);
const MOUNT_OPTIONS: (&str, &str) = (
    "volume.beta.kubernetes.io/mount-options",
    "deprecated since v1.31; use \"mountOptions\" attribute instead",
);
/// Plugins that are gone, in upstream's order.
const GONE: [&str; 6] =
    ["cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"];

pub(super) fn volume(object: &Object, told: &mut Vec<String>) {
    let (spec, path) = (spec(object), Path::new("spec"));
    annotations(object, &[STORAGE_CLASS, MOUNT_OPTIONS], told);
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
        told.push(format!("spec.persistentVolumeReclaimPolicy: {why}"));
    }
    let terms = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
    let required = &spec["nodeAffinity"]["required"];
    for (index, term) in items(required, "nodeSelectorTerms").iter().enumerate() {
        expressions(term, &terms.index(index), told);
    }
    for field in GONE.into_iter().filter(|field| !spec[*field].is_null()) {
        told.extend(plugins::fate(field).map(|(name, fate)| format!("spec.{name}: {fate}")));
    }
}

fn annotations(object: &Object, old: &[(&str, &str)], told: &mut Vec<String>) {
    let found = object.annotations();
    for (name, message) in old.iter().filter(|(name, _)| found.contains_key(*name)) {
        told.push(format!("metadata.annotations[{name}]: {message}"));
    }
}

/// Old labels of nodes in the expressions of a selector.
fn expressions(selector: &Value, path: &Path, told: &mut Vec<String>) {
    for (index, expression) in items(selector, "matchExpressions").iter().enumerate() {
        let key = text(expression, "key");
        let path = path.child("matchExpressions").index(index).child("key");
        at(&path, labels::told(key).map(|message| format!("{key} is {message}")), told);
    }
}

pub(super) fn claim(object: &Object, told: &mut Vec<String>) {
    annotations(object, &[STORAGE_CLASS], told);
    claim_spec(spec(object), &Path::new("spec"), told);
}

/// Bytes cannot be divided.
pub(super) fn claim_spec(spec: &Value, path: &Path, told: &mut Vec<String>) {
    for field in ["requests", "limits"] {
        let Ok(size) = text(&spec["resources"][field], "storage").parse::<Quantity>() else {
            continue;
        };
        let thousandths = match size.milli_value() {
            // More than can be counted: upstream's count starts over, from 8Pi on.
            i64::MAX if size.format() == Format::BinarySi => size.value().wrapping_mul(1000),
            i64::MAX => 0,
            few => few,
        };
        if thousandths % 1000 != 0 {
            let path = path.child("resources").child(field).key("storage");
            told.push(format!(
                "{path}: fractional byte value \"{size}\" is invalid, must be an integer"
            ));
        }
    }
}

pub(super) fn class(object: &Object, told: &mut Vec<String>) {
    let topologies = object.at(&["allowedTopologies"]).and_then(Value::as_array);
    for (index, topology) in topologies.into_iter().flatten().enumerate() {
        let path = Path::new("allowedTopologies").index(index).child("matchLabelExpressions");
        for (index, one) in items(topology, "matchLabelExpressions").iter().enumerate() {
            at(&path.index(index).child("key"), labels::told(text(one, "key")), told);
        }
    }
}

pub(super) fn capacity(object: &Object, told: &mut Vec<String>) {
    let Some(selector) = object.at(&["nodeTopology"]) else { return };
    let path = Path::new("nodeTopology");
    expressions(selector, &path, told);
    let labels = selector["matchLabels"].as_object();
    for label in labels.into_iter().flat_map(serde_json::Map::keys) {
        at(&path.child("matchLabels").child(label), labels::told(label), told);
    }
}

/// A driver that is given tokens should be given them as secrets.
pub(super) fn driver(new: &Object, old: Option<&Object>, told: &mut Vec<String>) {
    let requests = |object| items(spec(object), "tokenRequests");
    let are_new = old.is_none_or(|old| requests(old) != requests(new));
    let is_open = spec(new)["serviceAccountTokenInSecrets"].is_null();
    if is_open && are_new && !requests(new).is_empty() {
        let why = "is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
        told.push(format!("spec.serviceAccountTokenInSecrets {why}"));
    }
}
