//! Whether a schema is structural, and what keeps it from being so, in upstream's words.

use serde_json::{Map, Value};

use crate::field::{Error, ErrorKind, Path};
use crate::limits::CUSTOM_SCHEMA_DEPTH_MAX;

/// The violations of a schema as a CRD has it, sorted by their texts as upstream sorts them.
#[must_use]
pub fn violations(schema: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, 0, &mut errors);
    complete(schema, Some(schema), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn is(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn kind(schema: &Value) -> &str {
    schema["type"].as_str().unwrap_or("")
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn branches<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema[name].as_array().map_or(&[], Vec::as_slice)
}

/// The recursion is limited by the depth of the document, and by the limit for schemas.
fn invariants(schema: &Value, level: Level, path: &Path, depth: usize, errors: &mut Vec<Error>) {
    if depth > CUSTOM_SCHEMA_DEPTH_MAX {
        return;
    }
    if kind(schema) == "array" && schema["items"].is_null() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if schema["items"].is_object() {
        invariants(&schema["items"], Level::Item, &path.child("items"), depth + 1, errors);
    }
    for (name, property) in properties(schema) {
        let path = path.child("properties").key(name);
        invariants(property, Level::Field, &path, depth + 1, errors);
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&path, "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &path, depth + 1, errors);
        }
    }
    extensions(schema, path, errors);
    let skip = Skip {
        any_of: is_int_or_string(branches(schema, "anyOf")),
        first_all_of: branches(schema, "allOf")
            .first()
            .is_some_and(|first| is_int_or_string(branches(first, "anyOf"))),
    };
    values(schema, skip, path, errors);
    types(schema, level, path, errors);
    metadata(schema, level, path, errors);
}

fn extensions(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    if is(schema, "x-kubernetes-int-or-string") {
        for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if is(schema, name) {
                let why = "must be false if x-kubernetes-int-or-string is true";
                errors.push(Error::invalid(&path.child(name), true, why));
            }
        }
    }
}

/// The two branches `integer` and `string`, and nothing else.
fn is_int_or_string(any_of: &[Value]) -> bool {
    let is_only = |schema: &Value, kind: &str| {
        schema["type"] == kind && schema.as_object().is_some_and(|map| map.len() == 1)
    };
    matches!(any_of, [first, second] if is_only(first, "integer") && is_only(second, "string"))
}

fn types(schema: &Value, level: Level, path: &Path, errors: &mut Vec<Error>) {
    let embeds = is(schema, "x-kubernetes-embedded-resource");
    let kind = kind(schema);
    let type_path = path.child("type");
    let is_free = is(schema, "x-kubernetes-int-or-string")
        || is(schema, "x-kubernetes-preserve-unknown-fields");
    if embeds && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => Error::required(&type_path, why),
            _ => Error::invalid(&type_path, kind, why),
        });
    } else if kind.is_empty() && !is_free {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&type_path, why));
    }
    if embeds && !schema["additionalProperties"].is_null() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(Error::invalid(&type_path, kind, "must be object at the root"));
    }
    let preserves = is(schema, "x-kubernetes-preserve-unknown-fields");
    if embeds && !preserves && properties(schema).next().is_none() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), why));
    }
}

/// Schemas may not say anything about `apiVersion`, `kind` and `metadata` that others rely on.
fn metadata(schema: &Value, level: Level, path: &Path, errors: &mut Vec<Error>) {
    let is_object = level == Level::Root || is(schema, "x-kubernetes-embedded-resource");
    let path = path.child("properties");
    for name in ["kind", "apiVersion"] {
        let property = &schema["properties"][name];
        if is_object && !property.is_null() && kind(property) != "string" {
            let path = path.key(name).child("type");
            errors.push(Error::invalid(&path, kind(property), "must be string"));
        }
    }
    let metadata = &schema["properties"]["metadata"];
    if metadata.is_null() {
        return;
    }
    let path = path.key("metadata");
    if is_object && kind(metadata) != "object" {
        errors.push(Error::invalid(&path.child("type"), kind(metadata), "must be object"));
    }
    if level == Level::Root && says_too_much(metadata) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(Error::forbidden(&path, why));
    }
}

fn says_too_much(metadata: &Value) -> bool {
    let only_names = properties(metadata).all(|(name, _)| name == "name" || name == "generateName");
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    let map = metadata.as_object().into_iter().flatten();
    !only_names
        || map
            .filter(|(name, _)| !matches!(name.as_str(), "type" | "default" | "properties"))
            .any(|(_, value)| !is_empty(value))
}

#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

/// The branches of a level: they may only restrict values.
fn values(schema: &Value, skip: Skip, path: &Path, errors: &mut Vec<Error>) {
    if !skip.any_of {
        for (index, branch) in branches(schema, "anyOf").iter().enumerate() {
            nested(branch, Skip::default(), &path.child("anyOf").index(index), errors);
        }
    }
    for (index, branch) in branches(schema, "allOf").iter().enumerate() {
        let skip = Skip { any_of: skip.first_all_of && index == 0, ..Skip::default() };
        nested(branch, skip, &path.child("allOf").index(index), errors);
    }
    for (index, branch) in branches(schema, "oneOf").iter().enumerate() {
        nested(branch, Skip::default(), &path.child("oneOf").index(index), errors);
    }
    if schema["not"].is_object() {
        nested(&schema["not"], Skip::default(), &path.child("not"), errors);
    }
    let pattern = schema["pattern"].as_str().unwrap_or("");
    if let Err(why) = super::pattern::compile(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(Error::invalid(&path.child("pattern"), pattern, why));
    }
}

/// What branches may not say, and how upstream wants it.
const FORBIDDEN: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

fn nested(schema: &Value, skip: Skip, path: &Path, errors: &mut Vec<Error>) {
    values(schema, skip, path, errors);
    if schema["items"].is_object() {
        nested(&schema["items"], Skip::default(), &path.child("items"), errors);
    }
    for (name, property) in properties(schema) {
        let path = path.child("properties").key(name);
        nested(property, Skip::default(), &path, errors);
    }
    for (name, why) in FORBIDDEN {
        let is_said = match (name, &schema[name]) {
            (_, Value::Null | Value::Bool(false)) => false,
            ("default", _) => true,
            (_, Value::String(text)) => !text.is_empty() || name.starts_with("x-"),
            (_, Value::Array(list)) => !list.is_empty(),
            _ => true,
        };
        if is_said {
            errors.push(Error::forbidden(&path.child(name), why));
        }
    }
    if !schema["properties"]["metadata"].is_null() {
        let path = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&path, "must not be specified in a nested context"));
    }
}

/// What branches talk about has to be in the schema outside of them.
fn complete(
    said: &Value,
    schema: Option<&Value>,
    path: &Path,
    said_path: &Path,
    errors: &mut Vec<Error>,
) {
    let mut branch = |said: &Value, said_path: &Path| {
        nested_complete(said, schema, path, said_path, errors);
    };
    if said["not"].is_object() {
        branch(&said["not"], &said_path.child("not"));
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, each) in branches(said, name).iter().enumerate() {
            branch(each, &said_path.child(name).index(index));
        }
    }
}

fn nested_complete(
    said: &Value,
    schema: Option<&Value>,
    path: &Path,
    said_path: &Path,
    errors: &mut Vec<Error>,
) {
    let missing = |path: &Path, said_path: &Path| {
        Error::required(path, format!("because it is defined in {said_path}"))
    };
    let Some(schema) = schema else {
        errors.push(missing(path, said_path));
        return;
    };
    complete(said, Some(schema), path, said_path, errors);
    if said["items"].is_object() {
        let items = Some(&schema["items"]).filter(|items| items.is_object());
        nested_complete(
            &said["items"],
            items,
            &path.child("items"),
            &said_path.child("items"),
            errors,
        );
    }
    let empty = Map::new();
    let known = schema["properties"].as_object().unwrap_or(&empty);
    for (name, property) in properties(said) {
        let path = path.child("properties").key(name);
        let said_path = said_path.child("properties").key(name);
        match known.get(name) {
            Some(known) => nested_complete(property, Some(known), &path, &said_path, errors),
            None => errors.push(missing(&path, &said_path)),
        }
    }
}

/// The status, reason and message of the condition `NonStructuralSchema` of a list of versions:
/// `None` when every schema is structural.
#[must_use]
pub fn non_structural(versions: &[Value]) -> Option<(&'static str, String)> {
    let mut errors = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_object() {
            let path = Path::new("spec").child("versions").index(index);
            let path = path.child("schema").child("openAPIV3Schema");
            match super::Schema::parse(schema) {
                Ok(_) => errors.extend(violations(schema, &path)),
                Err(why) => errors.push(Error {
                    kind: ErrorKind::Invalid,
                    field: path.to_string(),
                    value: Some("".into()),
                    detail: why.to_string(),
                }),
            }
        }
    }
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => None,
        [one] => Some(("Violations", one.clone())),
        many => Some(("Violations", format!("[{}]", many.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(schema: &Value) -> Vec<String> {
        let path = Path::new("s");
        violations(schema, &path).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_structural_is_told_in_upstreams_words() {
        for (schema, want) in [
            (json!({"type": "object"}), vec![]),
            (
                json!({"properties": {"a": {}, "b": {"type": "array"},
                    "c": {"type": "array", "items": {}}}}),
                vec![
                    "s.properties[a].type: Required value: must not be empty for specified object fields",
                    "s.properties[b].items: Required value: must be specified",
                    "s.properties[c].items.type: Required value: must not be empty for specified array items",
                    "s.type: Required value: must not be empty at the root",
                ],
            ),
            (
                json!({"type": "object", "anyOf": [{"type": "object",
                    "properties": {"a": {"minimum": 1, "description": "x"}}}]}),
                vec![
                    "s.anyOf[0].properties[a].description: Forbidden: must be empty to be structural",
                    "s.anyOf[0].type: Forbidden: must be empty to be structural",
                    "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
                ],
            ),
            (
                json!({"type": "object", "properties": {
                    "i": {"x-kubernetes-int-or-string": true,
                        "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "j": {"x-kubernetes-int-or-string": true,
                        "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]},
                    "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
                vec![
                    "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
                ],
            ),
            (
                json!({"type": "object", "properties": {"e": {"type": "object",
                    "x-kubernetes-embedded-resource": true}, "p": {"type": "string", "pattern": "("}}}),
                vec![
                    "s.properties[e].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
                    "s.properties[p].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
                ],
            ),
        ] {
            assert_eq!(texts(&schema), want, "{schema}");
        }
    }
}
