//! Services and where they lead.

use serde_json::Value;

use super::{at, networks, spec};
use crate::Object;
use crate::field::Path;
use crate::validate::{items, text};
use crate::warnings::address;

const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const ENDPOINTS_OF: &str = "endpoints.kubernetes.io/managed-by";
const SLICES_OF: &str = "endpointslice.kubernetes.io/managed-by";
const EXTERNAL_NAME: &str = "ExternalName";

pub(super) fn service(object: &Object, told: &mut Vec<String>) {
    let (spec, path) = (spec(object), Path::new("spec"));
    let kind = text(spec, "type");
    let external = items(spec, "externalIPs");
    let balancer = text(spec, "loadBalancerIP");
    let is_headless = kind == "ClusterIP" && text(spec, "clusterIP") == "None";
    if object.annotations().contains_key(TOPOLOGY_HINTS) {
        told.push(format!(
            "annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"
        ));
    }
    // `None`, and no address at all, are nothing to speak of.
    addresses(items(spec, "clusterIPs"), &path.child("clusterIPs"), told);
    if is_headless {
        ignored_of_headless(spec, told);
    }
    addresses(external, &path.child("externalIPs"), told);
    if !external.is_empty() && !is_headless && kind != EXTERNAL_NAME {
        let why = "is deprecated and may no longer be implemented in some clusters";
        told.push(format!("spec.externalIPs {why}"));
    }
    at(&path.child("loadBalancerIP"), address::ip(balancer), told);
    let ranges = path.child("loadBalancerSourceRanges");
    networks::ranges(items(spec, "loadBalancerSourceRanges"), &ranges, told);
    if kind == EXTERNAL_NAME && !external.is_empty() {
        told.push(format!("spec.externalIPs is ignored when spec.type is \"{EXTERNAL_NAME}\""));
    }
    if kind != EXTERNAL_NAME && !text(spec, "externalName").is_empty() {
        told.push(format!(
            "spec.externalName is ignored when spec.type is not \"{EXTERNAL_NAME}\""
        ));
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        told.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
}

fn ignored_of_headless(spec: &Value, told: &mut Vec<String>) {
    for (field, is_set) in [
        ("loadBalancerIP", !text(spec, "loadBalancerIP").is_empty()),
        ("externalIPs", !items(spec, "externalIPs").is_empty()),
        ("SessionAffinity", text(spec, "sessionAffinity") != "None"),
    ] {
        if is_set {
            told.push(format!("spec.{field} is ignored for headless services"));
        }
    }
}

/// The addresses of load balancers: of a service or of an ingress.
pub(super) fn balancers(object: &Object, told: &mut Vec<String>) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let list = object.at(&["status", "loadBalancer"]).unwrap_or(&Value::Null);
    for (index, one) in items(list, "ingress").iter().enumerate() {
        at(&path.index(index), address::ip(text(one, "ip")), told);
    }
}

pub(super) fn endpoints(object: &Object, told: &mut Vec<String>) {
    // Controllers write good addresses, and often.
    if object.text(&["metadata", "labels", ENDPOINTS_OF]) == "endpoint-controller" {
        return;
    }
    let subsets = object.at(&["subsets"]).and_then(Value::as_array);
    for (index, subset) in subsets.into_iter().flatten().enumerate() {
        let path = Path::new("subsets").index(index);
        for field in ["addresses", "notReadyAddresses"] {
            let path = path.child(field);
            for (index, one) in items(subset, field).iter().enumerate() {
                at(&path.index(index).child("ip"), address::ip(text(one, "ip")), told);
            }
        }
    }
}

pub(super) fn slice_create(object: &Object, told: &mut Vec<String>) {
    if object.text(&["addressType"]) == "FQDN" {
        told.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    slice(object, told);
}

pub(super) fn slice(object: &Object, told: &mut Vec<String>) {
    if matches!(
        object.text(&["metadata", "labels", SLICES_OF]),
        "endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io"
    ) {
        return;
    }
    let list = object.at(&["endpoints"]).and_then(Value::as_array);
    for (index, endpoint) in list.into_iter().flatten().enumerate() {
        let path = Path::new("endpoints").index(index).child("addresses");
        addresses(items(endpoint, "addresses"), &path, told);
    }
}

fn addresses(list: &[Value], path: &Path, told: &mut Vec<String>) {
    for (index, one) in list.iter().filter_map(Value::as_str).enumerate() {
        at(&path.index(index), address::ip(one), told);
    }
}
