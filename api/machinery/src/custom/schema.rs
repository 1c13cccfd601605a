//! The schema of a custom kind, small in memory: equal texts and equal subtrees are kept once.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | CS1 | A schema is a tree of at most `CUSTOM_SCHEMA_DEPTH_MAX` levels. |
//! | CS2 | What only people read (descriptions, titles, examples) is not kept. |

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::limits::CUSTOM_SCHEMA_DEPTH_MAX;

/// What a value has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The schema does not say, or names a type that there is not.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    fn parse(text: &str) -> Self {
        match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Any,
        }
    }

    /// Its name in a schema; empty for any.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// How the items of a list belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// What members that are not named in `properties` may be.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// The schema does not say.
    #[default]
    Unsaid,
    Allowed(bool),
    Schema(Arc<Schema>),
}

/// One rule of `x-kubernetes-validations`, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub rule: Box<str>,
    pub message: Box<str>,
    pub message_expression: Box<str>,
    /// `FieldValueInvalid` and the like; empty when not given.
    pub reason: Box<str>,
    pub field_path: Box<str>,
    pub optional_old_self: Option<bool>,
}

/// A list's identity: its type and, for maps, its keys.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub kind: ListType,
    pub keys: Box<[String]>,
}

/// Bounds of values: what few schemas have.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// The format, `""` when there is none.
    pub format: Option<Arc<str>>,
    pub pattern: Option<Arc<str>>,
    pub maximum: Option<f64>,
    pub minimum: Option<f64>,
    pub multiple_of: Option<f64>,
    pub length: Range,
    pub items: Range,
    pub properties: Range,
    pub exclusive_maximum: bool,
    pub exclusive_minimum: bool,
    pub unique_items: bool,
    pub choices: Box<[Value]>,
    pub required: Box<[Arc<str>]>,
    pub all_of: Box<[Arc<Schema>]>,
    pub any_of: Box<[Arc<Schema>]>,
    pub one_of: Box<[Arc<Schema>]>,
    pub not: Option<Arc<Schema>>,
}

/// How many of something there may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// One level of a schema.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub kind: Kind,
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserves_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embeds_resource: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub is_atomic_map: bool,
    pub items: Option<Arc<Self>>,
    pub additional: Additional,
    properties: Box<[(Arc<str>, Arc<Self>)]>,
    pub default: Option<Arc<Value>>,
    pub checks: Option<Box<Checks>>,
    pub list: Option<Box<List>>,
    /// The rules in CEL, for whoever evaluates them.
    pub rules: Box<[Rule]>,
}

/// Why a schema cannot be used; the texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("OpenAPIV3Schema '{0}' is not supported")]
    Unsupported(&'static str),
    #[error("OpenAPIV3Schema 'items' must be a schema, but is an array")]
    ItemsIsArray,
    #[error("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")]
    PreservesNothing,
    #[error("OpenAPIV3Schema is nested deeper than {CUSTOM_SCHEMA_DEPTH_MAX} levels")]
    TooDeep,
}

impl Schema {
    /// Reads a schema as a CRD has it in `openAPIV3Schema`.
    ///
    /// # Errors
    /// What upstream cannot make a structural schema of, and schemas that are too deep (CS1).
    pub fn parse(json: &Value) -> Result<Arc<Self>, Refusal> {
        Reader::default().schema(json, 0).map(|(_, schema)| schema)
    }

    /// The schema of a named property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Self> {
        let found = self.properties.binary_search_by(|(key, _)| key.as_ref().cmp(name));
        found.ok().map(|index| self.properties[index].1.as_ref())
    }

    /// The same, to be kept.
    #[must_use]
    pub(crate) fn property_shared(&self, name: &str) -> Option<&Arc<Self>> {
        let found = self.properties.binary_search_by(|(key, _)| key.as_ref().cmp(name));
        found.ok().map(|index| &self.properties[index].1)
    }

    /// The named properties in the order of their names.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.properties.iter().map(|(name, schema)| (name.as_ref(), schema.as_ref()))
    }

    /// The schema of members that are not named.
    #[must_use]
    pub fn additional_schema(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Unsaid | Additional::Allowed(_) => None,
        }
    }

    /// The schema of a member, named or not.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.property(name).or_else(|| self.additional_schema())
    }

    /// How the items of a list belong together.
    #[must_use]
    pub fn list_type(&self) -> ListType {
        self.list.as_ref().map_or(ListType::Atomic, |list| list.kind)
    }

    /// Whether this level or one below it has rules in CEL.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.items.as_ref().is_some_and(|items| items.has_rules())
            || self.additional_schema().is_some_and(Self::has_rules)
            || self.properties().any(|(_, schema)| schema.has_rules())
    }
}

/// Reads schemas; what it has seen before it gives out again.
#[derive(Default)]
struct Reader {
    texts: HashMap<Arc<str>, Arc<str>>,
    /// By what the level says, with numbers in place of the levels below.
    schemas: HashMap<String, (usize, Arc<Schema>)>,
}

type Numbered = (usize, Arc<Schema>);

impl Reader {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new), Arc::clone(&new));
        new
    }

    fn texts(&mut self, json: &Value) -> Box<[Arc<str>]> {
        let list = json.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(|text| self.text(text)).collect()
    }

    fn schema(&mut self, json: &Value, depth: usize) -> Result<Numbered, Refusal> {
        if depth > CUSTOM_SCHEMA_DEPTH_MAX {
            return Err(Refusal::TooDeep);
        }
        refuse_unsupported(json)?;
        // The key is the level as JSON, with numbers for the levels below and without what only
        // people read: equal keys are equal schemas (CS2).
        let mut key: Map<String, Value> = Map::new();
        for (name, value) in json.as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "description" | "title" | "example" | "externalDocs") {
                let is_below = BELOW.contains(&name.as_str());
                key.insert(name.clone(), if is_below { Value::Null } else { value.clone() });
            }
        }
        let mut schema = self.level(json);
        self.below(json, depth + 1, &mut schema, &mut key)?;
        let key = Value::Object(key).to_string();
        if let Some((number, known)) = self.schemas.get(&key) {
            return Ok((*number, Arc::clone(known)));
        }
        let number = self.schemas.len();
        let schema = Arc::new(schema);
        self.schemas.insert(key, (number, Arc::clone(&schema)));
        Ok((number, schema))
    }

    /// What the level itself says.
    fn level(&mut self, json: &Value) -> Schema {
        let is = |name: &str| json[name] == true;
        let list_type = json["x-kubernetes-list-type"].as_str();
        Schema {
            kind: Kind::parse(json["type"].as_str().unwrap_or("")),
            nullable: is("nullable"),
            preserves_unknown: is("x-kubernetes-preserve-unknown-fields"),
            embeds_resource: is("x-kubernetes-embedded-resource"),
            int_or_string: is("x-kubernetes-int-or-string"),
            is_atomic_map: json["x-kubernetes-map-type"] == "atomic",
            default: Some(&json["default"]).filter(|value| !value.is_null()).cloned().map(Arc::new),
            checks: self.checks(json),
            list: list_type.map(|text| {
                let kind = match text {
                    "set" => ListType::Set,
                    "map" => ListType::Map,
                    _ => ListType::Atomic,
                };
                let names = json["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                let keys = names.filter_map(Value::as_str).map(str::to_owned).collect();
                Box::new(List { kind, keys })
            }),
            rules: rules(&json["x-kubernetes-validations"]),
            ..Schema::default()
        }
    }

    fn checks(&mut self, json: &Value) -> Option<Box<Checks>> {
        if !json.as_object()?.keys().any(|key| CHECKS.contains(&key.as_str())) {
            return None;
        }
        let mut text = |name: &str| {
            json[name].as_str().filter(|text| !text.is_empty()).map(|text| self.text(text))
        };
        let range =
            |min: &str, max: &str| Range { min: json[min].as_i64(), max: json[max].as_i64() };
        Some(Box::new(Checks {
            format: text("format"),
            pattern: text("pattern"),
            maximum: json["maximum"].as_f64(),
            minimum: json["minimum"].as_f64(),
            multiple_of: json["multipleOf"].as_f64(),
            length: range("minLength", "maxLength"),
            items: range("minItems", "maxItems"),
            properties: range("minProperties", "maxProperties"),
            exclusive_maximum: json["exclusiveMaximum"] == true,
            exclusive_minimum: json["exclusiveMinimum"] == true,
            unique_items: json["uniqueItems"] == true,
            choices: json["enum"].as_array().cloned().unwrap_or_default().into(),
            required: self.texts(&json["required"]),
            ..Checks::default()
        }))
    }

    /// The levels below.
    fn below(
        &mut self,
        json: &Value,
        depth: usize,
        schema: &mut Schema,
        key: &mut Map<String, Value>,
    ) -> Result<(), Refusal> {
        if json["items"].is_array() {
            return Err(Refusal::ItemsIsArray);
        }
        if json["items"].is_object() {
            let (number, items) = self.schema(&json["items"], depth)?;
            schema.items = Some(items);
            key.insert("items".to_owned(), number.into());
        }
        if let Some(allowed) = json["additionalProperties"].as_bool() {
            schema.additional = Additional::Allowed(allowed);
            key.insert("additionalProperties".to_owned(), allowed.into());
        } else if json["additionalProperties"].is_object() {
            let (number, additional) = self.schema(&json["additionalProperties"], depth)?;
            schema.additional = Additional::Schema(additional);
            key.insert("additionalProperties".to_owned(), number.into());
        }
        let (mut properties, mut numbers) = (Vec::new(), Map::new());
        for (name, property) in json["properties"].as_object().into_iter().flatten() {
            let (number, property) = self.schema(property, depth)?;
            properties.push((self.text(name), property));
            numbers.insert(name.clone(), number.into());
        }
        properties.sort_by(|(left, _), (right, _)| left.cmp(right));
        schema.properties = properties.into();
        key.insert("properties".to_owned(), Value::Object(numbers));
        if let Some(checks) = &mut schema.checks {
            checks.all_of = self.branches(&json["allOf"], depth, "allOf", key)?;
            checks.any_of = self.branches(&json["anyOf"], depth, "anyOf", key)?;
            checks.one_of = self.branches(&json["oneOf"], depth, "oneOf", key)?;
            if json["not"].is_object() {
                let (number, not) = self.schema(&json["not"], depth)?;
                checks.not = Some(not);
                key.insert("not".to_owned(), number.into());
            }
        }
        Ok(())
    }

    fn branches(
        &mut self,
        json: &Value,
        depth: usize,
        name: &str,
        key: &mut Map<String, Value>,
    ) -> Result<Box<[Arc<Schema>]>, Refusal> {
        let mut branches = Vec::new();
        let mut numbers = Vec::new();
        for branch in json.as_array().into_iter().flatten() {
            let (number, branch) = self.schema(branch, depth)?;
            branches.push(branch);
            numbers.push(Value::from(number));
        }
        key.insert(name.to_owned(), Value::Array(numbers));
        Ok(branches.into())
    }
}

/// Keywords with schemas below them.
const BELOW: [&str; 7] =
    ["items", "additionalProperties", "properties", "allOf", "anyOf", "oneOf", "not"];

/// Keywords that [`Checks`] holds.
const CHECKS: [&str; 20] = [
    "format",
    "pattern",
    "maximum",
    "minimum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "uniqueItems",
    "enum",
    "required",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
];

fn refuse_unsupported(json: &Value) -> Result<(), Refusal> {
    for (keyword, name) in [("id", "id"), ("$schema", "schema"), ("$ref", "$ref")] {
        if json[keyword].as_str().is_some_and(|text| !text.is_empty()) {
            return Err(Refusal::Unsupported(name));
        }
    }
    for name in ["patternProperties", "dependencies", "definitions"] {
        if json[name].as_object().is_some_and(|map| !map.is_empty()) {
            return Err(Refusal::Unsupported(name));
        }
    }
    if !json["additionalItems"].is_null() {
        return Err(Refusal::Unsupported("additionalItems"));
    }
    if json["x-kubernetes-preserve-unknown-fields"] == false {
        return Err(Refusal::PreservesNothing);
    }
    Ok(())
}

fn rules(json: &Value) -> Box<[Rule]> {
    let text = |rule: &Value, name: &str| rule[name].as_str().unwrap_or("").into();
    let list = json.as_array().into_iter().flatten();
    list.map(|rule| Rule {
        rule: text(rule, "rule"),
        message: text(rule, "message"),
        message_expression: text(rule, "messageExpression"),
        reason: text(rule, "reason"),
        field_path: text(rule, "fieldPath"),
        optional_old_self: rule["optionalOldSelf"].as_bool(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_subtrees_are_one() {
        let port = json!({"type": "integer", "minimum": 1, "description": "a port"});
        let other = json!({"type": "integer", "minimum": 1, "description": "another"});
        let schema = Schema::parse(&json!({"type": "object", "properties":
            {"a": port, "b": other, "c": {"type": "integer", "minimum": 2}}}))
        .unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| schema.property(name).unwrap());
        assert!(std::ptr::eq(a, b));
        assert!(!std::ptr::eq(a, c));
    }

    #[test]
    fn what_upstream_cannot_hold_is_refused() {
        for (json, text) in [
            (json!({"items": [{}]}), "OpenAPIV3Schema 'items' must be a schema, but is an array"),
            (json!({"not": {"$ref": "#/x"}}), "OpenAPIV3Schema '$ref' is not supported"),
            (
                json!({"x-kubernetes-preserve-unknown-fields": false}),
                "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined",
            ),
        ] {
            assert_eq!(Schema::parse(&json).unwrap_err().to_string(), text);
        }
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"items": deep});
        }
        assert_eq!(Schema::parse(&deep).unwrap_err(), Refusal::TooDeep);
    }
}
