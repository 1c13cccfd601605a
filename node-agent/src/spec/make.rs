//! The sandbox and container configurations of a pod, in the runtime's words.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use sha2::{Digest, Sha256};

use super::env::expand;
use super::resources::{
    CgroupDriver, Qos, cgroup_parent, container_resources, qos, sandbox_resources,
};
use super::security::ImageUser;
use super::{SpecError, dns, hosts, security};
use crate::labels;
use crate::runtime::cri;

/// What the machine and the agent's flags add to a pod.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) driver: CgroupDriver,
    pub(crate) memory_capacity: i64,
    pub(crate) seccomp_root: String,
    pub(crate) cluster: dns::Cluster,
    /// The machine's own resolver configuration; read for each pod, as it may change.
    pub(crate) resolv_conf: PathBuf,
    /// Sizes of huge pages that the kernel knows, as cgroups name them: `2MB`.
    pub(crate) huge_pages: Vec<String>,
}

/// A short digest of what makes a container another one: its name and its image. Whatever else
/// differs, as with defaults of another version, is no reason to end a running container.
pub(crate) fn container_hash(container: &Container) -> String {
    let identity = [Some(&container.name), container.image.as_ref()];
    let text = serde_json::to_vec(&identity).expect("texts can be written");
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What a sandbox is made of, beside its pod.
pub(crate) struct Frame<'a> {
    /// Tells the sandbox from the ones that the pod had before.
    pub(crate) attempt: u32,
    /// The pod's own folder of logs.
    pub(crate) log_dir: &'a Path,
    pub(crate) dns: cri::DnsConfig,
    pub(crate) machine: &'a Machine,
}

/// The sandbox of a pod.
///
/// # Errors
/// When its names do not fit.
pub(crate) fn sandbox(
    pod: &Pod,
    spec: &PodSpec,
    frame: Frame<'_>,
) -> Result<cri::PodSandboxConfig, SpecError> {
    let (meta, machine) = (&pod.metadata, frame.machine);
    let host_network = spec.host_network.unwrap_or(false);
    let mut pod_labels: HashMap<String, String> =
        meta.labels.clone().unwrap_or_default().into_iter().collect();
    pod_labels.extend(identity(pod));
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    Ok(cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            attempt: frame.attempt,
        }),
        // In the host's network the host's name stands; runc refuses to set another.
        hostname: if host_network {
            String::new()
        } else {
            hosts::hostname(pod, &machine.cluster.domain)?
        },
        log_directory: frame.log_dir.to_string_lossy().into_owned(),
        dns_config: Some(frame.dns),
        port_mappings: if host_network { Vec::new() } else { port_mappings(spec) },
        labels: pod_labels,
        annotations: meta.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(machine.driver, qos(spec), pod),
            security_context: Some(security::of_sandbox(spec)),
            sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
            overhead: Some(cri::LinuxContainerResources::default()),
            resources: Some(sandbox_resources(spec)),
        }),
        ..Default::default()
    })
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    let meta = &pod.metadata;
    [
        (labels::POD_NAME.to_owned(), meta.name.clone().unwrap_or_default()),
        (labels::POD_NAMESPACE.to_owned(), meta.namespace.clone().unwrap_or_default()),
        (labels::POD_UID.to_owned(), meta.uid.clone().unwrap_or_default()),
    ]
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

/// What a container's configuration is made of, beside its definition.
pub(crate) struct Parts<'a> {
    pub(crate) restarts: i32,
    pub(crate) image_id: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<cri::Mount>,
    /// Whom the image runs as when nobody says otherwise.
    pub(crate) user: ImageUser,
    pub(crate) machine: &'a Machine,
}

/// One container of a pod.
///
/// # Errors
/// When its security context cannot be used.
pub(crate) fn container(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    parts: Parts<'_>,
) -> Result<cri::ContainerConfig, SpecError> {
    security::verify_user(pod, container, &parts.user)?;
    let machine = parts.machine;
    let lookup =
        |name: &str| parts.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &lookup)).collect()
    };
    let name = &container.name;
    let mut identity: HashMap<String, String> = HashMap::from(identity(pod));
    identity.insert(labels::CONTAINER_NAME.to_owned(), name.clone());
    Ok(cri::ContainerConfig {
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
                machine.memory_capacity,
                &machine.huge_pages,
            )),
            security_context: Some(security::of_container(
                spec,
                container,
                &parts.user,
                &machine.seccomp_root,
            )?),
        }),
        envs: parts
            .env
            .into_iter()
            .map(|(key, value)| cri::KeyValue { key, value: value.into_bytes().into() })
            .collect(),
        ..Default::default()
    })
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

/// The class of a pod without a spec is that of an empty one.
pub(crate) fn qos_of(pod: &Pod) -> Qos {
    pod.spec.as_ref().map_or(Qos::BestEffort, qos)
}

/// The cgroup of a pod, as the runtime is told.
pub(crate) fn cgroup_of(pod: &Pod, machine: &Machine) -> String {
    cgroup_parent(machine.driver, qos_of(pod), pod)
}
