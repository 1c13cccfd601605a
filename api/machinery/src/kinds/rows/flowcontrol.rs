//! `flowcontrol.apiserver.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::ResourceInfo;

const FLOWCONTROL: ResourceInfo =
    ResourceInfo { group: "flowcontrol.apiserver.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 2] = [
    ResourceInfo {
        kind: "FlowSchema",
        plural: "flowschemas",
        singular: "flowschema",
        namespaced: false,
        subresources: &[status("flowcontrol.apiserver.k8s.io", "FlowSchema")],
        storage_prefix: "flowschemas",
        has_status: true,
        has_generation: true,
        type_name: "api.flowcontrol.v1.FlowSchema",
        ..FLOWCONTROL
    },
    ResourceInfo {
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        singular: "prioritylevelconfiguration",
        namespaced: false,
        subresources: &[status("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration")],
        storage_prefix: "prioritylevelconfigurations",
        has_status: true,
        has_generation: true,
        type_name: "api.flowcontrol.v1.PriorityLevelConfiguration",
        ..FLOWCONTROL
    },
];
