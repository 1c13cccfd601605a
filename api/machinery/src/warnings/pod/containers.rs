//! Containers: profiles in annotations, resources, variables and ports.

use std::fmt;

use serde_json::{Map, Value};

use super::{PAIRS_MAX, Place, Pod, SECCOMP, earlier, fraction, repeated};
use crate::strategy::{APP_ARMOR_ANNOTATION, app_armor_profile};
use crate::validate::{items, text};

const SECCOMP_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";

pub(super) fn containers(pod: Pod<'_>, told: &mut Vec<String>) {
    let has = |start: &str| {
        let mut keys = pod.annotations.as_object().into_iter().flat_map(Map::keys);
        keys.any(|key| key.starts_with(start))
    };
    let has_seccomp = has(SECCOMP_ANNOTATION);
    // Of a pod it is told where its annotations become fields.
    let has_app_armor = !pod.prefix.is_empty() && has(APP_ARMOR_ANNOTATION);
    for (place, container) in pod.containers() {
        if has_seccomp && container["securityContext"]["seccompProfile"].is_null() {
            let key = format!("{SECCOMP_ANNOTATION}{}", text(container, "name"));
            pod.annotation(&key, "27", SECCOMP, told);
        }
        if has_app_armor {
            app_armor(pod, container, told);
        }
        for resource in ["memory", "ephemeral-storage"] {
            for list in ["limits", "requests"] {
                let path = format_args!("{place}.resources.{list}[{resource}]");
                fraction(&container["resources"][list][resource], path, told);
            }
        }
        environment(container, place, told);
    }
}

fn app_armor(pod: Pod<'_>, container: &Value, told: &mut Vec<String>) {
    let key = format!("{APP_ARMOR_ANNOTATION}{}", text(container, "name"));
    let Some(said) = pod.annotations.get(&key) else { return };
    let has_field = !container["securityContext"]["appArmorProfile"].is_null();
    let of_pod = &pod.spec["securityContext"]["appArmorProfile"];
    let said = app_armor_profile(said.as_str().unwrap_or(""));
    if !has_field && said.as_ref() != Some(of_pod) {
        told.push(format!(
            "{}metadata.annotations[{key}]: deprecated since v1.30; \
             use the \"appArmorProfile\" field instead",
            pod.prefix
        ));
    }
}

/// A variable may be said again to add to it: `$(PATH):/more`.
fn environment(container: &Value, place: Place, told: &mut Vec<String>) {
    repeated(items(container, "env"), "name", |index, variable, name| {
        let (value, before) = (text(variable, "value"), format!("$({name})"));
        let is_added_to = value.contains(&before) && value != before;
        if !is_added_to || !variable["valueFrom"].is_null() {
            told.push(format!(
                "{place}.env[{index}]: hides previous definition of {name:?}, \
                 which may be dropped when using apply"
            ));
        }
    });
}

/// A port of a container, and which it is.
#[derive(Clone, Copy)]
struct Port<'a> {
    place: Place,
    index: usize,
    port: &'a Value,
}

impl fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.ports[{}]", self.place, self.index)
    }
}

impl Port<'_> {
    fn number(&self, field: &str) -> i64 {
        self.port[field].as_i64().unwrap_or(0)
    }
}

fn all_ports(pod: Pod<'_>) -> impl Iterator<Item = Port<'_>> + Clone {
    pod.containers().flat_map(|(place, container)| {
        let ports = items(container, "ports").iter().enumerate();
        ports.map(move |(index, port)| Port { place, index, port })
    })
}

/// Ports that more than one container or entry has.
pub(super) fn ports(pod: Pod<'_>, told: &mut Vec<String>) {
    let mut left = PAIRS_MAX;
    let all = all_ports(pod);
    for (index, one) in all.clone().enumerate() {
        let (address, host, port) =
            (text(one.port, "hostIP"), one.number("hostPort"), one.number("containerPort"));
        let protocol = text(one.port, "protocol");
        if !address.is_empty() && host == 0 {
            let name = text(one.port, "name");
            told.push(format!(
                "{one}: hostIP set without hostPort: {{Name:{name} HostPort:{host} \
                 ContainerPort:{port} Protocol:{protocol} HostIP:{address}}}"
            ));
        }
        for other in earlier(&all, index, &mut left) {
            if other.number("containerPort") != port || text(other.port, "protocol") != protocol {
                continue;
            }
            let (other_address, other_host) =
                (text(other.port, "hostIP"), other.number("hostPort"));
            let what = if host == other_host && address == other_address {
                "duplicate"
            } else if host == 0 || other_host == 0 {
                "overlapping"
            } else if host == other_host && address.is_empty() != other_address.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            told.push(format!("{one}: {what} port definition with {other}"));
        }
    }
}

/// Names of ports that more than one container has.
pub(super) fn port_names(pod: Pod<'_>, told: &mut Vec<String>) {
    let mut left = PAIRS_MAX;
    let named = all_ports(pod).filter(|one| !text(one.port, "name").is_empty());
    for (index, one) in named.clone().enumerate() {
        let name = text(one.port, "name");
        let mut before = earlier(&named, index, &mut left);
        if let Some(first) = before.find(|other| text(other.port, "name") == name) {
            told.push(format!(
                "{one}: duplicate port name {name:?} with {first}, services and probes \
                 that select ports by name will use {first}"
            ));
        }
    }
}
