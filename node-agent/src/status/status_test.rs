//! The status by its rules: what was forgotten, what others say, and what a pod's end means.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use super::{DEADLINE_EXCEEDED, Eviction, Facts, Waiting, contradicts, status};
use crate::plan::Health;
use crate::view::{Instance, PodView, Run, Sandbox};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"uid": "u", "generation": 3}, "spec": spec}))
        .unwrap()
}

fn one() -> Pod {
    pod(json!({"containers": [{"name": "c", "image": "i"}]}))
}

/// A past in which the container `c` was in this state.
fn past(state: Value, restarts: i32) -> PodStatus {
    serde_json::from_value(json!({"phase": "Running", "containerStatuses": [{
        "name": "c", "image": "i", "imageID": "x", "ready": true, "restartCount": restarts,
        "containerID": "r://old", "state": state}]}))
    .unwrap()
}

fn running(id: &str, restarts: i32) -> Instance {
    Instance {
        id: id.to_owned(),
        name: "c".to_owned(),
        sandbox: "s".to_owned(),
        run: Run::Running,
        started_ns: 1_000_000_000,
        restarts,
        ..Default::default()
    }
}

struct Case<'a> {
    pod: &'a Pod,
    previous: &'a PodStatus,
    containers: Vec<Instance>,
    is_ending: bool,
    evicted: Option<Eviction>,
}

impl Case<'_> {
    fn status(self) -> Value {
        let sandbox = Sandbox {
            id: "s".to_owned(),
            is_ready: true,
            ips: vec!["1".into()],
            ..Default::default()
        };
        let view = PodView { sandboxes: vec![sandbox], containers: self.containers };
        let facts = Facts {
            view: &view,
            waiting: &HashMap::<String, Waiting>::new(),
            health: &|_| Health::FINE,
            previous: self.previous,
            node_ip: "n",
            runtime_name: "r",
            now: Timestamp::from_second(100).unwrap(),
            is_ending: self.is_ending,
            evicted: self.evicted,
        };
        serde_json::to_value(status(self.pod, &facts)).unwrap()
    }
}

fn of(previous: &PodStatus, containers: Vec<Instance>) -> Value {
    Case { pod: &one(), previous, containers, is_ending: false, evicted: None }.status()
}

#[test]
fn c1_a_count_of_restarts_never_falls() {
    let ran = past(json!({"running": {}}), 4);
    let container = |status: &Value| status["containerStatuses"][0].clone();
    assert_eq!(container(&of(&ran, vec![running("old", 4)]))["restartCount"], 4);
    assert_eq!(container(&of(&ran, vec![running("new", 5)]))["restartCount"], 5);
    assert_eq!(container(&of(&ran, vec![running("new", 0)]))["restartCount"], 4);
    let ended = past(json!({"terminated": {"exitCode": 1, "reason": "Error"}}), 4);
    let anew = container(&of(&ended, vec![running("new", 0)]));
    assert_eq!(anew["restartCount"], 5, "it began anew");
    assert_eq!(anew["lastState"]["terminated"]["reason"], "Error", "how it ended is remembered");
}

#[test]
fn c2_what_ran_and_is_gone_has_ended() {
    let ran = past(json!({"running": {}}), 0);
    let status = of(&ran, vec![]);
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!(container["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(status["phase"], "Running", "it is about to run again");
    let again: PodStatus = serde_json::from_value(status).unwrap();
    assert_eq!(of(&again, vec![])["containerStatuses"][0]["restartCount"], 1, "it is lost once");

    let waited = past(json!({"waiting": {}}), 0);
    assert_eq!(of(&waited, vec![])["containerStatuses"][0]["restartCount"], 0);
    let (pod, previous) = (one(), PodStatus::default());
    let deleted =
        Case { pod: &pod, previous: &previous, containers: vec![], is_ending: true, evicted: None };
    let deleted = deleted.status();
    assert_eq!(deleted["phase"], "Failed");
    assert_eq!(deleted["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
}

#[test]
fn a_pod_that_ends_before_it_is_initialized_says_which_containers_never_began() {
    let pod = pod(json!({"initContainers": [{"name": "i"}, {"name": "j"}],
        "containers": [{"name": "c"}]}));
    let previous = PodStatus::default();
    let case =
        Case { pod: &pod, previous: &previous, containers: vec![], is_ending: true, evicted: None };
    let status = case.status();
    let init = &status["initContainerStatuses"];
    assert!(init[0]["state"]["terminated"].is_object(), "the first is always told about");
    assert!(init[1]["state"]["waiting"].is_object());
    assert!(status["containerStatuses"][0]["state"]["waiting"].is_object());
    assert_eq!(status["phase"], "Failed");
}

#[test]
fn an_init_container_that_is_gone_did_its_work_when_the_pods_own_containers_are_there() {
    let pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}));
    let previous = PodStatus::default();
    let containers = vec![running("x", 0)];
    let case = Case { pod: &pod, previous: &previous, containers, is_ending: false, evicted: None };
    let status = case.status();
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(status["phase"], "Running");
}

#[test]
fn an_eviction_is_a_failure_unless_the_pod_had_ended_before() {
    let (pod, evicted) = (one(), Some(DEADLINE_EXCEEDED));
    let of = |previous: &PodStatus| {
        Case { pod: &pod, previous, containers: vec![], is_ending: false, evicted }.status()
    };
    let mut before = past(json!({"running": {}}), 0);
    let status = of(&before);
    assert_eq!(
        (&status["phase"], &status["reason"]),
        (&json!("Failed"), &json!("DeadlineExceeded"))
    );
    before.phase = Some("Succeeded".to_owned());
    assert_eq!(of(&before)["phase"], "Succeeded");
    // A reason belongs to its phase.
    let mut pending = past(json!({"running": {}}), 0);
    pending.phase = Some("Pending".to_owned());
    pending.reason = Some("Old".to_owned());
    let case = Case {
        pod: &pod,
        previous: &pending,
        containers: vec![running("c", 0)],
        is_ending: false,
        evicted: None,
    };
    assert!(case.status().get("reason").is_none());
}

#[test]
fn what_others_say_opens_the_gates_of_a_pod() {
    let said = |value: Option<&str>| {
        let mut pod = pod(json!({"containers": [{"name": "c"}],
            "readinessGates": [{"conditionType": "example.com/lb"}]}));
        let conditions = value.map(|v| json!([{"type": "example.com/lb", "status": v}]));
        pod.status = serde_json::from_value(json!({"conditions": conditions})).unwrap();
        let previous = PodStatus::default();
        let containers = vec![running("x", 0)];
        let case =
            Case { pod: &pod, previous: &previous, containers, is_ending: false, evicted: None };
        let status = case.status();
        let all = status["conditions"].as_array().unwrap().clone();
        let ready = all.iter().find(|c| c["type"] == "Ready").unwrap().clone();
        (
            ready["status"].clone(),
            ready["message"].as_str().unwrap_or_default().to_owned(),
            all.len(),
        )
    };
    let (ready, message, count) = said(None);
    assert_eq!((ready, count), (json!("False"), 5));
    assert_eq!(
        message,
        "corresponding condition of pod readiness gate \"example.com/lb\" does not exist."
    );
    let (ready, message, count) = said(Some("False"));
    assert_eq!((ready, count), (json!("False"), 6));
    assert_eq!(
        message,
        "the status of pod readiness gate \"example.com/lb\" is not \"True\", but False"
    );
    assert_eq!(said(Some("True")).0, "True");
}

#[test]
fn what_somebody_wrote_over_our_own_conditions_is_noticed() {
    let of = |kind: &str, value: &str| -> PodStatus {
        serde_json::from_value(json!({"conditions": [{"type": kind, "status": value}]})).unwrap()
    };
    let own = of("Ready", "True");
    assert!(contradicts(&of("Ready", "False"), &own), "the node was thought lost");
    assert!(!contradicts(&own, &own));
    assert!(!contradicts(&PodStatus::default(), &own), "not written yet");
    let others = of("example.com/gate", "True");
    assert!(!contradicts(&of("example.com/gate", "False"), &others), "that is theirs to say");
}

#[test]
fn long_messages_share_twelve_kibibytes() {
    let pod =
        pod(json!({"containers": [{"name": "c"}, {"name": "d"}, {"name": "e"}, {"name": "f"}]}));
    let mut run = running("x", 0);
    run.run = Run::Exited;
    run.message = "é".repeat(2048);
    let previous = PodStatus::default();
    let case = Case {
        pod: &pod,
        previous: &previous,
        containers: vec![run],
        is_ending: false,
        evicted: None,
    };
    let message = case.status()["containerStatuses"][0]["state"]["terminated"]["message"].clone();
    assert_eq!(message.as_str().unwrap().len(), 3072);
}
