//! APIServices: who serves a version of a group.

use serde_json::Value;

use super::{invalid_each, items, meta, names, text};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1_000;
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    // Upstream says what is wrong with a name once, together with its own rule.
    errors.clear();
    service(info, object, errors);
}

pub(super) fn update(info: &ResourceInfo, new: &Object, _old: &Object, errors: &mut Vec<Error>) {
    service(info, new, errors);
}

pub(super) fn status_update(
    _info: &ResourceInfo,
    new: &Object,
    _old: &Object,
    errors: &mut Vec<Error>,
) {
    let status = new.at(&["status"]).unwrap_or(&Value::Null);
    let path = Path::new("status").child("conditions");
    for (index, condition) in items(status, "conditions").iter().enumerate() {
        let value = text(condition, "status");
        if !STATUSES.contains(&value) {
            let path = path.index(index).child("status");
            errors.push(Error::not_supported(&path, value, &STATUSES));
        }
    }
}

fn service(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    errors.extend(meta::create(info, object));
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let wanted = format!("{version}.{group}");
    let name = object.name();
    if !name.is_empty() && names::path_segment(name).is_empty() && name != wanted {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(Error::invalid(&Path::new("metadata").child("name"), name, why));
    }
    let path = Path::new("spec");
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.push(Error::required(&path.child("group"), why));
    }
    if !group.is_empty() {
        invalid_each(&path.child("group"), group, names::subdomain_1123(group), errors);
    }
    invalid_each(&path.child("version"), version, names::label_1035(version), errors);
    for (key, max) in
        [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)]
    {
        let priority = spec[key].as_i64().unwrap_or(0);
        if !(1..=max).contains(&priority) {
            let why = format!("must be positive and less than {max}");
            errors.push(Error::invalid(&path.child(key), priority, why));
        }
    }
    match &spec["service"] {
        Value::Null => local(spec, &path, errors),
        service => remote(spec, service, &path, errors),
    }
}

fn authority_bytes(spec: &Value) -> usize {
    let text = text(spec, "caBundle");
    text.trim_end_matches('=').len() * 3 / 4
}

fn local(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let bytes = authority_bytes(spec);
    if bytes > 0 {
        let shown = format!("{bytes} bytes");
        let why = "local APIServices may not have a caBundle";
        errors.push(Error::invalid(&path.child("caBundle"), shown, why));
    }
    if spec["insecureSkipTLSVerify"] == true {
        let why = "local APIServices may not have insecureSkipTLSVerify";
        errors.push(Error::invalid(&path.child("insecureSkipTLSVerify"), true, why));
    }
}

fn remote(spec: &Value, service: &Value, path: &Path, errors: &mut Vec<Error>) {
    let of_service = path.child("service");
    for key in ["namespace", "name"] {
        if text(service, key).is_empty() {
            errors.push(Error::required(&of_service.child(key), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or(0);
    if !names::is_port(port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(Error::invalid(&of_service.child("port"), port, why));
    }
    if spec["insecureSkipTLSVerify"] == true && authority_bytes(spec) > 0 {
        let why = "may not be true if caBundle is present";
        errors.push(Error::invalid(&path.child("insecureSkipTLSVerify"), true, why));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As a kube-apiserver 1.36 refuses them.
    #[test]
    fn a_service_that_cannot_be_one_is_refused_in_upstreams_words() {
        let info = crate::kinds::find("apiregistration.k8s.io", "v1", "apiservices").unwrap();
        let label = names::label_1035("").remove(0);
        let priorities = json!({"group": "x", "version": "v1", "groupPriorityMinimum": 1,
            "versionPriority": 1, "caBundle": "QUJD", "insecureSkipTLSVerify": true});
        let mut remote = priorities.clone();
        remote["service"] = json!({"port": 0});
        for (name, spec, want) in [
            (
                "v1.x",
                json!({}),
                vec![
                    "metadata.name: Invalid value: \"v1.x\": must be `spec.version+\".\"+spec.group`: \".\"".to_owned(),
                    "spec.group: Required value: only v1 may have an empty group and it better be legacy kube".to_owned(),
                    format!("spec.version: Invalid value: \"\": {label}"),
                    "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000".to_owned(),
                    "spec.versionPriority: Invalid value: 0: must be positive and less than 1000".to_owned(),
                ],
            ),
            (
                "v1.x",
                priorities,
                vec![
                    "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle".to_owned(),
                    "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify".to_owned(),
                ],
            ),
            (
                "a/b",
                remote,
                vec![
                    "metadata.name: Invalid value: \"a/b\": may not contain '/'".to_owned(),
                    "spec.service.namespace: Required value".to_owned(),
                    "spec.service.name: Required value".to_owned(),
                    "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive".to_owned(),
                    "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present".to_owned(),
                ],
            ),
        ] {
            let tree = json!({"metadata": {"name": name}, "spec": spec});
            let mut errors = Vec::new();
            create(info, &Object::from_value(tree).unwrap(), &mut errors);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
    }
}
