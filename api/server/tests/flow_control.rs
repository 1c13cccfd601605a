//! Priority and fairness from outside.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join, join_all};
use serde_json::{Value, json};
use support::{Answer, Cluster, Store};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
/// Three seconds, because nobody has written so much yet.
const SLOW: &str = "/api/v1/configmaps?resourceVersion=99999999&resourceVersionMatch=NotOlderThan";
const QUICK: &str = "/api/v1/namespaces/default/configmaps/none";

/// A server of few seats with two users who may do everything.
async fn cluster() -> Cluster {
    let store = Arc::new(Store::own(1));
    let cluster = Cluster::with(&store, 0, |config| {
        (config.readonly_inflight_max, config.mutating_inflight_max) = (10, 0);
        for name in ["noisy", "quiet"] {
            let user = api_server::TokenUser {
                name: name.to_owned(),
                uid: String::new(),
                groups: Vec::new(),
            };
            config.tokens.insert(format!("{name}-token"), user);
        }
    })
    .await;
    let subject =
        |name: &str| json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": {"name": "both"},
        "subjects": [subject("noisy"), subject("quiet")],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "cluster-admin"}});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let made = cluster.post(bindings, &binding).await;
    assert_eq!(made.code, 201, "{}", made.message());
    for name in ["noisy", "quiet"] {
        while by(&cluster, name, QUICK).await.code == 403 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    cluster
}

async fn by(cluster: &Cluster, user: &str, path: &str) -> Answer {
    let token = format!("Bearer {user}-token");
    cluster.call("GET", path, &[("authorization", &token)], "").await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn uid(cluster: &Cluster, path: &str) -> String {
    let object = cluster.get(path).await.json();
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// A level and a schema that sends one user there.
async fn own_level(cluster: &Cluster, user: &str, response: Value) {
    let limited = json!({"nominalConcurrencyShares": 1, "limitResponse": response,
        "borrowingLimitPercent": 0});
    let level = json!({"metadata": {"name": "own"},
        "spec": {"type": "Limited", "limited": limited}});
    let made = cluster.post(LEVELS, &level).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let all = json!(["*"]);
    let rule = json!({"subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [{"verbs": all, "apiGroups": all, "resources": all, "namespaces": all,
            "clusterScope": true}]});
    let schema = json!({"metadata": {"name": "own"}, "spec": {"matchingPrecedence": 50,
        "priorityLevelConfiguration": {"name": "own"}, "rules": [rule]}});
    let made = cluster.post(SCHEMAS, &schema).await;
    assert_eq!(made.code, 201, "{}", made.message());
}

#[tokio::test]
async fn the_defaults_are_there_from_the_start_and_requests_say_where_they_belong() {
    let cluster = cluster().await;
    let names = |list: &Value| {
        let items = list["items"].as_array().unwrap().iter();
        let names = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    // As a kube-apiserver 1.36 has them.
    assert_eq!(
        names(&cluster.get(SCHEMAS).await.json()),
        "catch-all exempt global-default kube-controller-manager kube-scheduler \
         kube-system-service-accounts probes service-accounts system-leader-election \
         system-node-high system-nodes"
    );
    assert_eq!(
        names(&cluster.get(LEVELS).await.json()),
        "catch-all exempt global-default leader-election node-high system workload-high \
         workload-low"
    );
    let path = format!("{SCHEMAS}/probes");
    let dangling = |schema: &Value| schema["status"]["conditions"][0]["status"] == "False";
    let schema = cluster.until(&path, dangling).await;
    assert_eq!(
        schema["status"]["conditions"][0]["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"exempt\" and it \
         exists"
    );
    let answer = by(&cluster, "quiet", QUICK).await;
    for (name, path) in [
        ("x-kubernetes-pf-flowschema-uid", format!("{SCHEMAS}/global-default")),
        ("x-kubernetes-pf-prioritylevel-uid", format!("{LEVELS}/global-default")),
    ] {
        assert_eq!(header(&answer, name), uid(&cluster, &path).await, "{name}");
    }

    own_level(&cluster, "quiet", json!({"type": "Reject"})).await;
    let wanted = uid(&cluster, &format!("{SCHEMAS}/own")).await;
    while header(&by(&cluster, "quiet", QUICK).await, "x-kubernetes-pf-flowschema-uid") != wanted {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(cluster.delete(&format!("{LEVELS}/own")).await.code, 200);
    let lost = |schema: &Value| schema["status"]["conditions"][0]["reason"] == "NotFound";
    cluster.until(&format!("{SCHEMAS}/own"), lost).await;
    let metrics = cluster.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes);
    assert!(text.contains("apiserver_flowcontrol_dispatched_requests_total{"), "{text}");
}

#[tokio::test]
async fn a_noisy_client_does_not_starve_a_quiet_one() {
    let cluster = cluster().await;
    let done = AtomicUsize::new(0);
    let noise = join_all((0..24).map(|_| async {
        by(&cluster, "noisy", SLOW).await;
        done.fetch_add(1, Ordering::Relaxed);
    }));
    let quiet = async {
        // Until the noise has all that it can get.
        let is_full = |text: &str| {
            let mut lines = text.lines();
            let name =
                "apiserver_flowcontrol_current_inqueue_seats{priority_level=\"global-default\"} ";
            lines.any(|line| line.strip_prefix(name).is_some_and(|count| count != "0"))
        };
        loop {
            let metrics = cluster.get("/metrics").await;
            if is_full(&String::from_utf8_lossy(&metrics.bytes)) {
                break;
            }
        }
        assert_eq!(by(&cluster, "quiet", QUICK).await.code, 404);
        assert!(done.load(Ordering::Relaxed) < 12, "it waited for the noise to end");
    };
    join(noise, quiet).await;
}

#[tokio::test]
async fn who_may_not_wait_is_sent_away_with_a_time_to_come_back() {
    let cluster = cluster().await;
    own_level(&cluster, "noisy", json!({"type": "Reject"})).await;
    let wanted = uid(&cluster, &format!("{LEVELS}/own")).await;
    while header(&by(&cluster, "noisy", QUICK).await, "x-kubernetes-pf-prioritylevel-uid") != wanted
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let answers = join_all((0..5).map(|_| by(&cluster, "noisy", SLOW))).await;
    let refused = answers.iter().filter(|answer| answer.code == 429);
    assert_eq!(refused.clone().count(), 4, "one seat is its own");
    for answer in refused {
        assert_eq!(header(answer, "retry-after"), "1");
    }
}
