//! Fields of features that are off in 1.36: what is written loses them, unless the object has them
//! already (upstream's `dropDisabledFields` of each kind).

use serde_json::{Map, Value};

use crate::Object;

/// A way to a field; `*` is every item of a list.
type Way = &'static [&'static str];

const OFF: [(&str, Way); 5] = [
    ("CSIDriver", &["spec", "preventPodSchedulingIfMissing"]),
    ("Lease", &["spec", "preferredHolder"]),
    ("Lease", &["spec", "strategy"]),
    ("Node", &["spec", "configSource"]),
    ("StatefulSet", &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]),
];

const DEVICE_MAPPINGS: Way = &["spec", "devices", "*", "nodeAllocatableResourceMappings"];

/// Of the spec of a pod, or of a template of pods.
const OFF_IN_PODS: [Way; 6] = [
    &["schedulingGroup"],
    &["containers", "*", "lifecycle", "stopSignal"],
    &["initContainers", "*", "lifecycle", "stopSignal"],
    &["ephemeralContainers", "*", "lifecycle", "stopSignal"],
    &["volumes", "*", "projected", "sources", "*", "clusterTrustBundle"],
    &["volumes", "*", "projected", "sources", "*", "podCertificate"],
];

const OFF_IN_STATUS: [(&str, Way); 3] = [
    ("Node", &["status", "config"]),
    ("Pod", &["status", "containerStatuses", "*", "volumeMounts", "*", "volumeStatus"]),
    ("Pod", &["status", "nodeAllocatableResourceClaimStatuses"]),
];

/// Where a kind has the spec of its pods.
fn spec_of_pods(kind: &str) -> Option<Way> {
    Some(match kind {
        "Pod" => &["spec"],
        "PodTemplate" => &["template", "spec"],
        "DaemonSet"
        | "Deployment"
        | "Job"
        | "ReplicaSet"
        | "ReplicationController"
        | "StatefulSet" => &["spec", "template", "spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => return None,
    })
}

/// Of a new object (`old` is `None`), or of a changed one.
pub(super) fn drop_disabled(kind: &str, new: &mut Object, old: Option<&Object>) {
    let own = OFF.iter().filter(|(of, _)| *of == kind).map(|(_, way)| *way);
    let mappings = (kind == "ResourceSlice").then_some(DEVICE_MAPPINGS);
    for way in own.chain(mappings) {
        drop_unless_used(&mut new.0, old.map(|old| &old.0), way);
    }
    if kind == "Node" && old.is_none() {
        drop_unless_used(&mut new.0, None, &["status", "config"]);
    }
    let Some(way) = spec_of_pods(kind) else { return };
    let before = old.and_then(|old| old.at(way)).and_then(Value::as_object);
    let Some(spec) = below(&mut new.0, way) else { return };
    for way in OFF_IN_PODS {
        drop_unless_used(spec, before, way);
    }
}

/// The same of a status.
pub(super) fn drop_disabled_status(kind: &str, new: &mut Object, old: &Object) {
    for (_, way) in OFF_IN_STATUS.iter().filter(|(of, _)| *of == kind) {
        drop_unless_used(&mut new.0, Some(&old.0), way);
    }
}

fn below<'a>(map: &'a mut Map<String, Value>, way: &[&str]) -> Option<&'a mut Map<String, Value>> {
    way.iter().try_fold(map, |map, step| map.get_mut(*step)?.as_object_mut())
}

fn drop_unless_used(new: &mut Map<String, Value>, old: Option<&Map<String, Value>>, way: Way) {
    if is_used(new, way) && !old.is_some_and(|old| is_used(old, way)) {
        remove(new, way);
    }
}

fn is_used(map: &Map<String, Value>, way: &[&str]) -> bool {
    let Some((step, rest)) = way.split_first() else { return true };
    match (map.get(*step), rest) {
        (None | Some(Value::Null), _) => false,
        (Some(_), []) => true,
        (Some(Value::Array(items)), ["*", rest @ ..]) => {
            items.iter().filter_map(Value::as_object).any(|item| is_used(item, rest))
        }
        (Some(Value::Object(map)), rest) => is_used(map, rest),
        (Some(_), _) => false,
    }
}

/// Removes a field, and a `lifecycle` that has nothing else.
fn remove(map: &mut Map<String, Value>, way: &[&str]) {
    let Some((step, rest)) = way.split_first() else { return };
    if rest.is_empty() {
        map.remove(*step);
        return;
    }
    match (map.get_mut(*step), rest) {
        (Some(Value::Array(items)), ["*", rest @ ..]) => {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                remove(item, rest);
            }
        }
        (Some(Value::Object(below)), rest) => {
            remove(below, rest);
            if *step == "lifecycle" && below.is_empty() {
                map.remove(*step);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Object {
        Object::from_value(value.clone()).unwrap()
    }

    #[test]
    fn fields_of_features_that_are_off_are_dropped_where_they_are_not_used_yet() {
        let spec = |lifecycle: Value, source: Value| {
            json!({"containers": [{"name": "a"}, {"name": "b", "lifecycle": lifecycle}],
                "volumes": [{"name": "v", "projected": {"sources": [source]}}]})
        };
        let hook = json!({"exec": {"command": ["x"]}});
        let bundle = json!({"clusterTrustBundle": {"name": "n", "path": "p"}});
        let told = spec(json!({"stopSignal": "SIGTERM", "preStop": hook}), bundle.clone());
        let kept = spec(json!({"preStop": hook}), json!({}));
        let pod = |spec: &Value| object(&json!({"spec": spec}));
        let mut new = pod(&told);
        drop_disabled("Pod", &mut new, None);
        assert_eq!(new, pod(&kept));
        let mut used = pod(&told);
        drop_disabled("Pod", &mut used, Some(&pod(&told)));
        assert_eq!(used, pod(&told));
        let deployment = |spec: &Value| object(&json!({"spec": {"template": {"spec": spec}}}));
        let mut new = deployment(&spec(json!({"stopSignal": "SIGTERM"}), bundle));
        drop_disabled("Deployment", &mut new, None);
        let bare = json!({"containers": [{"name": "a"}, {"name": "b"}],
            "volumes": [{"name": "v", "projected": {"sources": [{}]}}]});
        assert_eq!(new, deployment(&bare), "a lifecycle of nothing is none");
    }

    #[test]
    fn a_node_comes_without_a_config_and_keeps_one_that_it_had() {
        let node = json!({"spec": {"configSource": {}}, "status": {"config": {}, "phase": "x"}});
        let mut new = object(&node);
        drop_disabled("Node", &mut new, None);
        assert_eq!(new, object(&json!({"spec": {}, "status": {"phase": "x"}})));
        let mut next = object(&node);
        drop_disabled_status("Node", &mut next, &object(&node));
        assert_eq!(next, object(&node));
        drop_disabled_status("Node", &mut next, &new);
        assert!(next.at(&["status", "config"]).is_none());
    }
}
