//! Ranges of Service addresses are objects: the default one, and others that addresses come from.

mod support;

use serde_json::{Value, json};
use support::{Cluster, Store};

const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}})
}

fn cidr(name: &str, range: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"cidrs": [range]}})
}

fn ready(status: &str) -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "",
        "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

/// What a new Service with an address is answered, when the caches have heard of everything.
async fn told(cluster: &Cluster, name: &str, address: &str, wanted: &str) {
    let until = tokio::time::Instant::now() + support::DEADLINE;
    loop {
        let answer = cluster.post(SERVICES, &service(name, address)).await;
        let told = if answer.code == 201 { "taken".to_owned() } else { answer.message() };
        if told == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < until, "{name}: not {wanted}\nbut {told}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn outside(name: &str, address: &str) -> String {
    refused(name, address, "the provided network does not match the current range")
}

fn refused(name: &str, address: &str, why: &str) -> String {
    format!(
        "Service \"{name}\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP {address}: {why}"
    )
}

#[tokio::test]
async fn the_default_range_is_an_object_that_comes_back() {
    let cluster = Cluster::on(Store::own(1)).await;
    let at = format!("{CIDRS}/kubernetes");
    let is_ready = |one: &Value| one["status"]["conditions"][0]["status"] == "True";
    let made = cluster.until(&at, is_ready).await;
    assert_eq!(made["spec"], json!({"cidrs": ["10.96.0.0/24"]}));
    let mut condition = made["status"]["conditions"][0].clone();
    condition["lastTransitionTime"].take();
    assert_eq!(
        condition,
        json!({"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": null,
            "message": "Kubernetes default Service CIDR is ready"})
    );
    let managers = made["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut managers: Vec<String> = managers
        .iter()
        .map(|one| format!("{} {} {}", one["manager"], one["operation"], one["fieldsV1"]))
        .collect();
    managers.sort();
    assert_eq!(
        managers,
        [
            r#""kube-apiserver" "Update" {"f:spec":{"f:cidrs":{}}}"#,
            r#""kubernetes-service-cidr-controller" "Apply" {"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:lastTransitionTime":{},"f:message":{},"f:status":{},"f:type":{}}}}}"#,
        ]
    );
    let kept = cluster.get(&format!("{ADDRESSES}/10.96.0.1")).await.json();
    assert_eq!(kept["spec"]["parentRef"]["name"], "kubernetes");
}

#[tokio::test]
async fn addresses_come_from_every_range_that_is_ready() {
    let cluster = Cluster::on(Store::own(1)).await;
    cluster.until(&format!("{CIDRS}/kubernetes"), |one| one["status"].is_object()).await;
    for address in ["1.2.3.4", "10.96.0.0", "10.96.0.255", "10.201.0.1"] {
        told(&cluster, "a", address, &outside("a", address)).await;
    }
    let taken = "provided IP is already allocated";
    told(&cluster, "a", "10.96.0.1", &refused("a", "10.96.0.1", taken)).await;

    let made = cluster.post(CIDRS, &cidr("extra", "10.201.0.0/30")).await;
    assert_eq!((made.code, made.headers.get("warning")), (201, None));
    // While nobody says that it is not ready, it is: there may be no controller.
    told(&cluster, "a", "10.201.0.1", "taken").await;
    told(&cluster, "b", "10.201.0.1", &refused("b", "10.201.0.1", taken)).await;
    told(&cluster, "b", "10.201.0.3", &outside("b", "10.201.0.3")).await;
    let kept = cluster.get(&format!("{ADDRESSES}/10.201.0.1")).await.json();
    assert_eq!(kept["spec"]["parentRef"]["name"], "a");

    let status = format!("{CIDRS}/extra/status");
    assert_eq!(cluster.merge(&status, &ready("False")).await.code, 200);
    told(&cluster, "b", "10.201.0.2", &outside("b", "10.201.0.2")).await;
    assert_eq!(cluster.merge(&status, &ready("True")).await.code, 200);
    told(&cluster, "b", "10.201.0.2", "taken").await;

    assert_eq!(cluster.delete(&format!("{SERVICES}/a")).await.code, 200);
    assert_eq!(cluster.get(&format!("{ADDRESSES}/10.201.0.1")).await.code, 404);
    assert_eq!(cluster.delete(&format!("{CIDRS}/extra")).await.code, 200);
    told(&cluster, "a", "10.201.0.1", &outside("a", "10.201.0.1")).await;
}

#[tokio::test]
async fn a_full_range_is_followed_by_the_next() {
    let cluster = Cluster::with(&std::sync::Arc::new(Store::own(1)), 0, |config| {
        if let Ok(range) = api_server::ServiceRange::parse("10.96.0.0/30") {
            config.service_range = range;
        }
    })
    .await;
    cluster.post(CIDRS, &cidr("next", "10.201.0.0/30")).await;
    let both = |list: &Value| list["items"].as_array().map(Vec::len) == Some(2);
    cluster.until(&format!("{CIDRS}?resourceVersion=0"), both).await;
    let mut given = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let answer = cluster.post(SERVICES, &service(name, "")).await;
        given.push(match answer.code {
            201 => answer.json()["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned(),
            _ => answer.message(),
        });
    }
    given[1..3].sort();
    let full = "Internal error occurred: failed to allocate a serviceIP: range is full";
    assert_eq!(given, ["10.96.0.2", "10.201.0.1", "10.201.0.2", full]);
}
