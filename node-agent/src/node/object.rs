//! The Node object and its lease: made when missing, kept current, in that order of importance.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::Config;
use crate::limits::{
    API_CALL, LEASE_DURATION_SECONDS, LEASE_RENEW, NODE_IMAGES_MAX, NODE_STATUS_REPORT,
};
use crate::runtime::Runtime;

/// What the machine has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) cpus: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) disk_bytes: u64,
    /// Sizes of huge pages, smallest first, as cgroups name them: `2MB`.
    pub(crate) huge_pages: Vec<String>,
    info: Value,
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Facts {
    /// Reads `/proc` and friends. Blocking.
    pub(crate) fn read(root: &std::path::Path) -> Self {
        let cpus =
            std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1));
        let memory = line("/proc/meminfo");
        let kib: i64 = memory.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        let release = line("/etc/os-release");
        let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
        let disk = nix::sys::statvfs::statvfs(root).map_or(0, |s| s.blocks() * s.fragment_size());
        let info = json!({
            "machineID": line("/etc/machine-id"),
            "systemUUID": line("/sys/class/dmi/id/product_uuid"),
            "bootID": line("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": line("/proc/sys/kernel/osrelease"),
            "osImage": name.unwrap_or("Linux").trim_matches('"'),
            "operatingSystem": "linux",
            "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
            "kubeletVersion": concat!("v1.36.2+orlop", ".", env!("CARGO_PKG_VERSION")),
            "kubeProxyVersion": "",
        });
        let huge_pages = huge_pages("/sys/kernel/mm/hugepages");
        Self { cpus, memory_bytes: kib * 1024, disk_bytes: disk, huge_pages, info }
    }
}

/// The sizes in a folder with entries such as `hugepages-2048kB`.
fn huge_pages(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut kib: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
        })
        .collect();
    kib.sort_unstable();
    let named = |kib: u64| match kib {
        _ if kib >= 1 << 20 => format!("{}GB", kib >> 20),
        _ if kib >= 1 << 10 => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    };
    kib.into_iter().map(named).collect()
}

/// The status that the node should have now.
fn status(
    config: &Config,
    facts: &Facts,
    runtime: &str,
    problems: &[String],
    images: Vec<Value>,
) -> Value {
    let resources = json!({
        "cpu": facts.cpus.to_string(),
        "memory": format!("{}Ki", facts.memory_bytes / 1024),
        "ephemeral-storage": format!("{}Ki", facts.disk_bytes / 1024),
        "pods": config.max_pods.to_string(),
    });
    let mut info = facts.info.clone();
    info["containerRuntimeVersion"] = runtime.into();
    let ready = problems.is_empty();
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        json!({
        "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message })
    };
    json!({
        "capacity": resources, "allocatable": resources,
        "addresses": [{"type": "InternalIP", "address": config.node_ip}, {"type": "Hostname", "address": config.node_name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "nodeInfo": info, "images": images,
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            if ready { condition("Ready", true, "KubeletReady", "kubelet is posting ready status") }
            else { condition("Ready", false, "KubeletNotReady", &problems.join("; ")) },
        ],
    })
}

/// Registers the node and keeps its status and lease until it is dropped.
pub(crate) async fn keep(
    client: Client,
    config: Config,
    facts: Facts,
    runtime: std::sync::Arc<dyn Runtime>,
) {
    tokio::join!(
        renew_lease(client.clone(), config.node_name.clone()),
        keep_status(client, config, facts, runtime)
    );
}

async fn keep_status(
    client: Client,
    config: Config,
    facts: Facts,
    runtime: std::sync::Arc<dyn Runtime>,
) {
    let api: Api<Node> = Api::all(client);
    let mut last: Option<(Value, Instant)> = None;
    let mut tick = tokio::time::interval(config.status_period);
    loop {
        tick.tick().await;
        let version = runtime.version().await.unwrap_or_else(|_| "unknown://".to_owned());
        let problems = runtime
            .problems()
            .await
            .unwrap_or_else(|e| vec![format!("container runtime is down: {e}")]);
        let mut images: Vec<Value> = runtime
            .list_images()
            .await
            .unwrap_or_default()
            .into_iter()
            .filter(|i| !i.repo_tags.is_empty())
            .map(|i| json!({"names": i.repo_tags, "sizeBytes": i.size}))
            .collect();
        images.truncate(NODE_IMAGES_MAX);
        let now = status(&config, &facts, &version, &problems, images);
        let node = match tokio::time::timeout(API_CALL, api.get_opt(&config.node_name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                warn!(%error, "cannot read the node");
                continue;
            }
            Err(_) => continue,
        };
        let Some(node) = node else {
            last = None;
            register(&api, &config).await;
            tick.reset_after(Duration::from_millis(200));
            continue;
        };
        if last.as_ref().is_some_and(|(old, at)| *old == now && at.elapsed() < NODE_STATUS_REPORT) {
            continue;
        }
        let mut body = now.clone();
        let stamp =
            Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
        for condition in body["conditions"].as_array_mut().into_iter().flatten() {
            let old = node.status.as_ref().and_then(|s| s.conditions.as_ref());
            let old =
                old.and_then(|list| list.iter().find(|c| condition["type"] == c.type_.as_str()));
            let since = old
                .filter(|c| condition["status"] == c.status.as_str())
                .and_then(|c| serde_json::to_value(&c.last_transition_time).ok());
            condition["lastHeartbeatTime"] = stamp.clone().into();
            condition["lastTransitionTime"] = since.unwrap_or_else(|| stamp.clone().into());
        }
        let (params, patch) = (PatchParams::default(), Patch::Strategic(json!({"status": body})));
        match tokio::time::timeout(API_CALL, api.patch_status(&config.node_name, &params, &patch))
            .await
        {
            Ok(Ok(_)) => last = Some((now, Instant::now())),
            Ok(Err(error)) => warn!(%error, "cannot write the node's status"),
            Err(_) => warn!("cannot write the node's status in time"),
        }
    }
}

async fn register(api: &Api<Node>, config: &Config) {
    let mut labels = config.node_labels.clone();
    labels.insert("kubernetes.io/hostname".to_owned(), config.node_name.clone());
    for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        labels.insert(format!("{prefix}/os"), "linux".to_owned());
        labels.insert(format!("{prefix}/arch"), arch.to_owned());
    }
    let mut spec = json!({"taints": config.taints});
    if let Some(cidr) = &config.pod_cidr {
        spec["podCIDR"] = cidr.clone().into();
        spec["podCIDRs"] = json!([cidr]);
    }
    let node: Node = match serde_json::from_value(
        json!({"metadata": {"name": config.node_name, "labels": labels,
        "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}}, "spec": spec}),
    ) {
        Ok(node) => node,
        Err(error) => {
            warn!(%error, "the node's own object is wrong");
            return;
        }
    };
    match tokio::time::timeout(API_CALL, api.create(&PostParams::default(), &node)).await {
        Ok(Ok(_)) => info!(node = config.node_name, "node registered"),
        Ok(Err(error)) => warn!(%error, "cannot register the node"),
        Err(_) => warn!("cannot register the node in time"),
    }
}

async fn renew_lease(client: Client, node: String) {
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut tick = tokio::time::interval(LEASE_RENEW);
    loop {
        tick.tick().await;
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let spec = json!({"holderIdentity": node, "leaseDurationSeconds": LEASE_DURATION_SECONDS, "renewTime": now});
        let (params, patch) = (PatchParams::default(), Patch::Merge(json!({"spec": spec})));
        let missing = match tokio::time::timeout(API_CALL, api.patch(&node, &params, &patch)).await
        {
            Ok(Ok(_)) => false,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => true,
            Ok(Err(error)) => {
                warn!(%error, "cannot renew the node's lease");
                false
            }
            Err(_) => false,
        };
        if missing
            && let Ok(lease) =
                serde_json::from_value::<Lease>(json!({"metadata": {"name": node}, "spec": spec}))
        {
            let made =
                tokio::time::timeout(API_CALL, api.create(&PostParams::default(), &lease)).await;
            if !matches!(made, Ok(Ok(_))) {
                tick.reset_after(Duration::from_secs(1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_named_as_cgroups_name_them() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["hugepages-1048576kB", "hugepages-2048kB", "hugepages-64kB", "other"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let sizes = huge_pages(&folder.path().to_string_lossy());
        assert_eq!(sizes, ["64KB", "2MB", "1GB"]);
    }
}
