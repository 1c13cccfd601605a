//! Small questions about objects: who owns it, does a selector match, is the pod ready.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};
use kube::Resource;

/// Takes out of a pod how its programs are run, which is the node's business: it is most of what a pod is, and
/// the manager has a copy of each. No controller writes a pod back whole.
pub fn forget_programs(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        // The rest is looked at: quota asks for resources, and people for names and images in what is logged.
        *container = Container {
            name: std::mem::take(&mut container.name),
            image: container.image.take(),
            resources: container.resources.take(),
            restart_policy: container.restart_policy.take(),
            ports: container.ports.take(),
            ..Container::default()
        };
    }
}

/// The owner that controls the object.
#[must_use]
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// A reference that makes `owner` the controller of what carries it.
pub fn controller_reference<K: Resource>(owner: &K) -> OwnerReference
where
    K::DynamicType: Default,
{
    let kind = K::DynamicType::default();
    OwnerReference {
        api_version: K::api_version(&kind).into_owned(),
        kind: K::kind(&kind).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// True when the labels match. A selector that selects nothing in particular matches nothing here, as a
/// workload must never adopt everything; an unknown operator matches nothing.
#[must_use]
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    if pairs.clone().next().is_none() && expressions.clone().next().is_none() {
        return false;
    }
    let value_of = |key: &str| labels.and_then(|labels| labels.get(key));
    let mut matched = true;
    for (key, value) in pairs {
        matched &= value_of(key) == Some(value);
    }
    for expression in expressions {
        let value = value_of(&expression.key);
        let listed =
            value.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value));
        matched &= match expression.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        };
    }
    matched
}

/// What to do with the children of one parent, found by owner and by selector.
#[derive(Debug)]
pub struct Claims<K> {
    /// Ours and staying ours.
    pub owned: Vec<Arc<K>>,
    /// Nobody's, and selected: to be adopted.
    pub adopt: Vec<Arc<K>>,
    /// Ours, but no longer selected: to be released.
    pub release: Vec<Arc<K>>,
}

/// Sorts `children` (ours by uid, and the namespace's orphans) into [`Claims`], as upstream's reference manager does.
pub fn claim<K: Resource>(
    parent: &ObjectMeta,
    selector: &LabelSelector,
    children: impl IntoIterator<Item = Arc<K>>,
) -> Claims<K> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    let parent_stays = parent.deletion_timestamp.is_none();
    for child in children {
        let meta = child.meta();
        let selected = selects(selector, meta.labels.as_ref());
        match controller_of(meta) {
            Some(owner) if Some(&owner.uid) == parent.uid.as_ref() => {
                if selected {
                    claims.owned.push(child);
                } else if parent_stays {
                    claims.release.push(child);
                }
            }
            Some(_) => {}
            None if selected && parent_stays && meta.deletion_timestamp.is_none() => {
                claims.adopt.push(child);
            }
            None => {}
        }
    }
    claims
}

/// The patch that makes `owner` the controller of an object with this uid.
#[must_use]
pub fn adoption_patch(
    existing: Option<&Vec<OwnerReference>>,
    owner: OwnerReference,
    uid: Option<&String>,
) -> serde_json::Value {
    let mut owners = existing.cloned().unwrap_or_default();
    owners.push(owner);
    serde_json::json!({ "metadata": { "ownerReferences": owners, "uid": uid } })
}

/// The patch that takes the owner with `owner_uid` away from an object; it names the resourceVersion it saw.
#[must_use]
pub fn release_patch(meta: &ObjectMeta, owner_uid: &str) -> serde_json::Value {
    let owners: Vec<_> =
        meta.owner_references.iter().flatten().filter(|owner| owner.uid != owner_uid).collect();
    serde_json::json!({ "metadata": {
        "ownerReferences": owners, "uid": meta.uid, "resourceVersion": meta.resource_version,
    } })
}

/// The condition of a pod with this type.
#[must_use]
pub fn pod_condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// The pod's phase, or "".
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Neither finished nor on its way out.
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Finished, well or badly.
#[must_use]
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Since when the pod is ready; none when it is not.
#[must_use]
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let condition = pod_condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    Some(condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// How long until the pod counts as available: zero when it is, none when it is not even ready.
#[must_use]
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let since = ready_since(pod)?;
    let needed = i64::from(min_ready_seconds.max(0)) * 1000;
    let left = needed - now.duration_since(since).as_millis().try_into().unwrap_or(i64::MAX);
    Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn selector(json: serde_json::Value) -> LabelSelector {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn selectors_match_as_documented() {
        let web = labels(&[("app", "web"), ("tier", "front")]);
        let cases = [
            (serde_json::json!({}), false),
            (serde_json::json!({"matchLabels": {"app": "web"}}), true),
            (serde_json::json!({"matchLabels": {"app": "db"}}), false),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["web"]}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
                true,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
                false,
            ),
            (
                serde_json::json!({"matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["1"]}]}),
                false,
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(selects(&selector(json.clone()), Some(&web)), expected, "{json}");
        }
    }

    #[test]
    fn of_a_pod_no_controller_knows_how_its_programs_are_run() {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "volumes": [{"name": "v"}], "containers": [{
                "name": "c", "image": "i", "command": ["run"], "env": [{"name": "A", "value": "1"}],
                "resources": {"requests": {"cpu": "1"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }]},
        }))
        .unwrap();
        forget_programs(&mut pod);
        assert_eq!(
            serde_json::to_value(&pod.spec).unwrap(),
            serde_json::json!({"nodeName": "n", "volumes": [{"name": "v"}], "containers": [
                {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]})
        );
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_for_long_enough() {
        let mut pod = Pod::default();
        let now = Timestamp::from_second(1000).unwrap();
        assert_eq!(available_in(&pod, 0, now), None);
        pod.status = serde_json::from_value(serde_json::json!({"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:16:30Z"}
        ]}))
        .unwrap();
        assert_eq!(available_in(&pod, 0, now), Some(Duration::ZERO));
        assert_eq!(available_in(&pod, 10, now), Some(Duration::ZERO));
        assert_eq!(available_in(&pod, 30, now), Some(Duration::from_secs(20)));
    }
}
