//! Whole objects inside of custom objects (`x-kubernetes-embedded-resource`): their types and their
//! metadata are looked at as those of any object.
//!
//! The recursions end with the value, whose depth was limited when it was decoded.

use serde_json::{Map, Value};

use super::metadata;
use crate::custom::schema::Schema;
use crate::field::{Error, Path};
use crate::validate::names::label_1035;

/// Fits the metadata of embedded objects. Gives the paths of what was unknown there.
///
/// # Errors
/// A type or metadata is of a wrong type.
pub(super) fn coerce(
    value: &mut Value,
    schema: &Schema,
    (path, is_root): (&Path, bool),
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    match value {
        Value::Object(map) => {
            if schema.embeds_resource && !is_root {
                coerce_one(map, path, unknown)?;
            }
            for (name, member) in map.iter_mut() {
                let below = match schema.property(name) {
                    Some(_) => path.child(name),
                    None => path.key(name),
                };
                if let Some(known) = schema.member(name) {
                    coerce(member, known, (&below, false), unknown)?;
                }
            }
            Ok(())
        }
        Value::Array(items) => {
            let Some(below) = &schema.items else { return Ok(()) };
            for (index, item) in items.iter_mut().enumerate() {
                coerce(item, below, (&path.index(index), false), unknown)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn coerce_one(
    map: &mut Map<String, Value>,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    for name in ["apiVersion", "kind"] {
        if let Some(value) = map.get(name).filter(|value| !value.is_string()) {
            return Err(Error::invalid(&path.child(name), value.clone(), "must be a string"));
        }
    }
    let Some(metadata) = map.get_mut("metadata") else { return Ok(()) };
    let path = path.child("metadata");
    match metadata::fit(metadata.clone(), &path.to_string()) {
        Ok((fitted, found)) => {
            *metadata = fitted;
            unknown.extend(found);
            Ok(())
        }
        Err(why) => Err(Error::invalid(&path, metadata.clone(), why)),
    }
}

/// Checks embedded objects: they need a type, and their metadata has to be right.
pub(super) fn check(
    value: &Value,
    schema: &Schema,
    (path, is_root): (&Path, bool),
    errors: &mut Vec<Error>,
) {
    match value {
        Value::Object(map) => {
            if schema.embeds_resource && !is_root {
                check_one(map, path, errors);
            }
            for (name, member) in map {
                let below = match schema.property(name) {
                    Some(_) => path.child(name),
                    None => path.key(name),
                };
                if let Some(known) = schema.member(name) {
                    check(member, known, (&below, false), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                check(item, below, (&path.index(index), false), errors);
            }
        }
        _ => {}
    }
}

fn check_one(map: &Map<String, Value>, path: &Path, errors: &mut Vec<Error>) {
    for name in ["apiVersion", "kind"] {
        match map.get(name) {
            None => errors.push(Error::required(&path.child(name), "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(Error::invalid(&path.child(name), "", "must not be empty"));
            }
            Some(_) => {}
        }
    }
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or("");
    let problems = label_1035(&kind.to_lowercase());
    if !kind.is_empty() && !problems.is_empty() {
        let problems = problems.join(",");
        let why = format!("may have mixed case, but should otherwise match: {problems}");
        errors.push(Error::invalid(&path.child("kind"), kind, why));
    }
    let api_version = map.get("apiVersion").and_then(Value::as_str).unwrap_or("");
    if api_version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {api_version}");
        errors.push(Error::invalid(&path.child("apiVersion"), api_version, why));
    }
    if let Some(metadata) = map.get("metadata") {
        crate::validate::metadata(metadata, &path.child("metadata"), errors);
    }
}
