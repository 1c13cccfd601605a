//! The scopes of a quota: which pods and which claims it is about.

use serde_json::Value;

use crate::Object;
use crate::strategy::qos_class;

/// W3: whether a quota with this `spec` is about the object. A scope that is not for its kind
/// never matches.
#[must_use]
pub fn matches(spec: &Value, group: &str, resource: &str, object: &Object) -> bool {
    let mut plain = spec["scopes"].as_array().into_iter().flatten();
    let mut selectors = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let one = |scope: &str, operator: &str, values: &Value| match (group, resource) {
        ("", "pods") => pod(scope, operator, values, object),
        ("", "persistentvolumeclaims") => claim(scope, operator, values, object),
        (_, _) => false,
    };
    plain.all(|scope| one(scope.as_str().unwrap_or_default(), "Exists", &Value::Null))
        && selectors.all(|selector| {
            let text = |field: &str| selector[field].as_str().unwrap_or_default();
            one(text("scopeName"), text("operator"), &selector["values"])
        })
}

/// Whether a pod ends by itself.
pub(super) fn ends(pod: &Object) -> bool {
    let deadline = pod.at(&["spec", "activeDeadlineSeconds"]).and_then(Value::as_i64);
    deadline.is_some_and(|seconds| seconds >= 0)
}

fn pod(scope: &str, operator: &str, values: &Value, pod: &Object) -> bool {
    let is_best_effort = || match pod.text(&["status", "qosClass"]) {
        "" => qos_class(pod) == "BestEffort",
        class => class == "BestEffort",
    };
    match scope {
        "Terminating" => ends(pod),
        "NotTerminating" => !ends(pod),
        "BestEffort" => is_best_effort(),
        "NotBestEffort" => !is_best_effort(),
        "PriorityClass" => {
            let class = pod.text(&["spec", "priorityClassName"]);
            asks(operator, values, (!class.is_empty()).then_some(class))
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn claim(scope: &str, operator: &str, values: &Value, claim: &Object) -> bool {
    if scope != "VolumeAttributesClass" {
        return false;
    }
    let names = [
        claim.text(&["spec", "volumeAttributesClassName"]),
        claim.text(&["status", "currentVolumeAttributesClassName"]),
        claim.text(&["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"]),
    ];
    let mut names = names.into_iter().filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        return asks(operator, values, None);
    }
    names.any(|name| asks(operator, values, Some(name)))
}

/// What a label selector with one requirement says of a label with this value.
fn asks(operator: &str, values: &Value, value: Option<&str>) -> bool {
    let is_listed = || {
        let mut values = values.as_array().into_iter().flatten();
        value.is_some_and(|value| values.any(|one| one == value))
    };
    match operator {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => is_listed(),
        "NotIn" => !is_listed(),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Object) -> bool {
    let crosses = |term: &Value| {
        term["namespaceSelector"].is_object()
            || term["namespaces"].as_array().is_some_and(|names| !names.is_empty())
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|side| {
        let list = |field: &str| {
            let terms = pod.at(&["spec", "affinity", side, field]).and_then(Value::as_array);
            terms.into_iter().flatten()
        };
        list("requiredDuringSchedulingIgnoredDuringExecution").any(crosses)
            || list("preferredDuringSchedulingIgnoredDuringExecution")
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}
