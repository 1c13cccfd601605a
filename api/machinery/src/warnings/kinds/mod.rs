//! What is said of each kind, besides the pods that it describes.

mod certificates;
mod networks;
mod services;
mod storage;
mod workloads;

use serde_json::Value;

use super::labels;
use crate::field::Path;
use crate::quantity::Quantity;
use crate::validate::{items, text};
use crate::{Object, ResourceInfo};

const ADMISSION: &str = "admissionregistration.k8s.io";
const ENFORCE_MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
const STATIC: &str = ".static.k8s.io";

pub(super) fn create(info: &ResourceInfo, object: &Object, told: &mut Vec<String>) {
    match (info.group, info.kind) {
        ("", "ResourceQuota") => quota(object, told),
        ("", "ServiceAccount") => account(object, None, told),
        ("batch", "Job") => workloads::job(object, None, told),
        ("batch", "CronJob") => workloads::cron_job_create(object, told),
        ("apps", "StatefulSet") => workloads::stateful_set_create(object, told),
        ("discovery.k8s.io", "EndpointSlice") => services::slice_create(object, told),
        ("networking.k8s.io", "Ingress") => networks::ingress_create(object, told),
        ("storage.k8s.io", "CSIDriver") => storage::driver(object, None, told),
        _ => always(info, object, told),
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, told: &mut Vec<String>) {
    match (info.group, info.kind) {
        ("", "ServiceAccount") => account(new, Some(old), told),
        ("batch", "Job") => workloads::job(new, Some(old), told),
        ("batch", "CronJob") => workloads::cron_job_update(new, old, told),
        ("apps", "StatefulSet") => workloads::stateful_set_update(new, told),
        ("discovery.k8s.io", "EndpointSlice") => services::slice(new, told),
        ("storage.k8s.io", "CSIDriver") => storage::driver(new, Some(old), told),
        _ => always(info, new, told),
    }
}

pub(super) fn status_update(info: &ResourceInfo, new: &Object, told: &mut Vec<String>) {
    if let ("", "Service") | ("networking.k8s.io", "Ingress") = (info.group, info.kind) {
        services::balancers(new, told);
    }
}

/// What is said again whenever the object is written, whatever it was before.
fn always(info: &ResourceInfo, object: &Object, told: &mut Vec<String>) {
    match (info.group, info.kind) {
        ("", "Service") => services::service(object, told),
        ("", "Endpoints") => services::endpoints(object, told),
        ("", "Node") => node(object, told),
        ("", "PersistentVolume") => storage::volume(object, told),
        ("", "PersistentVolumeClaim") => storage::claim(object, told),
        ("", "Secret") => certificates::secret(object, told),
        ("networking.k8s.io", "NetworkPolicy") => networks::policy(object, told),
        ("node.k8s.io", "RuntimeClass") => runtime_class(object, told),
        ("resource.k8s.io", "ResourceSlice") => resource_slice(object, told),
        ("storage.k8s.io", "StorageClass") => storage::class(object, told),
        ("storage.k8s.io", "CSIStorageCapacity") => storage::capacity(object, told),
        (ADMISSION, _) => static_name(object, told),
        _ => {}
    }
}

fn spec(object: &Object) -> &Value {
    object.at(&["spec"]).unwrap_or(&Value::Null)
}

/// An address or a range, with the field that it is in.
fn at(path: &Path, message: impl IntoIterator<Item = String>, told: &mut Vec<String>) {
    told.extend(message.into_iter().map(|message| format!("{path}: {message}")));
}

fn account(new: &Object, old: Option<&Object>, told: &mut Vec<String>) {
    let has = |object: &Object| object.annotations().contains_key(ENFORCE_MOUNTABLE);
    if has(new) && !old.is_some_and(has) {
        told.push(format!(
            "metadata.annotations[{ENFORCE_MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

fn node(object: &Object, told: &mut Vec<String>) {
    let spec = spec(object);
    if !spec["configSource"].is_null() {
        told.push("spec.configSource: the feature is removed".to_owned());
    }
    if !text(spec, "externalID").is_empty() {
        let why = "this field is deprecated, and is unused by Kubernetes";
        told.push(format!("spec.externalID: {why}"));
    }
    networks::ranges(items(spec, "podCIDRs"), &Path::new("spec").child("podCIDRs"), told);
}

/// More may be asked for than may be used.
fn quota(object: &Object, told: &mut Vec<String>) {
    let hard = &spec(object)["hard"];
    let find = |name: String| {
        let quantity = text(hard, &name).parse::<Quantity>().ok()?;
        Some((name, quantity))
    };
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let request = find(format!("requests.{resource}")).or_else(|| {
            // These two may be written without a prefix.
            matches!(resource, "cpu" | "memory").then(|| find(resource.to_owned()))?
        });
        let limit = find(format!("limits.{resource}"));
        if let (Some((request, asked)), Some((limit, most))) = (request, limit)
            && asked > most
        {
            told.push(format!(
                "ResourceQuota {request} ({asked}) should be less than {limit} ({most})"
            ));
        }
    }
}

fn resource_slice(object: &Object, told: &mut Vec<String>) {
    let driver = text(spec(object), "driver");
    if driver != driver.to_lowercase() {
        told.push(format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        ));
    }
}

fn runtime_class(object: &Object, told: &mut Vec<String>) {
    let selector = object.at(&["scheduling", "nodeSelector"]).and_then(Value::as_object);
    let path = Path::new("scheduling").child("nodeSelector");
    for label in selector.into_iter().flat_map(serde_json::Map::keys) {
        at(&path, labels::told(label), told);
    }
}

fn static_name(object: &Object, told: &mut Vec<String>) {
    if object.name().ends_with(STATIC) {
        told.push(format!(
            "metadata.name: names ending with \"{STATIC}\" are reserved for static manifest-based configurations and cannot be managed via the API"
        ));
    }
}

#[cfg(test)]
mod tests;
