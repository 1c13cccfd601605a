//! `apiregistration.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::{NameRule, ResourceInfo};

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    subresources: &[status("apiregistration.k8s.io", "APIService")],
    storage_prefix: "apiregistration.k8s.io/apiservices",
    // The name is made of version and group: validation knows more.
    name_rule: NameRule::PathSegment,
    has_status: true,
    unconditional_update: false,
    type_name: "kube_aggregator.pkg.apis.apiregistration.v1.APIService",
    ..NAMESPACED
}];
