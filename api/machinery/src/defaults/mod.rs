//! Defaults of each kind, as upstream fills them in. Idempotent: a second pass changes nothing.

use serde_json::{Map, Value, json};

use crate::{Object, ResourceInfo};

type Tree = Map<String, Value>;

/// Fills in what the object leaves out.
pub fn apply(info: &ResourceInfo, object: &mut Object) {
    match (info.group, info.kind) {
        ("", "Pod") => {
            if let Some(spec) = child(&mut object.0, "spec") {
                pod_spec(spec);
                requests_from_limits(spec);
                service_links(spec);
            }
        }
        ("", "Namespace") => {
            set(&mut object.0, "spec", json!({}));
            if let Some(status) = ensure(&mut object.0, "status") {
                set(status, "phase", "Active".into());
            }
            let name = object.name().to_owned();
            if !name.is_empty() {
                object.set(&["metadata", "labels", "kubernetes.io/metadata.name"], name.into());
            }
        }
        ("", "Node") => node(&mut object.0),
        ("", "Secret") => set(&mut object.0, "type", "Opaque".into()),
        ("", "Service") => service(&mut object.0),
        ("apps", "Deployment") => deployment(&mut object.0),
        ("apps", "ReplicaSet") => replica_set(&mut object.0),
        ("", "Endpoints") => {
            for subset in items(&mut object.0, "subsets") {
                for port in items(subset, "ports") {
                    set(port, "protocol", "TCP".into());
                }
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in items(&mut object.0, "ports") {
                port.entry("name").or_insert_with(|| "".into());
                set(port, "protocol", "TCP".into());
            }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            binding(&mut object.0);
        }
        _ => {}
    }
}

/// Sets a field that is missing, null, or empty text.
fn set(map: &mut Tree, key: &str, value: Value) {
    let missing = match map.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if missing {
        map.insert(key.to_owned(), value);
    }
}

/// Sets a number that is missing or zero.
fn set_number(map: &mut Tree, key: &str, value: i64) {
    if map.get(key).and_then(Value::as_i64).unwrap_or(0) == 0 {
        map.insert(key.to_owned(), value.into());
    }
}

fn child<'a>(map: &'a mut Tree, key: &str) -> Option<&'a mut Tree> {
    map.get_mut(key)?.as_object_mut()
}

fn ensure<'a>(map: &'a mut Tree, key: &str) -> Option<&'a mut Tree> {
    set(map, key, json!({}));
    child(map, key)
}

fn items<'a>(map: &'a mut Tree, key: &str) -> impl Iterator<Item = &'a mut Tree> {
    let list = map.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// What a pod and a pod template share.
fn pod_spec(spec: &mut Tree) {
    set(spec, "dnsPolicy", "ClusterFirst".into());
    set(spec, "restartPolicy", "Always".into());
    set(spec, "terminationGracePeriodSeconds", 30.into());
    set(spec, "schedulerName", "default-scheduler".into());
    set(spec, "securityContext", json!({}));
    mirror_service_account(spec);
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in CONTAINER_LISTS {
        for one in items(spec, list) {
            container(one, host_network);
        }
    }
    for volume in items(spec, "volumes") {
        self::volume(volume);
    }
    for constraint in items(spec, "topologySpreadConstraints") {
        set(constraint, "whenUnsatisfiable", "DoNotSchedule".into());
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always written.
fn mirror_service_account(spec: &mut Tree) {
    let text = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let name = if text("serviceAccountName").is_empty() {
        text("serviceAccount")
    } else {
        text("serviceAccountName")
    };
    if !name.is_empty() {
        spec.insert("serviceAccountName".to_owned(), name.as_str().into());
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

/// Only pods, not templates, are given these.
fn service_links(spec: &mut Tree) {
    set(spec, "enableServiceLinks", true.into());
}

fn requests_from_limits(spec: &mut Tree) {
    for list in ["initContainers", "containers"] {
        for one in items(spec, list) {
            let Some(resources) = child(one, "resources") else { continue };
            let Some(limits) = child(resources, "limits").map(|limits| limits.clone()) else {
                continue;
            };
            let Some(requests) = ensure(resources, "requests") else { continue };
            for (name, quantity) in limits {
                requests.entry(name).or_insert(quantity);
            }
        }
    }
}

fn container(map: &mut Tree, host_network: bool) {
    set(map, "imagePullPolicy", pull_policy(map).into());
    set(map, "terminationMessagePath", "/dev/termination-log".into());
    set(map, "terminationMessagePolicy", "File".into());
    set(map, "resources", json!({}));
    for port in items(map, "ports") {
        set(port, "protocol", "TCP".into());
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set_number(port, "hostPort", number.as_i64().unwrap_or(0));
        }
    }
    for probe_name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(map) = child(map, probe_name) {
            probe(map);
        }
    }
    if let Some(lifecycle) = child(map, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = child(lifecycle, hook) {
                http_get(hook);
            }
        }
    }
    for variable in items(map, "env") {
        if let Some(source) = child(variable, "valueFrom") {
            field_ref(source);
            if let Some(resource) = child(source, "resourceFieldRef") {
                set(resource, "divisor", "0".into());
            }
        }
    }
}

fn field_ref(source: &mut Tree) {
    if let Some(field) = child(source, "fieldRef") {
        set(field, "apiVersion", "v1".into());
    }
}

fn http_get(handler: &mut Tree) {
    if let Some(get) = child(handler, "httpGet") {
        set(get, "path", "/".into());
        set(get, "scheme", "HTTP".into());
    }
}

fn probe(map: &mut Tree) {
    set_number(map, "timeoutSeconds", 1);
    set_number(map, "periodSeconds", 10);
    set_number(map, "successThreshold", 1);
    set_number(map, "failureThreshold", 3);
    http_get(map);
    if let Some(grpc) = child(map, "grpc") {
        grpc.entry("service").or_insert_with(|| "".into());
    }
}

/// `Always` for the tag `latest` or none, else `IfNotPresent`.
fn pull_policy(container: &Tree) -> &'static str {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or("");
    match last.rsplit_once(':') {
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}

const VOLUME_SOURCES: [(&str, &str, i64); 4] = [
    ("secret", "defaultMode", 420),
    ("configMap", "defaultMode", 420),
    ("downwardAPI", "defaultMode", 420),
    ("projected", "defaultMode", 420),
];

fn volume(map: &mut Tree) {
    if map.keys().all(|key| key == "name") {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    for (source, field, mode) in VOLUME_SOURCES {
        if let Some(source) = child(map, source) {
            set(source, field, mode.into());
        }
    }
    if let Some(host_path) = child(map, "hostPath") {
        host_path.entry("type").or_insert_with(|| "".into());
    }
    if let Some(downward) = child(map, "downwardAPI") {
        for item in items(downward, "items") {
            field_ref(item);
        }
    }
    if let Some(projected) = child(map, "projected") {
        for source in items(projected, "sources") {
            if let Some(token) = child(source, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600.into());
            }
            if let Some(downward) = child(source, "downwardAPI") {
                for item in items(downward, "items") {
                    field_ref(item);
                }
            }
        }
    }
}

fn template(spec: &mut Tree) {
    if let Some(spec) = child(spec, "template").and_then(|template| child(template, "spec")) {
        pod_spec(spec);
    }
}

fn deployment(map: &mut Tree) {
    let Some(spec) = ensure(map, "spec") else { return };
    set(spec, "replicas", 1.into());
    if let Some(strategy) = ensure(spec, "strategy") {
        set(strategy, "type", "RollingUpdate".into());
        if strategy.get("type") == Some(&"RollingUpdate".into())
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            set(rolling, "maxUnavailable", "25%".into());
            set(rolling, "maxSurge", "25%".into());
        }
    }
    set(spec, "revisionHistoryLimit", 10.into());
    set(spec, "progressDeadlineSeconds", 600.into());
    template(spec);
}

fn replica_set(map: &mut Tree) {
    let Some(spec) = ensure(map, "spec") else { return };
    set(spec, "replicas", 1.into());
    template(spec);
}

/// Roles, users and groups are of one API group.
fn binding(map: &mut Tree) {
    let group = "rbac.authorization.k8s.io";
    if let Some(role) = child(map, "roleRef") {
        set(role, "apiGroup", group.into());
    }
    for subject in items(map, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            set(subject, "apiGroup", group.into());
        }
    }
}

fn node(map: &mut Tree) {
    let Some(status) = ensure(map, "status") else { return };
    if !status.contains_key("allocatable")
        && let Some(capacity) = status.get("capacity").cloned()
    {
        status.insert("allocatable".to_owned(), capacity);
    }
}

fn service(map: &mut Tree) {
    let Some(spec) = ensure(map, "spec") else { return };
    set(spec, "sessionAffinity", "None".into());
    if spec.get("sessionAffinity") == Some(&"None".into()) {
        spec.remove("sessionAffinityConfig");
    } else if spec.get("sessionAffinity") == Some(&"ClientIP".into())
        && let Some(client_ip) =
            ensure(spec, "sessionAffinityConfig").and_then(|config| ensure(config, "clientIP"))
    {
        set(client_ip, "timeoutSeconds", 10_800.into());
    }
    set(spec, "type", "ClusterIP".into());
    for port in items(spec, "ports") {
        set(port, "protocol", "TCP".into());
        let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
        let target = port.get("targetPort");
        if target.is_none_or(|t| *t == json!(0) || *t == json!("") || t.is_null()) {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        set(spec, "externalTrafficPolicy", "Cluster".into());
    }
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster".into());
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true.into());
    }
}
