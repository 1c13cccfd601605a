//! Services: what a change of the type leaves behind, and what a change that says nothing of it keeps.

use serde_json::{Value, json};

use crate::Object;

const CLUSTER_ADDRESS: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];

/// Takes away what the new type has no use for, where the client did not change it at the same time:
/// then it is for validation to refuse.
pub(super) fn drop_unused(new: &mut Object, old: &Object) {
    let is = |service: &Object, kind: &str| service.text(&["spec", "type"]) == kind;
    let has_ports = |service: &Object| is(service, "NodePort") || is(service, "LoadBalancer");
    let is_outside = |service: &Object| {
        let listed = service.at(&["spec", "externalIPs"]).and_then(Value::as_array);
        has_ports(service)
            || is(service, "ClusterIP") && listed.is_some_and(|list| !list.is_empty())
    };
    let unused: [(bool, &[&str]); 4] = [
        (!is(old, "ExternalName") && is(new, "ExternalName"), &CLUSTER_ADDRESS),
        (needs_health_check(old) && !needs_health_check(new), &["healthCheckNodePort"]),
        (
            is(old, "LoadBalancer") && !is(new, "LoadBalancer"),
            &["allocateLoadBalancerNodePorts", "loadBalancerClass"],
        ),
        (is_outside(old) && !is_outside(new), &["externalTrafficPolicy"]),
    ];
    let drops_ports = has_ports(old) && !has_ports(new) && node_ports(new) == node_ports(old);
    for (_, fields) in unused.iter().filter(|(is_unused, _)| *is_unused) {
        for field in *fields {
            if new.at(&["spec", field]) == old.at(&["spec", field]) {
                new.remove(&["spec", field]);
            }
        }
    }
    if drops_ports {
        let ports = new.0.get_mut("spec").and_then(|spec| spec.get_mut("ports"));
        for port in ports.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    if !is(new, "LoadBalancer") {
        new.set(&["status", "loadBalancer"], json!({}));
    }
}

/// Whether ports of the nodes lead to it whose numbers the server chooses.
#[must_use]
pub fn gives_node_ports(service: &Object) -> bool {
    const WANTED: &[&str] = &["spec", "allocateLoadBalancerNodePorts"];
    match service.text(&["spec", "type"]) {
        "NodePort" => true,
        "LoadBalancer" => service.at(WANTED).and_then(Value::as_bool) != Some(false),
        _ => false,
    }
}

/// Whether load balancers ask a port of each node whether the service has a pod there.
#[must_use]
pub fn needs_health_check(service: &Object) -> bool {
    service.text(&["spec", "type"]) == "LoadBalancer"
        && service.text(&["spec", "externalTrafficPolicy"]) == "Local"
}

const ADDRESS: &[&str] = &["spec", "clusterIP"];
const ADDRESSES: &[&str] = &["spec", "clusterIPs"];

/// Who says `clusterIP` alone means the list too, upstream's `normalizeClusterIPs`; and names
/// outside have no traffic policy inside.
pub fn fill_in_addresses(new: &mut Object, old: Option<&Object>) {
    if new.text(&["spec", "type"]) == "ExternalName" {
        new.remove(&["spec", "internalTrafficPolicy"]);
    }
    let list = |service: &Object| service.at(ADDRESSES).and_then(Value::as_array).cloned();
    let now = list(new).unwrap_or_default();
    let address = new.text(ADDRESS).to_owned();
    let Some(old) = old else {
        if now.is_empty() && !address.is_empty() {
            new.set(ADDRESSES, json!([address]));
        }
        return;
    };
    let before = list(old).unwrap_or_default();
    let was = old.text(ADDRESS);
    if address == was {
        if now.is_empty() && !before.is_empty() {
            new.set(ADDRESSES, before.into());
        }
    } else if now == before {
        if address.is_empty() {
            new.remove(ADDRESSES);
        } else {
            new.set(ADDRESSES, json!([address]));
        }
    }
}

/// A PUT that leaves out what the server had allocated keeps it.
pub fn keep_allocated(new: &mut Object, old: &Object) {
    let has_address = |service: &Object| service.text(&["spec", "type"]) != "ExternalName";
    if has_address(new) && has_address(old) {
        for path in [ADDRESS, ADDRESSES] {
            let is_missing = new.at(path).is_none_or(|value| match value {
                Value::Null => true,
                Value::Array(list) => list.is_empty(),
                value => value == "",
            });
            if let (true, Some(value)) = (is_missing, old.at(path)) {
                new.set(path, value.clone());
            }
        }
    }
    if gives_node_ports(old) && gives_node_ports(new) {
        keep_node_ports(new, old);
    }
    const HEALTH: &[&str] = &["spec", "healthCheckNodePort"];
    if needs_health_check(old) && needs_health_check(new) {
        let is_missing = new.at(HEALTH).and_then(Value::as_i64).unwrap_or(0) == 0;
        if let (true, Some(port)) = (is_missing, old.at(HEALTH)) {
            new.set(HEALTH, port.clone());
        }
    }
}

/// Ports are the same by their names; a number that another one asks for is not given twice.
fn keep_node_ports(new: &mut Object, old: &Object) {
    let known = old.at(&["spec", "ports"]).and_then(Value::as_array).cloned();
    let ports = new.0.get_mut("spec").and_then(|spec| spec.get_mut("ports"));
    let Some(ports) = ports.and_then(Value::as_array_mut) else { return };
    let is_given = |port: &Value| port["nodePort"].as_u64().is_some_and(|number| number > 0);
    let mut used: Vec<Value> =
        ports.iter().filter(|port| is_given(port)).map(|port| port["nodePort"].clone()).collect();
    for port in ports.iter_mut().filter(|port| !is_given(port)) {
        let same = known.iter().flatten().find(|one| one["name"] == port["name"] && is_given(one));
        if let Some(number) = same.map(|same| &same["nodePort"])
            && !used.contains(number)
        {
            port["nodePort"] = number.clone();
            used.push(number.clone());
        }
    }
}

fn node_ports(service: &Object) -> Vec<i64> {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array);
    let listed = ports.into_iter().flatten().filter_map(|port| port["nodePort"].as_i64());
    let mut ports: Vec<i64> = listed.filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_service_leaves_behind_what_its_new_type_does_not_use() {
        let old = service(json!({"type": "NodePort", "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"], "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "nodePort": 30080}]}));
        let mut new = old.clone();
        new.set(&["spec", "type"], "ClusterIP".into());
        drop_unused(&mut new, &old);
        assert_eq!(
            new.0["spec"],
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
                "ports": [{"port": 80}]})
        );
        let mut new = old.clone();
        new.set(&["spec", "type"], "ExternalName".into());
        new.set(&["spec", "ports"], json!([{"port": 80, "nodePort": 30081}]));
        drop_unused(&mut new, &old);
        assert_eq!(
            new.0["spec"],
            json!({"type": "ExternalName", "ports": [{"port": 80, "nodePort": 30081}]}),
            "a changed port is the client's word"
        );
    }
}
