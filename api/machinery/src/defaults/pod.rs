//! Defaults of pods and pod templates.

use serde_json::{Value, json};

use super::Scalar::{Number, Text};
use super::{Table, Tree};
use super::{
    child, conversion, core, descend, fill, fill_zero, image, items, resources, set, set_zero,
    text, volume,
};

/// What a pod has and its template has not comes first: the rest is rounded and filled in after.
pub(super) fn pod(map: &mut Tree) {
    conversion::init_container_annotations(map);
    if let Some(spec) = child(map, "spec") {
        conversion::grace_period(spec);
        resources::requests_from_limits(spec);
        resources::pod_level(spec);
        set(spec, "enableServiceLinks", true);
        if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
            host_ports(spec);
        }
        pod_spec(spec);
    }
    if let Some(status) = child(map, "status") {
        conversion::pod_ips(status);
        round_status(status);
    }
}

/// The pod template that is the field `template`.
pub(super) fn template(parent: &mut Tree) {
    if let Some(template) = child(parent, "template") {
        conversion::init_container_annotations(template);
        if let Some(spec) = child(template, "spec") {
            pod_spec(spec);
        }
    }
}

const POD_SPEC: &Table = &[
    ("dnsPolicy", Text("ClusterFirst")),
    ("restartPolicy", Text("Always")),
    ("schedulerName", Text("default-scheduler")),
];

/// What a pod and a pod template share.
fn pod_spec(spec: &mut Tree) {
    fill_zero(spec, POD_SPEC);
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "securityContext", json!({}));
    conversion::service_account(spec);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for one in items(spec, list) {
            container(one);
        }
    }
    for one in items(spec, "volumes") {
        volume::volume(one);
    }
    resources::round(spec, &["overhead"]);
    resources::round_requirements(spec);
}

/// On the host's network, a port of a container is that port of the host.
fn host_ports(spec: &mut Tree) {
    for list in ["containers", "initContainers"] {
        for port in items(spec, list).flat_map(|container| items(container, "ports")) {
            let number = port.get("containerPort").filter(|number| number.as_i64() != Some(0));
            if let Some(number) = number.cloned() {
                set_zero(port, "hostPort", number);
            }
        }
    }
}

const CONTAINER: &Table = &[
    ("terminationMessagePath", Text("/dev/termination-log")),
    ("terminationMessagePolicy", Text("File")),
];

fn container(map: &mut Tree) {
    set_zero(map, "imagePullPolicy", image::pull_policy(text(map, "image")));
    fill_zero(map, CONTAINER);
    set(map, "resources", json!({}));
    resources::round_requirements(map);
    core::tcp_ports(map);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(one) = child(map, name) {
            probe(one);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = descend(map, &["lifecycle", hook]) {
            http_get(hook);
        }
    }
    for variable in items(map, "env") {
        if let Some(source) = child(variable, "valueFrom") {
            field_reference(source);
            if let Some(file) = child(source, "fileKeyRef") {
                set(file, "optional", false);
            }
        }
    }
}

/// A reference to a field of the pod, or to a resource of a container.
pub(super) fn field_reference(source: &mut Tree) {
    if let Some(field) = child(source, "fieldRef") {
        set_zero(field, "apiVersion", "v1");
    }
    if let Some(resource) = child(source, "resourceFieldRef") {
        set_zero(resource, "divisor", "0");
    }
}

const HTTP_GET: &Table = &[("path", Text("/")), ("scheme", Text("HTTP"))];

fn http_get(handler: &mut Tree) {
    if let Some(get) = child(handler, "httpGet") {
        fill_zero(get, HTTP_GET);
    }
}

const PROBE: &Table = &[
    ("timeoutSeconds", Number(1)),
    ("periodSeconds", Number(10)),
    ("successThreshold", Number(1)),
    ("failureThreshold", Number(3)),
];

fn probe(map: &mut Tree) {
    fill_zero(map, PROBE);
    http_get(map);
    if let Some(grpc) = child(map, "grpc") {
        fill(grpc, &[("service", Text(""))]);
    }
}

fn round_status(status: &mut Tree) {
    for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for one in items(status, list) {
            resources::round(one, &["allocatedResources"]);
            resources::round_requirements(one);
        }
    }
    resources::round(status, &["allocatedResources"]);
    resources::round_requirements(status);
}
