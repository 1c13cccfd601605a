//! The environment of a container.

use serde_json::Value;

use super::{all_containers, given, invalid_each, items, names, text};
use crate::field::{Error, Path};
use crate::quantity::Quantity;

pub(super) fn variables(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, variable) in items(one, "env").iter().enumerate() {
        let path = path.index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else {
            invalid_each(&path.child("name"), name, names::env_name(name), errors);
        }
        if let Some(source) = given(variable, "valueFrom") {
            let has_value = !text(variable, "value").is_empty();
            value_from(source, has_value, &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &Value, has_value: bool, path: &Path, errors: &mut Vec<Error>) {
    let mut sources = 0;
    if let Some(field) = given(source, "fieldRef") {
        sources += 1;
        field_ref(field, &ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = given(source, "resourceFieldRef") {
        sources += 1;
        resource_field_ref(resource, false, &path.child("resourceFieldRef"), errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = given(source, key) {
            sources += 1;
            key_ref(reference, &path.child(key), errors);
        }
    }
    if let Some(file) = given(source, "fileKeyRef") {
        sources += 1;
        file_key_ref(file, &path.child("fileKeyRef"), errors);
    }
    let why = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if has_value => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(Error::invalid(path, "", why));
}

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a pod that have a name here and cannot be asked for everywhere.
const OTHER_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
];

/// `path['subscript']` in its two parts.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    let (before, subscript) = path.strip_suffix("']")?.split_once("['")?;
    (!before.is_empty()).then_some((before, subscript))
}

pub(super) fn field_ref(field: &Value, allowed: &[&str], path: &Path, errors: &mut Vec<Error>) {
    let (version, wanted) = (text(field, "apiVersion"), text(field, "fieldPath"));
    for (key, value) in [("apiVersion", version), ("fieldPath", wanted)] {
        if value.is_empty() {
            errors.push(Error::required(&path.child(key), ""));
            return;
        }
    }
    let field_path = path.child("fieldPath");
    let problem = if version == "v1" {
        match subscripted(wanted) {
            Some(("metadata.annotations" | "metadata.labels", _)) => None,
            Some(_) => Some(format!("field label does not support subscript: {wanted}")),
            None if ENV_FIELDS.contains(&wanted)
                || OTHER_FIELDS.contains(&wanted)
                || wanted == "spec.host" =>
            {
                None
            }
            None => Some(format!("field label not supported: {wanted}")),
        }
    } else {
        Some(format!("unsupported pod version: {version}"))
    };
    if let Some(problem) = problem {
        let why = format!("error converting fieldPath: {problem}");
        errors.push(Error::invalid(&field_path, wanted, why));
        return;
    }
    match subscripted(wanted) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            invalid_each(path, &key, names::qualified_name(&key), errors);
        }
        Some((_, key)) => invalid_each(path, key, names::qualified_name(key), errors),
        None => {
            let wanted = if wanted == "spec.host" { "spec.nodeName" } else { wanted };
            super::restart::supported(&field_path, wanted, allowed, errors);
        }
    }
}

const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn resource_field_ref(
    field: &Value,
    needs_container: bool,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let resource = text(field, "resource");
    let is_huge =
        resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if needs_container && text(field, "containerName").is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCE_FIELDS.contains(&resource) && !is_huge {
        errors.push(Error::not_supported(&path.child("resource"), resource, &RESOURCE_FIELDS));
    }
    let divisor = field["divisor"].as_str().and_then(|text| text.parse::<Quantity>().ok());
    let Some(divisor) = divisor.filter(|divisor| !divisor.is_zero()) else { return };
    let (is_fine, values, what) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" if RESOURCE_FIELDS.contains(&resource) => {
            (matches!(divisor.to_string().as_str(), "1" | "1m"), "1m and 1", "cpu")
        }
        name if is_huge || RESOURCE_FIELDS.contains(&resource) => {
            let what = match name {
                "memory" => "memory",
                "ephemeral-storage" => "local ephemeral storage",
                _ => "hugepages",
            };
            let is_fine = BYTE_DIVISORS.contains(&divisor.to_string().as_str());
            (is_fine, "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei", what)
        }
        _ => return,
    };
    if !is_fine {
        let why = format!("only divisor's values {values} are supported with the {what} resource");
        errors.push(Error::invalid(&path.child("divisor"), resource, why));
    }
}

fn key_ref(reference: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (name, key) = (text(reference, "name"), text(reference, "key"));
    invalid_each(&path.child("name"), name, names::subdomain_1123(name), errors);
    if key.is_empty() {
        errors.push(Error::required(&path.child("key"), ""));
    } else {
        invalid_each(&path.child("key"), key, names::config_key(key), errors);
    }
}

fn file_key_ref(reference: &Value, path: &Path, errors: &mut Vec<Error>) {
    let rules: [(&str, super::NameRule); 3] = [
        ("key", names::env_name),
        ("volumeName", names::label_1123),
        ("path", super::volumes::no_backsteps),
    ];
    for (field, problems) in rules {
        let value = text(reference, field);
        if value.is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        } else {
            invalid_each(&path.child(field), value, problems(value), errors);
        }
    }
}

/// A variable out of a file needs the volume that the file is in.
pub(super) fn file_volumes(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (one, path) in all_containers(spec, path) {
        for (index, variable) in items(one, "env").iter().enumerate() {
            let Some(file) = given(&variable["valueFrom"], "fileKeyRef") else { continue };
            let path = path.child("env").index(index).child("valueFrom").child("fileKeyRef");
            let name = text(file, "volumeName");
            let mut volumes = items(spec, "volumes").iter().rev();
            match volumes.find(|volume| text(volume, "name") == name) {
                None => errors.push(Error::not_found(&path.child("volumeName"), name)),
                Some(volume) if given(volume, "emptyDir").is_none() => {
                    let why = "referenced volume must be of type emptyDir";
                    errors.push(Error::invalid(&path.child("volumeName"), name, why));
                }
                Some(_) => {}
            }
        }
    }
}

pub(super) fn sources(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (index, source) in items(one, "envFrom").iter().enumerate() {
        let list_path = path;
        let path = list_path.index(index);
        super::named(source, &path, ("prefix", names::env_name), errors);
        let mut sources = 0;
        for key in ["configMapRef", "secretRef"] {
            let Some(reference) = given(source, key) else { continue };
            sources += 1;
            let name = text(reference, "name");
            let path = path.child(key).child("name");
            if name.is_empty() {
                errors.push(Error::required(&path, ""));
            } else {
                // Upstream takes the name for a prefix here, which may end in a hyphen.
                let masked = names::masked_prefix(name);
                invalid_each(&path, name, names::subdomain_1123(&masked), errors);
            }
        }
        let why = match sources {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(Error::invalid(list_path, "", why));
    }
}
