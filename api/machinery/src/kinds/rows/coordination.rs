//! `coordination.k8s.io`.

use super::NAMESPACED;
use crate::kinds::ResourceInfo;

const COORDINATION: ResourceInfo = ResourceInfo { group: "coordination.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    namespaced: true,
    storage_prefix: "leases",
    create_on_update: true,
    unconditional_update: false,
    type_name: "api.coordination.v1.Lease",
    ..COORDINATION
}];
