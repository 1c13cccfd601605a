//! Defaults of volumes: those of pods, persistent ones, and claims.

use serde_json::json;

use super::Scalar::{Flag, Number, Text};
use super::{Table, Tree};
use super::{child, descend, fill, fill_zero, image, items, pod, resources, set, set_zero, text};

/// Fields that upstream holds behind pointers; modes are 0644.
const POINTERS: [(&str, &Table); 6] = [
    ("hostPath", &[("type", Text(""))]),
    ("secret", MODE),
    ("configMap", MODE),
    ("downwardAPI", MODE),
    ("projected", MODE),
    (
        "azureDisk",
        &[
            ("cachingMode", Text("ReadWrite")),
            ("fsType", Text("ext4")),
            ("readOnly", Flag(false)),
            ("kind", Text("Shared")),
        ],
    ),
];

const MODE: &Table = &[("defaultMode", Number(0o644))];

/// Fields that upstream holds by value.
const VALUES: [(&str, &Table); 3] = [
    ("iscsi", &[("iscsiInterface", Text("default"))]),
    (
        "rbd",
        &[("pool", Text("rbd")), ("user", Text("admin")), ("keyring", Text("/etc/ceph/keyring"))],
    ),
    ("scaleIO", &[("storageMode", Text("ThinProvisioned")), ("fsType", Text("xfs"))]),
];

/// The sources that pods and persistent volumes share; what only pods have is not there in others.
fn sources(map: &mut Tree) {
    for (source, table) in POINTERS {
        if let Some(source) = child(map, source) {
            fill(source, table);
        }
    }
    for (source, table) in VALUES {
        if let Some(source) = child(map, source) {
            fill_zero(source, table);
        }
    }
}

/// A volume of a pod.
pub(super) fn volume(map: &mut Tree) {
    if map.iter().all(|(key, value)| key == "name" || value.is_null()) {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    sources(map);
    if let Some(image) = child(map, "image") {
        set_zero(image, "pullPolicy", image::pull_policy(text(image, "reference")));
    }
    downward_items(map);
    if let Some(projected) = child(map, "projected") {
        for source in items(projected, "sources") {
            downward_items(source);
            if let Some(token) = child(source, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(spec) = descend(map, &["ephemeral", "volumeClaimTemplate", "spec"]) {
        claim_spec(spec);
    }
}

fn downward_items(map: &mut Tree) {
    if let Some(downward) = child(map, "downwardAPI") {
        for item in items(downward, "items") {
            pod::field_reference(item);
        }
    }
}

/// The spec of a persistent volume, inlined in an attachment or not.
pub(super) fn persistent_volume_spec(spec: &mut Tree) {
    resources::round(spec, &["capacity"]);
    sources(spec);
}

/// The spec of a claim.
pub(super) fn claim_spec(spec: &mut Tree) {
    set(spec, "volumeMode", "Filesystem");
    resources::round_requirements(spec);
}
