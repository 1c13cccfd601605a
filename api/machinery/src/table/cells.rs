//! The rows of every kind but pods.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::Parts;
use crate::{ResourceInfo, View, time};

/// Addresses or ports that a cell names before it only counts.
const NAMED_MAX: usize = 3;

pub(super) fn of(info: &ResourceInfo, parts: Parts<'_>, now: Timestamp) -> Vec<Value> {
    let Parts { object, metadata, spec, status } = parts;
    let created = metadata.get("creationTimestamp").text();
    let age = Value::from(time::age(&created, now));
    let name = text(metadata, "name");
    match (info.group, info.kind) {
        ("", "Node") => node(&parts, name, age),
        ("", "Namespace") => vec![name, text(status, "phase"), age],
        ("", "Service") => service(spec, status, name, age),
        ("", "Secret") => {
            vec![name, text(object, "type"), object.get("data").count().into(), age]
        }
        ("", "ConfigMap") => {
            let count = object.get("data").count() + object.get("binaryData").count();
            vec![name, count.into(), age]
        }
        ("", "ServiceAccount") => vec![name, age],
        ("", "Endpoints") => vec![name, endpoints(object.get("subsets")).into(), age],
        ("", "Event") => event(object, name, now),
        ("apps", "Deployment") => {
            let ready = number(status, "readyReplicas");
            let mut row = vec![
                name,
                format!("{ready}/{}", number(spec, "replicas")).into(),
                number(status, "updatedReplicas").into(),
                number(status, "availableReplicas").into(),
                age,
            ];
            row.extend(template(spec));
            row
        }
        ("apps", "ReplicaSet") => {
            let mut row = vec![
                name,
                number(spec, "replicas").into(),
                number(status, "replicas").into(),
                number(status, "readyReplicas").into(),
                age,
            ];
            row.extend(template(spec));
            row
        }
        ("coordination.k8s.io", "Lease") => vec![name, text(spec, "holderIdentity"), age],
        ("discovery.k8s.io", "EndpointSlice") => slice(object, name, age),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            binding(object, name, age)
        }
        _ => vec![name, created.into()],
    }
}

fn text(value: View<'_>, key: &str) -> Value {
    value.get(key).text().into()
}

fn number(value: View<'_>, key: &str) -> i64 {
    value.get(key).number().unwrap_or(0)
}

fn or(text: &str, other: &str) -> String {
    if text.is_empty() { other } else { text }.to_owned()
}

fn join(items: View<'_>, key: &str) -> String {
    let texts: Vec<_> = items.items().map(|item| item.get(key).text()).collect();
    texts.join(",")
}

/// Containers, images, selector.
fn template(spec: View<'_>) -> [Value; 3] {
    let containers = spec.at(&["template", "spec", "containers"]);
    [
        join(containers, "name").into(),
        join(containers, "image").into(),
        selector_text(spec.get("selector")).into(),
    ]
}

/// A label selector as text: `a=b,c in (d,e)`.
fn selector_text(selector: View<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in selector.get("matchLabels").members() {
        parts.push(format!("{key}={}", value.text()));
    }
    for one in selector.get("matchExpressions").items() {
        let key = one.get("key").text();
        let mut values: Vec<_> = one.get("values").items().map(View::text).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push(match &*one.get("operator").text() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.into_owned(),
            _ => format!("!{key}"),
        });
    }
    or(&parts.join(","), "<none>")
}

fn node(parts: &Parts<'_>, name: Value, age: Value) -> Vec<Value> {
    let Parts { metadata, spec, status, .. } = *parts;
    let ready = status.get("conditions").items().find(|one| one.get("type").is("Ready"));
    let mut state = match ready {
        Some(ready) if ready.get("status").is("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if spec.get("unschedulable").is_true() {
        state.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<String> = Vec::new();
    for (key, value) in metadata.get("labels").members() {
        let value = value.text();
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
            roles.push(role.to_owned());
        } else if key == "kubernetes.io/role" && !value.is_empty() {
            roles.push(value.into_owned());
        }
    }
    roles.sort();
    roles.dedup();
    let address = |kind: &str| {
        let found = status.get("addresses").items().find(|one| one.get("type").is(kind));
        or(&found.unwrap_or_default().get("address").text(), "<none>")
    };
    let system = |key: &str| status.at(&["nodeInfo", key]).text();
    vec![
        name,
        state.into(),
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

fn service(spec: View<'_>, status: View<'_>, name: Value, age: Value) -> Vec<Value> {
    let kind = spec.get("type").text();
    let external: Vec<_> = spec.get("externalIPs").items().map(View::text).collect();
    let mut addresses: Vec<Cow<'_, str>> = status
        .at(&["loadBalancer", "ingress"])
        .items()
        .map(|one| match one.get("ip").text() {
            ip if ip.is_empty() => one.get("hostname").text(),
            ip => ip,
        })
        .collect();
    addresses.extend(external.iter().cloned());
    let external_ip = match &*kind {
        "LoadBalancer" => or(&addresses.join(","), "<pending>"),
        "ExternalName" => spec.get("externalName").text().into_owned(),
        _ => or(&external.join(","), "<none>"),
    };
    let ports: Vec<String> = spec
        .get("ports")
        .items()
        .map(|port| {
            let (number, protocol) = (number(port, "port"), port.get("protocol").text());
            match port.get("nodePort").number().filter(|node_port| *node_port > 0) {
                Some(node_port) => format!("{number}:{node_port}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    let selector: Vec<String> = spec
        .get("selector")
        .members()
        .map(|(key, value)| format!("{key}={}", value.text()))
        .collect();
    vec![
        name,
        kind.into(),
        or(&spec.get("clusterIP").text(), "<none>").into(),
        external_ip.into(),
        or(&ports.join(","), "<none>").into(),
        age,
        or(&selector.join(","), "<none>").into(),
    ]
}

/// The first few, and how many more there are.
fn some_of(named: &[String], empty: &str) -> String {
    match named.len().checked_sub(NAMED_MAX) {
        None | Some(0) => or(&named.join(","), empty),
        Some(more) => format!("{} + {more} more...", named[..NAMED_MAX].join(",")),
    }
}

/// `address:port` of every address of the subsets.
fn endpoints(subsets: View<'_>) -> String {
    if subsets.count() == 0 {
        return "<none>".to_owned();
    }
    let mut named = Vec::new();
    for subset in subsets.items() {
        let addresses: Vec<_> =
            subset.get("addresses").items().map(|one| one.get("ip").text()).collect();
        let ports = subset.get("ports");
        if ports.count() == 0 {
            named.extend(addresses.iter().map(|address| address.clone().into_owned()));
        }
        for port in ports.items() {
            let port = number(port, "port");
            named.extend(addresses.iter().map(|address| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            }));
        }
    }
    some_of(&named, "")
}

fn slice(object: View<'_>, name: Value, age: Value) -> Vec<Value> {
    let ports: Vec<String> = object
        .get("ports")
        .items()
        .map(|port| match (port.get("port").number(), port.get("name")) {
            (Some(number), _) => number.to_string(),
            (None, name) if name.is_null() => "*".to_owned(),
            (None, name) => name.text().into_owned(),
        })
        .collect();
    let addresses: Vec<String> = object
        .get("endpoints")
        .items()
        .flat_map(|one| one.get("addresses").items())
        .map(|address| address.text().into_owned())
        .collect();
    vec![
        name,
        text(object, "addressType"),
        some_of(&ports, "<unset>").into(),
        some_of(&addresses, "<unset>").into(),
        age,
    ]
}

/// Role, and who has it: users, groups, service accounts.
fn binding(object: View<'_>, name: Value, age: Value) -> Vec<Value> {
    let role = object.get("roleRef");
    let role = format!("{}/{}", role.get("kind").text(), role.get("name").text());
    let of_kind = |kind: &str| -> Value {
        let named: Vec<String> = object
            .get("subjects")
            .items()
            .filter(|subject| subject.get("kind").is(kind))
            .map(|subject| {
                let (namespace, name) =
                    (subject.get("namespace").text(), subject.get("name").text());
                match kind {
                    "ServiceAccount" => format!("{namespace}/{name}"),
                    _ => name.into_owned(),
                }
            })
            .collect();
        named.join(", ").into()
    };
    vec![name, role.into(), age, of_kind("User"), of_kind("Group"), of_kind("ServiceAccount")]
}

fn event(object: View<'_>, name: Value, now: Timestamp) -> Vec<Value> {
    let first_of = |paths: &[&[&str]]| {
        let found = paths.iter().map(|path| object.at(path).text()).find(|text| !text.is_empty());
        found.unwrap_or_default().into_owned()
    };
    let series = object.at(&["series", "count"]).number();
    let first = first_of(&[&["firstTimestamp"], &["eventTime"]]);
    let last = first_of(&[
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["firstTimestamp"],
        &["eventTime"],
    ]);
    let target = |key: &str| object.at(&["involvedObject", key]).text();
    let (kind, target_name) = (target("kind").to_lowercase(), target("name"));
    let mut source = first_of(&[&["source", "component"], &["reportingComponent"]]);
    let host = first_of(&[&["source", "host"], &["reportingInstance"]]);
    if !host.is_empty() {
        source = format!("{source}, {host}");
    }
    vec![
        time::age(&last, now).into(),
        text(object, "type"),
        text(object, "reason"),
        if target_name.is_empty() { kind } else { format!("{kind}/{target_name}") }.into(),
        target("fieldPath").into(),
        source.into(),
        object.get("message").text().trim().into(),
        time::age(&first, now).into(),
        series.unwrap_or(number(object, "count").max(1)).to_string().into(),
        name,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn row(tree: &Value) -> Vec<Value> {
        let info =
            kinds::find_kind(tree["apiVersion"].as_str().unwrap(), tree["kind"].as_str().unwrap())
                .unwrap();
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        super::super::cells(info, View::new(tree.to_string().as_bytes()), now)
    }

    #[test]
    fn long_lists_of_addresses_are_counted() {
        let addresses: Vec<Value> =
            (1..=5).map(|last| json!({"ip": format!("10.0.0.{last}")})).collect();
        let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e"},
            "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
        let shown = "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...";
        assert_eq!(row(&endpoints), [json!("e"), json!(shown), json!("<unknown>")]);
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 6443}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]});
        assert_eq!(row(&slice)[1..4], [json!("IPv4"), json!("6443"), json!("10.0.0.1,10.0.0.2")]);
        let empty = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"});
        assert_eq!(row(&empty)[2..4], [json!("<unset>"), json!("<unset>")]);
    }

    #[test]
    fn a_service_shows_its_ports_and_addresses() {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "s", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "selector": {"a": "b"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}});
        let wanted = ["s", "LoadBalancer", "10.96.0.9", "<pending>", "80:30080/TCP", "60m", "a=b"];
        assert_eq!(row(&service), wanted.map(Value::from));
    }
}
