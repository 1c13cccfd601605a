//! Pods: their class, how they go, how they are bound, what their subresources change.

use serde_json::{Value, json};

use crate::{Object, ResourceInfo};

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
    let gates = pod.at(&["spec", "schedulingGates"]).and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        return Err(format!("pod {} has non-empty .spec.schedulingGates", pod.name()));
    }
    pod.set(&["spec", "nodeName"], node.into());
    pod.remove(&["status", "nominatedNodeName"]);
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now,
        "lastProbeTime": null, "observedGeneration": pod.generation()});
    let mut conditions =
        pod.at(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    conditions.retain(|one| one["type"] != "PodScheduled");
    conditions.push(scheduled);
    pod.set(&["status", "conditions"], conditions.into());
    Ok(())
}

/// Puts back all but the ephemeral containers: what `pods/NAME/ephemeralcontainers` cannot change.
pub fn prepare_for_ephemeral_containers_update(new: &mut Object, old: &Object) {
    let path = ["spec", "ephemeralContainers"];
    let containers = new.at(&path).cloned();
    put_back(new, old);
    match containers {
        Some(containers) => new.set(&path, containers),
        None => {
            new.remove(&path);
        }
    }
    count(new, old);
}

/// Puts back all but what `pods/NAME/resize` can change: resources and their policies. Containers
/// that are not the same ones are left for validation to refuse.
pub fn prepare_for_resize_update(new: &mut Object, old: &Object) {
    let list = |pod: &Object, field: &str| {
        pod.at(&["spec", field]).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let fields = ["containers", "initContainers"];
    if fields.iter().any(|field| list(new, field).len() != list(old, field).len()) {
        return;
    }
    let resized = fields.map(|field| (field, resized(list(new, field), list(old, field))));
    let whole = new.at(&["spec", "resources"]).cloned();
    put_back(new, old);
    match whole {
        Some(whole) => new.set(&["spec", "resources"], whole),
        None => {
            new.remove(&["spec", "resources"]);
        }
    }
    for (field, containers) in resized {
        if !containers.is_empty() {
            new.set(&["spec", field], containers.into());
        }
    }
    count(new, old);
}

fn resized(new: Vec<Value>, old: Vec<Value>) -> Vec<Value> {
    if new.iter().zip(&old).any(|(new, old)| new["name"] != old["name"]) {
        return new;
    }
    let pairs = new.into_iter().zip(old);
    let kept = pairs.map(|(mut new, mut old)| {
        for field in ["resources", "resizePolicy"] {
            let (Value::Object(new), Value::Object(old)) = (&mut new, &mut old) else { continue };
            match new.remove(field) {
                Some(value) => old.insert(field.to_owned(), value),
                None => old.remove(field),
            };
        }
        old
    });
    kept.collect()
}

fn put_back(new: &mut Object, old: &Object) {
    super::keep_metadata(new, old);
    super::keep(new, old, &["spec"]);
    super::keep(new, old, &["status"]);
    for field in ["generation", "labels", "annotations", "finalizers", "ownerReferences"] {
        super::keep(new, old, &["metadata", field]);
    }
}

fn count(new: &mut Object, old: &Object) {
    if new.at(&["spec"]) != old.at(&["spec"]) {
        new.set_generation(old.generation() + 1);
    }
}

/// Who leaves out which generation a status is about does not take it back.
pub(super) fn keep_observed_generations(new: &mut Object, old: &Object) {
    const FIELD: &str = "observedGeneration";
    let number = |tree: &Value| tree[FIELD].as_i64().unwrap_or(0);
    let Some(before) = old.at(&["status"]) else { return };
    let Some(status) = new.0.get_mut("status") else { return };
    if number(status) == 0 && number(before) != 0 {
        status[FIELD] = before[FIELD].clone();
    }
    let conditions = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
    let mut known: Vec<Value> = conditions(before);
    known.reverse();
    let told = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in told.into_iter().flatten() {
        // There may be several of a type: the first stands for the first.
        let same = known.iter().rposition(|one| one["type"] == condition["type"]);
        let Some(same) = same.map(|index| known.remove(index)) else { continue };
        if number(condition) == 0 && number(&same) != 0 {
            condition[FIELD] = same[FIELD].clone();
        }
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
    fn a_subresource_changes_only_what_it_is_for() {
        let old = pod(json!({"metadata": {"generation": 1, "labels": {"a": "b"}}, "spec":
            {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}}));
        let asked = json!({"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Failed"},
            "spec": {"ephemeralContainers": [{"name": "e"}], "nodeName": "n", "containers":
                [{"name": "c", "image": "other", "resources": {"limits": {"cpu": "2"}}}]}});
        let mut new = pod(asked.clone());
        prepare_for_ephemeral_containers_update(&mut new, &old);
        let mut wanted = old.clone();
        wanted.set(&["spec", "ephemeralContainers"], json!([{"name": "e"}]));
        wanted.set_generation(2);
        assert_eq!(new, wanted);
        let mut new = pod(asked);
        prepare_for_resize_update(&mut new, &old);
        let mut wanted = old.clone();
        let resized = json!([{"name": "c", "image": "i", "resources": {"limits": {"cpu": "2"}}}]);
        wanted.set(&["spec", "containers"], resized);
        wanted.set_generation(2);
        assert_eq!(new, wanted);
        let mut same = old.clone();
        prepare_for_resize_update(&mut same, &old);
        assert_eq!(same, old);
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
