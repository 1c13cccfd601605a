//! The sandbox and container configurations of a pod, in the runtime's words.

use std::collections::HashMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SeccompProfile};
use sha2::{Digest, Sha256};

use super::env::expand;
use super::resources::{CgroupDriver, Qos, cgroup_parent, container_resources, pod_resources, qos};
use crate::labels;
use crate::runtime::cri;

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the machine and the agent's flags add to a pod.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) driver: CgroupDriver,
    pub(crate) memory_capacity: i64,
    pub(crate) seccomp_root: String,
    pub(crate) cluster_dns: Vec<String>,
    pub(crate) cluster_domain: String,
}

/// A short digest of a container's definition: another digest means another container.
pub(crate) fn container_hash(container: &Container) -> String {
    let text = serde_json::to_vec(container).expect("a container that was read can be written");
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The name that a pod's processes see as their host's, at most 63 bytes.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let name = spec.and_then(|s| s.hostname.clone().filter(|h| !h.is_empty()));
    let mut name = name.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The sandbox of a pod; `log_dir` is the pod's own folder of logs.
pub(crate) fn sandbox(
    pod: &Pod,
    spec: &PodSpec,
    attempt: u32,
    log_dir: &Path,
    machine: &Machine,
) -> cri::PodSandboxConfig {
    let meta = &pod.metadata;
    let host_network = spec.host_network.unwrap_or(false);
    let limits = pod_resources(spec);
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(|c| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true));
    let mut pod_labels: HashMap<String, String> =
        meta.labels.clone().unwrap_or_default().into_iter().collect();
    pod_labels.extend(identity(pod));
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            attempt,
        }),
        // In the host's network the host's name stands; runc refuses to set another.
        hostname: if host_network { String::new() } else { hostname(pod) },
        log_directory: log_dir.to_string_lossy().into_owned(),
        dns_config: dns(pod, spec, machine),
        port_mappings: if host_network { Vec::new() } else { port_mappings(spec) },
        labels: pod_labels,
        annotations: meta.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(machine.driver, qos(spec), pod),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(spec)),
                run_as_user: context.run_as_user.map(int64),
                run_as_group: context
                    .run_as_group
                    .filter(|_| context.run_as_user.is_some())
                    .map(int64),
                supplemental_groups: groups(&context),
                privileged,
                seccomp: Some(seccomp(None, context.seccomp_profile.as_ref(), machine, privileged)),
                ..Default::default()
            }),
            sysctls: context
                .sysctls
                .iter()
                .flatten()
                .map(|s| (s.name.clone(), s.value.clone()))
                .collect(),
            resources: Some(cri::LinuxContainerResources {
                cpu_period: super::resources::CPU_PERIOD_US,
                cpu_quota: limits.cpu_quota_us,
                cpu_shares: limits.cpu_shares,
                memory_limit_in_bytes: limits.memory_limit_bytes,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    let meta = &pod.metadata;
    [
        (labels::POD_NAME.to_owned(), meta.name.clone().unwrap_or_default()),
        (labels::POD_NAMESPACE.to_owned(), meta.namespace.clone().unwrap_or_default()),
        (labels::POD_UID.to_owned(), meta.uid.clone().unwrap_or_default()),
    ]
}

fn int64(value: i64) -> cri::Int64Value {
    cri::Int64Value { value }
}

fn groups(context: &k8s_openapi::api::core::v1::PodSecurityContext) -> Vec<i64> {
    let mut groups: Vec<i64> = context.fs_group.into_iter().collect();
    groups.extend(context.supplemental_groups.iter().flatten());
    groups
}

fn namespaces(spec: &PodSpec) -> cri::NamespaceOption {
    let mode = |host: Option<bool>, otherwise: cri::NamespaceMode| {
        if host == Some(true) { cri::NamespaceMode::Node } else { otherwise }.into()
    };
    let shared = if spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: mode(spec.host_network, cri::NamespaceMode::Pod),
        pid: mode(spec.host_pid, shared),
        ipc: mode(spec.host_ipc, cri::NamespaceMode::Pod),
        ..Default::default()
    }
}

fn seccomp(
    own: Option<&SeccompProfile>,
    of_pod: Option<&SeccompProfile>,
    machine: &Machine,
    privileged: bool,
) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let profile = own.or(of_pod).filter(|_| !privileged);
    let (kind, path) = match profile.map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let name = profile.and_then(|p| p.localhost_profile.as_deref()).unwrap_or_default();
            (ProfileType::Localhost, format!("{}/{name}", machine.seccomp_root))
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile { profile_type: kind.into(), localhost_ref: path }
}

fn protocol(name: Option<&str>) -> i32 {
    match name {
        Some("UDP") => cri::Protocol::Udp.into(),
        Some("SCTP") => cri::Protocol::Sctp.into(),
        _ => cri::Protocol::Tcp.into(),
    }
}

fn port_mappings(spec: &PodSpec) -> Vec<cri::PortMapping> {
    let ports = spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
    ports
        .filter(|port| port.host_port.is_some_and(|host| host > 0))
        .map(|port| cri::PortMapping {
            protocol: protocol(port.protocol.as_deref()),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// The resolver configuration; `None` leaves the machine's own in place.
fn dns(pod: &Pod, spec: &PodSpec, machine: &Machine) -> Option<cri::DnsConfig> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let in_cluster = policy == "ClusterFirstWithHostNet"
        || (policy == "ClusterFirst" && spec.host_network != Some(true));
    let mut dns = cri::DnsConfig::default();
    if in_cluster && !machine.cluster_dns.is_empty() {
        let domain = &machine.cluster_domain;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        dns.servers.clone_from(&machine.cluster_dns);
        dns.searches =
            vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        dns.options.push("ndots:5".to_owned());
    } else if policy != "None" && spec.dns_config.is_none() {
        return None;
    }
    if let Some(own) = &spec.dns_config {
        dns.servers.extend(own.nameservers.iter().flatten().cloned());
        dns.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|known| known.split(':').next() != Some(&name));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    Some(dns)
}

/// What a container's configuration is made of, beside its definition.
pub(crate) struct Parts<'a> {
    pub(crate) restarts: i32,
    pub(crate) image_id: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<cri::Mount>,
    pub(crate) machine: &'a Machine,
}

/// One container of a pod.
pub(crate) fn container(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    parts: Parts<'_>,
) -> cri::ContainerConfig {
    let lookup =
        |name: &str| parts.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &lookup)).collect()
    };
    let name = &container.name;
    let mut identity: HashMap<String, String> = HashMap::from(identity(pod));
    identity.insert(labels::CONTAINER_NAME.to_owned(), name.clone());
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: name.clone(),
            attempt: u32::try_from(parts.restarts).unwrap_or(0),
        }),
        image: Some(cri::ImageSpec {
            image: parts.image_id,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: parts.mounts,
        labels: identity,
        annotations: annotations(spec, container, parts.restarts),
        log_path: format!("{name}/{}.log", parts.restarts),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(container_resources(
                qos(spec),
                container,
                parts.machine.memory_capacity,
            )),
            security_context: Some(security(spec, container, parts.machine)),
        }),
        envs: parts
            .env
            .into_iter()
            .map(|(key, value)| cri::KeyValue { key, value: value.into_bytes().into() })
            .collect(),
        ..Default::default()
    }
}

fn annotations(spec: &PodSpec, container: &Container, restarts: i32) -> HashMap<String, String> {
    let path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let mut notes = HashMap::from([
        (labels::CONTAINER_HASH.to_owned(), container_hash(container)),
        (labels::RESTART_COUNT.to_owned(), restarts.to_string()),
        (labels::MESSAGE_PATH.to_owned(), path.to_owned()),
        (labels::MESSAGE_POLICY.to_owned(), policy.to_owned()),
    ]);
    if let Some(grace) = spec.termination_grace_period_seconds {
        notes.insert(labels::POD_GRACE.to_owned(), grace.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    if let Some(text) = pre_stop.and_then(|hook| serde_json::to_string(hook).ok()) {
        notes.insert(labels::PRE_STOP.to_owned(), text);
    }
    if let Some(text) = container.ports.as_ref().and_then(|p| serde_json::to_string(p).ok()) {
        notes.insert(labels::PORTS.to_owned(), text);
    }
    notes
}

fn security(
    spec: &PodSpec,
    container: &Container,
    machine: &Machine,
) -> cri::LinuxContainerSecurityContext {
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() }
    };
    cri::LinuxContainerSecurityContext {
        capabilities: own.capabilities.map(|caps| cri::Capability {
            add_capabilities: caps.add.unwrap_or_default(),
            drop_capabilities: caps.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(spec)),
        run_as_user: own.run_as_user.or(of_pod.run_as_user).map(int64),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(int64),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(seccomp(
            own.seccomp_profile.as_ref(),
            of_pod.seccomp_profile.as_ref(),
            machine,
            privileged,
        )),
        ..Default::default()
    }
}

/// The class of a pod without a spec is that of an empty one.
pub(crate) fn qos_of(pod: &Pod) -> Qos {
    pod.spec.as_ref().map_or(Qos::BestEffort, qos)
}

/// The cgroup of a pod, as the runtime is told.
pub(crate) fn cgroup_of(pod: &Pod, machine: &Machine) -> String {
    cgroup_parent(machine.driver, qos_of(pod), pod)
}
