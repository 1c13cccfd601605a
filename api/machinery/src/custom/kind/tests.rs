//! A kind as requests see it, from its definition to tables and scales.

use serde_json::json;

use super::*;
use crate::decode::{Encoding, FieldValidation};

fn kind() -> CustomKind {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["color"], "properties": {
            "color": {"type": "string", "enum": ["red", "green"]},
            "size": {"type": "integer", "default": 3, "minimum": 1},
            "replicas": {"type": "integer"}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget",
        "listKind": "WidgetList"});
    let definition = json!({
        "spec": {"group": "kind.example.com", "scope": "Namespaced", "names": names, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas"}}},
            {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                "schema": {"openAPIV3Schema": {"type": "object",
                    "x-kubernetes-preserve-unknown-fields": true}}}]},
        "status": {"acceptedNames": names},
    });
    CustomKind::load(&Object::from_value(definition).unwrap()).unwrap()
}

fn decoded(body: &Value, validation: FieldValidation) -> Result<(Object, Vec<String>), String> {
    let kind = kind();
    let decoded = kind.storage().decode(body.to_string().as_bytes(), Encoding::Json, validation);
    decoded.map(|found| (found.object, found.warnings)).map_err(|status| status.message)
}

fn widget(spec: &Value) -> Value {
    json!({"apiVersion": "kind.example.com/v1", "kind": "Widget",
        "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

#[test]
fn bodies_are_pruned_and_get_their_defaults() {
    let mut body = widget(&json!({"color": "red", "extra": {"z": 1}}));
    body["metadata"]["foo"] = 1.into();
    let (object, warnings) = decoded(&body, FieldValidation::Warn).unwrap();
    assert_eq!(warnings, ["unknown field \"metadata.foo\"", "unknown field \"spec.extra\""]);
    assert_eq!(object.at(&["spec"]), Some(&json!({"color": "red", "size": 3})));
    assert_eq!(object.at(&["metadata"]), Some(&json!({"name": "a", "namespace": "n"})));
}

#[test]
fn refused_bodies_are_refused_in_upstreams_words() {
    let mut wrong = widget(&json!({}));
    wrong["metadata"]["name"] = 1.into();
    let mut version = widget(&json!({}));
    version["apiVersion"] = "kind.example.com/v2".into();
    for (body, want) in [
        (
            wrong,
            "Widget in version \"v1\" cannot be handled as a Widget: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string",
        ),
        (
            version,
            "the API version in the data (kind.example.com/v2) does not match the expected API version (kind.example.com/v1)",
        ),
        (
            json!({"metadata": {"name": "b"}, "spec": {"color": "blue"}}),
            "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in '{\"metadata\":{\"name\":\"b\"},\"spec\":{\"color\":\"blue\"}}' ({\"metadata\":{\"name\":\"b\"},\"spec ...)",
        ),
        (
            widget(&json!({"color": "red", "extra": 1})),
            "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.extra\"",
        ),
    ] {
        assert_eq!(decoded(&body, FieldValidation::Strict).unwrap_err(), want);
    }
}

#[test]
fn duplicates_are_found_where_they_are() {
    let body = br#"{"apiVersion":"kind.example.com/v1","kind":"Widget","metadata":{"name":"s","foo":1},"spec":{"color":"red","color":"red","extra":1}}"#;
    let kind = kind();
    let refused = kind.storage().decode(body, Encoding::Json, FieldValidation::Strict).unwrap_err();
    assert!(
        refused.message.ends_with(
            "strict decoding error: duplicate field \"spec.color\", unknown field \"metadata.foo\", unknown field \"spec.extra\""
        ),
        "{}",
        refused.message
    );
}

#[test]
fn wrong_values_are_told_in_upstreams_words() {
    let kind = kind();
    let told = |object: &Value| {
        let object = Object::from_value(object.clone()).unwrap();
        let errors = kind.storage().check_create(&object);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut other = widget(&json!({"color": "red"}));
    other["kind"] = "Wrong".into();
    assert_eq!(told(&other), ["kind: Invalid value: \"Wrong\": must be Widget"]);
    let negative = widget(&json!({"color": "red", "replicas": -7}));
    let want = ".spec.replicas: Invalid value: -7: should be a non-negative integer";
    assert_eq!(told(&negative), [want]);
}

#[test]
fn what_was_stored_is_shown_in_the_version_that_is_asked_for() {
    let kind = kind();
    let mut stored = json!({"apiVersion": "kind.example.com/v1beta1", "kind": "Widget",
        "metadata": {"name": "a", "labels": {"x": 1}, "foo": 1}, "spec": {"color": "red", "old": 1}});
    kind.read(&mut stored);
    assert_eq!(
        stored,
        json!({"apiVersion": "kind.example.com/v1", "kind": "Widget",
            "metadata": {"name": "a", "generation": 1}, "spec": {"color": "red"}})
    );
    let beta = kind.version("kind.example.com/v1beta1").unwrap();
    let want = "kind.example.com/v1beta1 Widget is deprecated; use kind.example.com/v1 Widget";
    assert_eq!(beta.warning.as_deref(), Some(want));
    beta.convert(&mut stored);
    assert_eq!(stored["apiVersion"], "kind.example.com/v1beta1");
}

#[test]
fn the_generation_counts_all_but_metadata_and_status() {
    let kind = kind();
    let version = kind.storage();
    let mut old = widget(&json!({"color": "red"}));
    old["metadata"]["generation"] = 4.into();
    old["status"] = json!({"replicas": 1});
    let old = Object::from_value(old).unwrap();
    let mut same = old.clone();
    same.set(&["metadata", "labels"], json!({"x": "y"}));
    same.set(&["status"], json!({"replicas": 9}));
    version.prepare_for_update(&mut same, &old);
    assert_eq!((same.generation(), same.at(&["status", "replicas"])), (4, Some(&json!(1))));
    let mut changed = old.clone();
    changed.set(&["spec", "color"], "green".into());
    version.prepare_for_update(&mut changed, &old);
    assert_eq!(changed.generation(), 5);
    version.prepare_for_status_update(&mut changed, &old);
    assert_eq!(changed.at(&["spec", "color"]), Some(&json!("red")));
}

#[test]
fn a_scale_is_read_from_its_paths() {
    let kind = kind();
    let version = kind.storage();
    let mut tree = widget(&json!({"color": "red", "replicas": 2}));
    tree["status"] = json!({"replicas": 1});
    let mut object = Object::from_value(tree).unwrap();
    let scale = version.scale_of(&object).unwrap();
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 1}))
    );
    object.set(&["spec", "replicas"], "x".into());
    let why = version.scale_of(&object).unwrap_err();
    assert_eq!(why, ".spec.replicas accessor error: x is of the type string, expected int64");
}
