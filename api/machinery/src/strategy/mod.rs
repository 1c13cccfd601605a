//! What the server changes in an object before it is checked and stored, kind by kind.

mod claims;
mod families;
mod gates;
mod jobs;
mod new_pods;
mod pods;
mod requests;
mod services;

use serde_json::{Value, json};

use crate::custom::definition::defaults as definition;
use crate::{Object, ResourceInfo, Schema};

pub use families::complete_families;
pub use jobs::share_labels;
pub use new_pods::profiles_from_annotations;
pub(crate) use new_pods::{APP_ARMOR_ANNOTATION, app_armor_profile};
pub use pods::{
    Deletion, bind, graceful_deletion, prepare_for_ephemeral_containers_update,
    prepare_for_resize_update, qos_class,
};
pub use requests::{prepare_for_approval, set_requester};
pub use services::{fill_in_addresses, gives_node_ports, keep_allocated, needs_health_check};

/// What the caller knows and this crate cannot: identity and time.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    pub uid: &'a str,
    /// RFC 3339 with seconds, UTC.
    pub now: &'a str,
}

/// Prepares a new object: server-owned metadata set, status wiped, generation 1.
pub fn prepare_for_create(info: &ResourceInfo, object: &mut Object, creation: Creation<'_>) {
    object.set_uid(creation.uid);
    object.set_creation_timestamp(creation.now);
    object.set_deletion(None);
    for field in ["resourceVersion", "selfLink"] {
        object.remove(&["metadata", field]);
    }
    if !info.namespaced {
        object.remove(&["metadata", "namespace"]);
    }
    // A driver's generation begins with its first change. Where nobody counts, it is the client's word.
    if info.has_generation && info.kind != "CSIDriver" {
        object.set_generation(1);
    }
    // A node is created by its kubelet with its status.
    if info.has_status && info.kind != "Node" {
        object.set(&["status"], new_status(info, object, creation.now));
    }
    if info.is_custom() {
        return;
    }
    gates::drop_disabled(info.kind, object, None);
    match info.kind {
        "Pod" => new_pods::merge_label_keys(object),
        "Namespace" => add_kubernetes_finalizer(object),
        "Secret" => fold_string_data(object),
        "ServiceAccount" => keep_names_of_secrets(object),
        "EndpointSlice" => drop_topology(object),
        "Job" => jobs::select_own_pods(object, creation.uid),
        "DaemonSet" => {
            let generation = template_generation(object).max(1).to_string();
            object.set(&["metadata", "annotations", TEMPLATE_GENERATION], generation.into());
        }
        "PersistentVolumeClaim" => claims::mirror_data_sources(object, None),
        "CustomResourceDefinition" => definition::prepare_for_create(object),
        _ => {}
    }
}

/// The status of a new object: nothing of it is the client's.
fn new_status(info: &ResourceInfo, object: &Object, now: &str) -> Value {
    match info.kind {
        "Pod" => {
            let mut status = json!({"phase": "Pending", "qosClass": qos_class(object)});
            if let Some(conditions) = new_pods::conditions(object, now) {
                status["conditions"] = conditions;
            }
            status
        }
        "Namespace" => json!({"phase": "Active"}),
        "APIService" => requests::status_of_api_service(object, now),
        "PersistentVolume" => json!({"phase": "Pending", "lastPhaseTransitionTime": now}),
        "PersistentVolumeClaim" => json!({"phase": "Pending"}),
        _ => Schema::get().empty(info.type_id(), "status"),
    }
}

/// Prepares an update of the main resource: status and server-owned metadata stay as they were,
/// the generation counts a changed spec.
pub fn prepare_for_update(info: &ResourceInfo, new: &mut Object, old: &Object) {
    keep_metadata(new, old);
    if info.has_status {
        keep(new, old, &["status"]);
    }
    if info.is_custom() {
        return;
    }
    gates::drop_disabled(info.kind, new, Some(old));
    match info.kind {
        "Secret" => fold_string_data(new),
        "ServiceAccount" => keep_names_of_secrets(new),
        "Service" => services::drop_unused(new, old),
        // The finalizers of the spec only change through the subresource `finalize`; what is asked
        // to be signed never changes.
        "Namespace" | "CertificateSigningRequest" => keep(new, old, &["spec"]),
        "EndpointSlice" if new.at(&["endpoints"]) != old.at(&["endpoints"]) => drop_topology(new),
        "DaemonSet" => {
            let is_changed = new.at(&["spec", "template"]) != old.at(&["spec", "template"]);
            let generation = (template_generation(old) + i64::from(is_changed)).to_string();
            new.set(&["metadata", "annotations", TEMPLATE_GENERATION], generation.into());
        }
        "PersistentVolumeClaim" => claims::mirror_data_sources(new, Some(old)),
        "CustomResourceDefinition" => definition::prepare_for_update(new, old),
        _ => {}
    }
    if info.has_generation {
        let generation = old.generation() + i64::from(is_counted(info, new, old));
        if generation > 0 {
            new.set_generation(generation);
        }
    }
}

/// Whether a change is one that `metadata.generation` counts.
fn is_counted(info: &ResourceInfo, new: &Object, old: &Object) -> bool {
    let counted: &[&[&str]] = match info.kind {
        // It has no spec: everything counts but most of the metadata.
        "EndpointSlice" => &[&["endpoints"], &["ports"], &["addressType"], &["metadata", "labels"]],
        // Its controller reads annotations.
        "Deployment" => &[&["spec"], &["metadata", "annotations"]],
        "PodTemplate" => &[&["template"]],
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => &[&["webhooks"]],
        // Upstream counts its creation only.
        "PriorityClass" => &[],
        _ => &[&["spec"]],
    };
    counted.iter().any(|path| new.at(path) != old.at(path))
}

/// Prepares an update through the subresource `status`: only the status (and for nodes and pods
/// nothing of the spec) changes.
pub fn prepare_for_status_update(info: &ResourceInfo, new: &mut Object, old: &Object, now: &str) {
    if info.kind == "Pod" {
        // Who tells of a pod says nothing of its end.
        new.remove(&["metadata", "deletionTimestamp"]);
    }
    keep_metadata(new, old);
    keep(new, old, &["spec"]);
    keep(new, old, &["metadata", "generation"]);
    if info.is_custom() {
        return;
    }
    gates::drop_disabled_status(info.kind, new, old);
    match info.kind {
        "Deployment" => keep(new, old, &["metadata", "labels"]),
        "Pod" => {
            keep(new, old, &["metadata", "ownerReferences"]);
            // The class is decided once; kubelets of old leave it out.
            if new.text(&["status", "qosClass"]).is_empty() {
                keep(new, old, &["status", "qosClass"]);
            }
            pods::keep_observed_generations(new, old);
        }
        "DaemonSet" => keep(new, old, &["metadata", "annotations", TEMPLATE_GENERATION]),
        "PersistentVolume" => note_phase(new, old, now),
        "CertificateSigningRequest" => {
            requests::keep_decisions(new, old);
            requests::date_conditions(new, old, now);
        }
        "FlowSchema" | "PriorityLevelConfiguration" => {
            let managers = new.remove(&["metadata", "managedFields"]);
            keep(new, old, &["metadata"]);
            if let Some(managers) = managers {
                new.set(&["metadata", "managedFields"], managers);
            }
        }
        "APIService"
        | "ServiceCIDR"
        | "VolumeAttachment"
        | "ResourceClaim"
        | "ValidatingAdmissionPolicy" => {
            for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
                keep(new, old, &["metadata", field]);
            }
            if info.kind == "ResourceClaim" {
                claims::drop_deallocated(new, old);
            }
        }
        _ => {}
    }
}

/// Of the secrets of an account only the names are kept: they are of its namespace.
fn keep_names_of_secrets(account: &mut Object) {
    let is_name = |secret: &Value| {
        secret.as_object().is_some_and(|secret| secret.keys().all(|key| key == "name"))
    };
    let secrets = account.at(&["secrets"]).and_then(Value::as_array);
    let Some(secrets) = secrets.filter(|secrets| !secrets.iter().all(is_name)) else { return };
    let name_of = |secret: &Value| match &secret["name"] {
        Value::String(name) if !name.is_empty() => json!({"name": name}),
        _ => json!({}),
    };
    let names: Vec<Value> = secrets.iter().map(name_of).collect();
    account.set(&["secrets"], names.into());
}

/// A new phase is dated, unless the client dates it.
fn note_phase(volume: &mut Object, old: &Object, now: &str) {
    const SINCE: &[&str] = &["status", "lastPhaseTransitionTime"];
    let is_dated = volume.at(SINCE).is_some_and(|time| !time.is_null());
    if volume.text(&["status", "phase"]) == old.text(&["status", "phase"]) {
        if !is_dated {
            keep(volume, old, SINCE);
        }
    } else if !is_dated || volume.at(SINCE) == old.at(SINCE) {
        volume.set(SINCE, now.into());
    }
}

/// How often the template of a daemon set changed; the wire has it as an annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Object) -> i64 {
    object.text(&["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(0)
}

/// Prepares `PUT namespaces/NAME/finalize`: all may change but the status.
pub fn prepare_for_finalize(new: &mut Object, old: &Object) {
    keep_metadata(new, old);
    keep(new, old, &["status"]);
}

/// Copies the old value of a path, or its absence.
fn keep(new: &mut Object, old: &Object, path: &[&str]) {
    match old.at(path) {
        // A look is much less than a copy.
        value if value == new.at(path) => {}
        Some(value) => new.set(path, value.clone()),
        None => {
            new.remove(path);
        }
    }
}

fn keep_metadata(new: &mut Object, old: &Object) {
    for field in [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        // A changed value is refused by validation; a left-out one means "as it was".
        let is_set = new.at(&["metadata", field]).is_some();
        if !is_set || matches!(field, "generation" | "selfLink" | "creationTimestamp") {
            keep(new, old, &["metadata", field]);
        }
    }
}

fn add_kubernetes_finalizer(object: &mut Object) {
    let present = object
        .at(&["spec", "finalizers"])
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|one| one == "kubernetes"));
    if !present {
        let mut list = object
            .at(&["spec", "finalizers"])
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        list.push("kubernetes".into());
        object.set(&["spec", "finalizers"], list.into());
    }
}

/// A field of an older version that this one shows and does not take.
fn drop_topology(slice: &mut Object) {
    let endpoints = slice.0.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        endpoint.remove("deprecatedTopology");
    }
}

/// `stringData` of a Secret is written into `data` and never stored.
pub fn fold_string_data(object: &mut Object) {
    use base64::Engine;
    let Some(Value::Object(texts)) = object.remove(&["stringData"]) else { return };
    for (key, text) in texts {
        let bytes = text.as_str().unwrap_or_default().as_bytes();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        object.set(&["data", &key], encoded.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn pod(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn the_generation_of_a_deployment_counts_annotations() {
        let info = kinds::find("apps", "v1", "deployments").unwrap();
        let old = pod(json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}}));
        let mut new =
            pod(json!({"metadata": {"annotations": {"x": "y"}}, "spec": {"replicas": 1}}));
        prepare_for_update(info, &mut new, &old);
        assert_eq!(new.generation(), 4);
    }

    #[test]
    fn the_generation_counts_changes_of_the_spec_only() {
        let info = kinds::find("apps", "v1", "deployments").unwrap();
        let old = pod(
            json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {"a": 1}}),
        );
        let mut new = pod(json!({"metadata": {"labels": {"x": "y"}}, "spec": {"replicas": 1}}));
        prepare_for_update(info, &mut new, &old);
        assert_eq!((new.generation(), new.at(&["status", "a"])), (3, Some(&json!(1))));
        let mut new = pod(json!({"spec": {"replicas": 2}}));
        prepare_for_update(info, &mut new, &old);
        assert_eq!(new.generation(), 4);
        let mut new = pod(json!({"spec": {"replicas": 9}, "status": {"a": 2}}));
        prepare_for_status_update(info, &mut new, &old, "2026-01-01T00:00:00Z");
        assert_eq!(new.at(&["spec", "replicas"]), Some(&json!(1)));
        assert_eq!(new.at(&["status", "a"]), Some(&json!(2)));
    }

    #[test]
    fn of_the_secrets_of_a_service_account_only_the_names_are_kept() {
        let info = kinds::find("", "v1", "serviceaccounts").unwrap();
        let told = json!({"secrets": [{"name": "a", "kind": "Secret", "uid": "7"}, {"kind": "x"}]});
        let kept = json!([{"name": "a"}, {}]);
        let mut account = pod(told.clone());
        let creation = Creation { uid: "1", now: "2026-01-01T00:00:00Z" };
        prepare_for_create(info, &mut account, creation);
        assert_eq!(account.at(&["secrets"]), Some(&kept));
        let mut next = pod(told);
        prepare_for_update(info, &mut next, &account);
        assert_eq!(next.at(&["secrets"]), Some(&kept));
    }
}
