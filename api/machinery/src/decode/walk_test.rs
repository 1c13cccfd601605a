//! What decoding makes of bodies; all answers are a kube-apiserver 1.36's.

use serde_json::{Value, json};

use super::super::{Encoding, Expected, FieldValidation, body};

/// What is stored of a body, or why there is nothing.
fn decoded(tree: &Value) -> Result<Value, String> {
    let [api_version, kind] = ["apiVersion", "kind"].map(|key| tree[key].as_str().unwrap());
    let expected = Expected { api_version, kind };
    let text = tree.to_string();
    let decoded = body(text.as_bytes(), Encoding::Json, expected, FieldValidation::Strict);
    decoded.map(|decoded| decoded.object.into_value()).map_err(|status| status.message)
}

/// What a definition keeps of a schema for its property `a`, or what is said of it.
fn property(schema: &Value) -> Result<Value, String> {
    let schema = json!({"type": "object", "properties": {"a": schema}});
    let tree = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    });
    let kept =
        decoded(&tree).map(|tree| tree["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone());
    kept.map(|schema| schema["properties"]["a"].clone()).map_err(|why| {
        why.replace(
            "CustomResourceDefinition in version \"v1\" cannot be handled as a CustomResourceDefinition: ",
            "",
        )
    })
}

/// Once a schema within `items` and `additionalProperties` was kept as it came, whatever it was.
#[test]
fn a_schema_where_something_else_could_stand_is_a_schema() {
    let rows = [
        (
            json!({"type": "array", "items": {"type": "string", "unknown": 1, "Format": "date", "maxLength": 0, "uniqueItems": false}}),
            json!({"type": "array", "items": {"type": "string", "maxLength": 0}}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string", "unknown": 1}}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"b": {"unknown": 1, "maximum": null, "title": ""}}}}),
            json!({"type": "array", "items": {"type": "object", "properties": {"b": {}}}}),
        ),
        (
            json!({"type": "object", "additionalProperties": true}),
            json!({"type": "object", "additionalProperties": true}),
        ),
        (json!({"type": "object", "additionalProperties": null}), json!({"type": "object"})),
        (json!({"type": "array", "items": "x"}), json!({"type": "array"})),
        (
            json!({"type": "array", "items": [{"type": "string", "unknown": 1}]}),
            json!({"type": "array", "items": [{"type": "string"}]}),
        ),
        (
            json!({"type": "number", "maximum": 10.0, "minimum": 0.5}),
            json!({"type": "number", "maximum": 10, "minimum": 0.5}),
        ),
    ];
    for (written, kept) in rows {
        assert_eq!(property(&written), Ok(kept), "{written}");
    }
}

#[test]
fn what_is_no_schema_is_refused_with_the_fields_on_the_way() {
    const FIELD: &str =
        "Go struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema.properties";
    let rows = [
        (
            json!({"type": "array", "items": {"type": 3}}),
            format!("json: cannot unmarshal number into {FIELD}.items.type of type string"),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": 3}}),
            format!("json: cannot unmarshal number into {FIELD}.additionalProperties.type of type string"),
        ),
        (
            json!({"type": "array", "items": ["x"]}),
            format!("json: cannot unmarshal string into {FIELD}.items of type v1.JSONSchemaProps"),
        ),
        (
            json!({"type": "object", "additionalProperties": "x"}),
            "boolean or JSON schema expected".to_owned(),
        ),
        (
            json!({"type": "object", "additionalProperties": 3}),
            "boolean or JSON schema expected".to_owned(),
        ),
        (
            json!({"type": "string", "unknown": 1}),
            "strict decoding error: unknown field \"spec.versions[0].schema.openAPIV3Schema.properties.a.unknown\"".to_owned(),
        ),
    ];
    for (written, said) in rows {
        assert_eq!(property(&written), Err(said), "{written}");
    }
}

/// Go's JSON has `null` for a pointer that is not set, unless its tag leaves it out.
#[test]
fn the_group_of_a_reference_is_null_where_none_is_said() {
    let claim = |reference: Value| {
        let tree = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"},
            "spec": {"dataSource": reference},
        });
        decoded(&tree).unwrap()["spec"]["dataSource"].clone()
    };
    let unset = json!({"apiGroup": null, "kind": "PersistentVolumeClaim", "name": "b"});
    assert_eq!(claim(json!({"kind": "PersistentVolumeClaim", "name": "b"})), unset);
    assert_eq!(claim(unset.clone()), unset);
    let empty = json!({"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "b"});
    assert_eq!(claim(empty.clone()), empty, "a group that is said is kept, also an empty one");
}
