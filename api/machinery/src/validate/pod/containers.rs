//! Containers of all three lists.

use std::collections::HashSet;

use serde_json::Value;

use super::{Whole, container_resources, environment, given, handlers, mounts, number, restart};
use super::{invalid_each, items, names, one_of, security, text};
use crate::field::{Error, Path};

pub(super) fn containers(whole: &Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    let list = items(whole.spec, "containers");
    if list.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut seen = HashSet::new();
    for (index, one) in list.iter().enumerate() {
        let path = path.index(index);
        common(whole, one, &path, errors);
        let name = text(one, "name");
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.insert(name);
        handlers::lifecycle_and_probes(whole, one, &path, errors);
        restart::policy(one, &path, errors);
    }
    host_ports(list, path, errors);
}

pub(super) fn init_containers(whole: &Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    let mut seen: HashSet<_> =
        items(whole.spec, "containers").iter().map(|one| text(one, "name")).collect();
    for (index, one) in items(whole.spec, "initContainers").iter().enumerate() {
        let list_path = path;
        let path = list_path.index(index);
        common(whole, one, &path, errors);
        restart::init_policy(one, &path, errors);
        let name = text(one, "name");
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        } else if !name.is_empty() {
            seen.insert(name);
        }
        // Upstream looks at each alone, so that the path always names the first.
        host_ports(std::slice::from_ref(one), list_path, errors);
        if one["restartPolicy"] == "Always" {
            handlers::lifecycle_and_probes(whole, one, &path, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if given(one, field).is_some() {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.push(Error::forbidden(&path.child(field), why));
            }
        }
        for (index, policy) in items(one, "resizePolicy").iter().enumerate() {
            if policy["restartPolicy"] == "RestartContainer" {
                let path = path.child("resizePolicy").index(index).child("restartPolicy");
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(Error::invalid(&path, "RestartContainer", why));
            }
        }
    }
}

pub(super) fn ephemeral_containers(whole: &Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    let others: HashSet<_> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| items(whole.spec, list))
        .map(|one| text(one, "name"))
        .collect();
    let mut seen = others.clone();
    for (index, one) in items(whole.spec, "ephemeralContainers").iter().enumerate() {
        let path = path.index(index);
        common(whole, one, &path, errors);
        image_whitespace(one, &path, errors);
        let name = text(one, "name");
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.insert(name);
        let target = text(one, "targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            errors.push(Error::not_found(&path.child("targetContainerName"), target));
        }
        only_for_running(one, &path, errors);
    }
}

/// The fields that an ephemeral container cannot have, in the order of upstream's type.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

fn only_for_running(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let why = "cannot be set for an Ephemeral Container";
    for field in NOT_EPHEMERAL {
        let is_set = match (field, &one[field]) {
            ("resources", Value::Object(map)) => map.values().any(|value| !value.is_null()),
            (_, Value::Array(list)) => !list.is_empty(),
            (_, value) => !value.is_null(),
        };
        if is_set {
            errors.push(Error::forbidden(&path.child(field), why));
        }
    }
    for (index, mount) in items(one, "volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if !text(mount, field).is_empty() {
                let path = path.child("volumeMounts").index(index).child(field);
                errors.push(Error::forbidden(&path, why));
            }
        }
    }
}

pub(super) fn image_whitespace(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let image = text(one, "image");
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(Error::invalid(&path.child("image"), image, why));
    }
}

fn common(whole: &Whole<'_>, one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let name = text(one, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        invalid_each(&path.child("name"), name, names::label_1123(name), errors);
    }
    if text(one, "image").is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    }
    let policy = text(one, "terminationMessagePolicy");
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(&path.child("terminationMessagePolicy"), policy, &policies, true, errors);
    ports(one, &path.child("ports"), errors);
    environment::variables(one, &path.child("env"), errors);
    environment::sources(one, &path.child("envFrom"), errors);
    mounts::mounts(whole, one, &path.child("volumeMounts"), errors);
    mounts::devices(whole, one, &path.child("volumeDevices"), errors);
    pull_policy(text(one, "imagePullPolicy"), &path.child("imagePullPolicy"), errors);
    let resources_path = path.child("resources");
    container_resources::of_container(&one["resources"], &whole.claims, &resources_path, errors);
    restart::resize_policy(whole, one, &path.child("resizePolicy"), errors);
    let context_path = path.child("securityContext");
    security::of_container(&one["securityContext"], whole.has_host_users(), &context_path, errors);
}

pub(super) fn pull_policy(policy: &str, path: &Path, errors: &mut Vec<Error>) {
    one_of(path, policy, &["Always", "IfNotPresent", "Never"], true, errors);
}

fn ports(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (index, port) in items(one, "ports").iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = names::port_name(name);
            if problems.is_empty() && seen.contains(&name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            } else if problems.is_empty() {
                seen.insert(name);
            }
            invalid_each(&path.child("name"), name, problems, errors);
        }
        match number(port, "containerPort") {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            number if !names::is_port(number) => {
                errors.push(Error::invalid(&path.child("containerPort"), number, names::PORT));
            }
            _ => {}
        }
        let host = number(port, "hostPort");
        if host != 0 && !names::is_port(host) {
            errors.push(Error::invalid(&path.child("hostPort"), host, names::PORT));
        }
        let protocol = text(port, "protocol");
        one_of(&path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"], true, errors);
    }
}

/// Two containers cannot have the same port of the host.
fn host_ports(list: &[Value], path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (at, one) in list.iter().enumerate() {
        for (index, port) in items(one, "ports").iter().enumerate() {
            let number = number(port, "hostPort");
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if seen.contains(&key) {
                let path = path.index(at).child("ports").index(index);
                errors.push(Error::duplicate(&path.child("hostPort"), key.as_str()));
            }
            seen.insert(key);
        }
    }
}
