//! The definitions of built-in types, as OpenAPI v3 has them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::published::facts;
use crate::kinds;
use crate::schema::{Field, Kind, ListType, Schema, Shape, Special, TypeId};

/// Where definitions are in a document.
pub(super) const SCHEMAS: &str = "#/components/schemas/";

/// The definitions of some types and of all that they are made of, with their descriptions.
///
/// `api_version` is that of the document: types of all groups are told as being of it too.
pub(super) fn closure(
    roots: Vec<TypeId>,
    api_version: Option<(&str, &str)>,
    descriptions: &Descriptions,
) -> Map<String, Value> {
    let schema = Schema::get();
    let mut todo = roots;
    let (mut seen, mut out) = (BTreeSet::new(), Map::new());
    while let Some(id) = todo.pop() {
        if !seen.insert(id.0) {
            continue;
        }
        let ty = schema.of(id);
        let name = ty.definition_name();
        let mut definition = definition(schema, id, &mut todo);
        descriptions.describe(&name, &mut definition);
        tidy(&mut definition);
        if let Some(kinds) = group_version_kinds(&ty.name, api_version) {
            definition["x-kubernetes-group-version-kind"] = kinds;
        }
        out.insert(name, definition);
    }
    out
}

/// The kinds that a type is, when it is one.
fn group_version_kinds(ty: &str, api_version: Option<(&str, &str)>) -> Option<Value> {
    let (module, kind) = ty.rsplit_once('.')?;
    let one = |(group, version): (&str, &str), kind: &str| -> Value {
        json!({"group": group, "version": version, "kind": kind})
    };
    if module == "apimachinery.pkg.apis.meta.v1" {
        return match kind {
            "Status" | "APIGroup" | "APIGroupList" | "APIResourceList" | "APIVersions" => {
                Some(json!([one(("", "v1"), kind)]))
            }
            "DeleteOptions" | "WatchEvent" => {
                let of_document = api_version.filter(|found| *found != ("", "v1"));
                let all: Vec<Value> = std::iter::once(("", "v1"))
                    .chain(of_document)
                    .map(|found| one(found, kind))
                    .collect();
                Some(all.into())
            }
            _ => None,
        };
    }
    let of_module = |info: &&kinds::ResourceInfo| {
        info.type_name.rsplit_once('.').is_some_and(|(found, _)| found == module)
    };
    let info = kinds::all().iter().find(of_module)?;
    let is_kind = kinds::all()
        .iter()
        .filter(|one| one.group == info.group && one.version == info.version)
        .any(|one| one.kind == kind || one.list_kind() == kind && one.verbs.contains(&"list"));
    let is_kind = is_kind
        || matches!(
            (info.group, kind),
            ("", "Binding")
                | ("autoscaling", "Scale")
                | ("policy", "Eviction")
                | ("authentication.k8s.io", "TokenRequest")
        );
    is_kind.then(|| json!([one((info.group, info.version), kind)]))
}

fn definition(schema: &Schema, id: TypeId, todo: &mut Vec<TypeId>) -> Value {
    let ty = schema.of(id);
    match ty.special {
        Special::None => {}
        Special::Quantity => return json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Special::IntOrString => {
            let types = json!([{"type": "integer"}, {"type": "string"}]);
            return json!({"format": "int-or-string", "oneOf": types});
        }
        Special::Time | Special::MicroTime => {
            return json!({"type": "string", "format": "date-time"});
        }
        Special::Duration => return json!({"type": "string"}),
        Special::AnyJson if ty.short_name() != "FieldsV1" => return json!({}),
        Special::AnyJson | Special::RawExtension => return json!({"type": "object"}),
        Special::Items => return strings(),
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    if ty.has_type_meta || matches!(ty.short_name(), "APIGroupList" | "APIVersions") {
        for name in ["apiVersion", "kind"] {
            properties.insert(name.to_owned(), json!({"type": "string"}));
        }
    }
    for field in schema.json_fields(id) {
        properties.insert(field.json.clone(), property(schema, (&ty.name, field), todo));
        if facts(&ty.name, &field.json).is_required(field) {
            required.push((field.number, field.json.as_str()));
        }
    }
    let mut out = json!({"type": "object"});
    if !properties.is_empty() {
        out["properties"] = properties.into();
    }
    if !required.is_empty() {
        // As upstream's types declare them.
        required.sort_unstable();
        out["required"] = required.into_iter().map(|(_, name)| name).collect();
    }
    let facts = facts(&ty.name, "=");
    if let Some(map_type) = facts.map_type {
        out["x-kubernetes-map-type"] = map_type.into();
    }
    if let Some(unions) = &facts.unions {
        out["x-kubernetes-unions"] = unions.clone();
    }
    out
}

fn strings() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn property(schema: &Schema, (ty, field): (&str, &Field), todo: &mut Vec<TypeId>) -> Value {
    let facts = facts(ty, &field.json);
    let mut one = match field.kind {
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 => json!({"type": "integer", "format": "int32"}),
        Kind::Int64 => json!({"type": "integer", "format": "int64"}),
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::Message(id) if schema.of(id).special == Special::Items => strings(),
        Kind::Message(id) => {
            todo.push(id);
            json!({"$ref": format!("{SCHEMAS}{}", schema.of(id).definition_name())})
        }
    };
    if let Some(values) = &facts.item_values {
        one["enum"] = values.clone();
    }
    let mut out = match field.shape {
        // The form that upstream uses, so that a default may stand beside the reference.
        Shape::One if one["$ref"].is_string() => json!({"allOf": [one]}),
        Shape::One => one,
        Shape::List => json!({"type": "array", "items": one}),
        Shape::Map => json!({"type": "object", "additionalProperties": one}),
    };
    if let Some(default) = facts.default_of(field) {
        out["default"] = default;
    }
    if let Some(values) = &facts.values {
        out["enum"] = values.clone();
    }
    if let Some(map_type) = facts.map_type {
        out["x-kubernetes-map-type"] = map_type.into();
    }
    add_lists(field, &mut out);
    out
}

/// How lists are merged, by server-side apply and by strategic merge patches.
fn add_lists(field: &Field, out: &mut Value) {
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
}

/// A reference beside which nothing stands is written plainly; enums are told in words too.
fn tidy(definition: &mut Value) {
    let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten() {
        let Value::Object(fields) = &mut *property else { continue };
        if fields.len() == 1
            && let Some(reference) = fields.get_mut("allOf").map(|all| all[0].take())
        {
            *property = reference;
            continue;
        }
        let Some(values) = property["enum"].as_array() else { continue };
        let lines: Vec<String> = values.iter().map(|value| format!(" - `{value}`")).collect();
        let before = property["description"].as_str().unwrap_or_default();
        let text = format!("{before}\n\nPossible enum values:\n{}", lines.join("\n"));
        property["description"] = text.into();
    }
}
