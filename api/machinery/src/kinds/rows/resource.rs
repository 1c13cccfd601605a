//! `resource.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::ResourceInfo;

const RESOURCE: ResourceInfo = ResourceInfo { group: "resource.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 4] = [
    ResourceInfo {
        kind: "DeviceClass",
        plural: "deviceclasses",
        singular: "deviceclass",
        namespaced: false,
        storage_prefix: "deviceclasses",
        has_generation: true,
        type_name: "api.resource.v1.DeviceClass",
        ..RESOURCE
    },
    ResourceInfo {
        kind: "ResourceClaim",
        plural: "resourceclaims",
        singular: "resourceclaim",
        namespaced: true,
        subresources: &[status("resource.k8s.io", "ResourceClaim")],
        storage_prefix: "resourceclaims",
        has_status: true,
        type_name: "api.resource.v1.ResourceClaim",
        ..RESOURCE
    },
    ResourceInfo {
        kind: "ResourceClaimTemplate",
        plural: "resourceclaimtemplates",
        singular: "resourceclaimtemplate",
        namespaced: true,
        storage_prefix: "resourceclaimtemplates",
        type_name: "api.resource.v1.ResourceClaimTemplate",
        ..RESOURCE
    },
    ResourceInfo {
        kind: "ResourceSlice",
        plural: "resourceslices",
        singular: "resourceslice",
        namespaced: false,
        storage_prefix: "resourceslices",
        selectable_fields: &["spec.nodeName", "spec.driver"],
        has_generation: true,
        type_name: "api.resource.v1.ResourceSlice",
        ..RESOURCE
    },
];
