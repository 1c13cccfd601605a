//! The worker against the fake runtime, and against a private containerd where the machine has one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::api::PodApi;
use super::worker::{Desired, Handle, Shared, start};
use crate::containerd::{Layout, busybox_image_tar, check_machine, image_names, import_image};
use crate::runtime::{Cri, Fake, Labels, Runtime};
use crate::spec::env::Identity;
use crate::spec::make::Machine;
use crate::spec::resources::CgroupDriver;

fn shared(runtime: Arc<dyn Runtime>, name: &str, dir: &Path) -> Arc<Shared> {
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

fn pod(value: serde_json::Value) -> Desired {
    let pod: Pod = serde_json::from_value(value).unwrap();
    Desired { pod: Arc::new(pod), api_uid: None, is_removed: false }
}

/// Waits for a status; wakes the worker as the agent's relist would.
async fn until(handle: &Handle, what: &str, good: impl Fn(&PodStatus) -> bool) -> PodStatus {
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

async fn end(handle: Handle) {
    handle.desired.lock().is_removed = true;
    handle.news.notify_one();
    tokio::time::timeout(Duration::from_secs(40), handle.task).await.unwrap().unwrap();
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn first(status: &PodStatus) -> ContainerStatus {
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

/// A private containerd, killed with everything it made when the test ends, however it ends.
struct Containerd {
    child: Child,
    layout: Layout,
}

impl Containerd {
    fn start(layout: Layout) -> Self {
        layout.write().unwrap();
        let log = std::fs::File::create(layout.dir.join("log")).unwrap();
        let child = Command::new("containerd")
            .arg("--config")
            .arg(layout.config_file())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, layout }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Shims outlive containerd: those of this folder are told by their socket argument.
        let socket = self.layout.socket();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let pid = entry.file_name().to_string_lossy().parse::<i32>();
            if line.contains("containerd-shim")
                && line.contains(&*socket.to_string_lossy())
                && let Ok(pid) = pid
            {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        let _ = Command::new("ip").args(["link", "del", &self.layout.bridge]).status();
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        for target in table.lines().rev().filter_map(|l| l.split(' ').nth(1)) {
            if Path::new(target).starts_with(&self.layout.dir) {
                let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_container_runs_logs_restarts_and_stops() {
    if let Err(why) = check_machine() {
        eprintln!("SKIPPED a_real_container_runs_logs_restarts_and_stops: {why}");
        return;
    }
    let busybox = Path::new("/bin/busybox");
    let dir = tempfile::Builder::new().prefix("oa").tempdir_in("/tmp").unwrap();
    let image = dir.path().join("busybox.tar");
    if let Err(why) = busybox_image_tar(busybox, "orlop.local/busybox:1", &image) {
        eprintln!("SKIPPED a_real_container_runs_logs_restarts_and_stops: {why}");
        return;
    }
    assert_eq!(image_names(&image).unwrap(), ["orlop.local/busybox:1"]);
    assert!(image_names(busybox).is_err(), "a program is not an image");

    // Phase 1: a private containerd with the image.
    let layout = Layout {
        dir: dir.path().join("c"),
        pod_cidr: "10.213.7.0/24".to_owned(),
        sandbox_image: "orlop.local/busybox:1".to_owned(),
        bridge: format!("oa{}", std::process::id()),
    };
    std::fs::create_dir_all(&layout.dir).unwrap();
    let containerd = Containerd::start(layout.clone());
    let runtime = Arc::new(Cri::new(&layout.socket()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !runtime.problems().await.is_ok_and(|list| list.is_empty()) {
        let log = std::fs::read_to_string(layout.dir.join("log")).unwrap();
        assert!(Instant::now() < deadline, "containerd never became ready: {log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    import_image(&layout.socket(), &image).await.unwrap();

    // Phase 2: a pod with a volume, an init container, environment and a readiness probe.
    let uid = uuid::Uuid::new_v4().to_string();
    let handle = start(
        shared(runtime.clone(), "containerd", dir.path()),
        pod(serde_json::json!({
            "metadata": {"name": "p", "namespace": "default", "uid": uid},
            "spec": {
                "terminationGracePeriodSeconds": 2,
                "volumes": [{"name": "v", "emptyDir": {}}],
                "initContainers": [{"name": "i", "image": "orlop.local/busybox:1",
                    "imagePullPolicy": "Never", "command": ["sh", "-c", "echo made > /v/f"],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "containers": [{"name": "c", "image": "orlop.local/busybox:1",
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c"],
                    "args": ["echo $(WHO) $(cat /v/f) $$(date >/dev/null); trap 'exit 0' TERM; while :; do sleep 0.1; done"],
                    "env": [{"name": "WHO", "value": "hello"}],
                    "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
                    "readinessProbe": {"exec": {"command": ["test", "-f", "/v/f"]}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}})),
    );
    let status = until(&handle, "ready", is_ready).await;
    assert!(status.pod_ip.unwrap().starts_with("10.213.7."));
    assert_eq!(status.qos_class.as_deref(), Some("Burstable"));
    let before = first(&handle.status.lock());
    let log = handle.log_dir.join("c/0.log");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("stdout F hello made"), "{text}");

    // Phase 3: the container dies and comes back at once, with its history.
    let id = before.container_id.clone().unwrap().replace("containerd://", "");
    runtime.stop_container(&id, 0).await.unwrap();
    let status = until(&handle, "restarted", |s| first(s).restart_count == 1 && is_ready(s)).await;
    let after = first(&status);
    assert_ne!(after.container_id, before.container_id);
    assert_eq!(after.last_state.unwrap().terminated.unwrap().exit_code, 137);

    // Phase 4: it stops, and nothing of it is left.
    end(handle).await;
    assert!(runtime.list_containers(Labels::new()).await.unwrap().is_empty());
    assert!(runtime.list_sandboxes(Labels::new()).await.unwrap().is_empty());
    assert!(!dir.path().join("kubelet/pods").join(&uid).exists());
    drop(containerd);
}
