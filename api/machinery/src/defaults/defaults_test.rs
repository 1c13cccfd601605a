//! What the defaults promise, over rich objects of every kind that has some.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::decode::{self, Expected, FieldValidation};
use crate::{Object, kinds};

/// Decoded and defaulted as a request body would be.
fn defaulted(value: Value) -> Object {
    let (api_version, kind) = (text(&value, "apiVersion"), text(&value, "kind"));
    let expected = Expected { api_version: &api_version, kind: &kind };
    let mut object = decode::value(value, expected, FieldValidation::Strict).unwrap().object;
    super::apply(kinds::find_kind(&api_version, &kind).unwrap(), &mut object);
    object
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}

fn rich() -> impl Iterator<Item = Value> {
    let documents = include_str!("testdata/rich.yaml").split("\n---\n");
    documents.map(|one| decode::parse_yaml(one.as_bytes()).unwrap().into_value())
}

#[test]
fn a_second_pass_changes_nothing() {
    for value in rich() {
        let once = defaulted(value);
        let mut twice = once.clone();
        let info = kinds::find_kind(once.api_version(), once.kind()).unwrap();
        super::apply(info, &mut twice);
        assert_eq!(once, twice, "{} {}", once.kind(), once.name());
        // Nor does reading what was written.
        assert_eq!(once, defaulted(once.clone().into_value()), "{}", once.kind());
    }
}

#[test]
fn every_kind_of_the_rich_objects_gets_defaults() {
    let (mut seen, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for value in rich() {
        let (api_version, kind) = (text(&value, "apiVersion"), text(&value, "kind"));
        let expected = Expected { api_version: &api_version, kind: &kind };
        let decoded = decode::value(value.clone(), expected, FieldValidation::Strict).unwrap();
        if decoded.object != defaulted(value) {
            changed.insert(kind.clone());
        }
        seen.insert(kind);
    }
    assert_eq!(seen, changed);
    assert_eq!(seen.len(), 40);
}

/// Any value of the wrong type, and null, where an object, a list or a scalar is expected.
#[test]
fn odd_shapes_are_left_alone_and_nothing_panics() {
    for odd in [json!(null), json!([]), json!({}), json!("x"), json!(-1), json!([null])] {
        for value in rich() {
            let info =
                kinds::find_kind(&text(&value, "apiVersion"), &text(&value, "kind")).unwrap();
            for at in 0..count(&value) {
                let mut broken = value.clone();
                let mut left = at;
                replace(&mut broken, &mut left, &odd);
                if let Some(mut object) = Object::from_value(broken) {
                    super::apply(info, &mut object);
                }
            }
        }
    }
}

fn count(value: &Value) -> usize {
    1 + children(value).map(count).sum::<usize>()
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// Replaces the value that is visited after `at` others.
fn replace(value: &mut Value, at: &mut usize, odd: &Value) -> bool {
    if *at == 0 {
        value.clone_from(odd);
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, at, odd)),
        Value::Object(map) => map.values_mut().any(|item| replace(item, at, odd)),
        _ => false,
    }
}

/// `(given, path, what the server stores there)`, as the real one answered.
fn check(cases: Vec<(Value, &str, Value)>) {
    for (given, pointer, stored) in cases {
        let object = defaulted(given.clone()).into_value();
        assert_eq!(object.pointer(pointer).cloned().unwrap_or_default(), stored, "{given}");
    }
}

fn pod(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "a", "image": "x:1"}]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

#[test]
fn pods_ask_for_what_their_containers_do() {
    let sum = json!({
        "resources": {"limits": {"cpu": "4", "memory": "4Gi"}},
        "initContainers": [
            {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "300m"}}},
            {"name": "init", "resources": {"requests": {"cpu": "2", "memory": "100Mi"}}}],
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1"}}},
            {"name": "b", "resources": {"limits": {"hugepages-2Mi": "2Mi", "cpu": "100m"}}}],
    });
    let limits = json!({"resources": {
        "limits": {"cpu": "4", "hugepages-1Gi": "2Gi"}, "requests": {"memory": "1Gi"}}});
    check(vec![
        (
            pod(&sum),
            "/spec/resources",
            json!({"limits": {"cpu": "4", "memory": "4Gi", "hugepages-2Mi": "2Mi"},
                "requests": {"cpu": "2300m", "memory": "100Mi", "hugepages-2Mi": "2Mi"}}),
        ),
        (
            pod(&limits),
            "/spec/resources/requests",
            json!({"cpu": "4", "hugepages-1Gi": "2Gi", "memory": "1Gi"}),
        ),
        (pod(&json!({"resources": {}})), "/spec/resources", json!({})),
        (
            pod(&json!({"resources": {"limits": {"example.com/x": "1"}}})),
            "/spec/resources/requests",
            json!(null),
        ),
        (pod(&json!({})), "/spec/resources", json!(null)),
        (
            pod(&json!({"containers": [{"name": "a", "resources":
                {"limits": {"cpu": "100u", "memory": "1Gi"}, "requests": {"cpu": "0.0005m"}}}]})),
            "/spec/containers/0/resources",
            json!({"limits": {"cpu": "1m", "memory": "1Gi"},
                "requests": {"cpu": "1m", "memory": "1Gi"}}),
        ),
    ]);
}

#[test]
fn templates_are_not_given_what_only_pods_are() {
    let spec = json!({"hostNetwork": true, "terminationGracePeriodSeconds": -5, "containers":
        [{"name": "a", "image": "x", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}}]});
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "p"},
        "template": {"spec": spec}});
    let portless =
        json!({"hostNetwork": true, "containers": [{"name": "a", "ports": [{"name": "b"}]}]});
    let port = "containers/0/ports/0/hostPort";
    check(vec![
        (pod(&spec), &format!("/spec/{port}"), json!(80)),
        (pod(&portless), &format!("/spec/{port}"), json!(null)),
        (pod(&spec), "/spec/terminationGracePeriodSeconds", json!(1)),
        (pod(&spec), "/spec/enableServiceLinks", json!(true)),
        (template.clone(), &format!("/template/spec/{port}"), json!(null)),
        (template.clone(), "/template/spec/terminationGracePeriodSeconds", json!(-5)),
        (template.clone(), "/template/spec/enableServiceLinks", json!(null)),
        (template, "/template/spec/containers/0/resources/requests", json!(null)),
    ]);
}

#[test]
fn what_is_set_by_pointer_keeps_its_zero() {
    let class = |mode: &str| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "c"}, "provisioner": "a.b/c", "reclaimPolicy": mode})
    };
    let volumes = json!({"volumes": [{"name": "w", "configMap": {"name": "x", "defaultMode": 0}}],
        "terminationGracePeriodSeconds": 0});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": ""});
    check(vec![
        (class(""), "/reclaimPolicy", json!("")),
        (class("Retain"), "/reclaimPolicy", json!("Retain")),
        (pod(&volumes), "/spec/volumes/0/configMap/defaultMode", json!(0)),
        (pod(&volumes), "/spec/terminationGracePeriodSeconds", json!(0)),
        (secret, "/type", json!("Opaque")),
    ]);
}

#[test]
fn what_upstream_cannot_hold_is_changed() {
    let marker = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
    let budget = |expressions: Value, labels: Value| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
            "spec": {"selector": {"matchExpressions": expressions, "matchLabels": labels}}})
    };
    let exists = json!([{"key": marker, "operator": "Exists"}]);
    let absent = json!([{"key": marker, "operator": "DoesNotExist"}]);
    let node = |spec: Value| {
        let metadata = json!({"name": "n"});
        json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
    };
    let daemons = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"},
        "spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}});
    check(vec![
        (budget(exists.clone(), json!({})), "/spec/selector", json!({"matchExpressions": exists})),
        (budget(absent, json!({})), "/spec/selector", json!({})),
        (budget(exists, json!({"a": "b"})), "/spec/selector", json!({"matchLabels": {"a": "b"}})),
        (node(json!({"podCIDRs": ["10.0.0.0/24"]})), "/spec/podCIDR", json!("10.0.0.0/24")),
        (node(json!({"podCIDR": "10.0.0.0/24"})), "/spec/podCIDRs", json!(["10.0.0.0/24"])),
        (node(json!({"podCIDRs": ["", ""]})), "/spec/podCIDR", json!(null)),
        (
            daemons,
            "/spec/updateStrategy/rollingUpdate",
            json!({"maxSurge": 0, "maxUnavailable": 0}),
        ),
        (pod(&json!({"serviceAccount": "x"})), "/spec/serviceAccountName", json!("x")),
    ]);
}
