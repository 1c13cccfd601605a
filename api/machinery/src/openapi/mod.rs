//! OpenAPI v3 documents, generated from the schema when they are asked for.

pub mod custom;
mod custom_paths;
mod custom_schema;
mod descriptions;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use self::descriptions::Descriptions;
use crate::kinds::{self, ResourceInfo};
use crate::schema::{Field, Kind, ListType, Presence, Schema, Shape, Special, TypeId};

/// `GET /openapi/v3`: the group-versions and where their documents are. `hash` gives a document's
/// version, which the caller also uses as its ETag.
pub fn index(hash: impl Fn(&str) -> String) -> Value {
    let mut paths = Map::new();
    for info in kinds::all() {
        let path = prefix(info.group, info.version);
        let url = format!("/openapi/v3/{path}?hash={}", hash(&path));
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// One group-version's document; `None` when it is not served.
#[must_use]
pub fn document(group: &str, version: &str) -> Option<Value> {
    let infos: Vec<_> =
        kinds::all().iter().filter(|i| i.group == group && i.version == version).collect();
    if infos.is_empty() {
        return None;
    }
    let schema = Schema::get();
    let mut todo = Vec::new();
    let mut paths = Map::new();
    for info in &infos {
        todo.push(info.type_id());
        todo.extend(kinds::type_of(&info.api_version(), &info.list_kind()));
        add_paths(info, &mut paths);
    }
    let descriptions = Descriptions::new();
    let (mut seen, mut definitions) = (BTreeSet::new(), Map::new());
    while let Some(id) = todo.pop() {
        if !seen.insert(id.0) {
            continue;
        }
        let ty = schema.of(id);
        let mut definition = definition(schema, id, &mut todo);
        if let Some(info) = infos.iter().find(|info| info.type_id() == id) {
            definition["x-kubernetes-group-version-kind"] =
                json!([{"group": info.group, "version": info.version, "kind": info.kind}]);
        }
        let name = ty.definition_name();
        descriptions.describe(&name, &mut definition);
        definitions.insert(name, definition);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2+orlop"},
        "paths": paths,
        "components": {"schemas": definitions},
    }))
}

/// Only what clients look for: that the path exists, with the verbs' kind.
fn add_paths(info: &ResourceInfo, paths: &mut Map<String, Value>) {
    let base = format!("/{}", prefix(info.group, info.version));
    let scope = if info.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{scope}/{}", info.plural);
    let kind = json!({"group": info.group, "version": info.version, "kind": info.kind});
    let reference =
        json!({"$ref": format!("#/components/schemas/{}", definition_ref(info.type_id()))});
    let operation = |action: &str| {
        json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
            "responses": {"200": {"description": "OK",
                "content": {"application/json": {"schema": reference}}}},
        })
    };
    let validated = |action: &str| {
        let mut out = operation(action);
        out["parameters"] = json!([
            {"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": true}},
            {"name": "fieldManager", "in": "query", "schema": {"type": "string", "uniqueItems": true}},
            {"name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": true}},
        ]);
        out
    };
    if !info.is_stored() && info.verbs.contains(&"create") {
        paths.insert(collection, json!({"post": validated("post")}));
        return;
    }
    if !info.is_stored() {
        paths.insert(collection.clone(), json!({"get": operation("list")}));
        paths.insert(format!("{collection}/{{name}}"), json!({"get": operation("get")}));
        return;
    }
    paths.insert(collection.clone(), json!({"get": operation("list"), "post": validated("post")}));
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "get": operation("get"),
            "put": validated("put"),
            "patch": validated("patch"),
            "delete": operation("delete"),
        }),
    );
}

fn definition_ref(id: TypeId) -> String {
    Schema::get().of(id).definition_name()
}

fn definition(schema: &Schema, id: TypeId, todo: &mut Vec<TypeId>) -> Value {
    let ty = schema.of(id);
    match ty.special {
        Special::None => {}
        Special::Quantity => return json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Special::IntOrString => {
            return json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]});
        }
        Special::Time | Special::MicroTime => {
            return json!({"type": "string", "format": "date-time"});
        }
        Special::Duration => return json!({"type": "string"}),
        Special::AnyJson if ty.short_name() != "FieldsV1" => return json!({}),
        Special::AnyJson | Special::RawExtension => return json!({"type": "object"}),
        Special::Items => return json!({"type": "array", "items": {"type": "string"}}),
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    if ty.has_type_meta {
        for name in ["apiVersion", "kind"] {
            properties.insert(name.to_owned(), json!({"type": "string"}));
        }
    }
    for field in schema.json_fields(id) {
        properties.insert(field.json.clone(), property(schema, field, todo));
        if !field.optional && matches!(field.presence, Presence::KeepZero | Presence::NullEmpty) {
            required.push(field.json.as_str());
        }
    }
    let mut out = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

fn property(schema: &Schema, field: &Field, todo: &mut Vec<TypeId>) -> Value {
    let one = match field.kind {
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 => json!({"type": "integer", "format": "int32"}),
        Kind::Int64 => json!({"type": "integer", "format": "int64"}),
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::Message(id) => {
            todo.push(id);
            let name = schema.of(id).definition_name();
            // The form that upstream uses, so that a default may stand beside the reference.
            json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
        }
    };
    let mut out = match field.shape {
        Shape::One => one,
        Shape::List => json!({"type": "array", "items": one}),
        Shape::Map => json!({"type": "object", "additionalProperties": one}),
    };
    match field.list_type {
        Some(ListType::Atomic) => out["x-kubernetes-list-type"] = "atomic".into(),
        Some(ListType::Set) => out["x-kubernetes-list-type"] = "set".into(),
        Some(ListType::Map) => {
            out["x-kubernetes-list-type"] = "map".into();
            out["x-kubernetes-list-map-keys"] = json!(field.list_map_keys);
        }
        None => {}
    }
    if !field.patch_strategies.is_empty() {
        out["x-kubernetes-patch-strategy"] = field.patch_strategies.join(",").into();
    }
    if let Some(key) = &field.patch_merge_key {
        out["x-kubernetes-patch-merge-key"] = key.as_str().into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_its_definition() {
        for info in kinds::all() {
            let document = document(info.group, info.version).unwrap();
            let schema = &document["components"]["schemas"][definition_ref(info.type_id())];
            for (name, property) in schema["properties"].as_object().unwrap() {
                let text = property["description"].as_str().unwrap_or("");
                // Upstream has no words for it.
                if info.kind == "CertificateSigningRequest" && name == "metadata" {
                    continue;
                }
                assert!(!text.is_empty(), "{}.{name} is not described", info.kind);
            }
            let text = document.to_string();
            let definitions = document["components"]["schemas"].as_object().unwrap();
            for part in text.split("#/components/schemas/").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(definitions.contains_key(name), "{name}");
            }
        }
    }
}
