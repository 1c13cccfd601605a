//! `scheduling.k8s.io`.

use super::NAMESPACED;
use crate::kinds::ResourceInfo;

const SCHEDULING: ResourceInfo = ResourceInfo { group: "scheduling.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    storage_prefix: "priorityclasses",
    has_generation: true,
    type_name: "api.scheduling.v1.PriorityClass",
    ..SCHEDULING
}];
