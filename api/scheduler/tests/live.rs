//! The scheduler on a live API server, from outside. The server is named by ORLOP_TEST_KUBECONFIG (an admin).

use std::{future::Future, path::PathBuf, time::Duration};

use clap::Parser;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: api_scheduler::Flags,
}

async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_is_told_why_and_bound_once_a_node_comes() {
    let Some(kubeconfig) = std::env::var_os("ORLOP_TEST_KUBECONFIG").map(PathBuf::from) else {
        eprintln!("SKIPPED: ORLOP_TEST_KUBECONFIG names no API server to run the scheduler on");
        return;
    };
    let path = kubeconfig.to_str().unwrap();
    // An election of its own, so that two runs on one server take turns.
    let flags = [
        "x",
        "--kubeconfig",
        path,
        "--secure-port",
        "0",
        "--leader-elect-resource-name",
        "orlop-test-s",
    ];
    let config = Arguments::parse_from(flags).flags.into_config().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(api_scheduler::run(config, stop.clone()));

    let client = api_client::process::connect(&kubeconfig).await.unwrap();
    let name = format!("orlop-live-{}", std::process::id());
    let (pods, nodes): (Api<Pod>, Api<Node>) =
        (Api::namespaced(client.clone(), "default"), Api::all(client.clone()));
    let pod = json!({"metadata": {"name": name}, "spec": {"nodeSelector": {"orlop-live": name},
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "none", "resources": {"requests": {"cpu": "1"}}}]}});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    eventually("the pod is told that it fits nowhere", || async {
        let status = pods.get(&name).await.unwrap().status.unwrap_or_default();
        status.conditions.into_iter().flatten().any(|condition| {
            condition.type_ == "PodScheduled"
                && condition.status == "False"
                && condition.reason.as_deref() == Some("Unschedulable")
        })
    })
    .await;

    let node = json!({"metadata": {"name": name, "labels": {"orlop-live": name}}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let room = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "5"}}});
    nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(room)).await.unwrap();
    eventually("the pod is bound to the new node", || async {
        let spec = pods.get(&name).await.unwrap().spec.unwrap_or_default();
        spec.node_name.as_deref() == Some(name.as_str())
    })
    .await;
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
    eventually("both outcomes are events", || async {
        let found = events.list(&about).await.unwrap().items;
        let has = |reason: &str| found.iter().any(|event| event.reason.as_deref() == Some(reason));
        has("FailedScheduling") && has("Scheduled")
    })
    .await;

    pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    nodes.delete(&name, &DeleteParams::default()).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap().unwrap();
}
