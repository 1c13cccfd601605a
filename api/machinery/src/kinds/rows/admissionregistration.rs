//! `admissionregistration.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::ResourceInfo;

const ADMISSIONREGISTRATION: ResourceInfo = ResourceInfo {
    group: "admissionregistration.k8s.io",
    unconditional_update: false,
    ..NAMESPACED
};

pub(super) const KINDS: [ResourceInfo; 6] = [
    ResourceInfo {
        kind: "MutatingAdmissionPolicy",
        plural: "mutatingadmissionpolicies",
        singular: "mutatingadmissionpolicy",
        categories: &["api-extensions"],
        namespaced: false,
        storage_prefix: "mutatingadmissionpolicies",
        has_generation: true,
        type_name: "api.admissionregistration.v1.MutatingAdmissionPolicy",
        ..ADMISSIONREGISTRATION
    },
    ResourceInfo {
        kind: "MutatingAdmissionPolicyBinding",
        plural: "mutatingadmissionpolicybindings",
        singular: "mutatingadmissionpolicybinding",
        categories: &["api-extensions"],
        namespaced: false,
        storage_prefix: "mutatingadmissionpolicybindings",
        has_generation: true,
        type_name: "api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
        ..ADMISSIONREGISTRATION
    },
    ResourceInfo {
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration",
        categories: &["api-extensions"],
        namespaced: false,
        storage_prefix: "mutatingwebhookconfigurations",
        has_generation: true,
        type_name: "api.admissionregistration.v1.MutatingWebhookConfiguration",
        ..ADMISSIONREGISTRATION
    },
    ResourceInfo {
        kind: "ValidatingAdmissionPolicy",
        plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy",
        categories: &["api-extensions"],
        namespaced: false,
        subresources: &[status("admissionregistration.k8s.io", "ValidatingAdmissionPolicy")],
        storage_prefix: "validatingadmissionpolicies",
        has_status: true,
        has_generation: true,
        type_name: "api.admissionregistration.v1.ValidatingAdmissionPolicy",
        ..ADMISSIONREGISTRATION
    },
    ResourceInfo {
        kind: "ValidatingAdmissionPolicyBinding",
        plural: "validatingadmissionpolicybindings",
        singular: "validatingadmissionpolicybinding",
        categories: &["api-extensions"],
        namespaced: false,
        storage_prefix: "validatingadmissionpolicybindings",
        has_generation: true,
        type_name: "api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
        ..ADMISSIONREGISTRATION
    },
    ResourceInfo {
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        singular: "validatingwebhookconfiguration",
        categories: &["api-extensions"],
        namespaced: false,
        storage_prefix: "validatingwebhookconfigurations",
        has_generation: true,
        type_name: "api.admissionregistration.v1.ValidatingWebhookConfiguration",
        ..ADMISSIONREGISTRATION
    },
];
