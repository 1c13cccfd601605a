//! The OpenAPI documents of a custom kind's version, made from its definition.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::custom_paths::{Named, paths};
use super::custom_schema::{Form, META, METADATA, published, referred};
use super::definitions;
use super::descriptions::Descriptions;
use crate::custom::{Schema, structural};
use crate::field::Path;
use crate::schema::Schema as Types;

pub(super) const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// The document of one version of a CustomResourceDefinition with this `spec`; none when it has no
/// such version.
///
/// Documents of kinds of the same group and version are put together by [`merge`].
#[must_use]
pub fn document(spec: &Value, version: &str) -> Option<Value> {
    of_form(spec, version, Form::V3)
}

/// The same with schemas that version 2 can say, for [`super::v2::Collected::add_custom`].
#[must_use]
pub fn document_v2(spec: &Value, version: &str) -> Option<Value> {
    of_form(spec, version, Form::V2)
}

fn of_form(spec: &Value, version: &str, form: Form) -> Option<Value> {
    let versions = spec["versions"].as_array()?;
    let found = versions.iter().find(|one| one["name"] == version)?;
    let named = Named::of(spec, version)?;
    let mut schemas = common(!found["subresources"]["scale"].is_null());
    let selectable: Vec<Value> = found["selectableFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|field| field["jsonPath"].as_str())
        .map(|path| json!({"fieldPath": path.strip_prefix('.').unwrap_or(path)}))
        .collect();
    for (kind, mut schema) in [
        (named.kind, kind_schema(spec, &found["schema"]["openAPIV3Schema"], form)),
        (named.list_kind, list_schema(&named)),
    ] {
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": named.group, "version": version, "kind": kind}]);
        if !selectable.is_empty() {
            schema["x-kubernetes-selectable-fields"] = selectable.clone().into();
        }
        schemas.insert(named.model(kind), schema);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths(&named, &found["subresources"]),
        "components": {"schemas": schemas},
    }))
}

/// Adds another kind's document of the same group and version to one.
pub fn merge(into: &mut Value, other: Value) {
    let Value::Object(mut other) = other else { return };
    for (pointer, from) in [
        ("/paths", other.remove("paths")),
        ("/components/schemas", other["components"].get_mut("schemas").map(Value::take)),
    ] {
        if let (Some(Value::Object(into)), Some(Value::Object(from))) =
            (into.pointer_mut(pointer), from)
        {
            for (name, value) in from {
                into.entry(name).or_insert(value);
            }
        }
    }
}

/// The kind's own schema. One that is not structural is not published.
fn kind_schema(spec: &Value, schema: &Value, form: Form) -> Value {
    let is_structural = schema.is_object()
        && Schema::parse(schema).is_ok()
        && structural::violations(schema, &Path::default()).is_empty();
    let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true
        || spec["preserveUnknownFields"] == true;
    // kubectl would refuse all fields beside those that are told.
    if !is_structural || form == Form::V2 && preserves {
        return json!({"type": "object"});
    }
    let mut out = published(schema, false, form, 0);
    if !out["properties"].is_object() {
        out["properties"] = json!({});
    }
    out["properties"]["metadata"] = referred(METADATA, "ObjectMeta");
    add_type(&mut out["properties"]);
    out
}

fn list_schema(named: &Named<'_>) -> Value {
    let item = format!("#/components/schemas/{}", named.model(named.kind));
    let items = format!("List of {}. More info: {CONVENTIONS}", named.plural);
    let mut out = json!({
        "description": format!("{} is a list of {}", named.list_kind, named.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {"description": items, "type": "array", "items": {"$ref": item}},
            "metadata": referred(LIST_METADATA, "ListMeta"),
        },
    });
    add_type(&mut out["properties"]);
    out
}

/// The properties that say what an object is, as a built-in kind has them.
fn add_type(properties: &mut Value) {
    let known = &shared()[SCALE]["properties"];
    for name in ["apiVersion", "kind"] {
        properties[name] = known[name].clone();
    }
}

pub(super) const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// What the documents of all custom kinds have: the types of metadata, options and scales.
fn shared() -> &'static Map<String, Value> {
    static SHARED: OnceLock<Map<String, Value>> = OnceLock::new();
    SHARED.get_or_init(|| {
        let types = Types::get();
        let names = ["DeleteOptions", "ListMeta", "ObjectMeta", "Patch", "Status"];
        let names = names.iter().map(|name| format!("apimachinery.pkg.apis.meta.v1.{name}"));
        let names = names.chain(["api.autoscaling.v1.Scale".to_owned()]);
        let roots = names.filter_map(|name| types.find(&name)).collect();
        let mut out = definitions::closure(roots, None, &Descriptions::default());
        for definition in out.values_mut() {
            if let Value::Object(definition) = definition {
                definition.remove("x-kubernetes-group-version-kind");
            }
        }
        out
    })
}

fn common(with_scale: bool) -> Map<String, Value> {
    let all = shared().iter();
    let wanted = all.filter(|(name, _)| with_scale || name.starts_with(META));
    wanted.map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gadgets() -> Value {
        json!({"spec": {
            "group": "rules.orlop.example",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{
                "name": "v1",
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "subresources": {"status": {}, "scale": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object", "nullable": false, "properties": {
                        "color": {"type": "string", "default": ""},
                        "either": {"x-kubernetes-int-or-string": true},
                        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                            "x-kubernetes-preserve-unknown-fields": true}}}}}},
            }, {"name": "v2", "schema": {"openAPIV3Schema": {"type": "object"}}}],
        }})
    }

    #[test]
    fn every_reference_has_its_definition() {
        for version in ["v1", "v2"] {
            let document = document(&gadgets()["spec"], version).unwrap();
            let schemas = document["components"]["schemas"].as_object().unwrap();
            for part in document.to_string().split("#/components/schemas/").skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(schemas.contains_key(name), "{name}");
            }
        }
    }

    /// Held beside a real kube-apiserver 1.36.
    #[test]
    fn a_kind_is_published_as_upstream_does() {
        let document = document(&gadgets()["spec"], "v1").unwrap();
        let schema = &document["components"]["schemas"]["example.orlop.rules.v1.Gadget"];
        assert_eq!(
            schema["x-kubernetes-group-version-kind"],
            json!([{"group": "rules.orlop.example", "version": "v1", "kind": "Gadget"}])
        );
        assert_eq!(schema["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.color"}]));
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["nullable"], Value::Null);
        assert_eq!(spec["properties"]["color"], json!({"type": "string", "default": ""}));
        assert_eq!(
            spec["properties"]["either"]["anyOf"],
            json!([{"type": "integer"}, {"type": "string"}])
        );
        assert_eq!(spec["properties"]["embedded"]["required"], json!(["kind", "apiVersion"]));
        let base = "/apis/rules.orlop.example/v1/namespaces/{namespace}/gadgets";
        let delete = &document["paths"][base]["delete"];
        assert_eq!(delete["operationId"], "deleteRulesOrlopExampleV1CollectionNamespacedGadget");
        let scale = &document["paths"][format!("{base}/{{name}}/scale")];
        assert_eq!(scale["put"]["operationId"], "replaceRulesOrlopExampleV1NamespacedGadgetScale");
        assert!(document["paths"][format!("{base}/{{name}}/status")].is_object());
    }

    #[test]
    fn documents_of_a_group_are_put_together() {
        let mut one = document(&gadgets()["spec"], "v1").unwrap();
        let mut other = gadgets();
        other["spec"]["names"] = json!({"plural": "oxen", "kind": "Ox", "listKind": "OxList"});
        merge(&mut one, document(&other["spec"], "v1").unwrap());
        let path = "/apis/rules.orlop.example/v1/namespaces/{namespace}/oxen";
        assert_eq!(one["paths"][path]["post"]["description"], "create an Ox");
        assert!(one["components"]["schemas"]["example.orlop.rules.v1.OxList"].is_object());
        assert!(one["components"]["schemas"]["example.orlop.rules.v1.Gadget"].is_object());
    }
}
