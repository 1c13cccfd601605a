//! `storage.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::ResourceInfo;

const STORAGE: ResourceInfo = ResourceInfo { group: "storage.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 6] = [
    ResourceInfo {
        kind: "CSIDriver",
        plural: "csidrivers",
        singular: "csidriver",
        namespaced: false,
        storage_prefix: "csidrivers",
        has_generation: true,
        unconditional_update: false,
        type_name: "api.storage.v1.CSIDriver",
        ..STORAGE
    },
    ResourceInfo {
        kind: "CSINode",
        plural: "csinodes",
        singular: "csinode",
        namespaced: false,
        storage_prefix: "csinodes",
        unconditional_update: false,
        type_name: "api.storage.v1.CSINode",
        ..STORAGE
    },
    ResourceInfo {
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        singular: "csistoragecapacity",
        namespaced: true,
        storage_prefix: "csistoragecapacities",
        unconditional_update: false,
        type_name: "api.storage.v1.CSIStorageCapacity",
        ..STORAGE
    },
    ResourceInfo {
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short_names: &["sc"],
        namespaced: false,
        storage_prefix: "storageclasses",
        type_name: "api.storage.v1.StorageClass",
        ..STORAGE
    },
    ResourceInfo {
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        singular: "volumeattachment",
        namespaced: false,
        subresources: &[status("storage.k8s.io", "VolumeAttachment")],
        storage_prefix: "volumeattachments",
        has_status: true,
        unconditional_update: false,
        type_name: "api.storage.v1.VolumeAttachment",
        ..STORAGE
    },
    ResourceInfo {
        kind: "VolumeAttributesClass",
        plural: "volumeattributesclasses",
        singular: "volumeattributesclass",
        short_names: &["vac"],
        namespaced: false,
        storage_prefix: "volumeattributesclasses",
        type_name: "api.storage.v1.VolumeAttributesClass",
        ..STORAGE
    },
];
