//! Quotas and limit ranges from outside. What is expected in `quota/cases.json` is what
//! kube-apiserver 1.36 answered to the same requests.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Map, Value, json};
use support::{Answer, Cluster, Store};

const CASES: &str = include_str!("quota/cases.json");

/// A namespace in which pods can be made.
async fn namespace(cluster: &Cluster, name: &str) -> String {
    let made = cluster.post("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let path = format!("/api/v1/namespaces/{name}");
    let account = json!({"metadata": {"name": "default"}});
    let made = cluster.post(&format!("{path}/serviceaccounts"), &account).await;
    assert_eq!(made.code, 201, "{}", made.message());
    path
}

/// Makes a quota and plays its controller, which measured nothing but quotas.
async fn quota(cluster: &Cluster, path: &str, quota: &Value) {
    let made = cluster.post(&format!("{path}/resourcequotas"), quota).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let hard = quota["spec"]["hard"].clone();
    let start = |name: &String| json!(if name == "resourcequotas" { "1" } else { "0" });
    let names = hard.as_object().unwrap().keys();
    let used: Map<String, Value> = names.map(|name| (name.clone(), start(name))).collect();
    let name = quota["metadata"]["name"].as_str().unwrap();
    let status = json!({"status": {"hard": hard, "used": used}});
    let one = format!("{path}/resourcequotas/{name}");
    let measured = cluster.merge(&format!("{one}/status"), &status).await;
    assert_eq!(measured.code, 200, "{}", measured.message());
    is_seen(cluster, &format!("{path}/resourcequotas"), name).await;
}

/// Waits until admission sees what a list from the cache shows.
async fn is_seen(cluster: &Cluster, list: &str, name: &str) {
    let is_there = |list: &Value| {
        let mut items = list["items"].as_array().unwrap().iter();
        items.any(|item| item["metadata"]["name"] == name && !item["status"]["used"].is_null())
    };
    cluster.until(&format!("{list}?resourceVersion=0"), is_there).await;
}

async fn send(cluster: &Cluster, path: &str, write: &Value) -> Answer {
    let (method, rest, body) = (write[0].as_str().unwrap(), write[1].as_str().unwrap(), &write[2]);
    let in_group = |rest: &str| {
        let namespace = path.rsplit('/').next().unwrap();
        rest.replace("/namespaces/NS/", &format!("/namespaces/{namespace}/"))
    };
    let path = if rest.starts_with('/') { in_group(rest) } else { format!("{path}/{rest}") };
    match method {
        "POST" => cluster.post(&path, body).await,
        _ => cluster.merge(&path, body).await,
    }
}

fn containers(pod: &Value) -> Value {
    let list = |name: &str| pod["spec"][name].as_array().cloned().unwrap_or_default();
    let all = [list("initContainers"), list("containers")].concat();
    all.iter().map(|container| container["resources"].clone()).collect()
}

#[tokio::test]
async fn what_a_quota_or_a_range_refuses_changes_and_counts_is_upstreams() {
    let cluster = Cluster::on(Store::own(1)).await;
    let cases: Value = serde_json::from_str(CASES).unwrap();
    for (index, case) in cases.as_array().unwrap().iter().enumerate() {
        let path = namespace(&cluster, &format!("case-{index}")).await;
        for one in case["quotas"].as_array().unwrap() {
            quota(&cluster, &path, one).await;
        }
        for range in case["ranges"].as_array().unwrap() {
            // Not waited for: of a new namespace the store is asked.
            let made = cluster.post(&format!("{path}/limitranges"), range).await;
            assert_eq!(made.code, 201, "{}", made.message());
        }
        for write in case["writes"].as_array().unwrap() {
            let (answer, expected) = (send(&cluster, &path, write).await, &write[3]);
            let what = format!("{}: {write}: {}", case["name"], answer.message());
            assert_eq!(expected["code"], answer.code, "{what}");
            let made = answer.json();
            if answer.code >= 300 {
                assert_eq!(expected["message"], made["message"], "{what}");
            } else if made["kind"] == "Pod" {
                let told = &made["metadata"]["annotations"]["kubernetes.io/limit-ranger"];
                assert_eq!(&expected["annotation"], told, "{what}");
                assert_eq!(expected["resources"], containers(&made), "{what}");
            }
        }
        for (name, used) in case["used"].as_object().unwrap() {
            let quota = cluster.get(&format!("{path}/resourcequotas/{name}")).await.json();
            assert_eq!(&quota["status"]["used"], used, "{}: {name}", case["name"]);
        }
    }
}

#[tokio::test]
async fn a_charge_is_the_servers_own_change_of_the_status() {
    let cluster = Cluster::on(Store::own(1)).await;
    let path = namespace(&cluster, "owned").await;
    let spec = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}});
    quota(&cluster, &path, &spec).await;
    let map = json!({"metadata": {"name": "m"}});
    let made = cluster.post(&format!("{path}/configmaps"), &map).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let quota = cluster.get(&format!("{path}/resourcequotas/q")).await.json();
    let entries = quota["metadata"]["managedFields"].as_array().unwrap();
    let own = entries.iter().find(|entry| entry["manager"] == "kube-apiserver").unwrap();
    assert_eq!(own["subresource"], "status");
    assert_eq!(own["operation"], "Update");
}

#[tokio::test]
async fn a_quota_that_nobody_measured_lets_nothing_through() {
    let cluster = Cluster::on(Store::own(1)).await;
    let path = namespace(&cluster, "unknown").await;
    let spec =
        json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1", "pods": "1"}}});
    quota(&cluster, &path, &spec).await;
    let lost = json!({"status": {"used": {"configmaps": null}}});
    let lost = cluster.merge(&format!("{path}/resourcequotas/q/status"), &lost).await;
    assert_eq!(lost.code, 200, "{}", lost.message());
    let gone = |list: &Value| list["items"][0]["status"]["used"]["configmaps"].is_null();
    cluster.until(&format!("{path}/resourcequotas?resourceVersion=0"), gone).await;
    let map = json!({"metadata": {"name": "m"}});
    let refused = cluster.post(&format!("{path}/configmaps"), &map).await;
    assert_eq!(
        refused.message(),
        "configmaps \"m\" is forbidden: status unknown for quota: q, resources: configmaps"
    );
}

#[tokio::test]
async fn many_creates_at_once_on_two_servers_never_pass_the_limit() {
    const LIMIT: usize = 20;
    let store = Arc::new(Store::own(1));
    let one = Cluster::beside(&store, 0).await;
    let two = Cluster::beside(&store, 0).await;
    let path = namespace(&one, "crowd").await;
    let limit = LIMIT.to_string();
    for name in ["a", "b"] {
        let hard = json!({"pods": limit, "count/pods": "100"});
        quota(&one, &path, &json!({"metadata": {"name": name}, "spec": {"hard": hard}})).await;
        is_seen(&two, &format!("{path}/resourcequotas"), name).await;
    }
    let pods = format!("{path}/pods");
    let create = |index: usize| {
        let cluster = if index.is_multiple_of(2) { &one } else { &two };
        let spec = json!({"containers": [{"name": "c", "image": "i"}]});
        let pod = json!({"metadata": {"name": format!("p{index}")}, "spec": spec});
        let pods = pods.clone();
        async move { cluster.post(&pods, &pod).await }
    };
    let answers = join_all((0..50).map(create)).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    let refused = answers.iter().filter(|answer| answer.code == 403);
    for answer in refused.clone() {
        let is_full = answer.message().contains("exceeded quota: ");
        assert!(is_full, "{}", answer.message());
    }
    let others = answers.iter().find(|answer| !matches!(answer.code, 201 | 403));
    assert_eq!(others.map(Answer::message), None);
    let there = one.get(&pods).await.json()["items"].as_array().unwrap().len();
    assert_eq!((made, there), (LIMIT, LIMIT));
    assert_eq!(refused.count(), 50 - LIMIT);
    for name in ["a", "b"] {
        let quota = one.get(&format!("{path}/resourcequotas/{name}")).await.json();
        assert_eq!(quota["status"]["used"]["pods"], limit, "{name}: no charge is lost");
    }
}
