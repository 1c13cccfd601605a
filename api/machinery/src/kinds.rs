//! The kinds that are served: one row each. Adding a kind is adding a row here.

use crate::schema::{Schema, TypeId};
use crate::status::Grouped;

/// A subresource and the kind of its body.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    pub name: &'static str,
    /// Group and version of the body; empty group for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// What a delete does with dependents when it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Orphan,
}

/// Which names an object may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
}

/// Everything about a kind that is not in its schema.
#[derive(Debug)]
pub struct ResourceInfo {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// The key below `/registry/`: `pods`, `minions`, `services/specs`.
    pub storage_prefix: &'static str,
    /// Fields that field selectors know, besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: &'static [&'static str],
    pub name_rule: NameRule,
    pub has_status: bool,
    /// `metadata.generation` counts changes of the spec.
    pub has_generation: bool,
    /// PUT on a name that does not exist creates it.
    pub create_on_update: bool,
    /// PUT without a resourceVersion is allowed.
    pub unconditional_update: bool,
    pub default_propagation: Propagation,
    /// Full name of the type in the [`Schema`].
    pub type_name: &'static str,
}

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

static KINDS: [ResourceInfo; 11] = [
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
];

/// Every kind that is served, in discovery's order: core first, by kind within a group.
#[must_use]
pub fn all() -> &'static [ResourceInfo] {
    &KINDS
}

/// Finds a kind by its URL: group, version, plural.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static ResourceInfo> {
    KINDS.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// Finds a kind by `apiVersion` and `kind`.
#[must_use]
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static ResourceInfo> {
    let (group, version) = split_api_version(api_version);
    KINDS.iter().find(|k| k.group == group && k.version == version && k.kind == kind)
}

/// `apps/v1` → `("apps", "v1")`; `v1` → `("", "v1")`.
#[must_use]
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The schema type of any known `apiVersion` and `kind`, served or not: lists, `Status`, `Scale`,
/// `Binding`, `DeleteOptions` and so on.
#[must_use]
pub fn type_of(api_version: &str, kind: &str) -> Option<TypeId> {
    let (group, version) = split_api_version(api_version);
    let schema = Schema::get();
    let package = match group {
        "" => "core",
        other => other.split('.').next().unwrap_or(other),
    };
    let by_group = match (group, kind) {
        ("apiextensions.k8s.io", _) => {
            schema.find(&format!("apiextensions_apiserver.pkg.apis.apiextensions.{version}.{kind}"))
        }
        ("apiregistration.k8s.io", _) => {
            schema.find(&format!("kube_aggregator.pkg.apis.apiregistration.{version}.{kind}"))
        }
        _ => schema.find(&format!("api.{package}.{version}.{kind}")),
    };
    by_group.or_else(|| schema.find(&format!("apimachinery.pkg.apis.meta.v1.{kind}")))
}

impl ResourceInfo {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.to_owned();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// `PodList`.
    #[must_use]
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// For errors that name the resource.
    #[must_use]
    pub fn group_resource(&self) -> Grouped {
        Grouped::new(self.group, self.plural)
    }

    /// For errors that name the Kind.
    #[must_use]
    pub fn group_kind(&self) -> Grouped {
        Grouped::new(self.group, self.kind)
    }

    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|one| one.name == name)
    }

    /// The kind's type in the schema.
    #[must_use]
    pub fn type_id(&self) -> TypeId {
        Schema::get().find(self.type_name).expect("a test holds that every kind has its type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row_complete() {
        for info in all() {
            assert!(Schema::get().find(info.type_name).is_some(), "{}", info.kind);
            assert!(type_of(&info.api_version(), &info.list_kind()).is_some(), "{}", info.kind);
            assert_eq!(info.singular, info.kind.to_lowercase());
            assert!(!info.storage_prefix.is_empty() && !info.plural.is_empty());
            assert_eq!(info.has_status, info.subresource("status").is_some(), "{}", info.kind);
            for sub in info.subresources {
                let api_version = if sub.group.is_empty() {
                    sub.version.to_owned()
                } else {
                    format!("{}/{}", sub.group, sub.version)
                };
                assert!(type_of(&api_version, sub.kind).is_some(), "{}/{}", info.kind, sub.name);
            }
            assert_eq!(type_of(&info.api_version(), info.kind), Some(info.type_id()));
            assert!(!crate::table::columns(info).is_empty());
        }
    }
}
