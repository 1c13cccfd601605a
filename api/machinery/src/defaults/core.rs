//! Defaults of the core group, pods and volumes aside.

use serde_json::{Value, json};

use super::Tree;
use super::{
    child, conversion, ensure, has_entries, is_empty, items, labels_from_template, pod, resources,
    set, set_zero, text, volume,
};

pub(super) fn apply(kind: &str, map: &mut Tree) {
    match kind {
        "Pod" => pod::pod(map),
        "PodTemplate" => pod::template(map),
        "ReplicationController" => replication_controller(map),
        "Namespace" => namespace(map),
        "Node" => node(map),
        "Secret" => set_zero(map, "type", "Opaque"),
        "Service" => service(map),
        "Endpoints" => {
            for subset in items(map, "subsets") {
                tcp_ports(subset);
            }
        }
        "LimitRange" => limit_range(map),
        "ResourceQuota" => {
            if let Some(spec) = child(map, "spec") {
                resources::round(spec, &["hard"]);
            }
            if let Some(status) = child(map, "status") {
                resources::round(status, &["hard", "used"]);
            }
        }
        "PersistentVolume" => persistent_volume(map),
        "PersistentVolumeClaim" => persistent_volume_claim(map),
        _ => {}
    }
}

/// Ports are TCP unless they say otherwise.
pub(super) fn tcp_ports(map: &mut Tree) {
    for port in items(map, "ports") {
        set_zero(port, "protocol", "TCP");
    }
}

fn replication_controller(map: &mut Tree) {
    labels_from_template(map);
    let Some(spec) = ensure(map, "spec") else { return };
    let labels = crate::object::at(spec, &["template", "metadata", "labels"]);
    if let Some(labels) = labels.filter(|labels| has_entries(labels)).cloned()
        && is_empty(spec, "selector")
    {
        spec.insert("selector".to_owned(), labels);
    }
    set(spec, "replicas", 1);
    pod::template(spec);
}

fn namespace(map: &mut Tree) {
    set(map, "spec", json!({}));
    if let Some(status) = ensure(map, "status") {
        set_zero(status, "phase", "Active");
    }
    let Some(metadata) = child(map, "metadata") else { return };
    let name = text(metadata, "name").to_owned();
    // A generated name is not known yet.
    if !name.is_empty()
        && let Some(labels) = ensure(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

fn node(map: &mut Tree) {
    if let Some(spec) = child(map, "spec") {
        conversion::pod_cidrs(spec);
    }
    let Some(status) = ensure(map, "status") else { return };
    if status.get("allocatable").is_none_or(Value::is_null)
        && let Some(capacity) = status.get("capacity").filter(|list| has_entries(list)).cloned()
    {
        status.insert("allocatable".to_owned(), capacity);
    }
    resources::round(status, &["capacity", "allocatable"]);
}

fn service(map: &mut Tree) {
    let Some(spec) = ensure(map, "spec") else { return };
    session_affinity(spec);
    set_zero(spec, "type", "ClusterIP");
    tcp_ports(spec);
    for port in items(spec, "ports") {
        let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
        set_zero(port, "targetPort", number);
    }
    let kind = text(spec, "type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !is_empty(spec, "externalIPs")
    {
        set_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
        let balancer = super::descend(map, &["status", "loadBalancer"]);
        for ingress in balancer.into_iter().flat_map(|balancer| items(balancer, "ingress")) {
            if !text(ingress, "ip").is_empty() {
                set(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn session_affinity(spec: &mut Tree) {
    set_zero(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let config = ensure(spec, "sessionAffinityConfig");
            if let Some(client) = config.and_then(|config| ensure(config, "clientIP")) {
                set(client, "timeoutSeconds", 10_800);
            }
        }
        _ => {}
    }
}

fn limit_range(map: &mut Tree) {
    let limits = child(map, "spec").into_iter().flat_map(|spec| items(spec, "limits"));
    for item in limits {
        if text(item, "type") == "Container" {
            // In this order: a limit that comes from the maximum is a default request too.
            for (from, to) in
                [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
            {
                resources::copy_missing(item, from, to);
            }
        }
        resources::round(
            item,
            &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"],
        );
    }
}

fn persistent_volume(map: &mut Tree) {
    if let Some(status) = ensure(map, "status") {
        set_zero(status, "phase", "Pending");
    }
    let Some(spec) = ensure(map, "spec") else { return };
    set_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    volume::persistent_volume_spec(spec);
}

/// A claim, and a template of one.
pub(super) fn persistent_volume_claim(map: &mut Tree) {
    if let Some(status) = ensure(map, "status") {
        set_zero(status, "phase", "Pending");
        resources::round(status, &["capacity", "allocatedResources"]);
    }
    if let Some(spec) = ensure(map, "spec") {
        volume::claim_spec(spec);
    }
}
