//! One row for each kind, a file for each group.

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod reviews;
mod scheduling;
mod storage;

use std::sync::LazyLock;

use super::{NameRule, Propagation, ResourceInfo, Subresource};

const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

const fn status(group: &'static str, kind: &'static str) -> Subresource {
    Subresource { name: "status", group, version: "v1", kind, verbs: STATUS_VERBS }
}

const SCALE: Subresource = Subresource {
    name: "scale",
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    verbs: STATUS_VERBS,
};

/// What most kinds have in common.
const NAMESPACED: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    storage_prefix: "",
    kept_as: None,
    stored_as: "",
    selectable_fields: &[],
    name_rule: NameRule::Subdomain,
    has_status: false,
    has_generation: false,
    create_on_update: false,
    unconditional_update: true,
    default_propagation: Propagation::Background,
    type_name: "",
};

/// What the subresource `scale` shows: a kind that is not served for itself.
pub static SCALE_KIND: ResourceInfo = ResourceInfo {
    group: SCALE.group,
    kind: SCALE.kind,
    type_name: "api.autoscaling.v1.Scale",
    ..NAMESPACED
};

/// In discovery's order: the core group, then the groups as upstream ranks them.
pub(super) static KINDS: LazyLock<Vec<ResourceInfo>> = LazyLock::new(|| {
    let groups: [&[ResourceInfo]; 20] = [
        &core::KINDS,
        &apiregistration::KINDS,
        &apps::KINDS,
        &events::KINDS,
        &reviews::KINDS,
        &autoscaling::KINDS,
        &batch::KINDS,
        &certificates::KINDS,
        &networking::KINDS,
        &policy::KINDS,
        &rbac::KINDS,
        &storage::KINDS,
        &admissionregistration::KINDS,
        &apiextensions::KINDS,
        &scheduling::KINDS,
        &coordination::KINDS,
        &node::KINDS,
        &discovery::KINDS,
        &resource::KINDS,
        &flowcontrol::KINDS,
    ];
    groups.concat()
});
