//! One row for each kind.

use super::{NameRule, Propagation, ResourceInfo, Subresource};

const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];
const SERVICE_VERBS: &[&str] = ALL_VERBS;

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

const CORE: ResourceInfo = ResourceInfo {
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
    selectable_fields: &[],
    name_rule: NameRule::Subdomain,
    has_status: false,
    has_generation: false,
    create_on_update: false,
    unconditional_update: true,
    default_propagation: Propagation::Background,
    type_name: "",
};

/// Reviews are answered and not kept.
const AUTHENTICATION: ResourceInfo =
    ResourceInfo { group: "authentication.k8s.io", namespaced: false, verbs: &["create"], ..CORE };

const AUTHORIZATION: ResourceInfo =
    ResourceInfo { group: "authorization.k8s.io", verbs: &["create"], ..CORE };

const RBAC: ResourceInfo = ResourceInfo {
    group: "rbac.authorization.k8s.io",
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..CORE
};

/// In discovery's order: the core group, then the groups as upstream ranks them.
pub(super) static KINDS: [ResourceInfo; 23] = [
    ResourceInfo {
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        storage_prefix: "configmaps",
        type_name: "api.core.v1.ConfigMap",
        ..CORE
    },
    ResourceInfo {
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short_names: &["ep"],
        storage_prefix: "services/endpoints",
        create_on_update: true,
        type_name: "api.core.v1.Endpoints",
        ..CORE
    },
    ResourceInfo {
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        storage_prefix: "events",
        selectable_fields: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        create_on_update: true,
        type_name: "api.core.v1.Event",
        ..CORE
    },
    ResourceInfo {
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        namespaced: false,
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subresources: &[
            Subresource {
                name: "finalize",
                group: "",
                version: "v1",
                kind: "Namespace",
                verbs: &["update"],
            },
            status("", "Namespace"),
        ],
        storage_prefix: "namespaces",
        selectable_fields: &["status.phase"],
        name_rule: NameRule::Label,
        has_status: true,
        type_name: "api.core.v1.Namespace",
        ..CORE
    },
    ResourceInfo {
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        namespaced: false,
        subresources: &[status("", "Node")],
        storage_prefix: "minions",
        selectable_fields: &["spec.unschedulable"],
        has_status: true,
        type_name: "api.core.v1.Node",
        ..CORE
    },
    ResourceInfo {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            Subresource {
                name: "binding",
                group: "",
                version: "v1",
                kind: "Binding",
                verbs: &["create"],
            },
            Subresource {
                name: "eviction",
                group: "policy",
                version: "v1",
                kind: "Eviction",
                verbs: &["create"],
            },
            Subresource { name: "log", group: "", version: "v1", kind: "Pod", verbs: &["get"] },
            status("", "Pod"),
        ],
        storage_prefix: "pods",
        selectable_fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        has_status: true,
        has_generation: true,
        type_name: "api.core.v1.Pod",
        ..CORE
    },
    ResourceInfo {
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        storage_prefix: "secrets",
        selectable_fields: &["type"],
        type_name: "api.core.v1.Secret",
        ..CORE
    },
    ResourceInfo {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        subresources: &[Subresource {
            name: "token",
            group: "authentication.k8s.io",
            version: "v1",
            kind: "TokenRequest",
            verbs: &["create"],
        }],
        storage_prefix: "serviceaccounts",
        type_name: "api.core.v1.ServiceAccount",
        ..CORE
    },
    ResourceInfo {
        kind: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        verbs: SERVICE_VERBS,
        subresources: &[status("", "Service")],
        storage_prefix: "services/specs",
        selectable_fields: &["spec.clusterIP", "spec.type"],
        name_rule: NameRule::Label,
        has_status: true,
        create_on_update: true,
        type_name: "api.core.v1.Service",
        ..CORE
    },
    ResourceInfo {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, status("apps", "Deployment")],
        storage_prefix: "deployments",
        has_status: true,
        has_generation: true,
        type_name: "api.apps.v1.Deployment",
        ..CORE
    },
    ResourceInfo {
        group: "apps",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, status("apps", "ReplicaSet")],
        storage_prefix: "replicasets",
        selectable_fields: &["status.replicas"],
        has_status: true,
        has_generation: true,
        type_name: "api.apps.v1.ReplicaSet",
        ..CORE
    },
    ResourceInfo {
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        type_name: "api.authentication.v1.SelfSubjectReview",
        ..AUTHENTICATION
    },
    ResourceInfo {
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        type_name: "api.authentication.v1.TokenReview",
        ..AUTHENTICATION
    },
    ResourceInfo {
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        namespaced: true,
        type_name: "api.authorization.v1.LocalSubjectAccessReview",
        ..AUTHORIZATION
    },
    ResourceInfo {
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        namespaced: false,
        type_name: "api.authorization.v1.SelfSubjectAccessReview",
        ..AUTHORIZATION
    },
    ResourceInfo {
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        namespaced: false,
        type_name: "api.authorization.v1.SelfSubjectRulesReview",
        ..AUTHORIZATION
    },
    ResourceInfo {
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        namespaced: false,
        type_name: "api.authorization.v1.SubjectAccessReview",
        ..AUTHORIZATION
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
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        namespaced: false,
        storage_prefix: "clusterrolebindings",
        type_name: "api.rbac.v1.ClusterRoleBinding",
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
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        storage_prefix: "leases",
        create_on_update: true,
        unconditional_update: false,
        type_name: "api.coordination.v1.Lease",
        ..CORE
    },
    ResourceInfo {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        storage_prefix: "endpointslices",
        has_generation: true,
        type_name: "api.discovery.v1.EndpointSlice",
        ..CORE
    },
];
