//! The core group but pods.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{apps, endpoints, invalid_each, items, meta, names, one_of, pod, text};
use crate::field::{Error, Path};
use crate::limits::DATA_BYTES_MAX;
use crate::{Object, ResourceInfo};

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Pod" => pod::create(object, errors),
        "PodTemplate" => pod_template(object, errors),
        "ConfigMap" => config_map(object, errors),
        "Secret" => secret(object, errors),
        "Service" => service(object, errors),
        "Node" => node(object, errors),
        "Event" => event(object, errors),
        "Endpoints" => endpoints::endpoints(object, errors),
        "ReplicationController" => apps::replication_controller(object, errors),
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Pod" => pod::update(new, old, errors),
        "PodTemplate" => pod_template(new, errors),
        "ConfigMap" => {
            config_map(new, errors);
            immutable_data(new, old, &["data", "binaryData"], errors);
        }
        "Secret" => {
            secret(new, errors);
            unchanged(new, old, &["type"], errors);
            immutable_data(new, old, &["data"], errors);
        }
        "Service" => {
            service(new, errors);
            service_update(new, old, errors);
        }
        "Node" => node_update(new, old, errors),
        "Event" => event(new, errors),
        "Endpoints" => endpoints::endpoints_update(new, old, errors),
        "ReplicationController" => apps::replication_controller(new, errors),
        _ => {}
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind == "ReplicationController" {
        apps::replication_controller_status(new, old, errors);
    }
    if info.kind == "Pod" {
        pod::status_update(new, old, errors);
    }
}

fn pod_template(object: &Object, errors: &mut Vec<Error>) {
    let template = object.at(&["template"]).unwrap_or(&Value::Null);
    pod::template(template, &Path::new("template"), errors);
}

/// "field is immutable" when a path changed.
pub(super) fn unchanged(new: &Object, old: &Object, path: &[&str], errors: &mut Vec<Error>) {
    if new.at(path) != old.at(path) {
        let value = new.at(path).cloned().unwrap_or(Value::Null);
        errors.push(Error::invalid(&Path::new(&path.join(".")), value, "field is immutable"));
    }
}

fn keys(object: &Object, field: &str, errors: &mut Vec<Error>) -> usize {
    let mut total = 0;
    for (key, value) in object.at(&[field]).and_then(Value::as_object).into_iter().flatten() {
        let path = Path::new(field).key(key);
        invalid_each(&path, key, names::config_key(key), errors);
        let text = value.as_str().unwrap_or("");
        total += if field == "binaryData" || object.kind() == "Secret" {
            STANDARD.decode(text).map_or(0, |bytes| bytes.len())
        } else {
            text.len()
        };
    }
    total
}

fn config_map(object: &Object, errors: &mut Vec<Error>) {
    let total = keys(object, "data", errors) + keys(object, "binaryData", errors);
    let binary = object.at(&["binaryData"]).and_then(Value::as_object);
    for key in object.at(&["data"]).and_then(Value::as_object).into_iter().flat_map(|m| m.keys()) {
        if binary.is_some_and(|binary| binary.contains_key(key)) {
            let why = "duplicate of key present in binaryData";
            errors.push(Error::invalid(&Path::new("data").key(key), key.as_str(), why));
        }
    }
    if total > DATA_BYTES_MAX {
        errors.push(Error::too_long(&Path::default(), DATA_BYTES_MAX));
    }
}

fn secret(object: &Object, errors: &mut Vec<Error>) {
    if keys(object, "data", errors) > DATA_BYTES_MAX {
        errors.push(Error::too_long(&Path::new("data"), DATA_BYTES_MAX));
    }
    let needed: &[&str] = match object.text(&["type"]) {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if object.annotations().get(key).is_none_or(String::is_empty) {
                let path = Path::new("metadata").child("annotations").key(key);
                errors.push(Error::required(&path, ""));
            }
            &[]
        }
        _ => &[],
    };
    for key in needed {
        if object.at(&["data", key]).is_none() {
            errors.push(Error::required(&Path::new("data").key(key), ""));
        }
    }
}

/// Once `immutable` is true, it and the data stay.
fn immutable_data(new: &Object, old: &Object, fields: &[&str], errors: &mut Vec<Error>) {
    if old.at(&["immutable"]) != Some(&Value::Bool(true)) {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if new.at(&["immutable"]) != Some(&Value::Bool(true)) {
        errors.push(Error::forbidden(&Path::new("immutable"), why));
    }
    for field in fields {
        if new.at(&[field]) != old.at(&[field]) {
            errors.push(Error::forbidden(&Path::new(field), why));
        }
    }
}

fn service(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    let (kind, cluster_ip) = (text(spec, "type"), text(spec, "clusterIP"));
    let ports = items(spec, "ports");
    let headless = cluster_ip == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    let (mut seen_names, mut seen_ports) = (Vec::new(), Vec::new());
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        service_port(port, &path, ports.len() > 1, errors);
        let name = text(port, "name");
        if !name.is_empty() && seen_names.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen_names.push(name);
        let key = (text(port, "protocol"), port["port"].as_i64());
        if seen_ports.contains(&key) {
            let value = serde_json::json!({"port": port["port"], "protocol": port["protocol"]});
            errors.push(Error::duplicate(&path, value));
        }
        seen_ports.push(key);
    }
    meta::labels(&spec["selector"], &path.child("selector"), errors);
    one_of(
        &path.child("sessionAffinity"),
        text(spec, "sessionAffinity"),
        &["ClientIP", "None"],
        true,
        errors,
    );
    one_of(
        &path.child("type"),
        kind,
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        true,
        errors,
    );
    if kind == "ExternalName" {
        let name = text(spec, "externalName");
        let trimmed = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            errors.push(Error::required(&path.child("externalName"), ""));
        } else {
            invalid_each(&path.child("externalName"), name, names::subdomain_1123(trimmed), errors);
        }
    } else if kind == "LoadBalancer" && headless {
        let why = "may not be set to 'None' for LoadBalancer services";
        errors.push(Error::invalid(&path.child("clusterIPs").index(0), cluster_ip, why));
    } else if kind == "NodePort" && headless {
        let why = "may not be set to 'None' for NodePort services";
        errors.push(Error::invalid(&path.child("clusterIPs").index(0), cluster_ip, why));
    }
    if !headless && !cluster_ip.is_empty() && cluster_ip.parse::<IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(Error::invalid(&path.child("clusterIPs").index(0), cluster_ip, why));
    }
}

fn service_port(port: &Value, path: &Path, needs_name: bool, errors: &mut Vec<Error>) {
    let name = text(port, "name");
    if name.is_empty() && needs_name {
        errors.push(Error::required(&path.child("name"), ""));
    } else if !name.is_empty() {
        invalid_each(&path.child("name"), name, names::label_1123(name), errors);
    }
    let number = port["port"].as_i64().unwrap_or(0);
    if !names::is_port(number) {
        errors.push(Error::invalid(&path.child("port"), number, names::PORT));
    }
    one_of(&path.child("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"], true, errors);
    match &port["targetPort"] {
        Value::String(name) => {
            invalid_each(&path.child("targetPort"), name, names::port_name(name), errors);
        }
        other => {
            let number = other.as_i64().unwrap_or(0);
            if !names::is_port(number) {
                errors.push(Error::invalid(&path.child("targetPort"), number, names::PORT));
            }
        }
    }
}

/// A cluster address stays while the type keeps one.
fn service_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let (now, before) = (new.text(&["spec", "clusterIP"]), old.text(&["spec", "clusterIP"]));
    let leaves = new.text(&["spec", "type"]) == "ExternalName";
    if !before.is_empty() && now != before && !leaves {
        let path = Path::new("spec").child("clusterIPs").index(0);
        errors.push(Error::invalid(&path, now, "may not change once set"));
    }
}

fn node(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    for (index, taint) in items(spec, "taints").iter().enumerate() {
        let path = Path::new("spec").child("taints").index(index);
        let key = text(taint, "key");
        invalid_each(&path.child("key"), key, names::qualified_name(key), errors);
        let value = text(taint, "value");
        invalid_each(&path.child("value"), value, names::label_value(value), errors);
        let effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
        one_of(&path.child("effect"), text(taint, "effect"), &effects, true, errors);
    }
}

fn node_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    node(new, errors);
    for field in ["podCIDR", "providerID"] {
        let (now, before) = (new.text(&["spec", field]), old.text(&["spec", field]));
        if !before.is_empty() && now != before {
            let why = "node updates may not change this field except from \"\" to valid";
            errors.push(Error::forbidden(&Path::new("spec").child(field), why));
        }
    }
}

fn event(object: &Object, errors: &mut Vec<Error>) {
    let involved = object.text(&["involvedObject", "namespace"]);
    let namespace = if involved.is_empty() { "default" } else { involved };
    if namespace != object.namespace() {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(Error::invalid(&path, involved, "does not match event.namespace"));
    }
}
