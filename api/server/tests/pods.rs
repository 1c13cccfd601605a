//! What is done to pods through their subresources: eviction, binding, debugging, resizing.

mod support;

use serde_json::{Value, json};
use support::{Cluster, Store};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// A server with pods that have been on a node since they were made.
async fn cluster(pods: &[&str]) -> Cluster {
    let cluster = Cluster::on(Store::own(1)).await;
    let account = json!({"metadata": {"name": "default"}});
    made(&cluster, "/api/v1/namespaces/default/serviceaccounts", &account).await;
    for name in pods {
        let pod = json!({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": {
            "nodeName": "n", "containers": [{"name": "c", "image": "i",
                "resources": {"requests": {"cpu": "1"}}}]}});
        made(&cluster, PODS, &pod).await;
        let status = json!({"status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}});
        let path = format!("{PODS}/{name}/status");
        assert_eq!(cluster.merge(&path, &status).await.code, 200);
    }
    cluster
}

async fn made(cluster: &Cluster, path: &str, tree: &Value) -> Value {
    let answer = cluster.post(path, tree).await;
    assert_eq!(answer.code, 201, "{}", answer.message());
    answer.json()
}

async fn evicted(cluster: &Cluster, name: &str) -> (u16, Value) {
    let tree = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let answer = cluster.post(&format!("{PODS}/{name}/eviction"), &tree).await;
    let causes = &answer.json()["details"]["causes"];
    (answer.code, causes[0]["message"].clone())
}

#[tokio::test]
async fn a_budget_lets_only_as_many_pods_go_as_it_allows() {
    let cluster = cluster(&["p1", "p2"]).await;
    let budget = json!({"metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    made(&cluster, BUDGETS, &budget).await;
    let why = json!("The disruption budget b is still being processed by the server.");
    assert_eq!(evicted(&cluster, "p1").await, (429, why));
    let status = |allowed: i64, healthy: i64| {
        json!({"status": {"observedGeneration": 1, "desiredHealthy": 1,
            "currentHealthy": healthy, "expectedPods": 2, "disruptionsAllowed": allowed}})
    };
    let at = format!("{BUDGETS}/b");
    let door = format!("{at}/status");
    assert_eq!(cluster.merge(&door, &status(0, 1)).await.code, 200);
    let why = json!("The disruption budget b needs 1 healthy pods and has 1 currently");
    assert_eq!(evicted(&cluster, "p1").await, (429, why));
    assert_eq!(cluster.merge(&door, &status(1, 2)).await.code, 200);
    assert_eq!(evicted(&cluster, "p1").await, (201, Value::Null));

    let budget = cluster.get(&at).await.json();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["p1"].is_string(), "{budget}");
    assert_eq!(budget["status"]["conditions"][0]["reason"], "InsufficientPods");
    let pod = cluster.get(&format!("{PODS}/p1")).await.json();
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pod["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");

    let why = json!("The disruption budget b does not allow evicting pods currently");
    assert_eq!(evicted(&cluster, "p2").await, (429, why));
    // A pod that is not ready is nothing that this budget protects.
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    assert_eq!(cluster.merge(&format!("{PODS}/p2/status"), &unready).await.code, 200);
    assert_eq!(evicted(&cluster, "p2").await, (201, Value::Null));
}

#[tokio::test]
async fn a_running_pod_is_debugged_and_resized_through_doors_of_their_own() {
    let cluster = cluster(&["p"]).await;
    let ephemeral = json!({"metadata": {"labels": {"x": "y"}},
        "spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}});
    let headers = [("content-type", "application/strategic-merge-patch+json")];
    let path = format!("{PODS}/p/ephemeralcontainers");
    let pod = cluster.call("PATCH", &path, &headers, ephemeral.to_string()).await.json();
    assert_eq!(pod["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
    assert_eq!(
        (&pod["metadata"]["labels"], &pod["metadata"]["generation"]),
        (&json!({"a": "b"}), &json!(2))
    );

    let resize = json!({"spec": {"containers": [{"name": "c",
        "resources": {"requests": {"cpu": "2"}}}]}});
    let path = format!("{PODS}/p/resize");
    let patch = || cluster.call("PATCH", &path, &headers, resize.to_string());
    let refused = patch().await;
    assert_eq!(
        (refused.code, refused.message()),
        (403, "pods \"p\" is forbidden: node \"n\" not found".to_owned())
    );
    made(&cluster, "/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await;
    let capacity = json!({"status": {"allocatable": {"cpu": "4", "memory": "1Gi"}}});
    assert_eq!(cluster.merge("/api/v1/nodes/n/status", &capacity).await.code, 200);
    let mut resized = patch().await;
    for _ in 0..200 {
        if resized.code == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        resized = patch().await;
    }
    assert_eq!(resized.code, 200, "{}", resized.message());
    assert_eq!(resized.json()["spec"]["containers"][0]["resources"]["requests"]["cpu"], "2");
}

#[tokio::test]
async fn a_pod_gets_the_place_of_its_node() {
    let cluster = cluster(&[]).await;
    let node = json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}}});
    made(&cluster, "/api/v1/nodes", &node).await;
    let pod = json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    made(&cluster, PODS, &pod).await;
    cluster
        .until("/api/v1/nodes", |list| list["items"].as_array().is_some_and(|l| !l.is_empty()))
        .await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"}});
    made(&cluster, &format!("{PODS}/p/binding"), &binding).await;
    let pod = cluster.get(&format!("{PODS}/p")).await.json();
    assert_eq!(pod["metadata"]["labels"]["topology.kubernetes.io/zone"], "z");
}
