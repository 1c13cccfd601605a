//! A store that a kube-apiserver 1.36 has filled: what it wrote is read as it would read it
//! itself, and changed on. `stored/kube_apiserver.jsonl` has an object of each kind: its key, the
//! bytes that stood there, and what the real server answered; and the node ports that were taken.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};
use store_client::{Client, rpc};
use support::{Cluster, Store};

fn recorded() -> Vec<Value> {
    let text = include_str!("stored/kube_apiserver.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server on a store that holds all that was recorded, and more.
async fn cluster(more: &[(&str, String)]) -> Cluster {
    let store = Arc::new(Store::own(1));
    let client = Client::new(&store_client::Config::new(store.endpoints().to_vec())).unwrap();
    store.leader().await;
    let put = async |key: &str, value: Vec<u8>| {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from(value));
        client.put(rpc::PutRequest { key, value, ..rpc::PutRequest::default() }).await.unwrap();
    };
    for one in recorded() {
        let value = one["value"].as_str().unwrap();
        let value = base64::engine::general_purpose::STANDARD.decode(value).unwrap();
        put(one["key"].as_str().unwrap(), value).await;
    }
    for (key, value) in more {
        put(key, value.clone().into_bytes()).await;
    }
    Cluster::with(&store, 0, |config| config.node_ports = (30000, 32767)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kube_apiserver_wrote_is_read_as_it_reads_it_and_can_be_changed() {
    let cluster = cluster(&[]).await;
    let mut count = 0;
    for one in recorded() {
        let Some(path) = one["path"].as_str() else { continue };
        let answer = cluster.get(path).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.message());
        let mut found = answer.json();
        found["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        assert_eq!(found, one["object"], "{path}");
        let patch = json!({"metadata": {"labels": {"read": "yes"}}});
        let changed = cluster.merge(path, &patch).await;
        assert_eq!(changed.code, 200, "{path}: {}", changed.message());
        let list = path.rsplit_once('/').unwrap().0;
        let query = format!("{list}?labelSelector=read%3Dyes");
        let is_there = |list: &Value| !list["items"][0].is_null();
        let listed = cluster.until(&query, is_there).await;
        assert_eq!(listed["items"][0]["metadata"]["labels"]["read"], "yes", "{path}");
        count += 1;
    }
    assert!(count >= 45, "only {count}");
}

/// The bitmap is protobuf there: a port that stands in it must not be given out again.
#[tokio::test(flavor = "multi_thread")]
async fn node_ports_that_a_kube_apiserver_gave_out_stay_taken() {
    let cluster = cluster(&[]).await;
    let service = |name: &str, port: u16| {
        json!({"metadata": {"name": name}, "spec": {"type": "NodePort",
            "ports": [{"port": 80, "nodePort": port}]}})
    };
    let services = "/api/v1/namespaces/default/services";
    // A refusal gives nobody's port back: the second time says the same.
    for _ in 0..2 {
        let refused = cluster.post(services, &service("a", 30077)).await;
        assert_eq!(refused.code, 422);
        assert!(refused.message().contains("provided port is already allocated"));
    }
    assert_eq!(cluster.post(services, &service("b", 30078)).await.code, 201);
    let freed = cluster.delete("/api/v1/namespaces/real/services/np").await;
    assert_eq!(freed.code, 200, "{}", freed.message());
    assert_eq!(cluster.post(services, &service("a", 30077)).await.code, 201);
    assert_eq!(cluster.post(services, &service("c", 30078)).await.code, 422);
}

/// A kube-apiserver keeps definitions in `v1beta1`, and custom objects as JSON with a line break.
#[tokio::test(flavor = "multi_thread")]
async fn custom_kinds_of_a_kube_apiserver_are_served() {
    let definition = json!({"kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1beta1",
        "metadata": {"name": "jars.stored.example.com", "uid": "1", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"group": "stored.example.com", "version": "v1", "scope": "Namespaced",
            "names": {"plural": "jars", "singular": "jar", "kind": "Jar", "listKind": "JarList"},
            "validation": {"openAPIV3Schema": {"type": "object", "properties": {
                "size": {"type": "integer", "default": 3}}}},
            "additionalPrinterColumns": [
                {"name": "Size", "type": "integer", "JSONPath": ".size"}],
            "versions": [{"name": "v1", "served": true, "storage": true}],
            "conversion": {"strategy": "None"}, "preserveUnknownFields": false},
        "status": {"conditions": [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "no conflicts found"},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "m"}],
            "acceptedNames": {"plural": "jars", "singular": "jar", "kind": "Jar",
                "listKind": "JarList"},
            "storedVersions": ["v1"]}});
    let jar = json!({"apiVersion": "stored.example.com/v1", "kind": "Jar", "unknown": 1,
        "metadata": {"name": "one", "namespace": "default", "uid": "2"}});
    let cluster = cluster(&[
        (
            "/registry/apiextensions.k8s.io/customresourcedefinitions/jars.stored.example.com",
            format!("{definition}\n"),
        ),
        ("/registry/stored.example.com/jars/default/one", format!("{jar}\n")),
    ])
    .await;
    let path = "/apis/stored.example.com/v1/namespaces/default/jars";
    let one = cluster.until(&format!("{path}/one"), |one| one["size"] == 3).await;
    assert!(one.get("unknown").is_none(), "{one}");
    let made = cluster
        .post(
            path,
            &json!({"apiVersion": "stored.example.com/v1", "kind": "Jar",
        "metadata": {"name": "two"}, "size": "x"}),
        )
        .await;
    assert_eq!(made.code, 422, "{}", made.message());
    let kept = cluster
        .get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/jars.stored.example.com")
        .await
        .json();
    assert_eq!(kept["apiVersion"], "apiextensions.k8s.io/v1");
    let version = &kept["spec"]["versions"][0];
    assert_eq!(version["additionalPrinterColumns"][0]["jsonPath"], ".size");
    assert_eq!(version["schema"]["openAPIV3Schema"]["type"], "object");
}
