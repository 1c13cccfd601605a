//! What the server makes of new objects, and what it lets nobody do: the plugins of admission.

mod support;

use serde_json::{Value, json};
use support::{Answer, Cluster, Store};

const NAMESPACES: &str = "/api/v1/namespaces";
const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

async fn cluster() -> Cluster {
    let cluster = Cluster::on(Store::own(1)).await;
    account(&cluster, "default", &json!({})).await;
    cluster
}

async fn made(cluster: &Cluster, path: &str, tree: &Value) -> Value {
    let answer = cluster.post(path, tree).await;
    assert_eq!(answer.code, 201, "{}", answer.message());
    answer.json()
}

async fn account(cluster: &Cluster, name: &str, annotations: &Value) {
    let metadata = json!({"name": name, "annotations": annotations});
    made(cluster, ACCOUNTS, &json!({"metadata": metadata})).await;
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": spec});
    pod["spec"]["containers"] = json!([{"name": "c", "image": "i"}]);
    pod
}

fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning");
    all.iter().map(|one| one.to_str().unwrap_or_default().to_owned()).collect()
}

fn status(answer: &Answer) -> (u16, String) {
    (answer.code, answer.message())
}

#[tokio::test]
async fn a_pod_reads_its_accounts_token() {
    let cluster = cluster().await;
    let spec = made(&cluster, PODS, &pod("a", json!({}))).await["spec"].clone();
    assert_eq!(spec["serviceAccountName"], "default");
    let volume = &spec["volumes"][0];
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["path"], "token");
    assert_eq!(volume["projected"]["defaultMode"], 420);
    let no = pod("b", json!({"automountServiceAccountToken": false}));
    assert_eq!(made(&cluster, PODS, &no).await["spec"]["volumes"], Value::Null);

    let mut generated = pod("", json!({"serviceAccountName": "gone"}));
    generated["metadata"] = json!({"generateName": "g-"});
    assert_eq!(
        status(&cluster.post(PODS, &generated).await),
        (403, "pods \"g-\" is forbidden: error looking up service account default/gone: serviceaccount \"gone\" not found".to_owned())
    );
    account(&cluster, "strict", &json!({"kubernetes.io/enforce-mountable-secrets": "true"})).await;
    let secret = json!({"serviceAccountName": "strict",
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}]});
    assert_eq!(
        status(&cluster.post(PODS, &pod("c", secret)).await),
        (403, "pods \"c\" is forbidden: volume with secret.secretName=\"s\" is not allowed because service account strict does not reference that secret".to_owned())
    );
    let elsewhere = cluster.post("/api/v1/namespaces/gone/pods", &pod("a", json!({}))).await;
    assert_eq!(status(&elsewhere), (404, "namespaces \"gone\" not found".to_owned()));
}

#[tokio::test]
async fn a_pods_priority_is_its_classes() {
    let cluster = cluster().await;
    let high = json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"});
    made(&cluster, CLASSES, &high).await;
    let spec = json!({"priorityClassName": "high"});
    let spec = made(&cluster, PODS, &pod("a", spec)).await["spec"].clone();
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(7), &json!("Never")));
    let usual = json!({"metadata": {"name": "usual"}, "value": 3, "globalDefault": true});
    made(&cluster, CLASSES, &usual).await;
    let spec = made(&cluster, PODS, &pod("b", json!({}))).await["spec"].clone();
    assert_eq!((&spec["priority"], &spec["priorityClassName"]), (&json!(3), &json!("usual")));
    let other = json!({"metadata": {"name": "other"}, "value": 4, "globalDefault": true});
    assert_eq!(
        status(&cluster.post(CLASSES, &other).await),
        (403, "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one default can exist".to_owned())
    );
    let system = format!("{CLASSES}/system-node-critical");
    assert_eq!(cluster.get(&system).await.json()["value"], 2_000_001_000);
    assert_eq!(
        status(&cluster.delete(&system).await),
        (403, "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and cannot be deleted".to_owned())
    );
}

#[tokio::test]
async fn a_namespace_says_what_its_pods_may_do() {
    let cluster = cluster().await;
    let at = format!("{NAMESPACES}/default");
    let bad = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "strict"}}});
    assert_eq!(
        status(&cluster.merge(&at, &bad).await),
        (422, "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted".to_owned())
    );
    for name in ["one", "two"] {
        made(&cluster, PODS, &pod(name, json!({"hostNetwork": true}))).await;
    }
    cluster.until(PODS, |list| list["items"].as_array().map(Vec::len) == Some(2)).await;
    let labels =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let told = cluster.merge(&at, &labels).await;
    assert_eq!(
        (told.code, warnings(&told)),
        (200, vec![
            "299 - \"existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"".to_owned(),
            "299 - \"one (and 1 other pod): host namespaces\"".to_owned(),
        ])
    );
    cluster
        .until(&at, |one| {
            one["metadata"]["labels"].get("pod-security.kubernetes.io/enforce").is_some()
        })
        .await;
    let wanted = (403, "pods \"three\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)".to_owned());
    let mut told = (0, String::new());
    // The plugin reads the namespace from the caches.
    for _ in 0..200 {
        let path = format!("{PODS}?dryRun=All");
        told = status(&cluster.post(&path, &pod("three", json!({"hostPID": true}))).await);
        if told == wanted {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(told, wanted);
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"hostIPC": true,
            "containers": [{"name": "c", "image": "i"}]}}}});
    let answer = cluster.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await;
    assert_eq!(
        (answer.code, warnings(&answer)),
        (201, vec!["299 - \"would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostIPC=true)\"".to_owned()])
    );
}

#[tokio::test]
async fn classes_and_nodes_are_what_admission_makes_of_them() {
    let cluster = cluster().await;
    let node = json!({"metadata": {"name": "n",
        "labels": {"topology.kubernetes.io/zone": "z", "x": "y"}}});
    let node = made(&cluster, "/api/v1/nodes", &node).await;
    let taint = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    assert_eq!(node["spec"]["taints"], taint);

    let runtime = json!({"metadata": {"name": "r"}, "handler": "h",
        "overhead": {"podFixed": {"cpu": "100m"}}, "scheduling": {"nodeSelector": {"a": "b"}}});
    made(&cluster, "/apis/node.k8s.io/v1/runtimeclasses", &runtime).await;
    let spec = json!({"runtimeClassName": "r"});
    let spec = made(&cluster, PODS, &pod("a", spec)).await["spec"].clone();
    assert_eq!(
        (&spec["overhead"], &spec["nodeSelector"]),
        (&json!({"cpu": "100m"}), &json!({"a": "b"}))
    );
    let gone = pod("b", json!({"runtimeClassName": "gone"}));
    assert_eq!(
        status(&cluster.post(PODS, &gone).await),
        (403, "pods \"b\" is forbidden: pod rejected: RuntimeClass \"gone\" not found".to_owned())
    );

    let storage = json!({"metadata": {"name": "fast", "annotations":
        {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"});
    made(&cluster, "/apis/storage.k8s.io/v1/storageclasses", &storage).await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let mut class = Value::Null;
    for _ in 0..200 {
        let answer = cluster.post(&format!("{claims}?dryRun=All"), &claim).await.json();
        class = answer["spec"]["storageClassName"].clone();
        if !class.is_null() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(class, "fast");
    made(&cluster, claims, &claim).await;
    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let refused = cluster.merge(&format!("{claims}/c"), &larger).await;
    assert_ne!(refused.code, 200, "a claim that is not bound does not grow");
}
