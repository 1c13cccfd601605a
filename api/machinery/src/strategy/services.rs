//! Services: what a change of the type leaves behind.

use serde_json::{Value, json};

use crate::Object;

const CLUSTER_ADDRESS: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];

/// Takes away what the new type has no use for, where the client did not change it at the same time:
/// then it is for validation to refuse.
pub(super) fn drop_unused(new: &mut Object, old: &Object) {
    let is = |service: &Object, kind: &str| service.text(&["spec", "type"]) == kind;
    let has_ports = |service: &Object| is(service, "NodePort") || is(service, "LoadBalancer");
    let checks_health = |service: &Object| {
        is(service, "LoadBalancer") && service.text(&["spec", "externalTrafficPolicy"]) == "Local"
    };
    let is_outside = |service: &Object| {
        let listed = service.at(&["spec", "externalIPs"]).and_then(Value::as_array);
        has_ports(service)
            || is(service, "ClusterIP") && listed.is_some_and(|list| !list.is_empty())
    };
    let unused: [(bool, &[&str]); 4] = [
        (!is(old, "ExternalName") && is(new, "ExternalName"), &CLUSTER_ADDRESS),
        (checks_health(old) && !checks_health(new), &["healthCheckNodePort"]),
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
