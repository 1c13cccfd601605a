//! What the server changes in an object before it is checked and stored, kind by kind.

use serde_json::{Value, json};

use crate::{Object, ResourceInfo};

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
    for field in ["resourceVersion", "selfLink", "generation"] {
        object.remove(&["metadata", field]);
    }
    if !info.namespaced {
        object.remove(&["metadata", "namespace"]);
    }
    if info.has_generation {
        object.set_generation(1);
    }
    match info.kind {
        "Pod" => {
            let class = qos_class(object);
            object.set(&["status"], json!({"phase": "Pending", "qosClass": class}));
        }
        "Namespace" => {
            object.set(&["status"], json!({"phase": "Active"}));
            add_kubernetes_finalizer(object);
        }
        // A node is created by its kubelet with its status.
        "Node" => {}
        "Service" => object.set(&["status"], json!({"loadBalancer": {}})),
        "ReplicaSet" => object.set(&["status"], json!({"replicas": 0})),
        _ if info.has_status => object.set(&["status"], json!({})),
        _ => {}
    }
    if info.kind == "Secret" {
        fold_string_data(object);
    }
    if info.kind == "EndpointSlice" {
        drop_topology(object);
    }
}

/// Prepares an update of the main resource: status and server-owned metadata stay as they were,
/// the generation counts a changed spec.
pub fn prepare_for_update(info: &ResourceInfo, new: &mut Object, old: &Object) {
    keep_metadata(new, old);
    if info.has_status {
        keep(new, old, &["status"]);
    }
    if info.kind == "Secret" {
        fold_string_data(new);
    }
    if info.kind == "Namespace" {
        // The finalizers of the spec only change through the subresource `finalize`.
        keep(new, old, &["spec"]);
    }
    if info.kind == "EndpointSlice" && new.at(&["endpoints"]) != old.at(&["endpoints"]) {
        drop_topology(new);
    }
    if info.has_generation {
        let changed = match info.kind {
            // It has no spec: everything counts but most of the metadata.
            "EndpointSlice" => {
                let labels = ["metadata", "labels"];
                ["endpoints", "ports", "addressType"]
                    .iter()
                    .any(|key| new.at(&[key]) != old.at(&[key]))
                    || new.at(&labels) != old.at(&labels)
            }
            _ => new.at(&["spec"]) != old.at(&["spec"]),
        };
        let generation = old.generation() + i64::from(changed);
        if generation > 0 {
            new.set_generation(generation);
        }
    }
}

/// Prepares an update through the subresource `status`: only the status (and for nodes and pods
/// nothing of the spec) changes.
pub fn prepare_for_status_update(info: &ResourceInfo, new: &mut Object, old: &Object) {
    keep_metadata(new, old);
    keep(new, old, &["spec"]);
    keep(new, old, &["metadata", "generation"]);
    if matches!(info.kind, "Deployment" | "ReplicaSet") {
        keep(new, old, &["metadata", "labels"]);
    }
    if info.kind == "Pod" {
        keep(new, old, &["metadata", "ownerReferences"]);
        // The class is decided once.
        let class = old.at(&["status", "qosClass"]).cloned();
        if let Some(class) = class {
            new.set(&["status", "qosClass"], class);
        }
    }
}

/// Prepares `PUT namespaces/NAME/finalize`: only `spec.finalizers` changes.
pub fn prepare_for_finalize(new: &mut Object, old: &Object) {
    let finalizers = new.at(&["spec", "finalizers"]).cloned();
    *new = old.clone();
    match finalizers {
        Some(list) if list.as_array().is_some_and(|list| !list.is_empty()) => {
            new.set(&["spec", "finalizers"], list);
        }
        _ => {
            new.remove(&["spec", "finalizers"]);
        }
    }
}

/// Copies the old value of a path, or its absence.
fn keep(new: &mut Object, old: &Object, path: &[&str]) {
    match old.at(path) {
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

/// `stringData` is written into `data` and never stored.
fn fold_string_data(object: &mut Object) {
    use base64::Engine;
    let Some(Value::Object(texts)) = object.remove(&["stringData"]) else { return };
    for (key, text) in texts {
        let bytes = text.as_str().unwrap_or_default().as_bytes();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        object.set(&["data", &key], encoded.into());
    }
}

/// The quality-of-service class, from the requests and limits of CPU and memory.
#[must_use]
pub fn qos_class(pod: &Object) -> &'static str {
    let (mut any, mut all) = (false, true);
    for list in ["initContainers", "containers"] {
        let containers = pod.at(&["spec", list]).and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            for resource in ["cpu", "memory"] {
                let get = |what: &str| {
                    let text = container["resources"][what][resource].as_str()?;
                    text.parse::<crate::quantity::Quantity>().ok().filter(|q| !q.is_zero())
                };
                let (request, limit) = (get("requests"), get("limits"));
                any |= request.is_some() || limit.is_some();
                all &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
            }
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// What a delete request does to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Remove it now.
    Now,
    /// Keep it, with `deletionTimestamp` this many seconds from now and this grace period.
    Graceful { grace_seconds: i64 },
    /// It is already going, and no sooner by this request.
    AlreadyGoing,
}

/// Decides the graceful part of a delete; finalizers are the caller's concern. `asked_seconds` is
/// `gracePeriodSeconds` of the request. Only pods have a grace period.
#[must_use]
pub fn graceful_deletion(
    info: &ResourceInfo,
    object: &Object,
    asked_seconds: Option<i64>,
) -> Deletion {
    if info.kind != "Pod" {
        return Deletion::Now;
    }
    let mut grace = match asked_seconds {
        Some(seconds) => seconds,
        None => object
            .at(&["spec", "terminationGracePeriodSeconds"])
            .and_then(Value::as_i64)
            .unwrap_or(0),
    };
    // A negative value means "as good as none"; nobody waits for what never ran or has ended.
    if grace < 0 {
        grace = 1;
    }
    if object.text(&["spec", "nodeName"]).is_empty()
        || matches!(object.text(&["status", "phase"]), "Succeeded" | "Failed")
    {
        grace = 0;
    }
    let going = object.deletion_timestamp().is_some();
    let current = object.deletion_grace_period_seconds().unwrap_or(0);
    if going && current > 0 && asked_seconds.is_none() || going && grace >= current && grace > 0 {
        return Deletion::AlreadyGoing;
    }
    if grace == 0 { Deletion::Now } else { Deletion::Graceful { grace_seconds: grace } }
}

/// Binds a pod to a node: `POST pods/NAME/binding`.
///
/// # Errors
/// The text of the 409: the pod is going, or already bound.
pub fn bind(pod: &mut Object, node: &str, now: &str) -> Result<(), String> {
    if pod.deletion_timestamp().is_some() {
        return Err(format!("pod {} is being deleted, cannot be assigned to a host", pod.name()));
    }
    let bound = pod.text(&["spec", "nodeName"]);
    if !bound.is_empty() {
        return Err(format!("pod {} is already assigned to node {bound:?}", pod.name()));
    }
    pod.set(&["spec", "nodeName"], node.into());
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now,
        "lastProbeTime": null, "observedGeneration": pod.generation()});
    let mut conditions =
        pod.at(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    conditions.retain(|one| one["type"] != "PodScheduled");
    conditions.push(scheduled);
    pod.set(&["status", "conditions"], conditions.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn pod(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn pods_that_never_ran_go_at_once_and_a_second_delete_may_only_shorten() {
        let info = kinds::find("", "v1", "pods").unwrap();
        let fresh = pod(json!({"spec": {"terminationGracePeriodSeconds": 30}}));
        assert_eq!(graceful_deletion(info, &fresh, None), Deletion::Now);
        let bound = pod(json!({"spec": {"terminationGracePeriodSeconds": 30, "nodeName": "n"}}));
        assert_eq!(graceful_deletion(info, &bound, None), Deletion::Graceful { grace_seconds: 30 });
        assert_eq!(graceful_deletion(info, &bound, Some(0)), Deletion::Now);
        let going = pod(json!({"spec": {"nodeName": "n"}, "metadata":
            {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}}));
        assert_eq!(graceful_deletion(info, &going, None), Deletion::AlreadyGoing);
        assert_eq!(graceful_deletion(info, &going, Some(60)), Deletion::AlreadyGoing);
        assert_eq!(
            graceful_deletion(info, &going, Some(5)),
            Deletion::Graceful { grace_seconds: 5 }
        );
        assert_eq!(graceful_deletion(info, &going, Some(0)), Deletion::Now);
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
        prepare_for_status_update(info, &mut new, &old);
        assert_eq!(new.at(&["spec", "replicas"]), Some(&json!(1)));
        assert_eq!(new.at(&["status", "a"]), Some(&json!(2)));
    }

    #[test]
    fn a_pod_is_bound_once() {
        let mut one = pod(json!({"metadata": {"name": "p"}}));
        bind(&mut one, "n1", "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(
            bind(&mut one, "n2", "2026-01-01T00:00:00Z").unwrap_err(),
            "pod p is already assigned to node \"n1\""
        );
    }
}
