//! What a pod may ask for, seen from inside of its containers on a private containerd.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::PodStatus;

use super::containerd_test::{IMAGE, private_containerd};
use super::worker::start;
use super::worker_test::{end, first, is_ready, pod, shared, until};
use crate::containerd::{busybox_image_tar, import_image};
use crate::logs::rotate::{Policy, rotate_all};
use crate::runtime::Runtime;

/// Says what it sees, one fact a line, then speaks until it is told to end.
const LOOK: &str = "echo user=$(id -u):$(id -g) groups=$(id -G); \
    echo root=$(awk '$2 == \"/\" {print substr($4, 1, 2)}' /proc/mounts); \
    echo hostname=$(hostname); \
    echo alias=$(grep foo.local /etc/hosts); \
    echo own=$(grep $POD_IP /etc/hosts); \
    echo dns=$(cat /etc/resolv.conf); \
    echo caps=$(grep CapBnd /proc/self/status); \
    echo privs=$(grep NoNewPrivs /proc/self/status); \
    echo env=$POD_NAME,$LIMIT,$GREETING; \
    [ $$$$ -gt 1 ] && echo processes=shared; \
    echo bye > /message; \
    trap 'echo stopping; exit 7' TERM; \
    while [ ! -e /v/end ]; do echo tick; sleep 0.05; done; \
    rm /v/end; exit 7";

fn definition(uid: &str) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"name": "p", "namespace": "default", "uid": uid},
        "spec": {
            "terminationGracePeriodSeconds": 10,
            "hostname": "web", "subdomain": "sub", "shareProcessNamespace": true,
            "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["foo.local"]}],
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["x.y"],
                "options": [{"name": "ndots", "value": "3"}]},
            "securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000,
                "runAsNonRoot": true},
            "volumes": [{"name": "v", "emptyDir": {}}],
            "initContainers": [{"name": "side", "image": IMAGE, "imagePullPolicy": "Never",
                "restartPolicy": "Always",
                "resources": {"limits": {"memory": "32Mi", "cpu": "100m"}},
                "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]}],
            "containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["sh", "-c", LOOK],
                "terminationMessagePath": "/message",
                "env": [
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "LIMIT", "valueFrom": {"resourceFieldRef":
                        {"resource": "limits.memory", "divisor": "1Mi"}}},
                    {"name": "FLAG", "value": "/v/hooked"},
                    {"name": "GREETING", "value": "hello $(POD_NAME)"}],
                "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
                "securityContext": {"readOnlyRootFilesystem": true,
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "livenessProbe": {"exec": {"command": ["test", "-n", "$(FLAG)"]}, "periodSeconds": 1},
                "readinessProbe": {"exec": {"command": ["test", "-f", "$(FLAG)"]}, "periodSeconds": 1},
                "lifecycle": {
                    "postStart": {"exec": {"command": ["touch", "/v/hooked"]}},
                    "preStop": {"exec": {"command": ["touch", "/v/stopping"]}}}}]}})
}

fn facts(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap();
    let said = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
    said.filter(|line| *line != "tick").map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_sees_what_its_pod_asked_for() {
    let dir = tempfile::Builder::new().prefix("oa").tempdir_in("/tmp").unwrap();
    let Some((_containerd, runtime)) = private_containerd(dir.path(), 9).await else { return };
    let uid = uuid::Uuid::new_v4().to_string();
    let handle = start(shared(runtime.clone(), "containerd", dir.path()), pod(definition(&uid)));
    let status = until(&handle, "ready", is_ready).await;
    let ip = status.pod_ip.clone().unwrap();
    let log = handle.log_dir.join("c/0.log");
    let said = facts(&log);
    for fact in [
        "user=1000:2000 groups=2000 3000",
        "root=ro",
        "hostname=web",
        "alias=10.1.2.3 foo.local",
        &format!("own={ip} web.sub.default.svc.cluster.local web"),
        "dns=search x.y nameserver 192.0.2.53 options ndots:3",
        "caps=CapBnd: 0000000000000000",
        "privs=NoNewPrivs: 1",
        "env=p,64,hello p",
        "processes=shared",
    ] {
        assert!(said.lines().any(|line| line == fact), "{fact:?} is not in:\n{said}");
    }
    assert_eq!(status.qos_class.as_deref(), Some("Guaranteed"));
    let side = status.init_container_statuses.unwrap().remove(0);
    assert!(side.ready && side.started == Some(true));

    // The pod as a whole is limited: its container and its sidecar together.
    let groups = Path::new("/sys/fs/cgroup");
    let own = format!("kubepods/pod{uid}");
    let limit = if groups.join("cgroup.controllers").is_file() {
        groups.join(own).join("memory.max")
    } else {
        groups.join("memory").join(own).join("memory.limit_in_bytes")
    };
    assert_eq!(std::fs::read_to_string(&limit).unwrap().trim(), (96 << 20).to_string());

    // Its log is rotated while it speaks, and no word is lost.
    rotate_all(&*runtime, Policy { bytes_max: 1, files_max: 3 }).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::metadata(&log).map_or(0, |found| found.len()) == 0 {
        assert!(Instant::now() < deadline, "nothing is written to the new file");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let files = crate::logs::with_rotated(&log);
    assert_eq!(files.len(), 2, "{files:?}");

    // It ends by itself: its message and its exit code are told, then it runs again.
    let volumes = dir.path().join("kubelet/pods").join(&uid).join("volumes");
    let hooked = volumes.join("kubernetes.io~empty-dir/v");
    std::fs::write(hooked.join("end"), "").unwrap();
    std::os::unix::fs::chown(hooked.join("end"), Some(1000), None).unwrap();
    let status = until(&handle, "restarted", |s| first(s).restart_count == 1).await;
    let last = first(&status).last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.message.as_deref()), (7, Some("bye\n")));

    assert!(hooked.join("hooked").exists(), "postStart");
    assert!(!hooked.join("stopping").exists());
    let ended = tokio::spawn(end(handle));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !hooked.join("stopping").exists() {
        assert!(Instant::now() < deadline && !ended.is_finished(), "preStop never ran");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ended.await.unwrap();
    assert!(!limit.parent().unwrap().exists(), "its cgroup is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_may_not_be_root_does_not_run_as_root_and_an_imported_image_stays() {
    let dir = tempfile::Builder::new().prefix("oa").tempdir_in("/tmp").unwrap();
    let Some((containerd, runtime)) = private_containerd(dir.path(), 10).await else { return };
    let uid = uuid::Uuid::new_v4().to_string();
    let handle = start(
        shared(runtime.clone(), "containerd", dir.path()),
        pod(serde_json::json!({
            "metadata": {"name": "p", "namespace": "default", "uid": uid},
            "spec": {"terminationGracePeriodSeconds": 1,
                "securityContext": {"runAsNonRoot": true},
                "containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "Never",
                    "command": ["sleep", "100"]}]}})),
    );
    let waits = |status: &PodStatus| {
        let waiting = first(status).state.and_then(|state| state.waiting);
        waiting.is_some_and(|w| w.reason.as_deref() == Some("CreateContainerConfigError"))
    };
    let status = until(&handle, "refused", |s| s.container_statuses.is_some() && waits(s)).await;
    let why = first(&status).state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(
        why,
        format!(
            "container has runAsNonRoot and image will run as root (pod: \"p_default({uid})\", container: c)"
        )
    );
    end(handle).await;

    // An archive has no digest of a registry: that is how the collector of images knows it.
    let other = "orlop.local/other:1";
    let tar = dir.path().join("other.tar");
    busybox_image_tar(Path::new("/bin/busybox"), other, &tar).unwrap();
    import_image(&containerd.layout.socket(), &tar).await.unwrap();
    let images = runtime.list_images().await.unwrap();
    let found = images.iter().find(|image| image.repo_tags.iter().any(|tag| tag == other));
    let found = found.unwrap_or_else(|| panic!("{other} is not in {images:?}"));
    assert!(found.repo_digests.is_empty(), "{found:?}");
    assert!(runtime.image_folder().await.unwrap().unwrap().is_dir());
    runtime.remove_image(&found.id).await.unwrap();
    assert_eq!(runtime.image(other).await.unwrap(), None);
}
