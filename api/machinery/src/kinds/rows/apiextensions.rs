//! `apiextensions.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::ResourceInfo;

const GROUP: &str = "apiextensions.k8s.io";

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    group: GROUP,
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    subresources: &[status(GROUP, "CustomResourceDefinition")],
    storage_prefix: "apiextensions.k8s.io/customresourcedefinitions",
    has_status: true,
    has_generation: true,
    unconditional_update: false,
    type_name: "apiextensions_apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ..NAMESPACED
}];
