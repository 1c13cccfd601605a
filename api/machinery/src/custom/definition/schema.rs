//! The rules for schemas in a CustomResourceDefinition beyond being structural.
//!
//! Rules in CEL are looked at as far as no expression has to be understood: compiling them and
//! estimating their cost is `crate::custom::rules`.

use serde_json::{Map, Value};

use crate::field::{Error, Path};
use crate::limits::{CUSTOM_SCHEMA_DEPTH_MAX, WHOLE_LIST_ERRORS_MAX};
use crate::validate::repeated;

/// Whether defaults may stand at a level, and why not.
#[derive(Clone, Copy, Default)]
pub(super) struct Context<'a> {
    no_defaults: Option<&'a str>,
    in_metadata: bool,
    any_list_keys: bool,
    depth: usize,
}

impl Context<'_> {
    /// The root of a schema; list keys are not looked at when an old schema had wrong ones.
    pub(super) fn new(any_list_keys: bool) -> Self {
        Self { any_list_keys, ..Self::default() }
    }
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema[name].as_str().unwrap_or("")
}

fn members<'a>(schema: &'a Value, name: &str) -> Option<&'a Map<String, Value>> {
    schema[name].as_object().filter(|map| !map.is_empty())
}

fn list<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema[name].as_array().map_or(&[], Vec::as_slice)
}

/// Checks one level and what is below it.
pub(super) fn check(schema: &Value, path: &Path, context: Context<'_>, errors: &mut Vec<Error>) {
    if context.depth > CUSTOM_SCHEMA_DEPTH_MAX || !schema.is_object() {
        return;
    }
    let below = Context { depth: context.depth + 1, ..context };
    standard(schema, path, context, errors);
    if schema["uniqueItems"] == true {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), why));
    }
    additional(schema, path, below, errors);
    for (name, property) in members(schema, "properties").into_iter().flatten() {
        let is_root = context.depth == 0;
        let is_object = is_root || schema["x-kubernetes-embedded-resource"] == true;
        let reason = format!("in top-level {name}");
        let mut below = below;
        if is_object && META.contains(&name.as_str()) {
            below.in_metadata = true;
            if is_root {
                below.no_defaults = Some(&reason);
            }
        }
        check(property, &path.child("properties").key(name), below, errors);
    }
    check(&schema["not"], &path.child("not"), below, errors);
    for name in ["allOf", "oneOf", "anyOf"] {
        for (index, branch) in list(schema, name).iter().enumerate() {
            check(branch, &path.child(name).index(index), below, errors);
        }
    }
    for (name, definition) in members(schema, "definitions").into_iter().flatten() {
        check(definition, &path.child("definitions").key(name), below, errors);
    }
    check(&schema["items"], &path.child("items"), below, errors);
    for (index, items) in list(schema, "items").iter().enumerate() {
        check(items, &path.child("items").index(index), below, errors);
    }
    extensions(schema, path, errors);
    map_keys(schema, path, errors);
    if !context.any_list_keys {
        keys_and_nulls(schema, path, errors);
    }
    rules(schema, path, errors);
}

fn additional(schema: &Value, path: &Path, below: Context<'_>, errors: &mut Vec<Error>) {
    let additional = &schema["additionalProperties"];
    if additional.is_null() {
        return;
    }
    let path = path.child("additionalProperties");
    if members(schema, "properties").is_some() && additional != true {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(Error::forbidden(&path, why));
    }
    let no_defaults = match below.in_metadata {
        true => Some("inside additionalProperties applying to object metadata"),
        false => below.no_defaults,
    };
    check(additional, &path, Context { no_defaults, ..below }, errors);
}

/// What OpenAPI has and CustomResourceDefinitions do not.
fn standard(schema: &Value, path: &Path, context: Context<'_>, errors: &mut Vec<Error>) {
    let mut forbid = |name: &str, why: &str| {
        errors.push(Error::forbidden(&path.child(name), why));
    };
    if let (Some(reason), false) = (context.no_defaults, schema["default"].is_null()) {
        forbid("default", &format!("must not be set {reason}"));
    }
    if !text(schema, "id").is_empty() {
        forbid("id", "id is not supported");
    }
    if !schema["additionalItems"].is_null() {
        forbid("additionalItems", "additionalItems is not supported");
    }
    for name in ["patternProperties", "definitions"] {
        if members(schema, name).is_some() {
            forbid(name, &format!("{name} is not supported"));
        }
    }
    if !schema["dependencies"].is_null() {
        forbid("dependencies", "dependencies is not supported");
    }
    if !schema["$ref"].is_null() {
        forbid("$ref", "$ref is not supported");
    }
    let kind = text(schema, "type");
    if kind == "null" {
        forbid("type", "type cannot be set to null, use nullable as an alternative");
    }
    if !list(schema, "items").is_empty() {
        forbid("items", "items must be a schema object and not an array");
    }
    if context.in_metadata && schema["x-kubernetes-embedded-resource"] == true {
        forbid("x-kubernetes-embedded-resource", "must not be used inside of resource meta");
    }
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &TYPES));
    }
}

fn extensions(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    let preserves = "x-kubernetes-preserve-unknown-fields";
    if schema[preserves] == false {
        errors.push(Error::invalid(&path.child(preserves), false, "must be true or undefined"));
    }
    let kind = text(schema, "type");
    let wrong_kind = |wanted: &str, extension: &str| {
        let why = format!("must be {wanted} if {extension} is specified");
        match kind {
            "" => Error::required(&path.child("type"), why),
            _ => Error::invalid(&path.child("type"), kind, why),
        }
    };
    if let Some(map_type) = schema["x-kubernetes-map-type"].as_str() {
        if kind != "object" {
            errors.push(wrong_kind("object", "x-kubernetes-map-type"));
        }
        let path = path.child("x-kubernetes-map-type");
        if !matches!(map_type, "atomic" | "granular") {
            errors.push(Error::not_supported(&path, map_type, &["atomic", "granular"]));
        }
    }
    let Some(list_type) = schema["x-kubernetes-list-type"].as_str() else { return };
    if kind != "array" {
        errors.push(wrong_kind("array", "x-kubernetes-list-type"));
    } else if list_type == "set" && schema["items"].is_object() {
        set_items(&schema["items"], &path.child("items"), errors);
    }
    if !matches!(list_type, "atomic" | "set" | "map") {
        let path = path.child("x-kubernetes-list-type");
        errors.push(Error::not_supported(&path, list_type, &["atomic", "set", "map"]));
    }
}

fn set_items(items: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (list_type, map_type) = (&items["x-kubernetes-list-type"], &items["x-kubernetes-map-type"]);
    let (name, is_wrong) = match text(items, "type") {
        "array" => ("x-kubernetes-list-type", !list_type.is_null() && list_type != "atomic"),
        "object" => ("x-kubernetes-map-type", map_type != "atomic"),
        _ => return,
    };
    if is_wrong {
        // Upstream shows the list type in both cases.
        let shown = list_type.clone();
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        errors.push(Error::invalid(&path.child(name), shown, why));
    }
}

/// The keys of a list of type map.
fn map_keys(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    let keys = list(schema, "x-kubernetes-list-map-keys");
    let list_type = schema["x-kubernetes-list-type"].as_str();
    let type_path = path.child("x-kubernetes-list-type");
    if !keys.is_empty() {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => errors.push(Error::required(&type_path, why)),
            Some("map") => {}
            Some(other) => errors.push(Error::invalid(&type_path, other, why)),
        }
    }
    if list_type != Some("map") {
        return;
    }
    let keys_path = path.child("x-kubernetes-list-map-keys");
    let items_path = path.child("items");
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(Error::required(&keys_path, why));
    }
    let items = &schema["items"];
    if items.is_null() {
        let why = "must have a schema if x-kubernetes-list-type is map";
        errors.push(Error::required(&items_path, why));
    }
    if !items.is_object() {
        return;
    }
    if text(items, "type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&items_path.child("type"), text(items, "type"), why));
        return;
    }
    let shown = &schema["x-kubernetes-list-map-keys"];
    let (again, before) = (repeated(keys, Value::to_string), errors.len());
    for (index, key) in keys.iter().enumerate() {
        if errors.len() - before > WHOLE_LIST_ERRORS_MAX {
            return;
        }
        let name = key.as_str().unwrap_or("");
        let property = &items["properties"][name];
        if property.is_null() {
            let why = "entries must all be names of item properties";
            errors.push(Error::invalid(&keys_path, shown.clone(), why));
        } else if matches!(text(property, "type"), "array" | "object") {
            let path = items_path.child("properties").key(name).child("type");
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            // Upstream shows the type of the items here.
            errors.push(Error::invalid(&path, text(items, "type"), why));
        }
        if again[index] {
            let why = "must not contain duplicate entries";
            errors.push(Error::invalid(&keys_path, shown.clone(), why));
        }
    }
}

/// Items of sets and maps are not null, and the keys of maps are always there.
pub(super) fn keys_and_nulls(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list_type = text(schema, "x-kubernetes-list-type");
    let items = &schema["items"];
    if !items.is_object() || !matches!(list_type, "set" | "map") {
        return;
    }
    let path = path.child("items");
    if items["nullable"] == true {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&path.child("nullable"), why));
    }
    if list_type != "map" {
        return;
    }
    for key in list(schema, "x-kubernetes-list-map-keys") {
        let name = key.as_str().unwrap_or("");
        let property = &items["properties"][name];
        if property.is_null() {
            continue;
        }
        let path = path.child("properties").key(name);
        if !list(items, "required").contains(key) && property["default"].is_null() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&path.child("default"), why));
        }
        if property["nullable"] == true {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&path.child("nullable"), why));
        }
    }
}

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

fn rules(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    let has_breaks = |text: &str| text.contains(['\n', '\r']);
    for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let path = path.child("x-kubernetes-validations").index(index);
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        let message_path = path.child("message");
        if expression.is_empty() {
            errors.push(Error::required(&path.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(Error::invalid(&message_path, message, "must be non-empty if specified"));
        } else if has_breaks(message.trim()) {
            errors.push(Error::invalid(&message_path, message, "must not contain line breaks"));
        } else if has_breaks(expression) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(Error::required(&message_path, why));
        }
        let message_expression = text(rule, "messageExpression");
        if !message_expression.is_empty() && message_expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&path.child("messageExpression"), why));
        }
        if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            errors.push(Error::not_supported(&path.child("reason"), reason, &REASONS));
        }
        let field_path = text(rule, "fieldPath");
        if !field_path.is_empty() {
            let path = path.child("fieldPath");
            if field_path.trim().is_empty() {
                errors.push(Error::invalid(&path, field_path, "must be non-empty if specified"));
            }
            if has_breaks(field_path) {
                errors.push(Error::invalid(&path, field_path, "must not contain line breaks"));
            }
            if super::field_path::find(field_path, schema, true).is_err() {
                errors.push(Error::invalid(&path, field_path, "must be a valid path"));
            }
        }
    }
}
