//! What is created: a namespace of our own, and pods of about 4.4 KB when they are stored.

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::server::Server;
use super::wire::{Ask, Connection};
use crate::limits;

/// Nobody else's: what a run that was cut short left there is overwritten or taken away.
pub(super) const NAMESPACE: &str = "orlop-bench-api";

/// Where its pods are.
pub(super) const PODS: &str = "/api/v1/namespaces/orlop-bench-api/pods";

pub(super) fn bytes(tree: &Value) -> Bytes {
    Bytes::from(tree.to_string())
}

/// A pod that no node and no controller takes notice of.
pub(super) fn pod(name: &str) -> Value {
    let setting = |number: u32| {
        let value = format!("the value of setting {number}");
        json!({"name": format!("SETTING_{number}"), "value": value})
    };
    let environment: Vec<Value> = (0..30).map(setting).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": "application", "tier": "backend"},
            "annotations": {"a.bench/at": "0000000000000000", "example.com/sum": "a".repeat(64)},
        },
        "spec": {
            "automountServiceAccountToken": false,
            // Nobody binds it.
            "schedulerName": "nobody",
            "containers": [{
                "name": "application",
                "image": "registry.example.com/team/application:v1.2.3",
                "env": environment,
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
            }],
        },
    })
}

/// What a kubelet says of a pod that runs; each word makes it another status.
pub(super) fn status(word: &str) -> Value {
    let time = "2026-01-01T00:00:00Z";
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .iter()
            .map(|kind| {
                json!({"type": kind, "status": "True", "lastProbeTime": null,
                    "lastTransitionTime": time, "reason": word})
            })
            .collect();
    json!({"status": {
        "phase": "Running", "hostIP": "192.0.2.10", "podIP": "10.1.2.3",
        "hostIPs": [{"ip": "192.0.2.10"}], "podIPs": [{"ip": "10.1.2.3"}], "startTime": time,
        "conditions": conditions,
        "containerStatuses": [{
            "name": "application", "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example.com/team/application:v1.2.3",
            "imageID": "registry.example.com/team/application@sha256:0123456789abcdef",
            "containerID": format!("containerd://{}", "0123456789abcdef".repeat(4)),
            "state": {"running": {"startedAt": time}}, "lastState": {},
        }],
    }})
}

/// What somebody applies to a pod.
pub(super) fn applied(name: &str, word: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": name, "labels": {"applied": word}, "annotations": {"bench/applied": word},
    }})
}

/// Makes the namespace and the account that pods run as, as far as they are missing.
pub(super) async fn prepare(server: &Server) -> anyhow::Result<()> {
    let mut connection = Connection::open(server).await?;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    for (path, tree) in [("/api/v1/namespaces", namespace), (accounts.as_str(), account)] {
        let ask = Ask::with(Method::POST, path, bytes(&tree));
        connection.call(ask).await?.expect(&[201, 409], path)?;
    }
    Ok(())
}

/// Requests that delete all pods: each ends after a minute, with some of them gone.
const DELETIONS_MAX: usize = 20;

/// Takes away everything that a run made, where more than the run's own processes would keep it.
pub(super) async fn clean(server: &Server) -> anyhow::Result<()> {
    if server.ready_after().is_some() {
        return Ok(());
    }
    let mut connection = Connection::open(server).await?;
    let within = limits::BENCH_API_LONG_DEADLINE;
    for tried in 1..=DELETIONS_MAX {
        let ask = Ask { method: Method::DELETE, ..Ask::get(PODS) };
        let answer = connection.call_within(within, ask).await?;
        match answer.code {
            504 | 500 if tried < DELETIONS_MAX => {}
            _ => {
                answer.expect(&[200, 202, 404], "the pods")?;
                break;
            }
        }
    }
    let own = format!("/api/v1/namespaces/{NAMESPACE}");
    let mut ask = Ask::get(&own);
    ask.method = Method::DELETE;
    connection.call(ask).await?.expect(&[200, 202, 404, 409], "the namespace")?;
    let answer = connection.call(Ask::get(&own)).await?;
    if answer.code == 404 {
        return Ok(());
    }
    // Where no controller takes away what is in it, nobody else would finish.
    let body = answer.expect(&[200], "the namespace")?;
    let mut tree: Value = serde_json::from_slice(&body).context("a namespace is JSON")?;
    tree["spec"]["finalizers"] = json!([]);
    let path = format!("{own}/finalize");
    let ask = Ask::with(Method::PUT, &path, bytes(&tree));
    connection.call(ask).await?.expect(&[200, 404, 409], "the namespace's end")?;
    Ok(())
}
