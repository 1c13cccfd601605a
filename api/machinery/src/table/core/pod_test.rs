//! The rows of pods in every state.

use serde_json::{Value, json};

use crate::View;
use crate::table::{IncludeObject, cells_at_one, write_row};

fn shown(pod: &Value) -> Vec<Value> {
    let mut pod = pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    cells_at_one(&pod)
}

#[test]
fn the_status_is_the_word_that_kubectl_shows() {
    let base = |status: Value| {
        json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}],
                "initContainers": [{"name": "i"}]},
            "status": status,
        })
    };
    let running = json!({"running": {}});
    for (status, ready, word, restarts) in [
        (json!({"phase": "Pending"}), "0/2", "Pending", "0"),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            "0/2",
            "Init:0/1",
            "0",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"terminated": {"exitCode": 2}}}]}),
            "0/2",
            "Init:ExitCode:2",
            "0",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "ready": true, "state": running, "restartCount": 0},
            {"name": "b", "ready": true, "state": running, "restartCount": 0}]}),
            "2/2",
            "Running",
            "0",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "ready": true, "state": running, "restartCount": 0},
            {"name": "b", "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:00Z"}}}]}),
            "1/2",
            "CrashLoopBackOff",
            "3 (60s ago)",
        ),
        (json!({"phase": "Failed", "reason": "Evicted"}), "0/2", "Evicted", "0"),
        (
            json!({"phase": "Succeeded", "containerStatuses": [
            {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            "0/2",
            "Completed",
            "0",
        ),
    ] {
        let row = shown(&base(status.clone()));
        assert_eq!(
            (&row[1], &row[2], &row[3]),
            (&json!(ready), &json!(word), &json!(restarts)),
            "{status}"
        );
    }
}

#[test]
fn a_failed_container_is_seen_behind_one_that_completed() {
    let state = |name: &str| match name {
        "runs" => json!({"ready": true, "state": {"running": {}}}),
        "fails" => json!({"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}),
        "killed" => json!({"state": {"terminated": {"exitCode": 137, "signal": 9}}}),
        "exits" => json!({"state": {"terminated": {"exitCode": 3}}}),
        _ => json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}),
    };
    let ready = json!([{"type": "Ready", "status": "True"}]);
    for (states, conditions, word) in [
        (["done", "done"], json!([]), "Completed"),
        (["done", "runs"], json!([]), "NotReady"),
        (["done", "runs"], ready.clone(), "Running"),
        (["done", "fails"], json!([]), "Error"),
        (["done", "fails"], ready.clone(), "Error"),
        (["done", "killed"], json!([]), "Signal:9"),
        (["done", "exits"], json!([]), "ExitCode:3"),
        (["fails", "done"], json!([]), "Error"),
        (["killed", "runs"], ready, "Signal:9"),
    ] {
        let pod = json!({"status": {"phase": "Running", "conditions": conditions,
            "containerStatuses": states.map(state)}});
        assert_eq!(shown(&pod)[2], word, "{states:?}");
    }
}

#[test]
fn a_pod_that_goes_says_so_unless_it_is_done() {
    let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    for (metadata, phase, reason, word) in [
        (going.clone(), "Running", "", "Terminating"),
        (going.clone(), "Pending", "Evicted", "Terminating"),
        (going.clone(), "Running", "NodeLost", "Unknown"),
        (going.clone(), "Succeeded", "NodeLost", "Unknown"),
        (going.clone(), "Succeeded", "", "Succeeded"),
        (going, "Failed", "Evicted", "Evicted"),
        (json!({}), "Running", "NodeLost", "NodeLost"),
    ] {
        let status = json!({"phase": phase, "reason": reason});
        let pod = json!({"metadata": metadata, "status": status});
        assert_eq!(shown(&pod)[2], word, "{pod}");
    }
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    let pod = json!({"status": {"phase": "Pending", "conditions": gated}});
    assert_eq!(shown(&pod)[2], "SchedulingGated");
}

#[test]
fn sidecars_count_as_containers_and_their_restarts_stay() {
    let last = json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:50:00Z"}});
    let side = json!({"name": "side", "ready": true, "started": true, "restartCount": 2,
        "state": {"running": {}}, "lastState": last});
    let init = json!({"name": "init", "restartCount": 5,
        "state": {"terminated": {"exitCode": 0}}});
    let waits = json!({"name": "init", "restartCount": 5, "state": {"waiting": {}}});
    let main = json!({"name": "main", "ready": true, "restartCount": 1,
        "state": {"running": {}}});
    for (inits, ready, word, restarts) in [
        (json!([side, init]), "2/2", "Running", "3 (10m ago)"),
        (json!([side, waits]), "1/2", "Init:1/2", "7 (10m ago)"),
        (json!([init]), "1/2", "Running", "1"),
    ] {
        let pod = json!({
            "spec": {"containers": [{"name": "main"}], "initContainers": [
                {"name": "side", "restartPolicy": "Always"}, {"name": "init"}]},
            "status": {"phase": "Running", "containerStatuses": [main],
                "initContainerStatuses": inits},
        });
        assert_eq!(shown(&pod)[1..4], [ready, word, restarts].map(Value::from), "{inits}");
    }
}

#[test]
fn the_wide_columns_show_where_a_pod_is() {
    let nothing = shown(&json!({}));
    assert_eq!(nothing[5..], ["<none>"; 4].map(Value::from));
    let pod = json!({
        "spec": {"nodeName": "n", "readinessGates":
            [{"conditionType": "a/b"}, {"conditionType": "a/c"}, {"conditionType": "a/d"}]},
        "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}],
            "nominatedNodeName": "m", "conditions": [
                {"type": "a/b", "status": "True"}, {"type": "a/c", "status": "False"}]},
    });
    assert_eq!(shown(&pod)[5..], ["10.0.0.1", "n", "m", "1/3"].map(Value::from));
}

#[test]
fn a_row_of_a_pod_that_is_done_has_a_condition() {
    let info = crate::kinds::find("", "v1", "pods").unwrap();
    for (phase, reason) in
        [("Succeeded", json!("Succeeded")), ("Failed", json!("Failed")), ("Running", json!(null))]
    {
        let pod = json!({"status": {"phase": phase}}).to_string();
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let mut out = Vec::new();
        write_row(info, View::new(pod.as_bytes()), IncludeObject::None, now, &mut out);
        let row: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(row["conditions"][0]["reason"], reason);
        assert_eq!(row.get("conditions").is_some(), phase != "Running");
    }
}
