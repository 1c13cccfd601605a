//! The controllers on a live API server, from outside. The server is named by ORLOP_TEST_KUBECONFIG (an admin).

use std::{future::Future, path::PathBuf, time::Duration};

use clap::Parser;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: api_controllers::Flags,
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
async fn a_deployment_lives_and_a_namespace_ends_on_a_live_server() {
    let Some(kubeconfig) = std::env::var_os("ORLOP_TEST_KUBECONFIG").map(PathBuf::from) else {
        eprintln!("SKIPPED: ORLOP_TEST_KUBECONFIG names no API server to run the controllers on");
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
        "orlop-test",
    ];
    let config = Arguments::parse_from(flags).flags.into_config().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(api_controllers::run(config, stop.clone()));

    let client = api_client::process::connect(&kubeconfig).await.unwrap();
    let name = format!("orlop-live-{}", std::process::id());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();

    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    eventually("the default ServiceAccount is made", || async {
        accounts.get_opt("default").await.unwrap().is_some()
    })
    .await;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &name);
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            // No node has this label: the pods stay Pending, whoever else runs on this cluster.
            "nodeSelector": {"orlop-live": "nowhere"},
            "containers": [{"name": "c", "image": "none"}]}}}});
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
    let count = || async {
        let all = pods.list(&Default::default()).await.unwrap().items;
        all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
    };
    eventually("three pods", || async { count().await == 3 }).await;
    eventually("the status says three", || async {
        let status = deployments.get("web").await.unwrap().status.unwrap_or_default();
        status.replicas == Some(3) && status.observed_generation == Some(1)
    })
    .await;

    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments.patch("web", &PatchParams::default(), &scale).await.unwrap();
    eventually("one pod after scaling down", || async { count().await == 1 }).await;

    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &name);
    eventually("nothing is left of a foreground deletion", || async {
        deployments.get_opt("web").await.unwrap().is_none()
            && sets.list(&Default::default()).await.unwrap().items.is_empty()
            && count().await == 0
    })
    .await;

    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", || async {
        namespaces.get_opt(&name).await.unwrap().is_none()
    })
    .await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap().unwrap();
}
