//! OpenAPI documents, generated from the schema when they are asked for.

pub mod custom;
mod custom_paths;
mod custom_schema;
mod definitions;
mod descriptions;
mod paths;
pub mod protobuf;
mod published;
pub mod v2;

use serde_json::{Map, Value, json};

use self::custom_schema::META;
pub(crate) use self::descriptions::Descriptions;
use self::paths::DISCOVERY;
use crate::kinds;
use crate::schema::{Schema, TypeId};

const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// Where documents of version 3 are, below `/openapi/v3/`: those of built-in things.
#[must_use]
pub fn places() -> Vec<String> {
    let mut places: Vec<String> =
        [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"]
            .map(str::to_owned)
            .to_vec();
    for info in kinds::all() {
        if !info.group.is_empty() {
            places.push(format!("apis/{}", info.group));
        }
        places.push(prefix(info.group, info.version));
    }
    places.sort();
    places.dedup();
    places
}

/// `GET /openapi/v3`: the documents and where they are, with what tells one version of each from
/// another.
#[must_use]
pub fn index(documents: impl IntoIterator<Item = (String, String)>) -> Value {
    let one = |(place, hash): (String, String)| {
        let url = format!("/openapi/v3/{place}?hash={hash}");
        (place, json!({"serverRelativeURL": url}))
    };
    let paths: Map<String, Value> = documents.into_iter().map(one).collect();
    json!({"paths": paths})
}

fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Makes documents; what fields are for is looked up once for all that one maker makes.
#[derive(Debug, Default)]
pub struct Maker {
    descriptions: Descriptions,
}

impl Maker {
    /// The document at a place below `/openapi/v3/`; `None` when there is none.
    #[must_use]
    pub fn document(&self, place: &str) -> Option<Value> {
        let parts: Vec<&str> = place.split('/').collect();
        let (paths, definitions) = match parts.as_slice() {
            ["api", version] => self.of_version("", version)?,
            ["apis", group, version] => self.of_version(group, version)?,
            ["apis", group] => self.of_group(group)?,
            _ => self.of_place(place)?,
        };
        let mut components = json!({"securitySchemes": security()});
        if !definitions.is_empty() {
            components["schemas"] = definitions.into();
        }
        Some(json!({
            "openapi": "3.0.0",
            "info": info(),
            "paths": paths,
            "components": components,
        }))
    }

    fn of_version(
        &self,
        group: &str,
        version: &str,
    ) -> Option<(Map<String, Value>, Map<String, Value>)> {
        let infos: Vec<_> =
            kinds::all().iter().filter(|i| i.group == group && i.version == version).collect();
        if infos.is_empty() {
            return None;
        }
        let mut paths = Map::new();
        let of_resources = meta("APIResourceList");
        let mut roots = vec![of_resources?];
        for info in &infos {
            roots.push(info.type_id());
            roots.extend(kinds::type_of(&info.api_version(), &info.list_kind()));
            paths::add(info, &self.descriptions, &mut paths);
            for sub in info.subresources {
                let group_version = prefix(sub.group, sub.version);
                let api_version = group_version.split_once('/').map_or("", |(_, rest)| rest);
                roots.extend(kinds::type_of(api_version, sub.kind));
            }
            if info.is_stored() {
                roots.extend(
                    ["DeleteOptions", "Patch", "Status", "WatchEvent"]
                        .iter()
                        .filter_map(|name| meta(name)),
                );
            }
        }
        let (short, capital) = custom_paths::names_of(group);
        let tag = format!("{short}_{version}");
        let id = format!("get{capital}{}APIResources", custom_paths::word(version, true));
        let model = format!("{META}APIResourceList");
        let document =
            paths::document((&tag, &id, "get available resources"), &DISCOVERY, Some(&model));
        paths.insert(format!("/{}/", prefix(group, version)), document);
        if group.is_empty() {
            paths::add_bindings(&self.descriptions, &mut paths);
        }
        let definitions = definitions::closure(roots, Some((group, version)), &self.descriptions);
        Some((paths, definitions))
    }

    fn of_group(&self, group: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
        kinds::all().iter().find(|info| !group.is_empty() && info.group == group)?;
        let (short, capital) = custom_paths::names_of(group);
        let id = format!("get{capital}APIGroup");
        let model = format!("{META}APIGroup");
        let said = (short.as_str(), id.as_str(), "get information of a group");
        let mut paths = Map::new();
        let document = paths::document(said, &DISCOVERY, Some(&model));
        paths.insert(format!("/apis/{group}/"), document);
        let definitions = definitions::closure(vec![meta("APIGroup")?], None, &self.descriptions);
        Some((paths, definitions))
    }

    /// What is about no group.
    fn of_place(&self, place: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
        let json: &[&str] = &["application/json"];
        let keys: &[&str] = &["application/jwk-set+json"];
        let (said, types, model): (_, &[&str], _) = match place {
            "api" => {
                let said = ("core", "getCoreAPIVersions", "get available API versions");
                (said, &DISCOVERY, Some("APIVersions"))
            }
            "apis" => {
                let said = ("apis", "getAPIVersions", "get available API versions");
                (said, &DISCOVERY, Some("APIGroupList"))
            }
            "version" => {
                let text = "get the version information for this server";
                (("version", "getCodeVersion", text), json, None)
            }
            ".well-known/openid-configuration" => {
                let id = "getServiceAccountIssuerOpenIDConfiguration";
                let text = "get service account issuer OpenID configuration, also known as the \
                            'OIDC discovery doc'";
                (("WellKnown", id, text), json, None)
            }
            "openid/v1/jwks" => {
                let id = "getServiceAccountIssuerOpenIDKeyset";
                let text = "get service account issuer OpenID JSON Web Key Set (contains public \
                            token verification keys)";
                (("openid", id, text), keys, None)
            }
            _ => return None,
        };
        let root = model.and_then(meta);
        let mut definitions =
            definitions::closure(root.into_iter().collect(), None, &self.descriptions);
        let mut model = model.map(|name| format!("{META}{name}"));
        if place == "version" {
            definitions.insert(VERSION_INFO.to_owned(), self.version_info()?);
            model = Some(VERSION_INFO.to_owned());
        }
        let document = paths::document(said, types, model.as_deref());
        Some(([(format!("/{place}/"), document)].into_iter().collect(), definitions))
    }

    fn version_info(&self) -> Option<Value> {
        let mut info = self.descriptions.definition(VERSION_INFO)?;
        for name in info["required"].as_array().cloned().unwrap_or_default() {
            info["properties"][name.as_str()?]["default"] = "".into();
        }
        Some(info)
    }
}

fn meta(name: &str) -> Option<TypeId> {
    Schema::get().find(&format!("apimachinery.pkg.apis.meta.v1.{name}"))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "v1.36.2+orlop"})
}

fn security() -> Value {
    json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header",
        "description": "Bearer Token authentication"}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_its_definition() {
        let maker = Maker::default();
        for info in kinds::all() {
            let document = maker.document(&prefix(info.group, info.version)).unwrap();
            let name = Schema::get().of(info.type_id()).definition_name();
            let schema = &document["components"]["schemas"][name];
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
