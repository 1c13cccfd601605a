//! Device classes, claims, templates and slices.
//!
//! That the expressions of selectors compile is not checked here, and neither is what needs other
//! objects: whether the namespace allows administrative access.

mod allocation;
mod capacity;
mod claims;
mod devices;
mod formats;
mod selection;
mod shapes;
mod slices;

use serde_json::Value;

use super::{go_shape, items, meta, names};
use crate::field::{Error, Path};
use crate::validate::repeated;
use crate::{Object, ResourceInfo};

const IMMUTABLE: &str = "field is immutable";

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    let (spec, path) = (spec(object), Path::new("spec"));
    match info.kind {
        "DeviceClass" => class(spec, None, &path, errors),
        "ResourceClaim" => claims::spec(spec, &path, errors),
        "ResourceClaimTemplate" => template(spec, &path, errors),
        "ResourceSlice" => slices::spec(spec, None, &path, errors),
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let (new, old, path) = (spec(new), spec(old), Path::new("spec"));
    match info.kind {
        "DeviceClass" => class(new, Some(old), &path, errors),
        // What cannot change is not looked at again.
        "ResourceClaim" if new != old => {
            errors.push(go_shape::invalid(&path, new, &shapes::CLAIM_SPEC, IMMUTABLE));
        }
        "ResourceClaimTemplate" => {
            template(new, &path, errors);
            if new != old {
                errors.push(shapes::changed_template(&path, new));
            }
        }
        "ResourceSlice" => slices::spec(new, Some(old), &path, errors),
        _ => {}
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind == "ResourceClaim" {
        allocation::status(new, old, errors);
    }
}

fn spec(object: &Object) -> &Value {
    object.at(&["spec"]).unwrap_or(&Value::Null)
}

/// The items of a list with their paths; nothing when there are too many of them.
fn at_most<'a>(
    owner: &'a Value,
    (key, max): (&str, usize),
    path: &Path,
    errors: &mut Vec<Error>,
) -> Vec<(Path, &'a Value)> {
    let (list, path) = (items(owner, key), path.child(key));
    if list.len() > max {
        // Looking at all of them would be what somebody wants who sends that many.
        errors.push(Error::too_many(&path, list.len(), max));
        return Vec::new();
    }
    list.iter().enumerate().map(|(index, one)| (path.index(index), one)).collect()
}

/// Items of a list that are there twice, by what `key` makes of them.
fn no_repeats(list: &[(Path, &Value)], key: impl Fn(&Value) -> Value, errors: &mut Vec<Error>) {
    let keys: Vec<Value> = list.iter().map(|(_, one)| key(one)).collect();
    let again = repeated(&keys, Value::to_string);
    for (index, (path, _)) in list.iter().enumerate().filter(|(index, _)| again[*index]) {
        errors.push(Error::duplicate(path, keys[index].clone()));
    }
}

fn class(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Vec<Error>) {
    selection::selectors(spec, path, errors);
    let is_stored = old.is_some_and(|old| items(old, "config") == items(spec, "config"));
    for (path, config) in at_most(spec, ("config", claims::CONFIGS_MAX), path, errors) {
        claims::opaque(config, is_stored, &path, errors);
    }
    if let Some(name) = spec["extendedResourceName"].as_str() {
        let is_native = !name.contains('/') || name.contains("kubernetes.io/");
        let quota = format!("requests.{name}");
        if is_native || name.starts_with("requests.") || !names::qualified_name(&quota).is_empty() {
            let why = "must be a valid extended resource name";
            errors.push(Error::invalid(&path.child("extendedResourceName"), name, why));
        }
    }
}

fn template(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (metadata, metadata_path) = (&spec["metadata"], path.child("metadata"));
    for key in ["annotations", "labels"] {
        meta::common(&serde_json::json!({key: metadata[key]}), &metadata_path, errors);
    }
    for (field, shown) in shapes::METADATA {
        let is_set = match &metadata[*field] {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            value => *field != "generation" || value.as_i64() != Some(0),
        };
        if is_set {
            errors.push(Error::forbidden(&metadata_path.child(shown), "cannot be set"));
        }
    }
    claims::spec(&spec["spec"], &path.child("spec"), errors);
}

#[cfg(test)]
mod tests;
