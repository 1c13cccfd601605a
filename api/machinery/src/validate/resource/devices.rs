//! One device of a slice.
//!
//! Lists as values of attributes and mappings to resources of nodes are off by default: they are
//! not looked at.

use std::collections::HashSet;

use serde_json::Value;

use super::{at_most, capacity, formats, no_repeats, selection, shapes, slices};
use crate::field::{Error, Path};
use crate::validate::repeated;
use crate::validate::{go_shape, items, text};

const ATTRIBUTES_AND_CAPACITIES_MAX: usize = 32;
const ATTRIBUTE_VALUES_MAX: usize = 48;
const VALUE_BYTES_MAX: usize = 64;
/// Of a key in a path: a domain, a slash, an identifier.
const SHOWN_KEY_BYTES_MAX: usize = 96;
const TAINTS_MAX: usize = 16;
const CONSUMED_SETS_MAX: usize = 2;
const BINDING_CONDITIONS_MAX: usize = 4;
const BINDING_KINDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];

/// `has_own_node`: the slice leaves it to its devices to say on which nodes they are.
pub(super) fn device(
    device: &Value,
    old: Option<&Value>,
    has_own_node: bool,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    formats::label(text(device, "name"), &path.child("name"), errors);
    attributes_and_capacity(device, path, errors);
    // Taints that are stored stay as good as they were.
    if old.is_none_or(|old| items(old, "taints") != items(device, "taints")) {
        for (path, taint) in at_most(device, ("taints", TAINTS_MAX), path, errors) {
            selection::taint(taint, &path, errors);
        }
    }
    let list = at_most(device, ("consumesCounters", CONSUMED_SETS_MAX), path, errors);
    for (path, one) in &list {
        formats::required_label(text(one, "counterSet"), &path.child("counterSet"), errors);
        slices::counters(one, path, errors);
    }
    no_repeats(&list, |one| text(one, "counterSet").into(), errors);
    if has_own_node {
        nodes(device, path, errors);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|key| !device[*key].is_null()) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(Error::invalid(path, Value::Null, why));
    }
    binding_conditions(device, path, errors);
}

fn attributes_and_capacity(device: &Value, path: &Path, errors: &mut Vec<Error>) {
    let map = |key: &str| device[key].as_object().into_iter().flatten();
    let (attributes, capacities) = (map("attributes").count(), map("capacity").count());
    let total = attributes + capacities;
    if total > ATTRIBUTES_AND_CAPACITIES_MAX {
        let why = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}"
        );
        errors.push(Error::invalid(path, total, why));
    }
    if attributes > ATTRIBUTE_VALUES_MAX {
        let why =
            format!("the total number of attribute values must not exceed {ATTRIBUTE_VALUES_MAX}");
        errors.push(Error::invalid(path, attributes, why));
    }
    let is_shared = device["allowMultipleAllocations"] == true;
    for (key, value) in map("attributes") {
        let path = path.child("attributes");
        formats::qualified(key, &path, errors);
        attribute(value, &path.key(&shortened(key)), errors);
    }
    for (key, value) in map("capacity") {
        let path = path.child("capacity");
        formats::qualified(key, &path, errors);
        capacity::capacity(value, is_shared, &path.key(&shortened(key)), errors);
    }
}

/// A key that is too long is shown without its middle.
fn shortened(key: &str) -> String {
    if key.len() <= SHOWN_KEY_BYTES_MAX {
        return key.to_owned();
    }
    let kept = SHOWN_KEY_BYTES_MAX - "...".len();
    let start = String::from_utf8_lossy(&key.as_bytes()[..kept.div_ceil(2)]);
    let end = String::from_utf8_lossy(&key.as_bytes()[key.len() - kept / 2..]);
    format!("{start}...{end}")
}

fn attribute(attribute: &Value, path: &Path, errors: &mut Vec<Error>) {
    for key in ["string", "version"] {
        let Some(value) = attribute[key].as_str() else { continue };
        if key == "version" && !formats::is_version(value) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(Error::invalid(&path.child(key), value, why));
        }
        if value.len() > VALUE_BYTES_MAX {
            errors.push(Error::too_long(&path.child(key), VALUE_BYTES_MAX));
        }
    }
    let is_set = |key: &&str| !attribute[*key].is_null();
    let why = "exactly one value must be specified";
    match ["int", "bool", "string", "version"].into_iter().filter(is_set).count() {
        0 => errors.push(Error::invalid(path, "", why)),
        1 => {}
        _ => errors.push(go_shape::invalid(path, attribute, &shapes::ATTRIBUTE, why)),
    }
}

fn nodes(device: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut set = slices::node_choices(device, "must not be empty", path, errors);
    slices::true_or_unset(device, "allNodes", &mut set, path, errors);
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match set.len() {
        0 => errors.push(Error::required(path, why)),
        1 => {}
        _ => errors.push(Error::invalid(path, slices::listed(&set), why)),
    }
}

/// Conditions that a device waits for, and those that make it give up: both or none.
pub(super) fn binding_conditions(device: &Value, path: &Path, errors: &mut Vec<Error>) {
    for key in BINDING_KINDS {
        for (path, one) in at_most(device, (key, BINDING_CONDITIONS_MAX), path, errors) {
            formats::label_key(one.as_str().unwrap_or(""), &path, errors);
        }
    }
    let [waited, failed] = BINDING_KINDS.map(|key| items(device, key));
    let waits_for: HashSet<_> = waited.iter().map(Value::to_string).collect();
    for (key, list) in BINDING_KINDS.into_iter().zip([waited, failed]) {
        let again = repeated(list, Value::to_string);
        for (index, one) in list.iter().enumerate() {
            let path = path.child(key).index(index);
            if again[index] {
                errors.push(Error::duplicate(&path, one.clone()));
            }
            if key == "bindingFailureConditions" && waits_for.contains(&one.to_string()) {
                let why = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(Error::invalid(&path, one.clone(), why));
            }
        }
    }
    let [first, second] = BINDING_KINDS;
    for (key, other, is_alone) in [
        (first, second, waited.is_empty() && !failed.is_empty()),
        (second, first, failed.is_empty() && !waited.is_empty()),
    ] {
        if is_alone {
            let why = format!("{key} are required to use {other}");
            errors.push(Error::invalid(&path.child(key), device[key].clone(), why));
        }
    }
}
