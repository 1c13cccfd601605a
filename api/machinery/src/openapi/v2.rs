//! The document of OpenAPI v2, put together from those of version 3: one for all kinds.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | V1 | What a built-in kind has is never replaced by what a custom kind says. |
//! | V2 | Of built-in types no defaults are published; of custom kinds they are. |
//! | V3 | Parameters that are not of one kind alone are told once, under a name made of them. |

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::custom_schema::META;
use super::definitions::SCHEMAS;
use super::protobuf;
use crate::kinds;

const DEFINITIONS: &str = "#/definitions/";
/// Upstream's order of media types.
const MEDIA: [&str; 11] = [
    "text/plain",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "*/*",
];
/// Upstream's order of what a parameter says, of which its name is made.
const PARAMETER: [&str; 7] =
    ["uniqueItems", "type", "description", "name", "in", "required", "schema"];

/// What documents of version 3 have, as texts: a document with all kinds is large as a tree.
#[derive(Debug, Default)]
pub struct Collected {
    paths: BTreeMap<String, Box<str>>,
    definitions: BTreeMap<String, Box<str>>,
    parameters: BTreeMap<String, Box<str>>,
}

impl Collected {
    /// Adds the document of a built-in group.
    pub fn add(&mut self, document: Value) {
        self.take(document, false);
    }

    /// Adds the document of a custom kind, made for version 2 (V1).
    pub fn add_custom(&mut self, document: Value) {
        self.take(document, true);
    }

    fn take(&mut self, mut document: Value, is_custom: bool) {
        let schemas = document["components"]["schemas"].take();
        for (name, definition) in entries(schemas) {
            let Entry::Vacant(place) = self.definitions.entry(name) else { continue };
            let mut definition = schema(definition, is_custom);
            if ["DeleteOptions", "WatchEvent"]
                .iter()
                .any(|kind| *place.key() == format!("{META}{kind}"))
            {
                definition["x-kubernetes-group-version-kind"] = of_all_groups(place.key());
            }
            place.insert(definition.to_string().into());
        }
        for (path, item) in entries(document["paths"].take()) {
            if !self.paths.contains_key(&path) {
                let item = self.path_item(item, is_custom);
                self.paths.insert(path, item.to_string().into());
            }
        }
    }

    fn path_item(&mut self, item: Value, is_custom: bool) -> Value {
        let mut out = Map::new();
        for (key, said) in entries(item) {
            let said = match (key.as_str(), said) {
                ("parameters", Value::Array(all)) => self.shared(all),
                (_, said) => self.operation(said, is_custom),
            };
            out.insert(key, said);
        }
        Value::Object(out)
    }

    fn operation(&mut self, mut said: Value, is_custom: bool) -> Value {
        let body = remove(&mut said, "requestBody");
        let mut produced: Vec<String> = Vec::new();
        let mut responses = Map::new();
        for (code, mut response) in entries(said["responses"].take()) {
            if let Some(Value::Object(content)) = remove(&mut response, "content") {
                if produced.is_empty() {
                    produced = ordered(content.keys());
                }
                if let Some(one) = content.into_iter().next() {
                    response["schema"] = schema(one.1["schema"].clone(), is_custom);
                }
            }
            responses.insert(code, response);
        }
        said["responses"] = responses.into();
        said["schemes"] = json!(["https"]);
        let consumed = match &body {
            Some(body) => ordered(body["content"].as_object().into_iter().flat_map(Map::keys)),
            None if said["x-kubernetes-action"].is_string() => vec!["*/*".to_owned()],
            None => produced.clone(),
        };
        let is_issuer = said["operationId"]
            .as_str()
            .is_some_and(|id| id.starts_with("getServiceAccountIssuer"));
        if !is_issuer {
            said["consumes"] = consumed.into();
        }
        said["produces"] = produced.into();
        let mut parameters = match said["parameters"].take() {
            Value::Array(all) => all,
            _ => Vec::new(),
        };
        if let Some(mut body) = body {
            let content = entries(body["content"].take()).into_iter().next();
            let mut one = json!({"name": "body", "in": "body"});
            one["schema"] = content.map_or(Value::Null, |(_, one)| one["schema"].clone());
            if body["required"] == true {
                one["required"] = true.into();
            }
            parameters.insert(0, one);
        }
        if parameters.is_empty() {
            remove(&mut said, "parameters");
        } else {
            parameters.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
            said["parameters"] = self.shared(parameters);
        }
        said
    }

    /// Parameters, those that others have too as references (V3).
    fn shared(&mut self, parameters: Vec<Value>) -> Value {
        parameters.into_iter().map(|one| self.parameter(one)).collect()
    }

    fn parameter(&mut self, mut parameter: Value) -> Value {
        if let Value::Object(of) = parameter["schema"].take() {
            if parameter["in"] == "body" {
                parameter["schema"] = schema(of.into(), true);
            } else {
                for (key, value) in of {
                    parameter[key] = value;
                }
                remove(&mut parameter, "schema");
            }
        }
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        let of_kind = parameter["schema"]["$ref"]
            .as_str()
            .is_some_and(|reference| !reference.starts_with("#/definitions/io.k8s.apimachinery"));
        if matches!(name.as_str(), "name" | "fieldValidation" | "dryRun") || of_kind {
            return parameter;
        }
        let name = format!("{name}-{}", hash(&parameter));
        let reference = json!({"$ref": format!("#/parameters/{name}")});
        self.parameters.entry(name).or_insert_with(|| parameter.to_string().into());
        reference
    }

    /// What [`Self::json`] wrote; nothing of what it did not write.
    #[must_use]
    pub fn from_json(text: &[u8]) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Document {
            paths: BTreeMap<String, Box<RawValue>>,
            definitions: BTreeMap<String, Box<RawValue>>,
            parameters: BTreeMap<String, Box<RawValue>>,
        }
        let Document { paths, definitions, parameters } =
            serde_json::from_slice(text).unwrap_or_default();
        let texts = |map: BTreeMap<String, Box<RawValue>>| {
            map.into_iter().map(|(name, value)| (name, value.get().into())).collect()
        };
        Self { paths: texts(paths), definitions: texts(definitions), parameters: texts(parameters) }
    }

    /// The document as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = head().to_string();
        out.pop();
        let maps = [
            ("definitions", &self.definitions),
            ("parameters", &self.parameters),
            ("paths", &self.paths),
        ];
        for (name, map) in maps {
            out.extend([",\"", name, "\":{"]);
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                out.push_str(value);
            }
            out.push('}');
        }
        out.push('}');
        out
    }

    /// The document as protobuf.
    #[must_use]
    pub fn protobuf(&self) -> Vec<u8> {
        let all = |map: &BTreeMap<String, Box<str>>, put: fn(&str, &Value, &mut Vec<u8>)| {
            let mut out = Vec::new();
            for (name, text) in map {
                let value = serde_json::from_str(text).unwrap_or_default();
                put(name, &value, &mut out);
            }
            out
        };
        let paths = all(&self.paths, protobuf::v2_path);
        let definitions = all(&self.definitions, protobuf::v2_definition);
        let parameters = all(&self.parameters, protobuf::v2_parameter);
        protobuf::v2(&head(), [&paths, &definitions, &parameters])
    }
}

fn head() -> Value {
    json!({
        "swagger": "2.0",
        "info": super::info(),
        "securityDefinitions": super::security(),
        "security": [{"BearerToken": []}],
    })
}

fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key)
}

fn entries(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

fn ordered<'a>(types: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut types: Vec<String> = types.cloned().collect();
    let rank = |one: &String| MEDIA.iter().position(|known| known == one).unwrap_or(MEDIA.len());
    types.sort_by_key(rank);
    types
}

/// The kinds of a type that is of every group.
fn of_all_groups(definition: &str) -> Value {
    let kind = definition.rsplit('.').next().unwrap_or_default();
    let mut groups: Vec<(&str, &str)> =
        kinds::all().iter().map(|info| (info.group, info.version)).collect();
    groups.sort_unstable();
    groups.dedup();
    let one = |(group, version)| json!({"group": group, "version": version, "kind": kind});
    groups.into_iter().map(one).collect()
}

/// A schema as version 2 says it.
fn schema(value: Value, is_custom: bool) -> Value {
    let Value::Object(fields) = value else { return value };
    let mut out = Map::new();
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("$ref", Value::String(name)) => {
                out.insert(key, name.replacen(SCHEMAS, DEFINITIONS, 1).into());
            }
            // A reference with words beside it.
            ("allOf", Value::Array(branches)) => {
                for branch in branches {
                    out.extend(entries(schema(branch, is_custom)));
                }
            }
            // A number or a string, which version 2 cannot say.
            ("oneOf", _) => {
                out.insert("type".to_owned(), "string".into());
            }
            ("default", _) if !is_custom => {}
            ("properties", Value::Object(all)) => {
                let all = all.into_iter().map(|(name, one)| (name, schema(one, is_custom)));
                out.insert(key, Value::Object(all.collect()));
            }
            ("items" | "additionalProperties", value) => {
                out.insert(key, schema(value, is_custom));
            }
            (_, value) => {
                out.insert(key, value);
            }
        }
    }
    Value::Object(out)
}

/// What the name of a shared parameter ends with: upstream's hash of what it says.
fn hash(parameter: &Value) -> String {
    let said = PARAMETER.iter().filter(|key| !parameter[**key].is_null());
    let said: Vec<String> = said.map(|key| format!("\"{key}\":{}", parameter[*key])).collect();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in format!("{{{}}}", said.join(",")).bytes() {
        hash = hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    }
    URL_SAFE.encode(&hash.to_be_bytes()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::{Maker, custom, places};

    fn all() -> Collected {
        let (maker, mut all) = (Maker::default(), Collected::default());
        for place in places() {
            all.add(maker.document(&place).unwrap());
        }
        all
    }

    /// The names are those of upstream's own document.
    #[test]
    fn parameters_are_told_once() {
        let all = all();
        let document: Value = serde_json::from_str(&all.json()).unwrap();
        for name in ["namespace-vgWSWtn3", "body-2Y1dVQaQ", "body-78PwaGsr"] {
            assert!(document["parameters"][name].is_object(), "{name}");
        }
        let path = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
        let delete = &path["delete"];
        assert_eq!(delete["operationId"], "deleteCoreV1NamespacedPod");
        assert_eq!(delete["parameters"][0], json!({"$ref": "#/parameters/body-2Y1dVQaQ"}));
        assert_eq!(
            delete["responses"]["202"]["schema"]["$ref"],
            "#/definitions/io.k8s.api.core.v1.Pod"
        );
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#/").skip(1) {
            let (map, name) = part.split('"').next().unwrap().split_once('/').unwrap();
            assert!(document[map][name].is_object(), "{map}/{name}");
        }
    }

    #[test]
    fn version_2_has_no_defaults_and_no_alternatives_of_built_in_types() {
        let document: Value = serde_json::from_str(&all().json()).unwrap();
        let definitions = &document["definitions"];
        let port = &definitions["io.k8s.api.core.v1.ServicePort"]["properties"];
        assert_eq!(port["protocol"]["default"], Value::Null);
        assert_eq!(port["protocol"]["enum"], json!(["SCTP", "TCP", "UDP"]));
        let either = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
        assert_eq!(port["targetPort"]["$ref"], format!("#/definitions/{either}"));
        assert_eq!(definitions[either]["format"], "int-or-string");
        assert_eq!(definitions[either]["type"], "string");
        let options = &definitions[format!("{META}DeleteOptions")];
        assert!(options["x-kubernetes-group-version-kind"].as_array().unwrap().len() > 20);
    }

    /// As upstream converts them: junctors go, and what may be null or anything has no type.
    #[test]
    fn custom_kinds_say_what_version_2_can_say() {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["maybe", "color"], "properties": {
            "maybe": {"type": "string", "nullable": true},
            "color": {"type": "string", "default": "red", "oneOf": [{"pattern": "r"}]},
            "either": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"a": {"type": "string"}}},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
        }}}});
        let definition = json!({"spec": {
            "group": "v2.orlop.example", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
        }});
        let mut all = all();
        all.add_custom(custom::document_v2(&definition["spec"], "v1").unwrap());
        let document: Value = serde_json::from_str(&all.json()).unwrap();
        let thing = &document["definitions"]["example.orlop.v2.v1.Thing"];
        assert_eq!(
            thing["x-kubernetes-group-version-kind"],
            json!([{"group": "v2.orlop.example", "version": "v1", "kind": "Thing"}])
        );
        let spec = &thing["properties"]["spec"];
        assert_eq!(spec["required"], json!(["color"]));
        assert_eq!(
            spec["properties"],
            json!({
                "maybe": {},
                "color": {"type": "string", "default": "red"},
                "either": {"x-kubernetes-int-or-string": true},
                "free": {"x-kubernetes-preserve-unknown-fields": true},
                "embedded": {"x-kubernetes-embedded-resource": true,
                    "x-kubernetes-preserve-unknown-fields": true},
            })
        );
        let list = "/apis/v2.orlop.example/v1/namespaces/{namespace}/things";
        assert_eq!(document["paths"][list]["get"]["x-kubernetes-action"], "list");
        assert!(!all.protobuf().is_empty());
    }
}
