//! The worker against the fake runtime, and what tests of workers share.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::api::PodApi;
use super::worker::{Desired, Handle, Shared, start};
use crate::runtime::{Fake, Labels, Runtime};
use crate::spec::dns::Cluster;
use crate::spec::env::Identity;
use crate::spec::make::Machine;
use crate::spec::resources::CgroupDriver;

pub(super) fn shared(runtime: Arc<dyn Runtime>, name: &str, dir: &Path) -> Arc<Shared> {
    Arc::new(Shared {
        runtime,
        runtime_name: name.to_owned(),
        api: PodApi::start(None, "n1"),
        machine: Machine {
            driver: CgroupDriver::Cgroupfs,
            memory_capacity: 8 << 30,
            seccomp_root: String::new(),
            cluster: Cluster { servers: Vec::new(), domain: "cluster.local".to_owned() },
            resolv_conf: "/etc/resolv.conf".into(),
            huge_pages: Vec::new(),
        },
        identity: Identity { node_ip: "127.0.0.1".to_owned(), ..Default::default() },
        root: dir.join("kubelet"),
        log_dir: dir.join("logs"),
    })
}

pub(super) fn pod(value: serde_json::Value) -> Desired {
    let pod: Pod = serde_json::from_value(value).unwrap();
    Desired {
        pod: Arc::new(pod),
        api_uid: None,
        is_removed: false,
        is_static: false,
        is_contradicted: false,
    }
}

/// Waits for a status; wakes the worker as the agent's relist would.
pub(super) async fn until(
    handle: &Handle,
    what: &str,
    good: impl Fn(&PodStatus) -> bool,
) -> PodStatus {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let status = handle.status.lock().clone();
        if good(&status) {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "never {what}: {}",
            serde_json::to_string(&status).unwrap()
        );
        handle.news.notify_one();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn end(handle: Handle) {
    handle.desired.lock().is_removed = true;
    handle.news.notify_one();
    tokio::time::timeout(Duration::from_secs(40), handle.task).await.unwrap().unwrap();
}

pub(super) fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub(super) fn first(status: &PodStatus) -> ContainerStatus {
    status.container_statuses.clone().unwrap().remove(0)
}

#[tokio::test]
async fn a_pod_of_the_fake_runtime_becomes_ready_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    let handle = start(
        shared(runtime.clone(), "fake", dir.path()),
        pod(serde_json::json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u1"},
            "spec": {"containers": [{"name": "c", "image": "x",
                "readinessProbe": {"tcpSocket": {"port": 80}}}]}})),
    );
    let status = until(&handle, "ready", is_ready).await;
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.9.8.2"));
    let log = std::fs::read_to_string(dir.path().join("logs/default_p_u1/c/0.log")).unwrap();
    assert!(log.contains("fake runtime"), "the log must say that nothing runs: {log}");

    end(handle).await;
    assert!(runtime.list_sandboxes(Labels::new()).await.unwrap().is_empty());
    assert!(!dir.path().join("logs/default_p_u1").exists());
}

/// The same pod for another agent: with the status that the API has of it.
fn again(value: &serde_json::Value, status: &PodStatus) -> Desired {
    let mut value = value.clone();
    value["status"] = serde_json::to_value(status).unwrap();
    pod(value)
}

#[tokio::test]
async fn a_runtime_that_was_emptied_is_a_restart_of_every_container() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    let definition = serde_json::json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u1"},
        "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let shared = shared(runtime.clone(), "fake", dir.path());
    let handle = start(shared.clone(), pod(definition.clone()));
    let mut before = until(&handle, "ready", is_ready).await;
    assert_eq!(first(&before).restart_count, 0);

    for (times, agent_ends) in [(1, true), (2, false), (3, true)] {
        // As `orlop down` and `orlop up` do: everything is stopped and removed, logs stay.
        if agent_ends {
            handle.task.abort();
        }
        runtime.forget_everything();
        let next = if agent_ends {
            start(shared.clone(), again(&definition, &before))
        } else {
            start(shared.clone(), pod(definition.clone()))
        };
        let old = first(&before).container_id;
        let after = until(&next, "ready again", |status| {
            is_ready(status) && first(status).container_id != old
        })
        .await;
        let container = first(&after);
        assert_eq!(container.restart_count, times, "with a status of before: {agent_ends}");
        if agent_ends {
            let last = container.last_state.unwrap().terminated.unwrap();
            let reason = last.reason.as_deref();
            assert_eq!((last.exit_code, reason), (137, Some("ContainerStatusUnknown")));
        }
        let log = dir.path().join(format!("logs/default_p_u1/c/{times}.log"));
        assert!(log.exists(), "each run has a log of its own");
        next.task.abort();
        before = after;
    }
}

#[tokio::test]
async fn a_container_that_may_run_only_once_is_lost_with_its_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    let definition = serde_json::json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u1"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}});
    let shared = shared(runtime.clone(), "fake", dir.path());
    let handle = start(shared.clone(), pod(definition.clone()));
    let before = until(&handle, "ready", is_ready).await;
    handle.task.abort();
    runtime.forget_everything();

    let handle = start(shared, again(&definition, &before));
    let failed = |status: &PodStatus| status.phase.as_deref() == Some("Failed");
    let after = until(&handle, "failed", failed).await;
    let end = first(&after).state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
    assert!(runtime.list_sandboxes(Labels::new()).await.unwrap().is_empty(), "it never ran again");
    handle.task.abort();
}

#[tokio::test]
async fn a_pod_that_is_out_of_time_fails_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    let handle = start(
        shared(runtime.clone(), "fake", dir.path()),
        pod(serde_json::json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u1"},
            "spec": {"activeDeadlineSeconds": 2, "containers": [{"name": "c", "image": "x"}]}})),
    );
    until(&handle, "ready", is_ready).await;
    let failed = |status: &PodStatus| status.phase.as_deref() == Some("Failed");
    let after = until(&handle, "failed", failed).await;
    assert_eq!(after.reason.as_deref(), Some("DeadlineExceeded"));
    assert!(first(&after).state.unwrap().terminated.is_some());
    assert!(!is_ready(&after));
    let view = crate::view::PodView::read(&*runtime, "u1").await.unwrap();
    assert!(!view.is_alive(), "nothing of it runs");
    handle.task.abort();
}

#[tokio::test]
async fn a_sidecar_starts_before_and_ends_after_the_pods_own_containers() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Fake::new("10.9.8.0/24").unwrap());
    let handle = start(
        shared(runtime.clone(), "fake", dir.path()),
        pod(serde_json::json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u1"},
            "spec": {"restartPolicy": "OnFailure",
                "initContainers": [
                    {"name": "setup", "image": "x"},
                    {"name": "side", "image": "x", "restartPolicy": "Always"}],
                "containers": [{"name": "c", "image": "x"}]}})),
    );
    let state = |status: &PodStatus, name: &str| {
        let all = [&status.init_container_statuses, &status.container_statuses];
        let found = all.into_iter().flatten().flatten().find(|c| c.name == name);
        found.and_then(|c| c.state.clone()).unwrap_or_default()
    };
    let status = until(&handle, "setting up", |s| state(s, "setup").running.is_some()).await;
    assert!(state(&status, "side").waiting.is_some() && state(&status, "c").waiting.is_some());
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    runtime.end_by_itself("setup", 0);
    until(&handle, "ready", is_ready).await;

    // The sidecar comes back although the pod's policy would not have it.
    runtime.end_by_itself("side", 0);
    until(&handle, "side restarted", |s| {
        s.init_container_statuses.iter().flatten().any(|c| c.name == "side" && c.restart_count == 1)
            && is_ready(s)
    })
    .await;
    runtime.end_by_itself("c", 0);
    let over = |status: &PodStatus| status.phase.as_deref() == Some("Succeeded");
    let status = until(&handle, "succeeded", over).await;
    assert!(state(&status, "side").terminated.is_some());
    handle.task.abort();
}
