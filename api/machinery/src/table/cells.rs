//! The rows of every kind but pods.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{Object, ResourceInfo, time};

pub(super) fn of(info: &ResourceInfo, object: &Object, now: Timestamp) -> Vec<Value> {
    let age = Value::from(time::age(object.creation_timestamp(), now));
    let name = Value::from(object.name());
    match (info.group, info.kind) {
        ("", "Node") => node(object, name, age),
        ("", "Namespace") => vec![name, object.text(&["status", "phase"]).into(), age],
        ("", "Service") => service(object, name, age),
        ("", "Secret") => {
            let count = length(object.at(&["data"]));
            vec![name, object.text(&["type"]).into(), count.into(), age]
        }
        ("", "ConfigMap") => {
            let count = length(object.at(&["data"])) + length(object.at(&["binaryData"]));
            vec![name, count.into(), age]
        }
        ("", "ServiceAccount") => vec![name, age],
        ("", "Event") => event(object, name, now),
        ("apps", "Deployment") => {
            let number = |path: &[&str]| object.at(path).and_then(Value::as_i64).unwrap_or(0);
            let ready = number(&["status", "readyReplicas"]);
            let mut row = vec![
                name,
                format!("{ready}/{}", number(&["spec", "replicas"])).into(),
                number(&["status", "updatedReplicas"]).into(),
                number(&["status", "availableReplicas"]).into(),
                age,
            ];
            row.extend(template(object));
            row
        }
        ("apps", "ReplicaSet") => {
            let number = |path: &[&str]| object.at(path).and_then(Value::as_i64).unwrap_or(0);
            let mut row = vec![
                name,
                number(&["spec", "replicas"]).into(),
                number(&["status", "replicas"]).into(),
                number(&["status", "readyReplicas"]).into(),
                age,
            ];
            row.extend(template(object));
            row
        }
        ("coordination.k8s.io", "Lease") => {
            vec![name, object.text(&["spec", "holderIdentity"]).into(), age]
        }
        _ => vec![name, object.creation_timestamp().into()],
    }
}

fn length(value: Option<&Value>) -> usize {
    value.and_then(Value::as_object).map_or(0, Map::len)
}

fn or(text: &str, other: &str) -> String {
    if text.is_empty() { other } else { text }.to_owned()
}

fn list<'a>(object: &'a Object, path: &[&str]) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn join(items: &[Value], key: &str) -> String {
    let texts: Vec<_> = items.iter().filter_map(|item| item[key].as_str()).collect();
    texts.join(",")
}

/// Containers, images, selector.
fn template(object: &Object) -> [Value; 3] {
    let containers = list(object, &["spec", "template", "spec", "containers"]);
    let selector = object.at(&["spec", "selector"]).cloned().unwrap_or(Value::Null);
    [
        join(containers, "name").into(),
        join(containers, "image").into(),
        selector_text(&selector).into(),
    ]
}

/// A label selector as text: `a=b,c in (d,e)`.
fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or("")));
    }
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = one["key"].as_str().unwrap_or("");
        let mut values: Vec<_> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push(match one["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("Exists") => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    or(&parts.join(","), "<none>")
}

fn node(object: &Object, name: Value, age: Value) -> Vec<Value> {
    let ready = list(object, &["status", "conditions"]).iter().find(|one| one["type"] == "Ready");
    let mut status = match ready {
        Some(ready) if ready["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.at(&["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<String> = Vec::new();
    for (key, value) in object.labels() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
            roles.push(role.to_owned());
        } else if key == "kubernetes.io/role" && !value.is_empty() {
            roles.push(value);
        }
    }
    roles.sort();
    roles.dedup();
    let address = |kind: &str| {
        let found = list(object, &["status", "addresses"]).iter().find(|one| one["type"] == kind);
        or(found.and_then(|one| one["address"].as_str()).unwrap_or(""), "<none>")
    };
    let system = |key: &str| object.text(&["status", "nodeInfo", key]).to_owned();
    vec![
        name,
        status.into(),
        or(&roles.join(","), "<none>").into(),
        age,
        system("kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        or(&system("osImage"), "<unknown>").into(),
        or(&system("kernelVersion"), "<unknown>").into(),
        or(&system("containerRuntimeVersion"), "<unknown>").into(),
    ]
}

fn service(object: &Object, name: Value, age: Value) -> Vec<Value> {
    let kind = object.text(&["spec", "type"]);
    let cluster_ip = object.text(&["spec", "clusterIP"]);
    let external: Vec<_> =
        list(object, &["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    let mut addresses: Vec<_> = list(object, &["status", "loadBalancer", "ingress"])
        .iter()
        .filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()))
        .collect();
    addresses.extend(&external);
    let external_ip = match kind {
        "LoadBalancer" => or(&addresses.join(","), "<pending>"),
        "ExternalName" => object.text(&["spec", "externalName"]).to_owned(),
        _ => or(&external.join(","), "<none>"),
    };
    let ports: Vec<String> = list(object, &["spec", "ports"])
        .iter()
        .map(|port| {
            let (number, protocol) =
                (port["port"].as_i64().unwrap_or(0), port["protocol"].as_str().unwrap_or(""));
            match port["nodePort"].as_i64().filter(|node_port| *node_port > 0) {
                Some(node_port) => format!("{number}:{node_port}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    let selector: Vec<String> = object
        .at(&["spec", "selector"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    vec![
        name,
        kind.into(),
        or(cluster_ip, "<none>").into(),
        external_ip.into(),
        or(&ports.join(","), "<none>").into(),
        age,
        or(&selector.join(","), "<none>").into(),
    ]
}

fn event(object: &Object, name: Value, now: Timestamp) -> Vec<Value> {
    let first_of = |paths: &[&[&str]]| {
        let found = paths.iter().map(|path| object.text(path)).find(|text| !text.is_empty());
        found.unwrap_or("").to_owned()
    };
    let count = object.at(&["count"]).and_then(Value::as_i64).unwrap_or(0);
    let series = object.at(&["series", "count"]).and_then(Value::as_i64);
    let first = first_of(&[&["firstTimestamp"], &["eventTime"]]);
    let last = first_of(&[
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["firstTimestamp"],
        &["eventTime"],
    ]);
    let target = |key: &str| object.text(&["involvedObject", key]);
    let kind = target("kind").to_lowercase();
    let mut source = first_of(&[&["source", "component"], &["reportingComponent"]]);
    let host = first_of(&[&["source", "host"], &["reportingInstance"]]);
    if !host.is_empty() {
        source = format!("{source}, {host}");
    }
    vec![
        time::age(&last, now).into(),
        object.text(&["type"]).into(),
        object.text(&["reason"]).into(),
        if target("name").is_empty() { kind } else { format!("{kind}/{}", target("name")) }.into(),
        target("fieldPath").into(),
        source.into(),
        object.text(&["message"]).trim().into(),
        time::age(&first, now).into(),
        series.unwrap_or(if count == 0 { 1 } else { count }).to_string().into(),
        name,
    ]
}
