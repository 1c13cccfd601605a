//! PodResizeValidator and NodeDeclaredFeatureValidator: a pod that runs is resized only to what its
//! node has, and only in ways that its node says it knows.

use api_machinery::quantity::Quantity;
use api_machinery::{Object, Status};
use serde_json::Value;

use super::{Attributes, Operation, lookup};

pub(super) fn validate(asked: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    let is_pod = asked.kind.group.is_empty() && asked.kind.kind == "Pod";
    let (Operation::Update, true, Some(old)) = (asked.operation, is_pod, asked.old) else {
        return Ok(());
    };
    let node = pod.text(&["spec", "nodeName"]);
    // The generation counts changes of the spec.
    let is_changed = pod.generation() != old.generation();
    if !matches!(asked.subresource, "" | "resize") || node.is_empty() || !is_changed {
        return Ok(());
    }
    let features = features(pod, old);
    let is_resize = asked.subresource == "resize";
    if features.is_empty() && !is_resize {
        return Ok(());
    }
    let Some(found) = lookup::cached(asked.server, ("", "nodes"), ("", node))? else {
        return Err(asked.forbidden(pod, &format!("node {node:?} not found")));
    };
    declared(&features, &found).map_err(|why| asked.forbidden(pod, &why))?;
    if is_resize {
        fits(pod, &found)
            .map_err(|(why, cause)| asked.forbidden(pod, &why).with_cause(cause, "", ""))?;
    }
    Ok(())
}

fn list<'a>(pod: &'a Object, field: &str) -> &'a [Value] {
    pod.at(&["spec", field]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

/// What a node has to know for this change, by upstream's names, sorted.
fn features(pod: &Object, old: &Object) -> Vec<&'static str> {
    let mut features = Vec::new();
    let resources = |pod: &Object| {
        pod.at(&["spec", "resources"]).filter(|resources| !resources.is_null()).cloned()
    };
    if resources(pod) != resources(old) {
        features.push("InPlacePodLevelResourcesVerticalScaling");
    }
    let pairs = list(old, "initContainers").iter().zip(list(pod, "initContainers"));
    let mut plain = pairs.filter(|(was, _)| !is_sidecar(was));
    if plain.any(|(was, is)| was["resources"] != is["resources"]) {
        features.push("InPlacePodVerticalScalingInitContainers");
    }
    features
}

fn declared(features: &[&str], node: &Object) -> Result<(), String> {
    let known = node.at(&["status", "declaredFeatures"]).and_then(Value::as_array);
    let known = known.map_or(&[][..], Vec::as_slice);
    let missing: Vec<&str> = features
        .iter()
        .copied()
        .filter(|feature| !known.iter().any(|one| one == feature))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "pod update requires features {} which are not available on node {:?}",
        missing.join(", "),
        node.name()
    ))
}

/// The text and the reason of the cause.
fn fits(pod: &Object, node: &Object) -> Result<(), (String, &'static str)> {
    let system = node.at(&["metadata", "labels", "kubernetes.io/os"]).and_then(Value::as_str);
    if let Some(system) = system.filter(|system| *system != "linux") {
        let name = node.name();
        let why =
            format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return Err((why, "UnsupportedPlatform"));
    }
    let has = |resource: &str| read(node.at(&["status", "allocatable"]), resource);
    let mut told = Vec::new();
    let (wants_cpu, has_cpu) = (requested(pod, "cpu"), has("cpu"));
    if wants_cpu > has_cpu {
        let (wants, has) = (wants_cpu.milli_value(), has_cpu.milli_value());
        told.push(format!("cpu, requested: {wants}, allocatable: {has}"));
    }
    let (wants_memory, has_memory) = (requested(pod, "memory"), has("memory"));
    if wants_memory > has_memory {
        let (wants, has) = (wants_memory.value(), has_memory.value());
        told.push(format!("memory, requested: {wants}, allocatable: {has}"));
    }
    if told.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", told.join("; "));
    Err((why, "NodeCapacity"))
}

fn read(list: Option<&Value>, resource: &str) -> Quantity {
    let text = list.and_then(|list| list[resource].as_str());
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| Quantity::units(0))
}

/// What a pod asks for: its containers and sidecars together, or what one of those that run first
/// needs beside the sidecars before it; the number of the pod itself when it has one; its overhead.
fn requested(pod: &Object, resource: &str) -> Quantity {
    let of = |container: &Value| read(Some(&container["resources"]["requests"]), resource);
    let zero = || Quantity::units(0);
    let mut total = list(pod, "containers").iter().fold(zero(), |sum, one| sum.plus(&of(one)));
    let (mut sidecars, mut first) = (zero(), zero());
    for container in list(pod, "initContainers") {
        let needs = of(container).plus(&sidecars);
        if is_sidecar(container) {
            total = total.plus(&of(container));
            sidecars = needs;
        }
        first = first.max(needs);
    }
    total = total.max(first);
    let whole = pod.at(&["spec", "resources", "requests"]);
    if whole.is_some_and(|requests| requests[resource].is_string()) {
        total = read(whole, resource);
    }
    total.plus(&read(pod.at(&["spec", "overhead"]), resource))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::from_value(tree).unwrap()
    }

    fn needs(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn sidecars_run_beside_all_that_follow_them() {
        let mut sidecar = needs("1");
        sidecar["restartPolicy"] = "Always".into();
        let spec = json!({"initContainers": [needs("2"), sidecar, needs("3")],
            "containers": [needs("500m")], "overhead": {"cpu": "1"}});
        assert_eq!(requested(&object(json!({"spec": spec})), "cpu"), Quantity::units(5));
        let spec = json!({"containers": [needs("1")], "resources": {"requests": {"cpu": "7"}}});
        assert_eq!(requested(&object(json!({"spec": spec})), "cpu"), Quantity::units(7));
    }

    #[test]
    fn a_pod_grows_only_within_its_node() {
        let pod = object(json!({"spec": {"containers": [{"resources": {"requests":
            {"cpu": "2", "memory": "2Gi"}}}]}}));
        let node = |cpu: &str, system: &str| {
            object(json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": system}},
                "status": {"allocatable": {"cpu": cpu, "memory": "1Gi"}}}))
        };
        for (node, why) in [
            (
                node("1", "linux"),
                "node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000; memory, requested: 2147483648, allocatable: 1073741824",
            ),
            (
                node("4", "linux"),
                "node didn't have enough allocatable resources: memory, requested: 2147483648, allocatable: 1073741824",
            ),
            (
                node("4", "windows"),
                "pod resize is only supported on linux nodes, node \"n\" is \"windows\"",
            ),
        ] {
            assert_eq!(fits(&pod, &node).unwrap_err().0, why);
        }
    }

    #[test]
    fn a_node_says_how_it_resizes() {
        let old = object(json!({"spec": {"initContainers": [needs("1")]}}));
        let new = object(json!({"spec": {"initContainers": [needs("2")],
            "resources": {"requests": {"cpu": "2"}}}}));
        let features = features(&new, &old);
        let node = object(json!({"metadata": {"name": "n"}}));
        assert_eq!(
            declared(&features, &node).unwrap_err(),
            "pod update requires features InPlacePodLevelResourcesVerticalScaling, InPlacePodVerticalScalingInitContainers which are not available on node \"n\""
        );
        let node = object(json!({"status": {"declaredFeatures": features}}));
        assert_eq!(declared(&features, &node), Ok(()));
    }
}
