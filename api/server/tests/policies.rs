//! Admission policies: the same policies, bindings and requests as on a real kube-apiserver 1.36,
//! whose answers are in `policies.jsonl` (a group of objects and what was asked then on each line).

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use serde_json::{Value, json};
use support::{Answer, Cluster, Store};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1";
const NAMESPACE: &str = "orlop-policy";

async fn cluster() -> Cluster {
    let cluster = Cluster::on(Store::own(1)).await;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    assert_eq!(cluster.post("/api/v1/namespaces", &namespace).await.code, 201);
    cluster
}

fn collection(object: &Value) -> String {
    if let Some(path) = object["_path"].as_str() {
        return path.to_owned();
    }
    let kind = object["kind"].as_str().unwrap();
    let plural = match kind.strip_suffix("Policy") {
        Some(start) => format!("{start}Policies"),
        None => format!("{kind}s"),
    };
    format!("{POLICIES}/{}", plural.to_lowercase())
}

/// Makes objects, and waits until the server's own lists have them: policies see no less.
async fn make(cluster: &Cluster, objects: &[Value]) -> Vec<String> {
    let mut made = Vec::new();
    for object in objects {
        let path = collection(object);
        let mut object = object.clone();
        object.as_object_mut().unwrap().remove("_path");
        let answer = cluster.post(&path, &object).await;
        assert_eq!(answer.code, 201, "{}", answer.message());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(cluster.get(&path).await.code, 200);
        made.push(format!("{path}/{name}"));
    }
    made
}

/// What is the same for every cluster and every run.
fn comparable(mut tree: Value) -> Value {
    if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["uid", "creationTimestamp", "resourceVersion", "managedFields", "generation"] {
            metadata.remove(key);
        }
        if metadata.contains_key("generateName") {
            metadata.remove("name");
        }
    }
    if let Some(details) = tree.get_mut("details").and_then(Value::as_object_mut) {
        details.remove("uid");
    }
    tree
}

fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    all.map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_answer_as_the_real_server_does() {
    let cluster = cluster().await;
    let mut differences = Vec::new();
    for line in include_str!("policies.jsonl").lines() {
        let group: Value = serde_json::from_str(line).unwrap();
        let name = group["name"].as_str().unwrap();
        let made = make(&cluster, group["objects"].as_array().unwrap()).await;
        for (index, request) in group["requests"].as_array().unwrap().iter().enumerate() {
            let headers = [("content-type", "application/json")];
            let text = |key: &str| request[key].as_str().unwrap();
            let body = request["body"].to_string();
            let answer = cluster.call(text("method"), text("path"), &headers, body).await;
            let got = json!([answer.code, comparable(answer.json()), warnings(&answer)]);
            let wanted = json!([
                request["code"],
                comparable(request["answer"].clone()),
                request["warnings"]
            ]);
            let id = format!("{name}/{index}");
            if got != wanted {
                differences.push(format!("{id}\n  got    {got}\n  wanted {wanted}"));
            }
        }
        for path in made.iter().rev() {
            cluster.delete(path).await;
        }
        // What is gone is gone from the lists, too.
        for object in group["objects"].as_array().unwrap() {
            assert_eq!(cluster.get(&collection(object)).await.code, 200);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn deployments_policy(name: &str, validations: &Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["deployments"]}]},
            "validations": validations}})
}

/// As upstream's end-to-end test has it.
#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_checked_against_types_in_the_status() {
    let cluster = cluster().await;
    let good = deployments_policy("good", &json!([{"expression": "object.spec.replicas > 1"}]));
    let bad = deployments_policy(
        "bad",
        &json!([{"expression": "object.spec.replicas > '1'",
            "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"}]),
    );
    make(&cluster, &[good, bad]).await;
    let path = format!("{POLICIES}/validatingadmissionpolicies");
    let is_checked = |policy: &Value| policy["status"]["observedGeneration"] == 1;
    let good = cluster.until(&format!("{path}/good"), is_checked).await;
    assert_eq!(good["status"]["typeChecking"], json!({}));
    let bad = cluster.until(&format!("{path}/bad"), is_checked).await;
    let warnings = bad["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[0].expression");
    let text = warnings[0]["warning"].as_str().unwrap();
    assert!(text.contains("found no matching overload for '_>_' applied to '(int, string)'"));
    let text = warnings[1]["warning"].as_str().unwrap();
    assert!(text.contains("found no matching overload for '_+_' applied to '(string, int)'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_refused_or_changed_is_followed() {
    let cluster = cluster().await;
    let mut policy = deployments_policy("p", &json!([{"expression": "false"}]));
    policy["spec"]["matchConstraints"]["resourceRules"][0] = json!({"apiGroups": [""],
        "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "b"},
        "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    make(&cluster, &[policy, binding]).await;
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    assert_eq!(cluster.post(&maps, &map).await.code, 422);
    let path = format!("{POLICIES}/validatingadmissionpolicies/p");
    let change = json!({"spec": {"validations": [{"expression": "true"}]}});
    assert_eq!(cluster.merge(&path, &change).await.code, 200);
    let list = format!("{POLICIES}/validatingadmissionpolicies");
    assert_eq!(cluster.get(&list).await.code, 200);
    assert_eq!(cluster.post(&maps, &map).await.code, 201);
    let change = json!({"spec": {"validations": [{"expression": "object.x"}]}});
    let refused = cluster.merge(&path, &change).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().contains("must evaluate to bool but got dyn"));
}

fn mutating(name: &str, resource: (&str, &str), mutation: &str) -> [Value; 2] {
    let patch = json!({"patchType": "ApplyConfiguration",
        "applyConfiguration": {"expression": mutation}});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [resource.0],
                "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": [resource.1]}]},
            "mutations": [patch], "reinvocationPolicy": "Never"}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name}});
    [policy, binding]
}

/// By reading: the real server that the other answers are from cannot read its own schemas.
#[tokio::test(flavor = "multi_thread")]
async fn apply_configurations_change_what_they_name() {
    let cluster = cluster().await;
    let sidecar = "Object{spec: Object.spec{template: Object.spec.template{spec: \
        Object.spec.template.spec{initContainers: [Object.spec.template.spec.initContainers{\
        name: 'mesh', image: 'm', restartPolicy: 'Always'}]}}}}";
    let scaled = "Object{spec: Object.spec{replicas: 3}}";
    make(&cluster, &mutating("sidecar", ("apps", "deployments"), sidecar)).await;
    make(&cluster, &mutating("scaled", ("apps", "deployments/scale"), scaled)).await;
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d"}, "spec": {"replicas": 2,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "a", "image": "i"}]}}}});
    let made = cluster.post(&path, &deployment).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let made = made.json();
    let added = &made["spec"]["template"]["spec"]["initContainers"][0];
    assert_eq!(added["name"], "mesh");
    // It has its defaults, too.
    assert_eq!(added["imagePullPolicy"], "Always");
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["name"], "a");
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "d", "namespace": NAMESPACE}, "spec": {"replicas": 9}});
    let scaled = cluster.put(&format!("{path}/d/scale"), &scale).await;
    assert_eq!(scaled.code, 200, "{}", scaled.message());
    assert_eq!(scaled.json()["spec"]["replicas"], 3);
    assert_eq!(cluster.get(&format!("{path}/d")).await.json()["spec"]["replicas"], 3);
}
