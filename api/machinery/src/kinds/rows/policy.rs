//! `policy`.

use super::{NAMESPACED, status};
use crate::kinds::{NameRule, ResourceInfo};

const POLICY: ResourceInfo = ResourceInfo { group: "policy", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    namespaced: true,
    subresources: &[status("policy", "PodDisruptionBudget")],
    storage_prefix: "poddisruptionbudgets",
    name_rule: NameRule::PathSegment,
    has_status: true,
    has_generation: true,
    unconditional_update: false,
    type_name: "api.policy.v1.PodDisruptionBudget",
    ..POLICY
}];
