//! RuntimeClass: a pod takes over what its runtime costs and where it runs.

use api_machinery::quantity::Quantity;
use api_machinery::{Object, Status};
use serde_json::{Map, Value};

use super::{Attributes, Operation, lookup, merge_tolerations};

const OVERHEAD: &[&str] = &["spec", "overhead"];
const DIFFERS: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub(super) async fn mutate(asked: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !asked.is_of("", "Pod") || asked.operation != Operation::Create {
        return Ok(());
    }
    let Some(class) = class(asked, pod).await? else { return Ok(()) };
    set_overhead(pod, &class).map_err(|why| asked.forbidden(pod, why))?;
    set_scheduling(pod, &class).map_err(|why| asked.forbidden(pod, &why))
}

pub(super) async fn validate(asked: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    if !asked.is_of("", "Pod") || asked.operation != Operation::Create {
        return Ok(());
    }
    let class = class(asked, pod).await?;
    check(pod, class.as_ref()).map_err(|why| asked.forbidden(pod, why))
}

async fn class(asked: &Attributes<'_>, pod: &Object) -> Result<Option<Object>, Status> {
    let name = pod.at(&["spec", "runtimeClassName"]).and_then(Value::as_str);
    let Some(name) = name else { return Ok(None) };
    let found = lookup::find(asked.server, ("node.k8s.io", "runtimeclasses"), ("", name)).await?;
    if found.is_none() {
        let why = format!("pod rejected: RuntimeClass {name:?} not found");
        return Err(asked.forbidden(pod, &why));
    }
    Ok(found)
}

/// What the class says that a pod costs beside its containers.
fn fixed(class: &Object) -> Option<&Map<String, Value>> {
    class.at(&["overhead"]).filter(|overhead| overhead.is_object())?;
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    Some(class.at(&["overhead", "podFixed"]).and_then(Value::as_object).unwrap_or(&NONE))
}

fn is_same(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let read = |value: &Value| value.as_str().and_then(|text| text.parse::<Quantity>().ok());
    one.len() == other.len()
        && one.iter().all(|(name, value)| {
            other.get(name).is_some_and(|other| other == value || read(value) == read(other))
        })
}

fn set_overhead(pod: &mut Object, class: &Object) -> Result<(), &'static str> {
    let Some(fixed) = fixed(class) else { return Ok(()) };
    let given = pod.at(OVERHEAD).and_then(Value::as_object);
    if given.is_some_and(|given| !given.is_empty() && !is_same(given, fixed)) {
        return Err(DIFFERS);
    }
    if !fixed.is_empty() {
        pod.set(OVERHEAD, Value::Object(fixed.clone()));
    }
    Ok(())
}

fn check(pod: &Object, class: Option<&Object>) -> Result<(), &'static str> {
    let given = pod.at(OVERHEAD).and_then(Value::as_object);
    match class.and_then(fixed) {
        Some(fixed) if is_same(given.unwrap_or(&Map::new()), fixed) => Ok(()),
        Some(_) => Err(DIFFERS),
        None if given.is_none() => Ok(()),
        None => Err(
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
    }
}

fn set_scheduling(pod: &mut Object, class: &Object) -> Result<(), String> {
    let Some(scheduling) = class.at(&["scheduling"]).filter(|value| value.is_object()) else {
        return Ok(());
    };
    if let Some(wanted) = scheduling["nodeSelector"].as_object().filter(|map| !map.is_empty()) {
        let held = pod.at(&["spec", "nodeSelector"]).and_then(Value::as_object);
        let mut selector = held.cloned().unwrap_or_default();
        for (key, value) in wanted {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if let Some(held) = selector.get(key).filter(|held| *held != value) {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(held)
                ));
            }
            selector.insert(key.clone(), value.clone());
        }
        pod.set(&["spec", "nodeSelector"], Value::Object(selector));
    }
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = list(pod.at(&["spec", "tolerations"]));
    all.extend(list(scheduling.get("tolerations")));
    let merged = merge_tolerations::merge(&all);
    if !merged.is_empty() {
        pod.set(&["spec", "tolerations"], Value::Array(merged));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::from_value(tree).unwrap()
    }

    #[test]
    fn the_overhead_is_the_classes() {
        let class = object(json!({"overhead": {"podFixed": {"cpu": "100m", "memory": "1Gi"}}}));
        let bare = object(json!({"handler": "h"}));
        for (overhead, class, set, checked) in [
            (json!(null), &class, Ok(()), Ok(())),
            (json!({"cpu": "0.1", "memory": "1024Mi"}), &class, Ok(()), Ok(())),
            (json!({"cpu": "0.1"}), &class, Err(DIFFERS), Err(DIFFERS)),
            (json!(null), &bare, Ok(()), Ok(())),
            (
                json!({"cpu": "1"}),
                &bare,
                Ok(()),
                Err(
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
                ),
            ),
        ] {
            let mut pod = object(json!({"spec": {"overhead": overhead}}));
            assert_eq!(set_overhead(&mut pod, class), set);
            assert_eq!(check(&pod, Some(class)), checked);
        }
    }

    #[test]
    fn the_class_says_where_its_pods_run() {
        let class = object(json!({"scheduling": {"nodeSelector": {"a": "b"},
            "tolerations": [{"key": "k", "operator": "Exists"}]}}));
        let mut pod = object(json!({"spec": {"nodeSelector": {"c": "d"}}}));
        set_scheduling(&mut pod, &class).unwrap();
        assert_eq!(
            pod,
            object(json!({"spec": {"nodeSelector": {"a": "b", "c": "d"},
            "tolerations": [{"key": "k", "operator": "Exists"}]}}))
        );
        let mut pod = object(json!({"spec": {"nodeSelector": {"a": "x"}}}));
        assert_eq!(
            set_scheduling(&mut pod, &class).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = x"
        );
    }
}
