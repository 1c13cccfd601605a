//! Defaults of `storage.k8s.io` and `resource.k8s.io`.

use serde_json::json;

use super::Scalar::{Flag, Text};
use super::{Table, Tree};
use super::{child, descend, ensure, fill, is_empty, items, set, set_zero, text, volume};

pub(super) fn apply(kind: &str, map: &mut Tree) {
    match kind {
        "StorageClass" => fill(map, STORAGE_CLASS),
        "CSIDriver" => csi_driver(map),
        "VolumeAttachment" => {
            if let Some(spec) = descend(map, &["spec", "source", "inlineVolumeSpec"]) {
                volume::persistent_volume_spec(spec);
            }
        }
        "ResourceClaim" => resource_claim(map),
        "ResourceClaimTemplate" => {
            if let Some(spec) = child(map, "spec") {
                device_requests(spec);
            }
        }
        "ResourceSlice" => resource_slice(map),
        _ => {}
    }
}

const STORAGE_CLASS: &Table =
    &[("reclaimPolicy", Text("Delete")), ("volumeBindingMode", Text("Immediate"))];

const CSI_DRIVER: &Table = &[
    ("attachRequired", Flag(true)),
    ("podInfoOnMount", Flag(false)),
    ("storageCapacity", Flag(false)),
    ("fsGroupPolicy", Text("ReadWriteOnceWithFSType")),
    ("requiresRepublish", Flag(false)),
    ("seLinuxMount", Flag(false)),
];

fn csi_driver(map: &mut Tree) {
    let Some(spec) = ensure(map, "spec") else { return };
    fill(spec, CSI_DRIVER);
    if is_empty(spec, "volumeLifecycleModes") {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
}

fn resource_claim(map: &mut Tree) {
    device_requests(map);
    if let Some(devices) = descend(map, &["status", "allocation", "devices"]) {
        for result in items(devices, "results") {
            tolerations(result);
        }
    }
}

/// The requests of a claim whose spec is the field `spec`.
fn device_requests(parent: &mut Tree) {
    let Some(devices) = descend(parent, &["spec", "devices"]) else { return };
    for request in items(devices, "requests") {
        if let Some(exactly) = child(request, "exactly") {
            device_request(exactly);
        }
        for one in items(request, "firstAvailable") {
            device_request(one);
        }
    }
}

fn device_request(map: &mut Tree) {
    set_zero(map, "allocationMode", "ExactCount");
    if text(map, "allocationMode") == "ExactCount" {
        set_zero(map, "count", 1);
    }
    tolerations(map);
}

fn tolerations(map: &mut Tree) {
    for toleration in items(map, "tolerations") {
        set_zero(toleration, "operator", "Equal");
    }
}

/// `timeAdded` of a taint is not set here: this crate has no clock.
fn resource_slice(map: &mut Tree) {
    let devices = child(map, "spec").into_iter().flat_map(|spec| items(spec, "devices"));
    for device in devices {
        let mappings = child(device, "nodeAllocatableResourceMappings");
        for mapping in mappings.into_iter().flat_map(Tree::values_mut) {
            if let Some(mapping) = mapping.as_object_mut() {
                set(mapping, "allocationMultiplier", "1");
            }
        }
    }
}
