//! What one pod costs: reading it into the cache, a row of a table, its protobuf. Run by hand:
//! `cargo run --release -p api-machinery --example pod_costs`.
#![expect(clippy::print_stdout, reason = "a tool run by hand tells what it measured")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use api_machinery::header::{Header, with_resource_version};
use api_machinery::table::{IncludeObject, write_row};
use api_machinery::{Object, View, kinds, protobuf};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const ROUNDS: u32 = 20_000;

/// A running pod as a Deployment makes it, about 4.4 KB.
fn pod() -> Value {
    let at = "2026-01-01T00:00:00Z";
    let env: Vec<Value> = (0..12)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value number {n}")}))
        .collect();
    let conditions: Vec<Value> =
        ["Initialized", "Ready", "ContainersReady", "PodScheduled", "PodReadyToStartContainers"]
            .iter()
            .map(|kind| {
                json!({"type": kind, "status": "True", "lastProbeTime": null,
                    "lastTransitionTime": at, "observedGeneration": 1})
            })
            .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example.com/team/application:v1.2.3",
            "command": ["/bin/application", "--listen=0.0.0.0:8080", "--log=json"], "env": env,
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "500m", "memory": "256Mi"},
                "requests": {"cpu": "100m", "memory": "128Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        })
    };
    let status = |name: &str| {
        json!({
            "name": name, "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example.com/team/application:v1.2.3",
            "imageID": format!("registry.example.com/team/application@sha256:{}", "0".repeat(64)),
            "containerID": format!("containerd://{}", "1".repeat(64)),
            "state": {"running": {"startedAt": at}}, "lastState": {},
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "application-6d4b75cb6d-x7k2p", "generateName": "application-6d4b75cb6d-",
            "namespace": "team", "uid": "8f14e45f-ceea-467f-a8f0-5d6f2c1b9a3e", "generation": 1,
            "creationTimestamp": at,
            "labels": {"app": "application", "pod-template-hash": "6d4b75cb6d", "tier": "backend"},
            "annotations": {"example.com/checksum": "a".repeat(64)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": "application-6d4b75cb6d", "blockOwnerDeletion": true,
                "uid": "c9f0f895-fb98-4bd9-9b1a-2f4d1e0a7c55"}],
        },
        "spec": {
            "containers": [container("application"), container("sidecar")],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "nodeName": "node-17", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default", "serviceAccount": "default", "securityContext": {},
            "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": 300}],
            "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable", "hostIP": "10.0.0.17",
            "podIP": "10.244.3.9", "podIPs": [{"ip": "10.244.3.9"}], "startTime": at,
            "conditions": conditions,
            "containerStatuses": [status("application"), status("sidecar")],
        },
    })
}

fn measured(what: &str, mut one: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        one();
    }
    let each: Duration = start.elapsed() / ROUNDS;
    println!("{what:40} {:8.2} us", each.as_secs_f64() * 1e6);
}

fn main() {
    let info = kinds::find("", "v1", "pods").expect("pods are served");
    let tree = pod();
    let stored = tree.to_string().into_bytes();
    println!("{:40} {:8} bytes", "a pod", stored.len());
    measured("checking that it is JSON", || {
        black_box(serde_json::from_slice::<IgnoredAny>(black_box(&stored)).is_ok());
    });
    measured("its bytes with a resourceVersion", || {
        black_box(with_resource_version(black_box(&stored), 123_456));
    });
    measured("its header", || {
        black_box(Header::of(info, View::new(black_box(&stored))));
    });
    let now = jiff::Timestamp::now();
    let mut out = Vec::new();
    measured("its row in a table", || {
        out.clear();
        write_row(info, View::new(black_box(&stored)), IncludeObject::Metadata, now, &mut out);
    });
    measured("its tree", || {
        black_box(serde_json::from_slice::<Object>(black_box(&stored)).is_ok());
    });
    measured("its protobuf from the tree", || {
        black_box(protobuf::encode_message(info.type_id(), black_box(&tree)).is_ok());
    });
}
