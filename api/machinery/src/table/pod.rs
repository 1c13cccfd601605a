//! The row of a pod: what its containers are doing, in one word.

use jiff::Timestamp;
use serde_json::Value;

use crate::{Object, time};

/// What a row says of the containers.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

pub(super) fn cells(pod: &Object, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts > 0 => {
            let ago = time::human_duration(now.duration_since(at).as_secs());
            format!("{} ({ago} ago)", summary.restarts)
        }
        _ => summary.restarts.to_string(),
    };
    let or_none = |text: &str| if text.is_empty() { "<none>" } else { text }.to_owned();
    let ip = pod.at(&["status", "podIPs"]).and_then(|ips| ips[0]["ip"].as_str());
    vec![
        pod.name().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        time::age(pod.creation_timestamp(), now).into(),
        or_none(ip.unwrap_or("")).into(),
        or_none(pod.text(&["spec", "nodeName"])).into(),
        or_none(pod.text(&["status", "nominatedNodeName"])).into(),
        readiness_gates(pod).into(),
    ]
}

fn list<'a>(pod: &'a Object, path: &[&str]) -> &'a [Value] {
    pod.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn readiness_gates(pod: &Object) -> String {
    let gates = list(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let conditions = list(pod, &["status", "conditions"]);
    let met = gates
        .iter()
        .filter(|gate| {
            conditions
                .iter()
                .any(|one| one["type"] == gate["conditionType"] && one["status"] == "True")
        })
        .count();
    format!("{met}/{}", gates.len())
}

fn is_sidecar(container: Option<&Value>) -> bool {
    container.is_some_and(|container| container["restartPolicy"] == "Always")
}

fn terminated_reason(terminated: &Value) -> String {
    let reason = text(terminated, "reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated["signal"].as_i64().unwrap_or(0) {
        0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}

fn finished_at(status: &Value) -> Option<Timestamp> {
    time::parse(text(&status["lastState"]["terminated"], "finishedAt"))
}

fn summarize(pod: &Object) -> Summary {
    let phase = pod.text(&["status", "phase"]);
    let reason = pod.text(&["status", "reason"]);
    let mut out = Summary {
        reason: if reason.is_empty() { phase } else { reason }.to_owned(),
        ready: 0,
        total: list(pod, &["spec", "containers"]).len(),
        restarts: 0,
        last_restart: None,
    };
    let conditions = list(pod, &["status", "conditions"]);
    if conditions
        .iter()
        .any(|one| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated")
    {
        out.reason = "SchedulingGated".to_owned();
    }
    let (initializing, sidecars) = summarize_init(pod, &mut out);
    let initialized =
        conditions.iter().any(|one| one["type"] == "Initialized" && one["status"] == "True");
    if !initializing || initialized {
        out.restarts = sidecars.restarts;
        out.last_restart = sidecars.last_restart;
        summarize_main(pod, &mut out, conditions);
    }
    if pod.deletion_timestamp().is_some() {
        if reason == "NodeLost" {
            out.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            out.reason = "Terminating".to_owned();
        }
    }
    out
}

#[derive(Default)]
struct Sidecars {
    restarts: i64,
    last_restart: Option<Timestamp>,
}

/// Whether an init container still keeps the pod from starting.
fn summarize_init(pod: &Object, out: &mut Summary) -> (bool, Sidecars) {
    let specs = list(pod, &["spec", "initContainers"]);
    out.total += specs.iter().filter(|one| is_sidecar(Some(one))).count();
    let mut sidecars = Sidecars::default();
    for (index, status) in list(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        let spec = specs.iter().find(|one| one["name"] == status["name"]);
        let count = status["restartCount"].as_i64().unwrap_or(0);
        out.restarts += count;
        out.last_restart = out.last_restart.max(finished_at(status));
        if is_sidecar(spec) {
            sidecars.restarts += count;
            sidecars.last_restart = sidecars.last_restart.max(finished_at(status));
        }
        let state = &status["state"];
        if state["terminated"]["exitCode"] == 0 {
            continue;
        }
        if is_sidecar(spec) && status["started"] == true {
            out.ready += usize::from(status["ready"] == true);
            continue;
        }
        let waiting = text(&state["waiting"], "reason");
        out.reason = if state["terminated"].is_object() {
            format!("Init:{}", terminated_reason(&state["terminated"]))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", specs.len())
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

fn summarize_main(pod: &Object, out: &mut Summary, conditions: &[Value]) {
    let mut has_running = false;
    for status in list(pod, &["status", "containerStatuses"]).iter().rev() {
        out.restarts += status["restartCount"].as_i64().unwrap_or(0);
        out.last_restart = out.last_restart.max(finished_at(status));
        let state = &status["state"];
        let waiting = text(&state["waiting"], "reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut out.reason);
        } else if state["terminated"].is_object() {
            out.reason = terminated_reason(&state["terminated"]);
        } else if status["ready"] == true && state["running"].is_object() {
            has_running = true;
            out.ready += 1;
        }
    }
    if out.reason == "Completed" && has_running {
        let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        out.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_is_the_word_that_kubectl_shows() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let base = |status: Value| {
            Object::from_value(json!({
                "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
                "status": status,
            }))
            .unwrap()
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
                {"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
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
            let row = cells(&base(status.clone()), now);
            assert_eq!(
                (&row[1], &row[2], &row[3]),
                (&json!(ready), &json!(word), &json!(restarts)),
                "{status}"
            );
        }
        let mut going = base(json!({"phase": "Running"}));
        going.set_deletion(Some(("2026-01-01T00:00:00Z", 30)));
        assert_eq!(cells(&going, now)[2], "Terminating");
    }
}
