//! The schema of a custom kind as it is published: what its definition says, and what every object
//! and every embedded one has.

use serde_json::{Map, Value, json};

use crate::limits::CUSTOM_SCHEMA_DEPTH_MAX;

/// Keywords that are published with what they say.
const KEPT: [&str; 30] = [
    "type",
    "title",
    "description",
    "default",
    "example",
    "externalDocs",
    "format",
    "maximum",
    "minimum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "enum",
    "maxProperties",
    "minProperties",
    "required",
    "nullable",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
];

/// A level and what is below it. `is_nested` is for those within allOf and the like.
///
/// The recursion is limited: a definition with a deeper schema is not stored.
pub(super) fn published(schema: &Value, is_nested: bool, depth: usize) -> Value {
    let mut out = Map::new();
    if depth > CUSTOM_SCHEMA_DEPTH_MAX {
        return Value::Object(out);
    }
    for name in KEPT {
        // What is as if it were not said upstream does not say either.
        let said = schema.get(name).filter(|value| match value {
            Value::Null | Value::Bool(false) => name == "default",
            Value::String(text) => !text.is_empty() || matches!(name, "default" | "example"),
            Value::Array(items) => !items.is_empty() || matches!(name, "default" | "example"),
            Value::Bool(true) | Value::Number(_) | Value::Object(_) => true,
        });
        if let Some(value) = said.filter(|value| !value.is_null()) {
            out.insert(name.to_owned(), value.clone());
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let branches = schema[name].as_array().filter(|branches| !branches.is_empty());
        if let Some(branches) = branches {
            let branches = branches.iter().map(|one| published(one, true, depth + 1)).collect();
            out.insert(name.to_owned(), branches);
        }
    }
    if schema["not"].is_object() {
        out.insert("not".to_owned(), published(&schema["not"], true, depth + 1));
    }
    if schema["x-kubernetes-int-or-string"] == true {
        either(&mut out);
    }
    if schema["items"].is_object() {
        out.insert("items".to_owned(), published(&schema["items"], is_nested, depth + 1));
    }
    let additional = &schema["additionalProperties"];
    if !is_nested && additional.is_object() {
        let below = published(additional, is_nested, depth + 1);
        out.insert("additionalProperties".to_owned(), below);
    } else if !is_nested && additional.is_boolean() {
        out.insert("additionalProperties".to_owned(), additional.clone());
    }
    let members = schema["properties"].as_object().filter(|members| !members.is_empty());
    if let Some(members) = members {
        let below =
            |(name, one): (&String, &Value)| (name.clone(), published(one, is_nested, depth + 1));
        out.insert("properties".to_owned(), members.iter().map(below).collect());
    }
    if schema["x-kubernetes-embedded-resource"] == true {
        embed(&mut out);
    }
    Value::Object(out)
}

/// An integer or a string: said with keywords that all clients know, unless it already is.
fn either(out: &mut Map<String, Value>) {
    let types = json!([{"type": "integer"}, {"type": "string"}]);
    let first = out.get("allOf").map(|branches| &branches[0]["anyOf"]);
    if out.get("anyOf") == Some(&types) || first == Some(&types) {
        return;
    }
    if !out.contains_key("anyOf") {
        out.insert("anyOf".to_owned(), types);
        return;
    }
    let all = out.entry("allOf").or_insert_with(|| json!([]));
    if let Value::Array(branches) = all {
        branches.insert(0, json!({"anyOf": types}));
    }
}

const EMBEDDED_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
pub(super) const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

fn embed(out: &mut Map<String, Value>) {
    let properties = out.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = json!({"description": EMBEDDED_VERSION, "type": "string"});
    properties["kind"] = json!({"description": EMBEDDED_KIND, "type": "string"});
    properties["metadata"] = referred(METADATA, "ObjectMeta");
    let required = out.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(required) = required {
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|one| one == name) {
                required.push(name.into());
            }
        }
    }
}

/// A type of all kinds, with what it is for.
pub(super) fn referred(description: &str, name: &str) -> Value {
    let reference = format!("#/components/schemas/{META}{name}");
    json!({"description": description, "allOf": [{"$ref": reference}]})
}

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
