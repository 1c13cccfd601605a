//! What a pod may not have of its host.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, items, plural, quoted, setters, text, violates};

pub(super) fn namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"];
    let shared = shared.iter().filter(|field| pod.spec[**field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    if shared.is_empty() {
        return None;
    }
    violates("host namespaces", shared.join(", "))
}

pub(super) fn path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = items(&pod.spec["volumes"]).filter(|volume| volume["hostPath"].is_object());
    let names: Vec<&str> = volumes.map(|volume| text(&volume["name"])).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(&names));
    violates("hostPath volumes", detail)
}

pub(super) fn ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut used = BTreeSet::new();
    let bad = pod.which(|container| {
        let ports = items(&container["ports"]).filter_map(|port| port["hostPort"].as_i64());
        let ports: Vec<String> =
            ports.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let is_bad = !ports.is_empty();
        used.extend(ports);
        is_bad
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&bad),
        plural(bad.len(), "uses", "use"),
        plural(used.len(), "hostPort", "hostPorts"),
        used.into_iter().collect::<Vec<_>>().join(", ")
    );
    violates("hostPort", detail)
}

/// Since 1.34 probes and hooks ask the pod itself and nobody else.
pub(super) fn probes(pod: &Pod<'_>) -> Option<Violation> {
    let mut hosts = Texts::new();
    let mut bad = pod.which(|container| {
        let lifecycle = &container["lifecycle"];
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        let asked = handlers.into_iter().flat_map(|handler| {
            [text(&handler["httpGet"]["host"]), text(&handler["tcpSocket"]["host"])]
        });
        let asked: Vec<&str> = asked.filter(|host| !host.is_empty()).collect();
        hosts.extend(&asked);
        !asked.is_empty()
    });
    if bad.is_empty() {
        return None;
    }
    bad.sort_unstable();
    bad.dedup();
    let detail = format!(
        "{} {} {} {}",
        containers(&bad),
        plural(bad.len(), "uses", "use"),
        plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
        quoted(&hosts)
    );
    violates("probe or lifecycle host", detail)
}

pub(super) fn process(pod: &Pod<'_>) -> Option<Violation> {
    let is_set = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let bad = pod.which(|container| is_set(&container["securityContext"]));
    let who = setters(is_set(pod.context()), &bad)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    violates("hostProcess", detail)
}

/// Where volumes may come from.
const FREE: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const BOUND: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub(super) fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let is_of = |volume: &Value, kinds: &[&'static str]| {
        kinds.iter().copied().find(|kind| volume[*kind].is_object())
    };
    let volumes = items(&pod.spec["volumes"]);
    let bad: Vec<&Value> = volumes.filter(|volume| is_of(volume, &FREE).is_none()).collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: Texts<'_> =
        bad.iter().map(|volume| is_of(volume, &BOUND).unwrap_or("unknown")).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural(bad.len(), "volume", "volumes"),
        quoted(bad.iter().map(|volume| text(&volume["name"]))),
        plural(bad.len(), "uses", "use"),
        plural(kinds.len(), "restricted volume type", "restricted volume types"),
        quoted(&kinds)
    );
    violates("restricted volume types", detail)
}
