//! Rollouts as stories: the state of a Deployment and its sets goes in, the actions come out.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use serde_json::{Value, json};

use super::{Action, reconcile};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32, change: impl FnOnce(&mut Value)) -> Deployment {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("v2"),
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

/// A set: name, image, revision, size, available, and the Deployment's size when it was last scaled.
fn set(
    name: &str,
    image: &str,
    revision: i32,
    (size, available, desired): (i32, i32, i32),
) -> Arc<ReplicaSet> {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = name.into();
    let surge = (desired + 3) / 4;
    Arc::new(serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:00:{revision:02}Z"),
            "annotations": {
                "deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": (desired + surge).to_string(),
            }},
        "spec": {"replicas": size, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        "status": {"replicas": size, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1},
    }))
    .unwrap())
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// The actions on sets, in short.
fn story(deployment: &Deployment, sets: &[Arc<ReplicaSet>], pods: &[Arc<Pod>]) -> Vec<String> {
    let name = |set: &ReplicaSet| set.metadata.name.clone().unwrap();
    let size = |set: &ReplicaSet| set.spec.as_ref().unwrap().replicas.unwrap();
    let show = |action: &Action| match action {
        Action::Create(set) => Some(format!("create {}", size(set))),
        Action::Update { set, scaled_from: Some(from) } => {
            Some(format!("{} {from}->{}", name(set), size(set)))
        }
        Action::Update { set, scaled_from: None } => Some(format!("{} noted", name(set))),
        Action::Delete(set) => Some(format!("delete {}", name(set))),
        Action::WriteStatus(_) | Action::Again(_) => None,
    };
    reconcile(deployment, sets, pods, now()).iter().filter_map(show).collect()
}

fn condition(actions: &[Action], kind: &str) -> String {
    let status = actions.iter().find_map(|action| match action {
        Action::WriteStatus(deployment) => deployment.status.clone(),
        _ => None,
    });
    let conditions = status.expect("a status is written").conditions.unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition.type_ == kind);
    found.map_or_else(String::new, |c| format!("{} {}", c.status, c.reason.unwrap()))
}

#[test]
fn a_new_deployment_makes_its_set_at_once_and_says_so() {
    let deployment = deployment(3, |_| {});
    assert_eq!(story(&deployment, &[], &[]), ["create 3"]);
    let actions = reconcile(&deployment, &[], &[], now());
    assert_eq!(condition(&actions, "Progressing"), "True NewReplicaSetCreated");
    assert_eq!(condition(&actions, "Available"), "False MinimumReplicasUnavailable");
    let Action::Create(set) = &actions[0] else { panic!("{actions:?}") };
    let annotations = set.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "1");
    assert_eq!(annotations["deployment.kubernetes.io/desired-replicas"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/max-replicas"], "4");
    let hash = &set.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(set.metadata.name.as_deref().unwrap(), format!("web-{hash}"));
    let selector = &set.spec.as_ref().unwrap().selector;
    assert_eq!(&selector.match_labels.as_ref().unwrap()["pod-template-hash"], hash);
}

#[test]
fn a_rolling_update_stays_within_surge_and_availability() {
    let web = deployment(10, |_| {});
    // 10 + 3 may exist, 8 must be available.
    let old = |size, available| set("old", "v1", 1, (size, available, 10));
    let new = |size, available| set("new", "v2", 2, (size, available, 10));
    assert_eq!(story(&web, &[old(10, 10)], &[]), ["create 3", "old 10->8"]);
    assert_eq!(story(&web, &[old(10, 10), new(3, 0)], &[]), ["old 10->8"]);
    assert_eq!(story(&web, &[old(8, 8), new(3, 0)], &[]), ["new 3->5"]);
    assert!(story(&web, &[old(8, 8), new(5, 0)], &[]).is_empty(), "waits for pods");
    assert_eq!(story(&web, &[old(8, 8), new(5, 5)], &[]), ["old 8->3"]);
    assert_eq!(
        story(&web, &[old(8, 4), new(5, 5)], &[]),
        ["old 8->4", "old 4->3"],
        "the sick ones first"
    );
    assert_eq!(story(&web, &[old(3, 3), new(10, 10)], &[]), ["old 3->0"]);
    assert!(story(&web, &[old(0, 0), new(10, 10)], &[]).is_empty());
}

#[test]
fn with_nothing_to_spare_one_may_be_unavailable() {
    let tight =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "1%"}});
    let web = deployment(3, |d| d["spec"]["strategy"] = tight);
    assert_eq!(story(&web, &[set("old", "v1", 1, (3, 3, 3))], &[]), ["create 0", "old 3->2"]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let web = deployment(3, |d| d["spec"]["strategy"] = json!({"type": "Recreate"}));
    assert_eq!(story(&web, &[set("old", "v1", 1, (3, 3, 3))], &[]), ["old 3->0"]);
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "old", "uid": "old", "controller": true}]}}))
    .unwrap();
    let old = set("old", "v1", 1, (0, 0, 3));
    assert!(story(&web, &[Arc::clone(&old)], &[Arc::new(pod)]).is_empty());
    assert_eq!(story(&web, &[old], &[]), ["create 3"]);
}

#[test]
fn scaling_during_a_rollout_is_spread_in_proportion() {
    let (old, new) = (set("old", "v1", 1, (8, 8, 10)), set("new", "v2", 2, (5, 2, 10)));
    let sets = [old, new];
    // From 10 (+3) to 20 (+5): 25 in all, shared 8 : 5.
    assert_eq!(story(&deployment(20, |_| {}), &sets, &[]), ["old 8->15", "new 5->10"]);
    assert_eq!(story(&deployment(0, |_| {}), &sets, &[]), ["old 8->0", "new 5->0"]);
}

#[test]
fn scaling_a_settled_deployment_scales_its_set() {
    let new = set("new", "v2", 2, (3, 3, 3));
    assert_eq!(story(&deployment(7, |_| {}), &[Arc::clone(&new)], &[]), ["new 3->7"]);
    assert_eq!(story(&deployment(1, |_| {}), &[new], &[]), ["new 3->1"]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let paused = |replicas| deployment(replicas, |d| d["spec"]["paused"] = json!(true));
    let old = set("old", "v1", 1, (3, 3, 3));
    assert!(story(&paused(3), &[Arc::clone(&old)], &[]).is_empty());
    assert_eq!(story(&paused(5), &[Arc::clone(&old)], &[]), ["old 3->5"]);
    let actions = reconcile(&paused(3), &[old], &[], now());
    assert_eq!(condition(&actions, "Progressing"), "Unknown DeploymentPaused");
}

#[test]
fn rolling_back_raises_the_revision_and_keeps_the_old_one() {
    let actions = reconcile(
        &deployment(3, |_| {}),
        &[set("back", "v2", 1, (0, 0, 3)), set("bad", "v3", 2, (3, 3, 3))],
        &[],
        now(),
    );
    let Action::Update { set, .. } = &actions[0] else { panic!("{actions:?}") };
    let annotations = set.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn history_beyond_the_limit_is_deleted_oldest_first_once_complete() {
    let complete = |d: &mut Value| {
        d["spec"]["revisionHistoryLimit"] = json!(1);
        d["status"] = json!({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "observedGeneration": 1});
    };
    let sets = [
        set("a", "v0", 1, (0, 0, 3)),
        set("b", "v1", 2, (0, 0, 3)),
        set("new", "v2", 3, (3, 3, 3)),
    ];
    assert_eq!(story(&deployment(3, complete), &sets, &[]), ["delete a"]);
    assert!(story(&deployment(3, |_| {}), &sets, &[]).is_empty(), "not before it is complete");
}

#[test]
fn a_stuck_rollout_times_out_and_a_moving_one_is_checked_later() {
    let stuck = |since: &'static str| {
        move |d: &mut Value| {
            d["status"] = json!({"replicas": 3, "updatedReplicas": 3, "observedGeneration": 1,
                "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated",
                    "lastUpdateTime": since, "lastTransitionTime": since}]});
        }
    };
    let sets = [set("new", "v2", 1, (3, 0, 3))];
    let late = reconcile(&deployment(3, stuck("2026-01-01T00:30:00Z")), &sets, &[], now());
    assert_eq!(condition(&late, "Progressing"), "False ProgressDeadlineExceeded");
    let early = reconcile(&deployment(3, stuck("2026-01-01T00:55:00Z")), &sets, &[], now());
    assert!(early.contains(&Action::Again(std::time::Duration::from_secs(301))), "{early:?}");
}
