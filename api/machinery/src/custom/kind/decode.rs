//! Request bodies to custom objects: strict about unknown and duplicate fields, pruned, with their
//! defaults.

use std::collections::HashSet;

use serde_json::Value;

use super::{CustomVersion, embedded, metadata};
use crate::custom::{defaults, prune};
use crate::decode::raw::Raw;
use crate::decode::{Decoded, Encoding, FieldValidation, parse_json, parse_yaml, repeats};
use crate::field::Path;
use crate::limits::STRICT_ERRORS_MAX;
use crate::{Object, Status};

impl CustomVersion {
    /// Decodes a body. Bodies of another kind pass: they are refused when they are checked.
    ///
    /// # Errors
    /// 400 when the body does not parse, is of another version, or has (with `Strict`) unknown or
    /// duplicate fields; 415 for protobuf.
    pub fn decode(
        &self,
        bytes: &[u8],
        encoding: Encoding,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let raw = match encoding {
            Encoding::Json => parse_json(bytes),
            Encoding::Yaml => parse_yaml(bytes),
            Encoding::Protobuf => {
                return Err(Status::unsupported_media_type(&[
                    "application/json",
                    "application/yaml",
                ]));
            }
        };
        let raw = raw.map_err(|status| self.unrecognized(&status.message, bytes))?;
        if raw.text_of("kind").is_none_or(str::is_empty) {
            let text = String::from_utf8_lossy(bytes);
            let why = format!("Object 'Kind' is missing in '{text}'");
            return Err(self.unrecognized(&why, bytes));
        }
        let mut duplicates = Vec::new();
        if encoding == Encoding::Yaml {
            duplicates = repeats::strict_errors(bytes, &raw, validation);
        } else {
            find_duplicates(&raw, &mut String::new(), &mut duplicates);
        }
        let api_version = raw.text_of("apiVersion").unwrap_or("").to_owned();
        let decoded = self.fit_tree(raw.into_value(), duplicates, validation)?;
        if api_version == self.api_version() {
            return Ok(decoded);
        }
        Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            self.api_version()
        )))
    }

    /// Fits a tree, a patched object for one.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn fit(&self, value: Value, validation: FieldValidation) -> Result<Decoded, Status> {
        self.fit_tree(value, Vec::new(), validation)
    }

    fn unrecognized(&self, why: &str, bytes: &[u8]) -> Status {
        crate::decode::unrecognized(self.info.kind, why, bytes)
    }

    fn fit_tree(
        &self,
        mut value: Value,
        mut strict: Vec<String>,
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let refuse = |why: &str| {
            let (kind, version) = (self.info.kind, self.info.version);
            Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
            ))
        };
        let unknown = self.coerce(&mut value).map_err(|why| refuse(&why))?;
        strict.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
        strict.truncate(STRICT_ERRORS_MAX);
        if validation == FieldValidation::Strict && !strict.is_empty() {
            return Err(refuse(&format!("strict decoding error: {}", strict.join(", "))));
        }
        if value["kind"] == self.info.kind {
            defaults::apply(&mut value, &self.schema);
        }
        let object = Object::from_value(value).ok_or_else(|| refuse("the body is no object"))?;
        let warnings = if validation == FieldValidation::Warn { strict } else { Vec::new() };
        Ok(Decoded { object, warnings })
    }

    /// Takes out what does not belong there; gives the paths of it.
    pub(super) fn coerce(&self, value: &mut Value) -> Result<Vec<String>, String> {
        let mut unknown = Vec::new();
        let metadata = match value.get("metadata") {
            None => None,
            Some(found) => {
                let (fitted, found) = metadata::fit(found.clone(), "metadata")?;
                unknown.extend(found);
                Some(fitted)
            }
        };
        let is_own = value["kind"] == self.info.kind
            && super::group_of(value["apiVersion"].as_str().unwrap_or("")) == self.info.group;
        if is_own {
            unknown.extend(self.prune(value)?);
        }
        if let (Some(metadata), Some(map)) = (metadata, value.as_object_mut()) {
            map.insert("metadata".to_owned(), metadata);
        }
        Ok(unknown)
    }

    /// Takes out what the schema does not know.
    pub(super) fn prune(&self, value: &mut Value) -> Result<Vec<String>, String> {
        let mut unknown = prune::prune(value, &self.schema, true);
        defaults::drop_nulls(value, &self.schema);
        let mut embedded = Vec::new();
        embedded::coerce(value, &self.schema, (&Path::default(), true), &mut embedded)
            .map_err(|error| error.to_string())?;
        embedded.sort();
        unknown.extend(embedded);
        Ok(unknown)
    }
}

/// Names that an object has more than once. The recursion ends with the body, whose depth its parser
/// limits.
fn find_duplicates(raw: &Raw, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match raw {
        Raw::Object(members) => {
            let mut seen = HashSet::new();
            for (name, member) in members {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                let text = format!("duplicate field {path:?}");
                let is_repeated = !seen.insert(name.as_str());
                if is_repeated && found.len() < STRICT_ERRORS_MAX && !found.contains(&text) {
                    found.push(text);
                }
                find_duplicates(member, path, found);
                path.truncate(length);
            }
        }
        Raw::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                find_duplicates(item, path, found);
                path.truncate(length);
            }
        }
        Raw::Null | Raw::Bool(_) | Raw::Number(_) | Raw::Text(_) => {}
    }
}
