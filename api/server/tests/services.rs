//! What Services take when they are written, and what they do not.

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use support::{Cluster, Store};

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn a_dry_run_of_a_service_takes_nothing() {
    let cluster = Cluster::on(Store::own(1)).await;
    let dry = format!("{SERVICES}?dryRun=All");
    let tree = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]},
    });
    let taken = || async {
        let addresses = cluster.get("/apis/networking.k8s.io/v1/ipaddresses").await.json();
        addresses["items"].as_array().unwrap().len()
    };
    let before = taken().await;
    // What it is told are no addresses and ports of this cluster: a network's, and beyond the range.
    let told = cluster.post(&dry, &tree).await.json();
    assert_eq!(told["spec"]["clusterIP"], "10.96.0.0");
    assert_eq!(told["spec"]["ports"][0]["nodePort"], 32769);
    assert_eq!(told["spec"]["healthCheckNodePort"], 32770);
    assert_eq!((cluster.get(&format!("{SERVICES}/s")).await.code, taken().await), (404, before));
    let mut one = tree.clone();
    one["spec"] = json!({"type": "ExternalName", "externalName": "example.com"});
    assert_eq!(cluster.post(SERVICES, &one).await.code, 201);
    let change =
        json!({"spec": {"type": "NodePort", "externalName": null, "ports": [{"port": 1}]}});
    let told = cluster.merge(&format!("{SERVICES}/s?dryRun=All"), &change).await.json();
    assert_eq!(told["spec"]["clusterIPs"], json!(["10.96.0.0"]), "{told}");
    assert_eq!(told["spec"]["ports"][0]["nodePort"], 32769);
    assert_eq!(taken().await, before);
}

#[tokio::test]
async fn local_traffic_has_a_port_for_health_checks_while_it_is_local() {
    let cluster = Cluster::on(Store::own(1)).await;
    let one = format!("{SERVICES}/s");
    let tree = |name: &str, check: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": check, "ports": [{"port": 80}]}})
    };
    let made = cluster.post(SERVICES, &tree("s", json!(0))).await.json();
    let check = made["spec"]["healthCheckNodePort"].clone();
    assert!(check.as_u64().is_some_and(|port| (30000..30100).contains(&port)), "{made}");
    // Who puts it without the port keeps it; nobody else can have it.
    let kept = cluster.put(&one, &tree("s", json!(0))).await.json();
    assert_eq!(kept["spec"]["healthCheckNodePort"], check);
    let refused = cluster.post(SERVICES, &tree("t", check.clone())).await;
    assert_eq!(
        (refused.code, refused.message()),
        (
            500,
            format!(
                "Internal error occurred: failed to allocate requested HealthCheck NodePort {check}: provided port is already allocated"
            )
        )
    );
    // Traffic that goes anywhere asks for no such port.
    let anywhere = json!({"spec": {"externalTrafficPolicy": "Cluster"}});
    let changed = cluster.merge(&one, &anywhere).await.json();
    assert_eq!(changed["spec"]["healthCheckNodePort"], Value::Null, "{changed}");
    assert_eq!(cluster.post(SERVICES, &tree("t", check.clone())).await.code, 201);
    cluster.delete(&format!("{SERVICES}/t")).await;
    assert_eq!(cluster.post(SERVICES, &tree("u", check)).await.code, 201, "it was given back");
}

/// Ports are bits that count from the first of the range: another flag must not make other ports of
/// them, nor give a Service's port to a second one.
#[tokio::test(flavor = "multi_thread")]
async fn another_range_of_node_ports_leaves_services_theirs() {
    let store = Arc::new(Store::own(1));
    let service = |name: &str, port: u16| {
        json!({"metadata": {"name": name}, "spec": {"type": "NodePort",
            "ports": [{"port": 80, "nodePort": port}]}})
    };
    let before = Cluster::beside(&store, 0).await;
    for (name, port) in [("below", 30010), ("within", 30020)] {
        assert_eq!(before.post(SERVICES, &service(name, port)).await.code, 201);
    }
    drop(before);
    let after = Cluster::with(&store, 0, |config| config.node_ports = (30015, 30114)).await;
    let refused = after.post(SERVICES, &service("a", 30020)).await;
    assert!(
        refused.message().contains("provided port is already allocated"),
        "{}",
        refused.message()
    );
    // What the bits of the two would be in the new range is free.
    assert_eq!(after.post(SERVICES, &service("b", 30025)).await.code, 201);
    assert_eq!(after.post(SERVICES, &service("c", 30035)).await.code, 201);
    let changed = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(after.merge(&format!("{SERVICES}/below"), &changed).await.code, 200);
    assert_eq!(after.delete(&format!("{SERVICES}/below")).await.code, 200);
    assert_eq!(after.delete(&format!("{SERVICES}/within")).await.code, 200);
    assert_eq!(after.post(SERVICES, &service("a", 30020)).await.code, 201, "it was given back");
}
