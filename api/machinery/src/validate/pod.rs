//! Pods and pod templates.

use serde_json::{Map, Value};

use super::{invalid_each, items, names, not_negative, one_of, text};
use crate::Object;
use crate::field::{Error, Path};
use crate::quantity::Quantity;

/// A pod's spec, or a template's.
pub(super) fn spec(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let volumes = volumes(spec, path, errors);
    let mut seen = Vec::new();
    if items(spec, "containers").is_empty() {
        errors.push(Error::required(&path.child("containers"), ""));
    }
    for list in ["containers", "initContainers"] {
        for (index, one) in items(spec, list).iter().enumerate() {
            let path = path.child(list).index(index);
            container(one, &path, &volumes, errors);
            let name = text(one, "name");
            if !name.is_empty() && seen.contains(&name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            seen.push(name);
        }
    }
    host_ports(spec, path, errors);
    let policies = ["Always", "OnFailure", "Never"];
    one_of(&path.child("restartPolicy"), text(spec, "restartPolicy"), &policies, true, errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&path.child("dnsPolicy"), text(spec, "dnsPolicy"), &policies, true, errors);
    let node_name = text(spec, "nodeName");
    if !node_name.is_empty() {
        invalid_each(&path.child("nodeName"), node_name, names::subdomain_1123(node_name), errors);
    }
    let account = text(spec, "serviceAccountName");
    if !account.is_empty() {
        let problems = names::subdomain_1123(account);
        invalid_each(&path.child("serviceAccountName"), account, problems, errors);
    }
    super::meta::labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    for field in ["hostname", "subdomain"] {
        let value = text(spec, field);
        if !value.is_empty() {
            invalid_each(&path.child(field), value, names::label_1123(value), errors);
        }
    }
    not_negative(
        &path.child("terminationGracePeriodSeconds"),
        &spec["terminationGracePeriodSeconds"],
        errors,
    );
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, why));
    }
    tolerations(spec, path, errors);
}

/// The names of the volumes.
fn volumes<'a>(spec: &'a Value, path: &Path, errors: &mut Vec<Error>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for (index, volume) in items(spec, "volumes").iter().enumerate() {
        let path = path.child("volumes").index(index);
        let before = errors.len();
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else {
            invalid_each(&path.child("name"), name, names::label_1123(name), errors);
            if seen.contains(&name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        let sources: Vec<_> = volume
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| *key != "name")
            .collect();
        if sources.is_empty() {
            errors.push(Error::required(&path, "must specify a volume type"));
        }
        for extra in sources.iter().skip(1) {
            let why = "may not specify more than 1 volume type";
            errors.push(Error::forbidden(&path.child(extra), why));
        }
        for (source, field) in
            [("hostPath", "path"), ("secret", "secretName"), ("configMap", "name")]
        {
            if volume[source].is_object() && text(&volume[source], field).is_empty() {
                errors.push(Error::required(&path.child(source).child(field), ""));
            }
        }
        // A volume that is wrong in itself does not take its name.
        if errors.len() == before {
            seen.push(name);
        }
    }
    seen
}

fn container(one: &Value, path: &Path, volumes: &[&str], errors: &mut Vec<Error>) {
    let name = text(one, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        invalid_each(&path.child("name"), name, names::label_1123(name), errors);
    }
    let image = text(one, "image");
    if image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(Error::invalid(&path.child("image"), image, why));
    }
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(
        &path.child("terminationMessagePolicy"),
        text(one, "terminationMessagePolicy"),
        &policies,
        true,
        errors,
    );
    ports(one, path, errors);
    environment(one, path, errors);
    mounts(one, path, volumes, errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if one[name].is_object() {
            probe(&one[name], &path.child(name), errors);
        }
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(&path.child("imagePullPolicy"), text(one, "imagePullPolicy"), &policies, true, errors);
    resources(&one["resources"], &path.child("resources"), errors);
}

fn ports(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut seen = Vec::new();
    for (index, port) in items(one, "ports").iter().enumerate() {
        let path = path.child("ports").index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = names::port_name(name);
            if problems.is_empty() && seen.contains(&name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            invalid_each(&path.child("name"), name, problems, errors);
            seen.push(name);
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            number if !names::is_port(number) => {
                errors.push(Error::invalid(&path.child("containerPort"), number, names::PORT));
            }
            _ => {}
        }
        let host = port["hostPort"].as_i64().unwrap_or(0);
        if host != 0 && !names::is_port(host) {
            errors.push(Error::invalid(&path.child("hostPort"), host, names::PORT));
        }
        one_of(
            &path.child("protocol"),
            text(port, "protocol"),
            &["SCTP", "TCP", "UDP"],
            true,
            errors,
        );
    }
}

/// Two containers of a pod cannot have the same port of the host.
fn host_ports(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut seen = Vec::new();
    for (at, one) in items(spec, "containers").iter().enumerate() {
        for (index, port) in items(one, "ports").iter().enumerate() {
            let number = port["hostPort"].as_i64().unwrap_or(0);
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if seen.contains(&key) {
                let path = path.child("containers").index(at).child("ports").index(index);
                errors.push(Error::duplicate(&path.child("hostPort"), key.as_str()));
            }
            seen.push(key);
        }
    }
    if spec["hostNetwork"] == true {
        for (at, one) in items(spec, "containers").iter().enumerate() {
            for (index, port) in items(one, "ports").iter().enumerate() {
                if port["hostPort"] != port["containerPort"] {
                    let path = path.child("containers").index(at).child("ports").index(index);
                    let why = "must match `hostPort` when `hostNetwork` is true";
                    let value = port["containerPort"].clone();
                    errors.push(Error::invalid(&path.child("containerPort"), value, why));
                }
            }
        }
    }
}

fn environment(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, variable) in items(one, "env").iter().enumerate() {
        let path = path.child("env").index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else {
            invalid_each(&path.child("name"), name, names::env_name(name), errors);
        }
        let Some(source) = variable["valueFrom"].as_object() else { continue };
        let path = path.child("valueFrom");
        if !text(variable, "value").is_empty() && !source.is_empty() {
            let why = "may not be specified when `value` is not empty";
            errors.push(Error::invalid(&path, "", why));
        }
        match source.len() {
            0 => {
                let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
                errors.push(Error::invalid(&path, "", why));
            }
            1 => {}
            _ => errors.push(Error::invalid(
                &path,
                "",
                "may not have more than one field specified at a time",
            )),
        }
        for key in ["configMapKeyRef", "secretKeyRef"] {
            if source.get(key).is_some_and(|reference| text(reference, "key").is_empty()) {
                errors.push(Error::required(&path.child(key).child("key"), ""));
            }
        }
    }
}

fn mounts(one: &Value, path: &Path, volumes: &[&str], errors: &mut Vec<Error>) {
    let mut seen = Vec::new();
    for (index, mount) in items(one, "volumeMounts").iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        let (name, at) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !volumes.contains(&name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        if at.is_empty() {
            errors.push(Error::required(&path.child("mountPath"), ""));
        } else if seen.contains(&at) {
            errors.push(Error::invalid(&path.child("mountPath"), at, "must be unique"));
        }
        seen.push(at);
    }
}

fn probe(probe: &Value, path: &Path, errors: &mut Vec<Error>) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let mut set = handlers.iter().filter(|name| probe[**name].is_object());
    if set.next().is_none() {
        errors.push(Error::required(path, "must specify a handler type"));
    }
    for extra in set {
        let why = "may not specify more than 1 handler type";
        errors.push(Error::forbidden(&path.child(extra), why));
    }
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(&path.child(field), &probe[field], errors);
    }
    let threshold = probe["successThreshold"].as_i64().unwrap_or(1);
    if threshold != 1 && !path.to_string().ends_with("readinessProbe") {
        errors.push(Error::invalid(&path.child("successThreshold"), threshold, "must be 1"));
    }
}

pub(super) fn resources(resources: &Value, path: &Path, errors: &mut Vec<Error>) {
    let read = |value: &Value| value.as_str().and_then(|text| text.parse::<Quantity>().ok());
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            let path = path.child(list).key(name);
            if read(value).is_some_and(|quantity| quantity.is_negative()) {
                errors.push(Error::invalid(&path, value.clone(), super::NOT_NEGATIVE));
            }
            let is_standard = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-");
            if !name.contains('/') && !is_standard {
                let why = "must be a standard resource for containers";
                errors.push(Error::invalid(&path, name.as_str(), why));
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        if let (Some(asked), Some(allowed)) = (read(request), read(limit))
            && asked > allowed
        {
            let why = format!("must be less than or equal to {name} limit of {allowed}");
            errors.push(Error::invalid(&path.child("requests"), asked.to_string(), why));
        }
    }
}

pub(super) fn tolerations(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, one) in items(spec, "tolerations").iter().enumerate() {
        let path = path.child("tolerations").index(index);
        let (key, operator) = (text(one, "key"), text(one, "operator"));
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(&path.child("operator"), operator, why));
        } else if !key.is_empty() {
            invalid_each(&path.child("key"), key, names::qualified_name(key), errors);
        }
        match operator {
            "" | "Equal" | "Exists" => {}
            other => {
                errors.push(Error::not_supported(
                    &path.child("operator"),
                    other,
                    &["Equal", "Exists"],
                ));
            }
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(&path.child("effect"), text(one, "effect"), &effects, false, errors);
    }
}

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What may change in a pod that exists.
pub(super) fn update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let (Some(now), Some(before)) = (new.at(&["spec"]), old.at(&["spec"])) else { return };
    let path = Path::new("spec");
    for list in ["containers", "initContainers"] {
        if items(now, list).len() != items(before, list).len() {
            let why = "pod updates may not add or remove containers";
            errors.push(Error::forbidden(&path.child(list), why));
            return;
        }
        for (index, one) in items(now, list).iter().enumerate() {
            if text(one, "image").is_empty() {
                let path = path.child(list).index(index).child("image");
                errors.push(Error::required(&path, ""));
            }
        }
    }
    let deadline = |spec: &Value| spec["activeDeadlineSeconds"].as_i64();
    match (deadline(before), deadline(now)) {
        (Some(was), Some(is)) if is > was => {
            let why = "must be less than or equal to previous value";
            errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), is, why));
        }
        (Some(_), None) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), Value::Null, why));
        }
        _ => {}
    }
    let kept = items(before, "tolerations")
        .iter()
        .all(|toleration| items(now, "tolerations").contains(toleration));
    if !kept {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(&path.child("tolerations"), why));
    }
    if frozen(now, before) != *before {
        errors.push(Error::forbidden(&path, MUTABLE));
    }
}

/// The new spec with everything that may change put back.
fn frozen(now: &Value, before: &Value) -> Value {
    let mut out = now.clone();
    for list in ["containers", "initContainers"] {
        for (index, old) in items(before, list).iter().enumerate() {
            if let Some(one) = out[list].get_mut(index) {
                one["image"] = old["image"].clone();
            }
        }
    }
    let was_negative = before["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0);
    let mut put_back = vec!["activeDeadlineSeconds", "tolerations"];
    if was_negative && now["terminationGracePeriodSeconds"] == 1 {
        put_back.push("terminationGracePeriodSeconds");
    }
    if let (Value::Object(out), Value::Object(before)) = (&mut out, before) {
        for field in put_back {
            out.remove(field);
            if let Some(value) = before.get(field) {
                out.insert(field.to_owned(), value.clone());
            }
        }
        // Scheduling gates may only go while the pod has no node.
        let gates = |map: &Map<String, Value>| map.get("schedulingGates").cloned();
        if !before.contains_key("nodeName") && gates(before).is_some() {
            out.remove("schedulingGates");
            out.extend(gates(before).map(|value| ("schedulingGates".to_owned(), value)));
        }
    }
    out
}
