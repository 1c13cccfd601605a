//! How many pods are made, which are deleted, and what the status says.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use serde_json::{Value, json};

use super::{Failure, Plan, reconcile, status};

fn set(replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "s", "generation": 4},
        "spec": {"replicas": replicas, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "v": "1"}}, "spec": {"containers": []}}},
    }))
    .unwrap()
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "labels": {"app": "web", "v": "1"},
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [], "nodeName": name},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    change(&mut pod);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

#[test]
fn the_number_of_pods_follows_the_spec_in_bounded_steps() {
    let pods = [pod("a", |_| {}), pod("b", |_| {})];
    assert_eq!(reconcile(&set(2), &pods, &pods, now()), Plan::Keep);
    assert_eq!(reconcile(&set(5), &pods, &pods, now()), Plan::Create(3));
    assert_eq!(reconcile(&set(10_000), &pods, &pods, now()), Plan::Create(500));
    let Plan::Delete(gone) = reconcile(&set(0), &pods, &pods, now()) else { panic!("deletes") };
    assert_eq!(gone.len(), 2);
}

#[test]
fn the_least_useful_pod_goes_first() {
    let at = |time: &'static str| {
        move |p: &mut Value| {
            p["metadata"]["creationTimestamp"] = time.into();
            p["status"]["conditions"][0]["lastTransitionTime"] = time.into();
        }
    };
    type Change = Box<dyn FnOnce(&mut Value)>;
    let cases: Vec<(&str, Change)> = vec![
        ("not scheduled", Box::new(|p| p["spec"]["nodeName"] = json!(""))),
        ("pending", Box::new(|p| p["status"]["phase"] = json!("Pending"))),
        ("not ready", Box::new(|p| p["status"]["conditions"][0]["status"] = json!("False"))),
        (
            "cheap to delete",
            Box::new(|p| {
                p["metadata"]["annotations"] =
                    json!({"controller.kubernetes.io/pod-deletion-cost": "-5"});
            }),
        ),
        ("ready for a minute only", Box::new(at("2026-01-01T00:59:00Z"))),
        (
            "restarted often",
            Box::new(|p| {
                p["status"]["containerStatuses"] = json!([{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 3}]);
            }),
        ),
    ];
    for (what, change) in cases {
        let pods = [pod("a", |_| {}), pod("z", change), pod("b", |_| {})];
        let Plan::Delete(gone) = reconcile(&set(2), &pods, &pods, now()) else { panic!("deletes") };
        assert_eq!(gone[0].metadata.name.as_deref(), Some("z"), "{what}");
    }
    let doubled = |p: &mut Value| p["spec"]["nodeName"] = json!("full");
    let pods = [pod("a", |_| {}), pod("y", doubled), pod("z", doubled)];
    let Plan::Delete(gone) = reconcile(&set(2), &pods, &pods, now()) else { panic!("deletes") };
    assert_eq!(gone[0].metadata.name.as_deref(), Some("y"), "two on one node");
}

#[test]
fn the_status_counts_what_is_there() {
    let pods = [
        pod("a", |_| {}),
        pod("fresh", |p| {
            p["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:59:55Z");
        }),
        pod("sick", |p| p["status"]["conditions"][0]["status"] = json!("False")),
        pod("other", |p| p["metadata"]["labels"] = json!({"app": "web"})),
    ];
    let counted = status(&set(4), &pods, 1, None, now());
    assert_eq!(
        serde_json::to_value(&counted).unwrap(),
        json!({"replicas": 4, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 2,
            "terminatingReplicas": 1, "observedGeneration": 4})
    );
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let failure = Failure { reason: "FailedCreate", message: "quota".into() };
    let failed = status(&set(4), &[], 0, Some(&failure), now());
    let condition = &failed.conditions.as_ref().unwrap()[0];
    assert_eq!(
        (condition.type_.as_str(), condition.reason.as_deref()),
        ("ReplicaFailure", Some("FailedCreate"))
    );
    let mut set = set(4);
    set.status = Some(failed);
    assert_eq!(status(&set, &[], 0, None, now()).conditions, None);
}
