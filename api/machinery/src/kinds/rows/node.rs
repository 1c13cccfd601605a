//! `node.k8s.io`.

use super::NAMESPACED;
use crate::kinds::ResourceInfo;

const NODE: ResourceInfo = ResourceInfo { group: "node.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    storage_prefix: "runtimeclasses",
    create_on_update: true,
    unconditional_update: false,
    type_name: "api.node.v1.RuntimeClass",
    ..NODE
}];
