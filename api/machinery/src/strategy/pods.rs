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
    fn a_pod_is_bound_once() {
        let mut one = pod(json!({"metadata": {"name": "p"}}));
        bind(&mut one, "n1", "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(
            bind(&mut one, "n2", "2026-01-01T00:00:00Z").unwrap_err(),
            "pod p is already assigned to node \"n1\""
        );
    }
}
