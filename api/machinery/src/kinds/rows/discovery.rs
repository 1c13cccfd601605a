//! `discovery.k8s.io`.

use super::NAMESPACED;
use crate::kinds::ResourceInfo;

const DISCOVERY: ResourceInfo = ResourceInfo { group: "discovery.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    namespaced: true,
    storage_prefix: "endpointslices",
    has_generation: true,
    type_name: "api.discovery.v1.EndpointSlice",
    ..DISCOVERY
}];
