//! `networking.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::{NameRule, ResourceInfo};

const NETWORKING: ResourceInfo = ResourceInfo { group: "networking.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 5] = [
    ResourceInfo {
        kind: "IngressClass",
        plural: "ingressclasses",
        singular: "ingressclass",
        namespaced: false,
        storage_prefix: "ingressclasses",
        has_generation: true,
        type_name: "api.networking.v1.IngressClass",
        ..NETWORKING
    },
    ResourceInfo {
        kind: "Ingress",
        plural: "ingresses",
        singular: "ingress",
        short_names: &["ing"],
        namespaced: true,
        subresources: &[status("networking.k8s.io", "Ingress")],
        storage_prefix: "ingress",
        has_status: true,
        has_generation: true,
        type_name: "api.networking.v1.Ingress",
        ..NETWORKING
    },
    ResourceInfo {
        kind: "IPAddress",
        plural: "ipaddresses",
        singular: "ipaddress",
        short_names: &["ip"],
        namespaced: false,
        storage_prefix: "ipaddresses",
        name_rule: NameRule::Address,
        type_name: "api.networking.v1.IPAddress",
        ..NETWORKING
    },
    ResourceInfo {
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short_names: &["netpol"],
        namespaced: true,
        storage_prefix: "networkpolicies",
        has_generation: true,
        type_name: "api.networking.v1.NetworkPolicy",
        ..NETWORKING
    },
    ResourceInfo {
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        singular: "servicecidr",
        namespaced: false,
        subresources: &[status("networking.k8s.io", "ServiceCIDR")],
        storage_prefix: "servicecidrs",
        has_status: true,
        type_name: "api.networking.v1.ServiceCIDR",
        ..NETWORKING
    },
];
