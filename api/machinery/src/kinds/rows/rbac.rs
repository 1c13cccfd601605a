//! `rbac.authorization.k8s.io`.

use super::NAMESPACED;
use crate::kinds::{NameRule, ResourceInfo};

const RBAC: ResourceInfo = ResourceInfo {
    group: "rbac.authorization.k8s.io",
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..NAMESPACED
};

pub(super) const KINDS: [ResourceInfo; 4] = [
    ResourceInfo {
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        namespaced: false,
        storage_prefix: "clusterrolebindings",
        type_name: "api.rbac.v1.ClusterRoleBinding",
        ..RBAC
    },
    ResourceInfo {
        kind: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        namespaced: false,
        storage_prefix: "clusterroles",
        type_name: "api.rbac.v1.ClusterRole",
        ..RBAC
    },
    ResourceInfo {
        kind: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
        namespaced: true,
        storage_prefix: "rolebindings",
        type_name: "api.rbac.v1.RoleBinding",
        ..RBAC
    },
    ResourceInfo {
        kind: "Role",
        plural: "roles",
        singular: "role",
        namespaced: true,
        storage_prefix: "roles",
        type_name: "api.rbac.v1.Role",
        ..RBAC
    },
];
