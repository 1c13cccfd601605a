//! Resource lists: rounding, requests from limits, and what a pod asks for as a whole.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Tree, child, ensure, has_entries, is_empty, items, text};
use crate::quantity::Quantity;

/// Rounds the quantities of resource lists up to thousandths, the finest that upstream keeps.
pub(super) fn round(map: &mut Tree, keys: &[&str]) {
    for key in keys {
        for quantity in child(map, key).into_iter().flat_map(Tree::values_mut) {
            if let Some(rounded) = quantity.as_str().and_then(rounded) {
                *quantity = rounded.into();
            }
        }
    }
}

/// Rounds the lists of `resources: {limits, requests}`.
pub(super) fn round_requirements(map: &mut Tree) {
    if let Some(resources) = child(map, "resources") {
        round(resources, &["limits", "requests"]);
    }
}

/// The quantity in thousandths when it is finer than that.
fn rounded(text: &str) -> Option<String> {
    let quantity: Quantity = text.parse().ok()?;
    let canonical = quantity.to_string();
    let suffix = if canonical.ends_with(['n', 'u']) {
        "m"
    } else if canonical.ends_with("e-6") || canonical.ends_with("e-9") {
        "e-3"
    } else {
        return None;
    };
    let thousandths: Quantity = format!("{}{suffix}", quantity.milli_value()).parse().ok()?;
    Some(thousandths.to_string())
}

/// Copies the entries of one resource list that another lacks.
pub(super) fn copy_missing(map: &mut Tree, from: &str, to: &str) {
    let Some(source) = map.get(from).filter(|list| has_entries(list)).cloned() else { return };
    let (Value::Object(source), Some(target)) = (source, ensure(map, to)) else { return };
    for (name, quantity) in source {
        target.entry(name).or_insert(quantity);
    }
}

/// A container of a pod (not of a template) asks for what it is limited to.
pub(super) fn requests_from_limits(spec: &mut Tree) {
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            if let Some(resources) = child(container, "resources") {
                copy_missing(resources, "limits", "requests");
            }
        }
    }
}

/// Completes `spec.resources` of a pod that has some of it.
pub(super) fn pod_level(spec: &mut Tree) {
    let Some(mut resources) = child(spec, "resources").map(std::mem::take) else { return };
    if !is_empty(&resources, "limits") || !is_empty(&resources, "requests") {
        huge_page_limits(&mut resources, spec);
    }
    if !is_empty(&resources, "limits") {
        pod_requests(&mut resources, spec);
    }
    spec.insert("resources".to_owned(), resources.into());
}

/// The pod may use the huge pages of all its containers, unless it asks for some of its own.
fn huge_page_limits(resources: &mut Tree, spec: &mut Tree) {
    let mut limits = sum_of_containers(spec, "limits");
    limits.retain(|name, _| is_huge_pages(name) && !contains(resources, "requests", name));
    add_missing(resources, "limits", limits);
}

/// What no request says is the sum of the containers, or else the limit.
fn pod_requests(resources: &mut Tree, spec: &mut Tree) {
    let mut requests = sum_of_containers(spec, "requests");
    // Huge pages are not overcommitted: their request is the limit.
    requests.retain(|name, _| matches!(name.as_str(), "cpu" | "memory"));
    add_missing(resources, "requests", requests);
    let Some(mut limits) = child(resources, "limits").map(|limits| limits.clone()) else { return };
    limits.retain(|name, _| matches!(name.as_str(), "cpu" | "memory") || is_huge_pages(name));
    // An empty list is left out, as Go writes it.
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = ensure(resources, "requests") {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn contains(resources: &Tree, list: &str, name: &str) -> bool {
    resources.get(list).and_then(|list| list.get(name)).is_some()
}

type Sums = BTreeMap<String, Quantity>;

fn add_missing(resources: &mut Tree, list: &str, sums: Sums) {
    if sums.is_empty() {
        return;
    }
    let Some(target) = ensure(resources, list) else { return };
    for (name, quantity) in sums {
        target.entry(name).or_insert_with(|| json!(quantity.to_string()));
    }
}

/// What the containers need at the worst moment: all of them, or the init container that needs
/// most next to the sidecars that were started before it.
fn sum_of_containers(spec: &mut Tree, list: &str) -> Sums {
    let mut sums = Sums::new();
    for container in items(spec, "containers") {
        add(&mut sums, &quantities(container, list));
    }
    let (mut sidecars, mut peak) = (Sums::new(), Sums::new());
    for container in items(spec, "initContainers") {
        let mut own = quantities(container, list);
        if text(container, "restartPolicy") == "Always" {
            add(&mut sums, &own);
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut peak, &own);
        }
    }
    raise(&mut sums, &peak);
    sums
}

fn quantities(container: &mut Tree, list: &str) -> Sums {
    let resources = child(container, "resources").and_then(|resources| child(resources, list));
    let entries = resources.into_iter().flat_map(|list| list.iter());
    entries.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.parse().ok()?))).collect()
}

fn add(sums: &mut Sums, more: &Sums) {
    for (name, quantity) in more {
        sums.entry(name.clone()).and_modify(|sum| *sum = sum.plus(quantity)).or_insert(*quantity);
    }
}

fn raise(sums: &mut Sums, floor: &Sums) {
    for (name, quantity) in floor {
        let sum = sums.entry(name.clone()).or_insert(*quantity);
        if *quantity > *sum {
            *sum = *quantity;
        }
    }
}
