//! Pods, and everything that has a template of them.
//!
//! A pod is looked at thousands of times a second and next to never has anything to be told: paths
//! are only put together for what is told, and nothing is copied to find it.

mod containers;
#[cfg(test)]
mod pod_test;
mod scheduling;
mod volumes;

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use super::address;
use crate::quantity::Quantity;
use crate::validate::{items, names, text};
use crate::{Object, ResourceInfo};

/// Lists up to this length are compared item by item, which needs no memory.
const FEW: usize = 32;
/// How often two paths or two ports of a pod are compared: that grows with the square of their
/// number, and nobody reads thousands of warnings.
const PAIRS_MAX: usize = 100_000;

/// A pod or a template.
#[derive(Clone, Copy)]
struct Pod<'a> {
    /// What stands before `spec` and `metadata` in paths.
    prefix: &'static str,
    spec: &'a Value,
    annotations: &'a Value,
}

/// Which container.
#[derive(Clone, Copy)]
struct Place {
    prefix: &'static str,
    list: &'static str,
    index: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}spec.{}[{}]", self.prefix, self.list, self.index)
    }
}

pub(super) fn create(info: &ResourceInfo, object: &Object, told: &mut Vec<String>) {
    name(info, object, told);
    if let Some(pod) = Pod::of(info, object) {
        pod.warnings(told);
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, told: &mut Vec<String>) {
    let template = ["spec", "template"];
    let is_looked_at = match info.kind {
        // People do not write to pods that are there, and all others do it all the time.
        "Pod" => false,
        "DaemonSet" => new.at(&template) != old.at(&template),
        _ => new.generation() != old.generation(),
    };
    if !is_looked_at {
        return;
    }
    // Upstream mixes up the two and tells of the template that is replaced.
    let shown = if info.kind == "ReplicationController" { old } else { new };
    if let Some(pod) = Pod::of(info, shown) {
        pod.warnings(told);
    }
}

pub(super) fn status_update(info: &ResourceInfo, new: &Object, told: &mut Vec<String>) {
    if info.kind != "Pod" {
        return;
    }
    let status = new.at(&["status"]).unwrap_or(&Value::Null);
    for list in ["podIPs", "hostIPs"] {
        for (index, one) in items(status, list).iter().enumerate() {
            if let Some(what) = address::ip(text(one, "ip")) {
                told.push(format!("status.{list}[{index}].ip: {what}"));
            }
        }
    }
}

/// Names that may have dots become hostnames, which may not.
fn name(info: &ResourceInfo, object: &Object, told: &mut Vec<String>) {
    let used_in = match info.kind {
        "Pod" => "the Pod's hostname",
        "Deployment" | "ReplicaSet" | "ReplicationController" | "Job" | "CronJob" => {
            "Pod names and hostnames"
        }
        _ => return,
    };
    let problems = names::label_1123(object.name());
    if !problems.is_empty() {
        let problems = problems.join(" ");
        told.push(format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; \
             a DNS label is recommended: [{problems}]"
        ));
    }
}

impl<'a> Pod<'a> {
    /// `None` for a kind that has no pods in it.
    fn of(info: &ResourceInfo, object: &'a Object) -> Option<Self> {
        let (prefix, path): (_, &[&str]) = match info.kind {
            "Pod" => {
                let annotations = object.at(&["metadata", "annotations"]).unwrap_or(&Value::Null);
                return Some(Self { prefix: "", spec: object.at(&["spec"])?, annotations });
            }
            "PodTemplate" => ("template.", &["template"]),
            "Deployment"
            | "ReplicaSet"
            | "StatefulSet"
            | "DaemonSet"
            | "ReplicationController"
            | "Job" => ("spec.template.", &["spec", "template"]),
            "CronJob" => {
                ("spec.jobTemplate.spec.template.", &["spec", "jobTemplate", "spec", "template"])
            }
            _ => return None,
        };
        let template = object.at(path)?;
        let annotations = &template["metadata"]["annotations"];
        Some(Self { prefix, spec: &template["spec"], annotations })
    }

    /// Everything, in upstream's order.
    fn warnings(self, told: &mut Vec<String>) {
        scheduling::nodes(self, told);
        self.annotation("scheduler.alpha.kubernetes.io/critical-pod", "16", PRIORITY, told);
        self.annotation("security.alpha.kubernetes.io/sysctls", "11", "sysctls", told);
        self.annotation("security.alpha.kubernetes.io/unsafe-sysctls", "11", "sysctls", told);
        volumes::plugins(self, told);
        volumes::overlaps(self, told);
        self.host_aliases(told);
        self.pull_secrets(told);
        for resource in ["memory", "ephemeral-storage"] {
            let path = format_args!("{}spec.overhead[{resource}]", self.prefix);
            fraction(&self.spec["overhead"][resource], path, told);
        }
        if self.spec["securityContext"]["seccompProfile"].is_null() {
            let key = "seccomp.security.alpha.kubernetes.io/pod";
            self.annotation(key, "27", SECCOMP, told);
        }
        containers::containers(self, told);
        containers::ports(self, told);
        containers::port_names(self, told);
        let field = "terminationGracePeriodSeconds";
        if self.spec[field].as_i64().is_some_and(|seconds| seconds < 0) {
            let why = "must be >= 0; negative values are invalid and will be treated as 1";
            told.push(format!("{}spec.{field}: {why}", self.prefix));
        }
        scheduling::pods(self, told);
        self.addresses(told);
    }

    /// An annotation that became a field.
    fn annotation(self, key: &str, since: &str, field: &str, told: &mut Vec<String>) {
        if self.annotations.get(key).is_some() {
            told.push(format!(
                "{}metadata.annotations[{key}]: non-functional in v1.{since}+; \
                 use the \"{field}\" field instead",
                self.prefix
            ));
        }
    }

    fn host_aliases(self, told: &mut Vec<String>) {
        repeated(items(self.spec, "hostAliases"), "ip", |index, _, ip| {
            let path = format_args!("{}spec.hostAliases[{index}].ip", self.prefix);
            told.push(format!("{path}: duplicate ip {ip:?}"));
        });
    }

    fn pull_secrets(self, told: &mut Vec<String>) {
        let secrets = items(self.spec, "imagePullSecrets");
        repeated(secrets, "name", |index, _, name| {
            let path = format_args!("{}spec.imagePullSecrets[{index}].name", self.prefix);
            told.push(format!("{path}: duplicate name {name:?}"));
        });
        for (index, _) in secrets.iter().enumerate().filter(|(_, one)| text(one, "name").is_empty())
        {
            let path = format_args!("{}spec.imagePullSecrets[{index}].name", self.prefix);
            told.push(format!("{path}: invalid empty name \"\""));
        }
    }

    fn addresses(self, told: &mut Vec<String>) {
        let prefix = self.prefix;
        let servers = items(&self.spec["dnsConfig"], "nameservers");
        for (index, server) in servers.iter().enumerate() {
            if let Some(what) = address::ip(server.as_str().unwrap_or("")) {
                told.push(format!("{prefix}spec.dnsConfig.nameservers[{index}]: {what}"));
            }
        }
        for (index, alias) in items(self.spec, "hostAliases").iter().enumerate() {
            if let Some(what) = address::ip(text(alias, "ip")) {
                told.push(format!("{prefix}spec.hostAliases[{index}].ip: {what}"));
            }
        }
    }

    /// Every container, in the order upstream visits them.
    fn containers(self) -> impl Iterator<Item = (Place, &'a Value)> + Clone {
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| {
            items(self.spec, list)
                .iter()
                .enumerate()
                .map(move |(index, one)| (Place { prefix: self.prefix, list, index }, one))
        })
    }
}

const PRIORITY: &str = "priorityClassName";
const SECCOMP: &str = "seccompProfile";

/// Calls `tell` with each item, and where it is, whose text was there before.
fn repeated<'a>(list: &'a [Value], key: &str, mut tell: impl FnMut(usize, &'a Value, &'a str)) {
    let mut seen = HashSet::new();
    for (index, one) in list.iter().enumerate() {
        let own = text(one, key);
        let is_repeated = if list.len() <= FEW {
            list[..index].iter().any(|other| text(other, key) == own)
        } else {
            !seen.insert(own)
        };
        if is_repeated {
            tell(index, one, own);
        }
    }
}

/// What comes before the item at `index`, as long as there is `left` of what may be compared.
fn earlier<T: Iterator + Clone>(all: &T, index: usize, left: &mut usize) -> std::iter::Take<T> {
    let looked_at = index.min(*left);
    *left -= looked_at;
    all.clone().take(looked_at)
}

/// Bytes that are no whole number.
fn fraction(amount: &Value, path: fmt::Arguments<'_>, told: &mut Vec<String>) {
    // All that is written without one of these is whole, and need not be read.
    let text = amount.as_str().filter(|text| text.contains(['.', '-', 'm', 'u', 'n']));
    let Some(amount) = text.and_then(|text| text.parse::<Quantity>().ok()) else { return };
    // Upstream rounds to thousandths before it looks.
    if amount != amount.rounded_up() && amount.milli_value() % 1000 != 0 {
        told.push(format!(
            "{path}: fractional byte value \"{amount}\" is invalid, must be an integer"
        ));
    }
}
