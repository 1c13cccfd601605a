//! A custom kind as it is served: what its definition says of each version, ready for requests.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | CK1 | A kind never changes: a changed definition is another kind. |
//! | CK2 | What is read from the store fits the schema of its version: pruned, with its defaults. |
//! | CK3 | Between versions nothing changes but `apiVersion` and what the other schema prunes. |

mod decode;
mod embedded;
mod metadata;
mod read;
mod scale;
mod strategy;
mod table;
mod versions;

use std::sync::Arc;

use serde_json::Value;

pub use self::scale::Scale;
pub use self::strategy::finalizer_warnings;
pub(crate) use self::table::{CREATED_TEXT, NAME_TEXT};
pub use self::versions::compare;

use super::rules::Rules;
use super::schema::{Refusal, Schema};
use crate::kinds::interned::{CustomRow, intern};
use crate::{Object, ResourceInfo, apply, kinds};
use table::Column;

/// Why a definition cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unservable {
    #[error(transparent)]
    Schema(#[from] Refusal),
    #[error("this process has made too many kinds: it takes no new ones until it is restarted")]
    TooManyRows,
    #[error("version {0} has no schema")]
    NoSchema(String),
    #[error("no version is stored")]
    NoStorage,
    #[error("{0}")]
    NotImplemented(&'static str),
}

/// All versions of a custom kind.
#[derive(Clone, Debug)]
pub struct CustomKind {
    /// Also those that are not served: objects may be stored in them.
    versions: Vec<Arc<CustomVersion>>,
    storage: usize,
    /// The row for the cache that all versions share: it has the selectable fields of all.
    pub row: &'static ResourceInfo,
}

/// One version of a custom kind.
#[derive(Clone, Debug)]
pub struct CustomVersion {
    pub info: &'static ResourceInfo,
    pub list_kind: Box<str>,
    pub is_served: bool,
    /// What everybody who uses the version is told.
    pub warning: Option<Box<str>>,
    pub has_status: bool,
    pub scale: Option<Scale>,
    pub schema: Arc<Schema>,
    /// The rules in CEL of the schema, if it has some.
    rules: Option<Arc<Rules>>,
    api_version: Box<str>,
    columns: Vec<Column>,
}

/// What of a definition nobody here carries out yet.
#[must_use]
pub fn not_implemented(spec: &Value) -> Option<&'static str> {
    if spec["conversion"]["strategy"] == "Webhook" {
        return Some("spec.conversion.strategy: conversion by webhooks is not implemented");
    }
    None
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or("").to_owned()
}

/// The fields that selectors of a version may use: `spec.color`.
fn selectable(version: &Value) -> impl Iterator<Item = String> {
    let fields = version["selectableFields"].as_array().into_iter().flatten();
    fields
        .filter_map(|field| field["jsonPath"].as_str())
        .map(|path| path.trim_start_matches('.').to_owned())
}

impl CustomKind {
    /// Reads a definition whose names have been accepted.
    ///
    /// # Errors
    /// What keeps the definition from being served.
    pub fn load(definition: &Object) -> Result<Self, Unservable> {
        let null = Value::Null;
        let spec = definition.at(&["spec"]).unwrap_or(&null);
        if let Some(why) = not_implemented(spec) {
            return Err(Unservable::NotImplemented(why));
        }
        let names = definition.at(&["status", "acceptedNames"]).unwrap_or(&null);
        let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
        let storage = versions.iter().position(|version| version["storage"] == true);
        let storage = storage.ok_or(Unservable::NoStorage)?;
        let row = CustomRow {
            group: text(spec, "group"),
            storage_version: text(&versions[storage], "name"),
            kind: text(names, "kind"),
            plural: text(names, "plural"),
            singular: text(names, "singular"),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            ..CustomRow::default()
        };
        let list_kind = text(names, "listKind");
        let loaded: Result<Vec<_>, Unservable> = versions
            .iter()
            .map(|version| {
                let mut loaded = CustomVersion::load(version, row.clone(), &list_kind)?;
                loaded.warning = warning(version, versions, loaded.info);
                Ok(Arc::new(loaded))
            })
            .collect();
        let mut of_all: Vec<String> = versions.iter().flat_map(selectable).collect();
        of_all.sort();
        of_all.dedup();
        let version = row.storage_version.clone();
        let row = intern(&CustomRow { version, selectable_fields: of_all, ..row });
        let row = row.ok_or(Unservable::TooManyRows)?;
        Ok(Self { versions: loaded?, storage, row })
    }

    /// The versions that requests may name.
    pub fn served(&self) -> impl Iterator<Item = &Arc<CustomVersion>> {
        self.versions.iter().filter(|version| version.is_served)
    }

    /// The version that objects are stored in.
    #[must_use]
    pub fn storage(&self) -> &Arc<CustomVersion> {
        &self.versions[self.storage]
    }

    /// The version of an `apiVersion`.
    #[must_use]
    pub fn version(&self, api_version: &str) -> Option<&Arc<CustomVersion>> {
        self.versions.iter().find(|version| version.api_version() == api_version)
    }
}

impl CustomVersion {
    fn load(version: &Value, row: CustomRow, list_kind: &str) -> Result<Self, Unservable> {
        let name = text(version, "name");
        let schema = &version["schema"]["openAPIV3Schema"];
        if !schema.is_object() {
            return Err(Unservable::NoSchema(name));
        }
        let (subresources, group) = (&version["subresources"], row.group.clone());
        let has_status = !subresources["status"].is_null();
        let scale = Scale::of(&subresources["scale"]);
        let info = intern(&CustomRow {
            version: name.clone(),
            selectable_fields: selectable(version).collect(),
            has_status,
            has_scale: scale.is_some(),
            ..row
        });
        let parsed = Schema::parse(schema)?;
        Ok(Self {
            info: info.ok_or(Unservable::TooManyRows)?,
            list_kind: list_kind.into(),
            is_served: version["served"] == true,
            warning: None,
            has_status,
            scale,
            rules: Rules::compile(&parsed).map(Arc::new),
            schema: parsed,
            api_version: format!("{group}/{name}").into(),
            columns: table::columns(&version["additionalPrinterColumns"]),
        })
    }

    /// `GROUP/VERSION`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// What a write through the kind or one of its subresources is about.
    #[must_use]
    pub fn target(&self, subresource: &str) -> apply::Target {
        let fields: &[&[&str]] = match subresource {
            "" if self.has_status => &[&["status"]],
            "status" => &[&["metadata"], &["spec"]],
            _ => &[],
        };
        apply::Target {
            api_version: self.api_version.to_string(),
            kind: self.info.kind.to_owned(),
            node: apply::NodeType::custom_object(&self.schema),
            subresource: subresource.to_owned(),
            reset: apply::Set::of_fields(fields),
            info: None,
        }
    }
}

/// What users of a deprecated version are told, in upstream's words.
fn warning(version: &Value, all: &[Value], info: &ResourceInfo) -> Option<Box<str>> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(own) = version["deprecationWarning"].as_str() {
        return Some(own.into());
    }
    let ResourceInfo { group, kind, .. } = *info;
    let told = format!("{group}/{} {kind} is deprecated", info.version);
    let better = all
        .iter()
        .filter(|one| one["served"] == true && one["deprecated"] != true)
        .filter_map(|one| one["name"].as_str())
        .filter(|name| compare(info.version, name).is_lt())
        .max_by(|left, right| compare(left, right));
    Some(match better {
        Some(better) => format!("{told}; use {group}/{better} {kind}").into(),
        None => told.into(),
    })
}

/// Splits the group off: `a.b/v1` is `a.b`.
fn group_of(api_version: &str) -> &str {
    kinds::split_api_version(api_version).0
}

#[cfg(test)]
mod tests;
