//! `apps`.

use super::{NAMESPACED, SCALE, status};
use crate::kinds::{NameRule, ResourceInfo};

const APPS: ResourceInfo = ResourceInfo { group: "apps", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 5] = [
    ResourceInfo {
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        namespaced: true,
        storage_prefix: "controllerrevisions",
        type_name: "api.apps.v1.ControllerRevision",
        ..APPS
    },
    ResourceInfo {
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short_names: &["ds"],
        categories: &["all"],
        namespaced: true,
        subresources: &[status("apps", "DaemonSet")],
        storage_prefix: "daemonsets",
        has_status: true,
        has_generation: true,
        type_name: "api.apps.v1.DaemonSet",
        ..APPS
    },
    ResourceInfo {
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        namespaced: true,
        subresources: &[SCALE, status("apps", "Deployment")],
        storage_prefix: "deployments",
        has_status: true,
        has_generation: true,
        type_name: "api.apps.v1.Deployment",
        ..APPS
    },
    ResourceInfo {
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        namespaced: true,
        subresources: &[SCALE, status("apps", "ReplicaSet")],
        storage_prefix: "replicasets",
        has_status: true,
        has_generation: true,
        type_name: "api.apps.v1.ReplicaSet",
        ..APPS
    },
    ResourceInfo {
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short_names: &["sts"],
        categories: &["all"],
        namespaced: true,
        subresources: &[SCALE, status("apps", "StatefulSet")],
        storage_prefix: "statefulsets",
        name_rule: NameRule::Label,
        has_status: true,
        has_generation: true,
        type_name: "api.apps.v1.StatefulSet",
        ..APPS
    },
];
