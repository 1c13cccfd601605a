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

/// Which version of OpenAPI a schema is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    V2,
    V3,
}

/// A level and what is below it. `is_nested` is for those within allOf and the like.
///
/// The recursion is limited: a definition with a deeper schema is not stored.
pub(super) fn published(schema: &Value, is_nested: bool, form: Form, depth: usize) -> Value {
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
    let is_v3 = form == Form::V3;
    for name in ["allOf", "anyOf", "oneOf"].iter().filter(|_| is_v3).copied() {
        let branches = schema[name].as_array().filter(|branches| !branches.is_empty());
        if let Some(branches) = branches {
            let branches =
                branches.iter().map(|one| published(one, true, form, depth + 1)).collect();
            out.insert(name.to_owned(), branches);
        }
    }
    if is_v3 && schema["not"].is_object() {
        out.insert("not".to_owned(), published(&schema["not"], true, form, depth + 1));
    }
    if is_v3 && schema["x-kubernetes-int-or-string"] == true {
        either(&mut out);
    }
    if schema["items"].is_object() {
        out.insert("items".to_owned(), published(&schema["items"], is_nested, form, depth + 1));
    }
    let additional = &schema["additionalProperties"];
    if !is_nested && additional.is_object() {
        let below = published(additional, is_nested, form, depth + 1);
        out.insert("additionalProperties".to_owned(), below);
    } else if !is_nested && additional.is_boolean() {
        out.insert("additionalProperties".to_owned(), additional.clone());
    }
    let members = schema["properties"].as_object().filter(|members| !members.is_empty());
    if let Some(members) = members {
        let below = |(name, one): (&String, &Value)| {
            (name.clone(), published(one, is_nested, form, depth + 1))
        };
        out.insert("properties".to_owned(), members.iter().map(below).collect());
    }
    let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if !is_v3 {
        narrow(schema, &mut out);
    }
    if schema["x-kubernetes-embedded-resource"] == true && (is_v3 || !preserves) {
        embed(&mut out);
    }
    Value::Object(out)
}

/// Takes away what version 2 cannot say, or what kubectl would understand wrongly there.
fn narrow(schema: &Value, out: &mut Map<String, Value>) {
    let is_set = |schema: &Value, name: &str| schema[name] == true;
    let preserves = is_set(schema, "x-kubernetes-preserve-unknown-fields");
    if is_set(schema, "nullable") {
        out.remove("type");
        out.remove("nullable");
    }
    if is_set(schema, "nullable") || preserves {
        out.remove("items");
        out.remove("properties");
    }
    let of_type = out.get("type").and_then(Value::as_str);
    if of_type == Some("array") && !out.contains_key("items")
        || of_type == Some("object") && preserves
    {
        out.remove("type");
    }
    let has_properties = out.contains_key("properties");
    let may_be_null = |name: &Value| {
        let property = name.as_str().map(|name| &schema["properties"][name]);
        has_properties && property.is_some_and(|property| is_set(property, "nullable"))
    };
    if let Some(Value::Array(required)) = out.get_mut("required") {
        required.retain(|name| !may_be_null(name));
        if required.is_empty() || is_set(&schema["additionalProperties"], "nullable") {
            out.remove("required");
        }
    }
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
