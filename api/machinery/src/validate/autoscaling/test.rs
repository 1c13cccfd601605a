//! Autoscalers: what upstream refuses, in its words.

use serde_json::{Value, json};

use crate::{Object, kinds, validate};

fn autoscaler(spec: &Value) -> Object {
    let metadata = json!({"name": "x", "namespace": "default", "resourceVersion": "1"});
    let kind = "HorizontalPodAutoscaler";
    let tree =
        json!({"apiVersion": "autoscaling/v2", "kind": kind, "metadata": metadata, "spec": spec});
    Object::from_value(tree).unwrap()
}

fn with(changes: Value) -> Object {
    let mut spec = json!({"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef":
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
    for (key, value) in changes.as_object().unwrap() {
        spec[key.as_str()] = value.clone();
    }
    autoscaler(&spec)
}

fn refusals(changes: Value) -> Vec<String> {
    let info = kinds::find_kind("autoscaling/v2", "HorizontalPodAutoscaler").unwrap();
    validate::create(info, &with(changes)).iter().map(ToString::to_string).collect()
}

#[test]
fn limits_and_targets_are_told_in_upstreams_words() {
    for (changes, want) in [
        (json!({}), vec![]),
        (
            json!({"minReplicas": 0}),
            vec![
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
            ],
        ),
        (
            json!({"maxReplicas": 0}),
            vec![
                "spec.maxReplicas: Required value: must be set and greater than 0",
                "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            ],
        ),
        (
            json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "Pod", "name": "a%b"}}),
            vec![
                "spec.scaleTargetRef.name: Invalid value: \"a%b\": may not contain '%'",
                "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group",
            ],
        ),
    ] {
        assert_eq!(refusals(changes), want);
    }
}

#[test]
fn metrics_are_of_one_source_and_aim_at_something() {
    let pods = json!({"metric": {"name": "m"}, "target": {"type": "AverageValue",
        "averageValue": "1"}});
    let both = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0,
        "averageValue": "1"}});
    for (metric, want) in [
        (json!({"type": "Pods", "pods": pods}), vec![]),
        (
            json!({"type": "Resource", "resource": both}),
            vec![
                "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
            ],
        ),
        (
            json!({"type": "Object"}),
            vec![
                "spec.metrics[0].object: Required value: must populate information for the given metric source",
            ],
        ),
        (
            json!({"type": "ContainerResource", "containerResource": {"name": "foo",
                "container": "c", "target": {"type": "Utilization", "averageUtilization": 5}}}),
            vec![
                "spec.metrics[0].containerResource.name: Invalid value: \"foo\": must be a standard resource type or fully qualified",
                "spec.metrics[0].containerResource.name: Invalid value: \"foo\": must be a standard resource for containers",
            ],
        ),
    ] {
        assert_eq!(refusals(json!({"metrics": [metric]})), want);
    }
}

#[test]
fn scaling_has_a_speed() {
    let policies = json!([{"type": "X", "value": 0, "periodSeconds": 1801}]);
    let rules = json!({"stabilizationWindowSeconds": 3601, "policies": policies});
    assert_eq!(
        refusals(json!({"behavior": {"scaleUp": rules}})),
        [
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"X\": supported values: \"Percent\", \"Pods\"",
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ]
    );
}

#[test]
fn a_target_that_was_wrong_before_may_stay() {
    let info = kinds::find_kind("autoscaling/v2", "HorizontalPodAutoscaler").unwrap();
    let target = json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}});
    assert_eq!(validate::update(info, &with(target.clone()), &with(target.clone())), vec![]);
    assert_eq!(validate::update(info, &with(target), &with(json!({}))).len(), 1);
}
