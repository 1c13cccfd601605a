//! Services: ports, traffic policies and load balancers. Addresses are in `service_addresses`.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::shown::Shown;
use super::{address, service_addresses};
use crate::Object;
use crate::field::{Error, ErrorKind, Path};
use crate::validate::{invalid_each, items, meta, names, one_of, text};

const LOAD_BALANCER: &str = "LoadBalancer";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// Checks a new service.
pub(super) fn create(object: &Object, errors: &mut Vec<Error>) {
    if !addresses_alone(object, None, errors) {
        service(object, None, errors);
    }
}

/// Upstream looks at the addresses when it allocates them, before all else: their problems are
/// told without any other.
fn addresses_alone(object: &Object, old: Option<&Object>, errors: &mut Vec<Error>) -> bool {
    let found = super::service_families(object, old);
    if found.is_empty() {
        return false;
    }
    *errors = found;
    true
}

/// Checks all but the addresses; `old` is what was stored under the rules of its time.
fn service(object: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    topology_annotations(object, errors);
    needs_by_type(spec, old, errors);
    ports(spec, &path, errors);
    meta::labels(&spec["selector"], &path.child("selector"), errors);
    affinity(spec, &path, errors);
    service_addresses::external_ips(spec, old, errors);
    let types = ["ClusterIP", "ExternalName", LOAD_BALANCER, "NodePort"];
    one_of(&path.child("type"), text(spec, "type"), &types, true, errors);
    distinct_ports(spec, &path, errors);
    source_ranges(object, old, errors);
    load_balancer(spec, &path, errors);
    traffic(spec, &path, errors);
}

fn topology_annotations(object: &Object, errors: &mut Vec<Error>) {
    let annotations = object.annotations();
    if let (Some(mode), Some(hints)) =
        (annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS))
        && mode != hints
    {
        let path = Path::new("metadata").child("annotations").key(TOPOLOGY_MODE);
        let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.push(Error::invalid(&path, mode.as_str(), why));
    }
}

fn needs_by_type(spec: &Value, old: Option<&Object>, errors: &mut Vec<Error>) {
    let path = Path::new("spec");
    let kind = text(spec, "type");
    let is_headless = service_addresses::is_headless(spec);
    if items(spec, "ports").is_empty() && !is_headless && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    match kind {
        LOAD_BALANCER | "NodePort" if is_headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", why));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let is_set = match &spec[field] {
                    Value::Array(list) => !list.is_empty(),
                    Value::Null => {
                        field == "clusterIPs"
                            && old.is_none()
                            && !text(spec, "clusterIP").is_empty()
                    }
                    _ => true,
                };
                if is_set {
                    let why = "may not be set for ExternalName services";
                    errors.push(Error::forbidden(&path.child(field), why));
                }
            }
            let name = text(spec, "externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            let path = path.child("externalName");
            if name.is_empty() {
                errors.push(Error::required(&path, ""));
            } else {
                invalid_each(&path, name, names::subdomain_1123(name), errors);
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let ports = items(spec, "ports");
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            invalid_each(&path.child("name"), name, names::label_1123(name), errors);
            if seen.contains(&name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            seen.insert(name);
        }
        let number = port["port"].as_i64().unwrap_or(0);
        if !names::is_port(number) {
            errors.push(Error::invalid(&path.child("port"), number, names::PORT));
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        one_of(&path.child("protocol"), text(port, "protocol"), &protocols, true, errors);
        target_port(&port["targetPort"], &path.child("targetPort"), errors);
        if let Some(protocol) = port["appProtocol"].as_str() {
            let problems = names::qualified_name(protocol);
            invalid_each(&path.child("appProtocol"), protocol, problems, errors);
        }
    }
}

fn target_port(target: &Value, path: &Path, errors: &mut Vec<Error>) {
    if let Some(name) = target.as_str() {
        invalid_each(path, name, names::port_name(name), errors);
        return;
    }
    let number = target.as_i64().unwrap_or(0);
    if !names::is_port(number) {
        errors.push(Error::invalid(path, number, names::PORT));
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let kind = text(spec, "sessionAffinity");
    one_of(&path.child("sessionAffinity"), kind, &["ClientIP", "None"], true, errors);
    let config = &spec["sessionAffinityConfig"];
    let path = path.child("sessionAffinityConfig");
    if kind == "None" && !config.is_null() {
        let why = "must not be set when session affinity is None";
        errors.push(Error::forbidden(&path, why));
    }
    if kind != "ClientIP" {
        return;
    }
    let why = "when session affinity type is ClientIP";
    let client = path.child("clientIP");
    let timeout = client.child("timeoutSeconds");
    match &config["clientIP"]["timeoutSeconds"] {
        _ if config.is_null() => errors.push(Error::required(&path, why)),
        _ if config["clientIP"].is_null() => errors.push(Error::required(&client, why)),
        Value::Null => errors.push(Error::required(&timeout, why)),
        seconds => {
            let seconds = seconds.as_i64().unwrap_or(0);
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                errors.push(Error::invalid(&timeout, seconds, why));
            }
        }
    }
}

fn distinct_ports(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let ports = items(spec, "ports");
    let path = path.child("ports");
    let node_port = |port: &Value| port["nodePort"].as_i64().unwrap_or(0);
    if text(spec, "type") == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(Error::forbidden(&path.index(index).child("nodePort"), why));
        }
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
        let key = (text(port, "protocol"), node_port(port));
        if seen.contains(&key) {
            let path = path.index(index).child("nodePort");
            errors.push(Error::duplicate(&path, node_port(port)));
        }
        seen.insert(key);
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let key = (text(port, "protocol"), port["port"].as_i64().unwrap_or(0));
        if seen.contains(&key) {
            let shown = Shown::Fields(vec![
                ("Name", json!("").into()),
                ("Protocol", json!(key.0).into()),
                ("AppProtocol", Value::Null.into()),
                ("Port", json!(key.1).into()),
                ("TargetPort", json!(0).into()),
                ("NodePort", json!(0).into()),
            ]);
            errors.push(shown.error(ErrorKind::Duplicate, &path.index(index), ""));
        }
        seen.insert(key);
    }
}

fn source_ranges(object: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    let field = ["spec", "loadBalancerSourceRanges"];
    let list = |object: &Object| {
        let list = object.at(&field).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().map(|one| one.as_str().unwrap_or("").trim().to_owned()).collect::<Vec<_>>()
    };
    let is_load_balancer = object.text(&["spec", "type"]) == LOAD_BALANCER;
    let ranges = list(object);
    if !ranges.is_empty() {
        let path = Path::new("spec").child("LoadBalancerSourceRanges");
        if !is_load_balancer {
            errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER));
        }
        let kept = old.map(list).unwrap_or_default();
        let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
        for (index, range) in ranges.iter().enumerate() {
            errors.extend(address::legacy_range(&path.index(index), range, &kept));
        }
        return;
    }
    let annotation = ["metadata", "annotations", SOURCE_RANGES];
    let Some(ranges) = object.at(&annotation).and_then(Value::as_str) else { return };
    let path = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
    if !is_load_balancer {
        errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER));
    }
    let is_kept = old.is_some_and(|old| old.at(&annotation) == object.at(&annotation));
    if !is_kept && !ranges.trim().is_empty() {
        for range in ranges.trim().split(',') {
            errors.extend(address::legacy_range(&path, range.trim(), &[]));
        }
    }
}

fn load_balancer(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let is_load_balancer = text(spec, "type") == LOAD_BALANCER;
    if !spec["allocateLoadBalancerNodePorts"].is_null() && !is_load_balancer {
        let path = path.child("allocateLoadBalancerNodePorts");
        errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER));
    }
    if spec["allocateLoadBalancerNodePorts"].is_null() && is_load_balancer {
        errors.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    load_balancer_class(spec, errors);
}

fn load_balancer_class(spec: &Value, errors: &mut Vec<Error>) {
    let Some(class) = spec["loadBalancerClass"].as_str() else { return };
    let path = Path::new("spec").child("loadBalancerClass");
    if text(spec, "type") == LOAD_BALANCER {
        invalid_each(&path, class, names::qualified_name(class), errors);
    } else {
        errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER));
    }
}

/// Whether others than the cluster's own nodes can reach the service.
fn is_external(spec: &Value) -> bool {
    let kind = text(spec, "type");
    matches!(kind, LOAD_BALANCER | "NodePort")
        || kind == "ClusterIP" && !items(spec, "externalIPs").is_empty()
}

fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == LOAD_BALANCER && text(spec, "externalTrafficPolicy") == "Local"
}

fn traffic(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let policies = ["Cluster", "Local"];
    let policy = text(spec, "externalTrafficPolicy");
    let policy_path = path.child("externalTrafficPolicy");
    if is_external(spec) {
        one_of(&policy_path, policy, &policies, true, errors);
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(Error::invalid(&policy_path, policy, why));
    }
    // A missing port is allocated later, so only one that is given can be wrong.
    let port = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    let port_path = path.child("healthCheckNodePort");
    if port != 0 && !needs_health_check(spec) {
        let why =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid(&port_path, port, why));
    } else if port != 0 && !names::is_port(port) {
        errors.push(Error::invalid(&port_path, port, names::PORT));
    }
    let internal = &spec["internalTrafficPolicy"];
    let internal_path = path.child("internalTrafficPolicy");
    match internal.as_str() {
        None if matches!(text(spec, "type"), "NodePort" | LOAD_BALANCER | "ClusterIP") => {
            errors.push(Error::required(&internal_path, ""));
        }
        Some(policy) if !policies.contains(&policy) => {
            errors.push(Error::not_supported(&internal_path, policy, &policies));
        }
        _ => {}
    }
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(distribution) = spec["trafficDistribution"].as_str()
        && !distributions.contains(&distribution)
    {
        let path = path.child("trafficDistribution");
        errors.push(Error::not_supported(&path, distribution, &distributions));
    }
}

pub(super) fn service_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    if addresses_alone(new, Some(old), errors) {
        return;
    }
    let null = Value::Null;
    let (spec, before) = (new.at(&["spec"]).unwrap_or(&null), old.at(&["spec"]).unwrap_or(&null));
    service_addresses::update(spec, before, errors);
    let were_balanced = [spec, before].iter().all(|spec| text(spec, "type") == LOAD_BALANCER);
    if were_balanced && spec["loadBalancerClass"] != before["loadBalancerClass"] {
        let path = Path::new("spec").child("loadBalancerClass");
        let shown = spec["loadBalancerClass"].clone();
        errors.push(Error::invalid(&path, shown, "may not change once set"));
    }
    load_balancer_class(spec, errors);
    let port = |spec: &Value| spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    if needs_health_check(spec) && needs_health_check(before) && port(spec) != port(before) {
        let path = Path::new("spec").child("healthCheckNodePort");
        errors.push(Error::forbidden(&path, "field is immutable"));
    }
    service(new, Some(old), errors);
}

/// The addresses that a load balancer says it has.
pub(super) fn service_status(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let field = ["status", "loadBalancer", "ingress"];
    let list = |object| Object::at(object, &field).and_then(Value::as_array).map(Vec::as_slice);
    let ingress: &[Value] = list(new).unwrap_or_default();
    if new.text(&["spec", "type"]) != LOAD_BALANCER && !ingress.is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(Error::forbidden(&path, why));
        return;
    }
    let kept: Vec<&str> = list(old).unwrap_or_default().iter().map(|one| text(one, "ip")).collect();
    for (index, one) in ingress.iter().enumerate() {
        let path = path.index(index);
        let ip = text(one, "ip");
        if !ip.is_empty() {
            errors.extend(address::legacy(&path.child("ip"), ip, &kept));
        }
        let mode_path = path.child("ipMode");
        match one["ipMode"].as_str() {
            None if !ip.is_empty() => {
                errors.push(Error::required(&mode_path, "must be specified when `ip` is set"));
            }
            Some(_) if ip.is_empty() => {
                let why = "may not be specified when `ip` is not set";
                errors.push(Error::forbidden(&mode_path, why));
            }
            Some(mode) if !["Proxy", "VIP"].contains(&mode) => {
                errors.push(Error::not_supported(&mode_path, mode, &["Proxy", "VIP"]));
            }
            _ => {}
        }
        balancer_name(text(one, "hostname"), &path.child("hostname"), errors);
    }
}

/// The name of a load balancer, which is not an address.
pub(in crate::validate) fn balancer_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        return;
    }
    invalid_each(path, name, names::subdomain_1123(name), errors);
    if address::parse(name).is_some() {
        errors.push(Error::invalid(path, name, "must be a DNS name, not an IP address"));
    }
}
