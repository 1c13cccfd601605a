//! The worker and [`stop_all_pods`] against a private containerd, where the machine has one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::PodStatus;

use super::worker::start;
use super::worker_test::{end, first, is_ready, pod, shared, until};
use crate::containerd::{Layout, busybox_image_tar, check_machine, image_names, import_image};
use crate::runtime::{Cri, Labels, Runtime};
use crate::stop_all_pods;

pub(super) const IMAGE: &str = "orlop.local/busybox:1";

/// A private containerd, killed with everything it made when the test ends, however it ends.
pub(super) struct Containerd {
    child: Child,
    pub(super) layout: Layout,
}

impl Containerd {
    fn start(layout: Layout) -> Self {
        std::fs::create_dir_all(&layout.dir).unwrap();
        layout.write().unwrap();
        let child = Self::spawn(&layout);
        Self { child, layout }
    }

    fn spawn(layout: &Layout) -> Child {
        let log = std::fs::File::create(layout.dir.join("log")).unwrap();
        Command::new("containerd")
            .arg("--config")
            .arg(layout.config_file())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    async fn until_ready(&self, runtime: &Cri) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !runtime.problems().await.is_ok_and(|list| list.is_empty()) {
            let log = std::fs::read_to_string(self.layout.dir.join("log")).unwrap();
            assert!(Instant::now() < deadline, "containerd never became ready: {log}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The daemon dies without a word; its shims and their containers live on.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.layout);
    }

    /// Shims outlive containerd: those of this folder are told by their socket argument.
    fn shims(&self) -> Vec<i32> {
        let socket = self.layout.socket();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let is_ours = |entry: &std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("containerd-shim") && line.contains(&*socket.to_string_lossy())
        };
        entries
            .filter(is_ours)
            .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
            .collect()
    }

    /// Addresses that pods of this folder still hold.
    fn addresses(&self) -> Vec<String> {
        let folder = self.layout.dir.join("ipam").join(&self.layout.bridge);
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("10.")).collect()
    }
}

fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

/// The first processes of the containers that these shims keep, and the containers' cgroups.
fn containers_of(shims: &[i32]) -> (Vec<i32>, Vec<PathBuf>) {
    let (mut firsts, mut groups) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent: i32 = parent.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let is_program = std::fs::read(entry.path().join("cmdline")).is_ok_and(|c| !c.is_empty());
        if !shims.contains(&parent) || !is_program {
            continue;
        }
        firsts.push(pid);
        let own = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        for (controllers, path) in own.lines().filter_map(|l| l.split_once(':')?.1.split_once(':'))
        {
            let root = Path::new("/sys/fs/cgroup");
            let tree = match controllers.trim_start_matches("name=") {
                "" if root.join("unified").is_dir() => root.join("unified"),
                name => root.join(name),
            };
            if path.contains("/pod") {
                groups.push(tree.join(path.trim_start_matches('/')));
            }
        }
    }
    (firsts, groups)
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Containers outlive their shims: a test that fails must not leave them to the machine.
        let shims = self.shims();
        let (firsts, groups) = containers_of(&shims);
        firsts.into_iter().chain(shims).for_each(kill);
        let deadline = Instant::now() + Duration::from_secs(5);
        for group in groups {
            // The kernel refuses while the last process is on its way out.
            while group.is_dir()
                && std::fs::remove_dir(&group).is_err()
                && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = group.parent().map(std::fs::remove_dir);
        }
        let _ = Command::new("ip").args(["link", "del", &self.layout.bridge]).status();
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        for target in table.lines().rev().filter_map(|l| l.split(' ').nth(1)) {
            // Volumes in memory are mounted beside the daemon's own folder.
            if Path::new(target).starts_with(self.layout.dir.parent().unwrap()) {
                let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }
}

/// A containerd that can run pods of [`IMAGE`]; `None`, and why, when this machine cannot have one.
pub(super) async fn private_containerd(dir: &Path, subnet: u8) -> Option<(Containerd, Arc<Cri>)> {
    if let Err(why) = check_machine() {
        testbed::skip(&why);
        return None;
    }
    let busybox = Path::new("/bin/busybox");
    let image = dir.join("busybox.tar");
    if let Err(why) = busybox_image_tar(busybox, IMAGE, &image) {
        testbed::skip(&why);
        return None;
    }
    assert_eq!(image_names(&image).unwrap(), [IMAGE]);
    assert!(image_names(busybox).is_err(), "a program is not an image");
    let containerd = Containerd::start(Layout {
        dir: dir.join("c"),
        pod_cidr: format!("10.213.{subnet}.0/24"),
        sandbox_image: IMAGE.to_owned(),
        bridge: format!("oa{subnet}x{}", std::process::id()),
    });
    let runtime = Arc::new(Cri::new(&containerd.layout.socket()));
    containerd.until_ready(&runtime).await;
    import_image(&containerd.layout.socket(), &image).await.unwrap();
    Some((containerd, runtime))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_container_runs_logs_restarts_and_stops() {
    let dir = tempfile::Builder::new().prefix("oa").tempdir_in("/tmp").unwrap();
    let Some((containerd, runtime)) = private_containerd(dir.path(), 7).await else { return };

    // Phase 1: a pod with a volume, an init container, environment and a readiness probe.
    let uid = uuid::Uuid::new_v4().to_string();
    let handle = start(
        shared(runtime.clone(), "containerd", dir.path()),
        pod(serde_json::json!({
            "metadata": {"name": "p", "namespace": "default", "uid": uid},
            "spec": {
                "terminationGracePeriodSeconds": 2,
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "none", "optional": true}}],
                "initContainers": [{"name": "i", "image": IMAGE,
                    "imagePullPolicy": "Never", "command": ["sh", "-c", "echo made > /v/f"],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "containers": [{"name": "c", "image": IMAGE,
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

    let volumes = dir.path().join("kubelet/pods").join(&uid).join("volumes");
    let secret = nix::sys::statfs::statfs(&volumes.join("kubernetes.io~secret/s")).unwrap();
    assert_eq!(
        secret.filesystem_type(),
        nix::sys::statfs::TMPFS_MAGIC,
        "secrets stay off the disk"
    );

    // Phase 2: the container dies and comes back at once, with its history.
    let id = before.container_id.clone().unwrap().replace("containerd://", "");
    runtime.stop_container(&id, 0).await.unwrap();
    let status = until(&handle, "restarted", |s| first(s).restart_count == 1 && is_ready(s)).await;
    let after = first(&status);
    assert_ne!(after.container_id, before.container_id);
    assert_eq!(after.last_state.unwrap().terminated.unwrap().exit_code, 137);

    // Phase 3: it stops, and nothing of it is left.
    end(handle).await;
    assert!(runtime.list_containers(Labels::new()).await.unwrap().is_empty());
    assert!(runtime.list_sandboxes(Labels::new()).await.unwrap().is_empty());
    assert!(!dir.path().join("kubelet/pods").join(&uid).exists());
    drop(containerd);
}

/// A pod that ends at once when it is told to, or not before its grace is over.
fn endless(
    name: &str,
    uid: &str,
    grace: i64,
    ignores: bool,
    status: &PodStatus,
) -> super::worker::Desired {
    let trap = if ignores { "trap '' TERM" } else { "trap 'exit 0' TERM" };
    pod(serde_json::json!({
        "metadata": {"name": name, "namespace": "default", "uid": uid},
        "status": status,
        "spec": {
            "terminationGracePeriodSeconds": grace,
            "containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["sh", "-c", format!("{trap}; while :; do sleep 0.1; done")],
                "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}]}}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_outlive_their_agent_and_their_runtime_and_all_stop_at_once() {
    let dir = tempfile::Builder::new().prefix("oa").tempdir_in("/tmp").unwrap();
    let Some((mut containerd, runtime)) = private_containerd(dir.path(), 8).await else { return };
    let none = PodStatus::default();
    let shared = shared(runtime.clone(), "containerd", dir.path());

    // Phase 1: a pod whose container was restarted once; then its agent ends.
    let slow = uuid::Uuid::new_v4().to_string();
    let handle = start(shared.clone(), endless("slow", &slow, 60, true, &none));
    let status = until(&handle, "ready", is_ready).await;
    let id = first(&status).container_id.unwrap().replace("containerd://", "");
    runtime.stop_container(&id, 0).await.unwrap();
    let before = until(&handle, "restarted", |s| first(s).restart_count == 1 && is_ready(s)).await;
    handle.task.abort();
    let _ = handle.task.await;

    // Phase 2: a new agent takes the container over as it is; it was never out of service.
    let handle = start(shared.clone(), endless("slow", &slow, 60, true, &before));
    until(&handle, "looked at", |s| s.qos_class.is_some()).await;
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        let now = handle.status.lock().clone();
        assert_eq!(first(&now).container_id, first(&before).container_id);
        assert_eq!(first(&now).restart_count, 1);
        assert!(is_ready(&now), "a restart of the agent is no failure of the pod");
        handle.news.notify_one();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // Phase 3: containerd dies and comes back; the container does not notice.
    containerd.kill();
    handle.news.notify_one();
    assert_eq!(containerd.shims().len(), 1);
    containerd.restart();
    containerd.until_ready(&runtime).await;
    let fast = uuid::Uuid::new_v4().to_string();
    let second = start(shared.clone(), endless("fast", &fast, 1, false, &none));
    until(&second, "ready", is_ready).await;
    let after = until(&handle, "seen again", is_ready).await;
    assert_eq!(first(&after).container_id, first(&before).container_id);
    assert_eq!(first(&after).restart_count, 1);

    // Phase 4: both agents end, then all pods: the slow one is not waited for.
    for handle in [handle, second] {
        handle.task.abort();
        let _ = handle.task.await;
    }
    assert_eq!(containerd.addresses().len(), 2);
    let began = Instant::now();
    let socket = containerd.layout.socket();
    let stopped = stop_all_pods(&format!("unix://{}", socket.display()), 2).await.unwrap();
    assert_eq!(stopped, 2);
    assert!(began.elapsed() < Duration::from_secs(8), "took {:?}", began.elapsed());
    assert!(runtime.list_sandboxes(Labels::new()).await.unwrap().is_empty());
    assert!(runtime.list_containers(Labels::new()).await.unwrap().is_empty());
    assert_eq!(containerd.addresses(), Vec::<String>::new());
    for uid in [&slow, &fast] {
        let left = Path::new("/sys/fs/cgroup/memory/kubepods/besteffort").join(format!("pod{uid}"));
        assert!(!left.exists(), "{}", left.display());
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while !containerd.shims().is_empty() {
        assert!(Instant::now() < deadline, "shims are left: {:?}", containerd.shims());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stop_all_pods(&socket.to_string_lossy(), 2).await.unwrap(), 0);

    // Phase 5: the pod comes back in an empty runtime, and that is a restart.
    let handle = start(shared, endless("slow", &slow, 1, false, &before));
    let after = until(&handle, "back", |s| is_ready(s) && first(s).restart_count == 2).await;
    let last = first(&after).last_state.unwrap().terminated.unwrap();
    assert_eq!(last.exit_code, 137);
    assert!(handle.log_dir.join("c/2.log").exists());
    end(handle).await;
}
