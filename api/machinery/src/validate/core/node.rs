//! Nodes and namespaces.

use std::collections::HashSet;

use serde_json::Value;

use super::shown::Shown;
use super::{address, quota};
use crate::Object;
use crate::field::{Error, ErrorKind, Path};
use crate::validate::repeated;
use crate::validate::{invalid_each, items, names, text};

const FEATURE_BYTES_MAX: usize = 253;

pub(super) fn node(object: &Object, errors: &mut Vec<Error>) {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    taints(spec, errors);
    resources(object, errors);
    let swap = object.at(&["status", "nodeInfo", "swap", "capacity"]).and_then(Value::as_i64);
    if let Some(capacity) = swap.filter(|capacity| *capacity <= 0) {
        let path = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        errors.push(Error::invalid(&path, capacity, "must be greater than zero"));
    }
    declared_features(object, errors);
    pod_ranges(spec, errors);
}

fn pod_ranges(spec: &Value, errors: &mut Vec<Error>) {
    let path = Path::new("spec").child("podCIDRs");
    let list: Vec<&str> =
        items(spec, "podCIDRs").iter().map(|one| one.as_str().unwrap_or("")).collect();
    for (index, range) in list.iter().enumerate() {
        errors.extend(address::legacy_range(&path.index(index), range, &[]));
    }
    if list.len() < 2 {
        return;
    }
    let families: Option<Vec<bool>> =
        list.iter().map(|one| Some(address::Range::parse(one)?.is_ipv6())).collect();
    let is_dual =
        families.as_ref().is_some_and(|list| list.contains(&true) && list.contains(&false));
    if families.is_none() {
        let bad = list.iter().find(|one| address::Range::parse(one).is_none()).unwrap_or(&"");
        let detail = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{}]: <nil> (invalid CIDR address: {bad})",
            list.iter().position(|one| one == bad).unwrap_or(0)
        );
        let field = path.to_string();
        errors.push(Error { kind: ErrorKind::Internal, field, value: None, detail });
    }
    if !is_dual || list.len() > 2 {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(Error::invalid(&path, spec["podCIDRs"].clone(), why));
    }
}

/// Upstream tells of taints below `metadata`.
fn taints(spec: &Value, errors: &mut Vec<Error>) {
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut seen = HashSet::new();
    for (index, taint) in items(spec, "taints").iter().enumerate() {
        let path = Path::new("metadata").child("taints").index(index);
        let (key, value, effect) =
            (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        invalid_each(&path.child("key"), key, names::qualified_name(key), errors);
        let problems = names::label_value(value);
        if !problems.is_empty() {
            errors.push(Error::invalid(&path.child("value"), value, problems.join(";")));
        }
        if effect.is_empty() {
            errors.push(Error::required(&path.child("effect"), ""));
        } else if !effects.contains(&effect) {
            errors.push(Error::not_supported(&path.child("effect"), effect, &effects));
        }
        if seen.contains(&(key, effect)) {
            let mut shown =
                Shown::texts(taint, &[("Key", "key"), ("Value", "value"), ("Effect", "effect")]);
            if let Shown::Fields(fields) = &mut shown {
                fields.push(("TimeAdded", taint["timeAdded"].clone().into()));
            }
            let why = "taints must be unique by key and effect pair";
            errors.push(shown.error(ErrorKind::Duplicate, &path, why));
        }
        seen.insert((key, effect));
    }
}

fn resources(object: &Object, errors: &mut Vec<Error>) {
    for field in ["capacity", "allocatable"] {
        let map = object.at(&["status", field]).and_then(Value::as_object);
        for (name, quantity) in map.into_iter().flatten() {
            let path = Path::new("status").child(field).child(name);
            quota::amount(name, quantity, &path, errors);
        }
    }
}

fn declared_features(object: &Object, errors: &mut Vec<Error>) {
    let path = Path::new("status").child("declaredFeatures");
    let list = object.at(&["status", "declaredFeatures"]).and_then(Value::as_array);
    let list: Vec<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
    for (index, name) in list.iter().enumerate() {
        if name.len() > FEATURE_BYTES_MAX {
            let why = format!(
                "invalid feature name {name:?}: must be no more than {FEATURE_BYTES_MAX} characters"
            );
            errors.push(Error::invalid(&path.index(index), *name, why));
        } else if !is_feature_name(name) {
            let why = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(Error::invalid(&path.index(index), *name, why));
        }
        let Some(next) = list.get(index + 1) else { continue };
        if next == name {
            errors.push(Error::duplicate(&path.index(index + 1), *next));
        } else if next < name {
            let why = "list must be sorted alphabetically";
            errors.push(Error::invalid(&path.index(index + 1), *next, why));
        }
    }
}

fn is_feature_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_uppercase())
        && name.split('/').all(|segment| {
            segment.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && segment.bytes().all(|letter| letter.is_ascii_alphanumeric())
        })
}

pub(super) fn node_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    node(new, errors);
    node_status(new, old, errors);
}

/// What every update of a node must keep, that of its status included.
pub(super) fn node_status(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    resources(new, errors);
    declared_features(new, errors);
    let addresses = new.at(&["status", "addresses"]).and_then(Value::as_array);
    let addresses: &[Value] = addresses.map_or(&[], Vec::as_slice);
    let again = repeated(addresses, |one| (text(one, "type"), text(one, "address")));
    for (index, one) in addresses.iter().enumerate() {
        if again[index] {
            let shown = Shown::texts(one, &[("Type", "type"), ("Address", "address")]);
            let path = Path::new("status").child("addresses").index(index);
            errors.push(shown.error(ErrorKind::Duplicate, &path, ""));
        }
    }
    let ranges = |object: &Object| object.at(&["spec", "podCIDRs"]).cloned().unwrap_or_default();
    let had_ranges = ranges(old).as_array().is_some_and(|list| !list.is_empty());
    if had_ranges && ranges(new) != ranges(old) {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&Path::new("spec").child("podCIDRs"), why));
    }
    let provider = ["spec", "providerID"];
    if !old.text(&provider).is_empty() && new.text(&provider) != old.text(&provider) {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(Error::forbidden(&Path::new("spec").child("providerID"), why));
    }
    taints(new.at(&["spec"]).unwrap_or(&Value::Null), errors);
    let external = ["spec", "externalID"];
    if new.text(&external) != old.text(&external) {
        errors.push(Error::forbidden(&Path::new("spec").child("externalID"), "may not be updated"));
    }
}

pub(super) fn namespace(object: &Object, errors: &mut Vec<Error>) {
    let path = Path::new("spec").child("finalizers");
    let finalizers = object.at(&["spec", "finalizers"]).and_then(Value::as_array);
    for name in finalizers.into_iter().flatten().filter_map(Value::as_str) {
        crate::validate::meta::finalizer(name, &path, errors);
    }
}

pub(super) fn namespace_status(new: &Object, errors: &mut Vec<Error>) {
    let phase = new.text(&["status", "phase"]);
    let (wanted, why) = if new.deletion_timestamp().is_none() {
        ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
    } else {
        ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
    };
    if phase != wanted {
        errors.push(Error::invalid(&Path::new("status").child("Phase"), phase, why));
    }
}
