//! Which devices a driver has on a node.

use serde_json::Value;

use super::{IMMUTABLE, at_most, claims, devices, formats, no_repeats, shapes};
use crate::field::{Error, Path};
use crate::validate::{go_shape, invalid_each, items, names, selectors, text};

const DEVICES_MAX: usize = 128;
/// With taints or counters.
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;

pub(super) fn spec(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Vec<Error>) {
    formats::driver(text(spec, "driver"), &path.child("driver"), errors);
    let (pool, pool_path) = (&spec["pool"], path.child("pool"));
    formats::pool(text(pool, "name"), &pool_path.child("name"), errors);
    let count = pool["resourceSliceCount"].as_i64().unwrap_or(0);
    if count <= 0 {
        let path = pool_path.child("resourceSliceCount");
        errors.push(Error::invalid(&path, count, "must be greater than zero"));
    }
    let generation = pool["generation"].as_i64().unwrap_or(0);
    if generation < 0 {
        let path = pool_path.child("generation");
        errors.push(Error::invalid(&path, generation, "must be greater than or equal to zero"));
    }
    if let Some(old) = old {
        let of_pool = (pool_path.child("name"), &pool["name"], &old["pool"]["name"]);
        let own = ["driver", "nodeName"].map(|key| (path.child(key), &spec[key], &old[key]));
        for (path, new, old) in [of_pool].into_iter().chain(own) {
            if new != old {
                errors.push(Error::invalid(&path, new.clone(), IMMUTABLE));
            }
        }
    }
    nodes(spec, path, errors);
    if !spec["sharedCounters"].is_null() && !spec["devices"].is_null() {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(Error::invalid(path, "", why));
    }
    let is_advanced = items(spec, "devices").iter().any(|device| {
        !items(device, "taints").is_empty() || !items(device, "consumesCounters").is_empty()
    });
    let max = if is_advanced { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    let list = at_most(spec, ("devices", max), path, errors);
    for (path, device) in &list {
        let is_same = |other: &&Value| text(other, "name") == text(device, "name");
        let old = old.and_then(|old| items(old, "devices").iter().find(is_same));
        devices::device(device, old, spec["perDeviceNodeSelection"] == true, path, errors);
    }
    no_repeats(&list, claims::name, errors);
    let list = at_most(spec, ("sharedCounters", COUNTER_SETS_MAX), path, errors);
    for (path, set) in &list {
        formats::required_label(text(set, "name"), &path.child("name"), errors);
        counters(set, path, errors);
    }
    no_repeats(&list, claims::name, errors);
}

/// Counters by name; any quantity will do.
pub(super) fn counters(owner: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path = path.child("counters");
    let all: Vec<&String> =
        owner["counters"].as_object().into_iter().flat_map(|map| map.keys()).collect();
    if all.is_empty() {
        errors.push(Error::required(&path, ""));
    } else if all.len() > COUNTERS_MAX {
        errors.push(Error::too_many(&path, all.len(), COUNTERS_MAX));
    } else {
        all.iter().for_each(|name| formats::label(name, &path, errors));
    }
}

/// The four ways to say on which nodes the devices are.
fn nodes(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut set =
        node_choices(spec, "must be either unset or set to a non-empty string", path, errors);
    let (terms, selector) = (items(&spec["nodeSelector"], "nodeSelectorTerms"), "nodeSelector");
    if !spec[selector].is_null() && terms.len() != 1 {
        // One term only: that makes it easy to merge the selectors of several slices.
        let path = path.child(selector).child("nodeSelectorTerms");
        let value = &spec[selector]["nodeSelectorTerms"];
        let why = "must have exactly one node selector term";
        errors.push(go_shape::invalid(&path, value, &shapes::NODE_SELECTOR_TERMS, why));
    }
    for key in ["allNodes", "perDeviceNodeSelection"] {
        true_or_unset(spec, key, &mut set, path, errors);
    }
    let all = "`nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection`";
    let why = format!("exactly one of {all} is required");
    match set.len() {
        0 => errors.push(Error::required(path, why)),
        1 => {}
        _ => {
            let why = format!("{why}, but multiple fields are set");
            errors.push(Error::invalid(path, listed(&set), why));
        }
    }
}

/// `nodeName` and `nodeSelector`, for a slice or a device: those that are set.
pub(super) fn node_choices(
    owner: &Value,
    empty: &str,
    path: &Path,
    errors: &mut Vec<Error>,
) -> Vec<&'static str> {
    let mut set = Vec::new();
    if let Some(name) = owner["nodeName"].as_str() {
        if name.is_empty() {
            errors.push(Error::invalid(&path.child("nodeName"), name, empty));
        } else {
            set.push("nodeName");
            invalid_each(&path.child("nodeName"), name, names::subdomain_1123(name), errors);
        }
    }
    if !owner["nodeSelector"].is_null() {
        set.push("nodeSelector");
        selectors::nodes(&owner["nodeSelector"], &path.child("nodeSelector"), errors);
    }
    set
}

pub(super) fn true_or_unset(
    owner: &Value,
    key: &'static str,
    set: &mut Vec<&'static str>,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    match owner[key].as_bool() {
        Some(true) => set.push(key),
        Some(false) => {
            let why = "must be either unset or set to true";
            errors.push(Error::invalid(&path.child(key), false, why));
        }
        None => {}
    }
}

pub(super) fn listed(set: &[&str]) -> String {
    let quoted: Vec<_> = set.iter().map(|key| format!("`{key}`")).collect();
    format!("{{{}}}", quoted.join(", "))
}
