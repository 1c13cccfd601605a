//! The worker against the fake runtime, and what tests of workers share.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::api::PodApi;
use super::worker::{Desired, Handle, Shared, start};
use crate::runtime::{Fake, Labels, Runtime};
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
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
        },
        identity: Identity { node_ip: "127.0.0.1".to_owned(), ..Default::default() },
        root: dir.join("kubelet"),
        log_dir: dir.join("logs"),
    })
}

pub(super) fn pod(value: serde_json::Value) -> Desired {
    let pod: Pod = serde_json::from_value(value).unwrap();
    Desired { pod: Arc::new(pod), api_uid: None, is_removed: false, is_static: false }
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
