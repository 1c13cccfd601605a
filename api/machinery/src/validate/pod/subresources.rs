//! Updates through `ephemeralcontainers` and `resize`.
//!
//! The caller has put back what the subresource cannot change: all but the ephemeral containers, or
//! all but resources and resize policies.

use serde_json::{Map, Value, json};

use super::update::{annotation_changes, put_back, repeated_checks, same};
use super::{WHOLE_OBJECT, annotations, container_resources, given, items, text};
use crate::Object;
use crate::field::{Error, Path};
use crate::strategy::qos_class;

/// Ephemeral containers are only ever added.
pub(in crate::validate) fn ephemeral_containers_update(
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    if is_static(old) {
        let why = "static pods do not support ephemeral containers";
        *errors = vec![Error::forbidden(&Path::new(WHOLE_OBJECT), why)];
        return;
    }
    repeated_checks(new, old, errors);
    annotation_changes(new, old, errors);
    let list = "ephemeralContainers";
    let null = Value::Null;
    let (now, before) = (new.at(&["spec"]).unwrap_or(&null), old.at(&["spec"]).unwrap_or(&null));
    let path = Path::new("spec").child(list);
    for was in items(before, list) {
        let name = text(was, "name");
        match items(now, list).iter().rev().find(|one| text(one, "name") == name) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(Error::forbidden(&path, why));
            }
            Some(is) if !same(is, was) => {
                let why = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(Error::forbidden(&path, why));
            }
            Some(_) => {}
        }
    }
}

fn is_static(old: &Object) -> bool {
    old.at(&["metadata", "annotations", annotations::MIRROR]).is_some()
}

const LISTS: [&str; 2] = ["initContainers", "containers"];
const ONLY_COMPUTE: &str = "only cpu and memory resources are mutable";

/// A resize changes CPU and memory, and nothing else.
pub(in crate::validate) fn resize_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let null = Value::Null;
    let (now, before) = (new.at(&["spec"]).unwrap_or(&null), old.at(&["spec"]).unwrap_or(&null));
    let path = Path::new("spec");
    let whole = if is_static(old) {
        Some("static pods cannot be resized")
    } else if before["os"]["name"] == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    };
    if let Some(why) = whole {
        *errors = vec![Error::forbidden(&Path::new(WHOLE_OBJECT), why)];
        return;
    }
    repeated_checks(new, old, errors);
    let class = match old.text(&["status", "qosClass"]) {
        "" => qos_class(old),
        class => class,
    };
    if class != qos_class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&path, new.text(&["status", "qosClass"]), why));
    }
    if !is_supported(old) {
        errors.push(Error::forbidden(&path, "Pod running on node without support for resize"));
    }
    let mut munged = now.clone();
    if has_resources(before) || has_resources(now) {
        pod_level(&mut munged, now, before, errors);
    }
    if !same_order(now, before, errors) {
        return;
    }
    for list in LISTS {
        for (index, (is, was)) in items(now, list).iter().zip(items(before, list)).enumerate() {
            let path = path.child(list).index(index).child("resources");
            removed(&is["resources"], &was["resources"], "resource", &path, errors);
        }
    }
    containers(&mut munged, before, errors);
    init_containers(&mut munged, now, before, errors);
    if errors.is_empty() && !same(&munged, before) {
        errors.push(Error::forbidden(&path, ONLY_COMPUTE));
    }
}

/// A node that tells the resources of what it runs can also change them.
fn is_supported(old: &Object) -> bool {
    let statuses = old.at(&["status", "containerStatuses"]).and_then(Value::as_array);
    let mut running =
        statuses.into_iter().flatten().filter(|one| given(&one["state"], "running").is_some());
    running.next().is_none_or(|one| given(one, "resources").is_some())
}

fn has_resources(spec: &Value) -> bool {
    ["requests", "limits"]
        .iter()
        .any(|list| spec["resources"][list].as_object().is_some_and(|map| !map.is_empty()))
}

fn pod_level(munged: &mut Value, now: &Value, before: &Value, errors: &mut Vec<Error>) {
    let spec_path = Path::new("spec");
    let path = spec_path.child("resources");
    if given(before, "resources").is_some() && given(now, "resources").is_none() {
        errors.push(Error::forbidden(&path, "pod-level resources cannot be removed"));
        return;
    }
    removed(&now["resources"], &before["resources"], "pod-level resource", &path, errors);
    put_compute_back(&mut munged["resources"], &before["resources"]);
    if !same_resources(&munged["resources"], &before["resources"]) {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(Error::forbidden(&spec_path, why));
    }
    put_back(munged, before, "resources");
}

/// What was asked for may change, but not go.
fn removed(now: &Value, before: &Value, what: &str, path: &Path, errors: &mut Vec<Error>) {
    for list in ["requests", "limits"] {
        let mut names = before[list].as_object().into_iter().flat_map(Map::keys);
        if names.any(|name| given(&now[list], name).is_none()) {
            let why = format!("{what} {list} cannot be removed");
            errors.push(Error::forbidden(&path.child(list), why));
        }
    }
}

fn same_order(now: &Value, before: &Value, errors: &mut Vec<Error>) -> bool {
    let already = errors.len();
    for list in ["containers", "initContainers"] {
        let path = Path::new("spec").child(list);
        let (new, old) = (items(now, list), items(before, list));
        if new.len() != old.len() {
            let why = format!("{list} may not be added or removed on resize");
            errors.push(Error::forbidden(&path, why));
            continue;
        }
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            if text(new, "name") != text(old, "name") {
                let why = format!("{list} may not be renamed or reordered on resize");
                errors.push(Error::forbidden(&path.index(index).child("name"), why));
            }
        }
    }
    errors.len() == already
}

/// CPU and memory as they were; what they are beside other resources stays to be compared.
fn put_compute_back(resources: &mut Value, before: &Value) {
    if !resources.is_object() {
        *resources = json!({});
    }
    for list in ["requests", "limits"] {
        if !resources[list].is_object() {
            resources[list] = json!({});
        }
        for name in ["cpu", "memory"] {
            put_back(&mut resources[list], &before[list], name);
        }
    }
}

fn same_resources(one: &Value, other: &Value) -> bool {
    let same_list = |list: &str| {
        let covers = |one: &Value, other: &Value| {
            let mut entries = one[list].as_object().into_iter().flatten();
            entries.all(|(name, value)| {
                container_resources::read(value) == container_resources::read(&other[list][name])
            })
        };
        covers(one, other) && covers(other, one)
    };
    same_list("requests") && same_list("limits") && same(&one["claims"], &other["claims"])
}

/// A container with its CPU and memory as they were, and whether that makes it what it was.
fn munge(one: &mut Value, old: &Value) -> bool {
    put_compute_back(&mut one["resources"], &old["resources"]);
    // Upstream forgets the claims here, so that a pod with claims cannot be resized.
    if let Value::Object(resources) = &mut one["resources"] {
        resources.remove("claims");
    }
    let is_same = same_resources(&one["resources"], &old["resources"]);
    put_back(one, old, "resources");
    is_same && same(one, old)
}

fn containers(munged: &mut Value, before: &Value, errors: &mut Vec<Error>) {
    for (index, old) in items(before, "containers").iter().enumerate() {
        if !munge(&mut munged["containers"][index], old) {
            errors.push(Error::forbidden(&Path::new("spec"), ONLY_COMPUTE));
        }
    }
}

fn init_containers(munged: &mut Value, now: &Value, before: &Value, errors: &mut Vec<Error>) {
    let list = "initContainers";
    for (index, (is, old)) in items(now, list).iter().zip(items(before, list)).enumerate() {
        let path = Path::new("spec").child(list).index(index);
        if !munge(&mut munged[list][index], old) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(Error::forbidden(&path, why));
        }
        let is_changed = !same(&without_resources(is), &without_resources(old))
            || !same_resources(&is["resources"], &old["resources"]);
        if is_changed && is["restartPolicy"] != "Always" {
            let policies = items(is, "resizePolicy").iter();
            for _ in policies.filter(|policy| policy["restartPolicy"] == "RestartContainer") {
                let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.push(Error::forbidden(&path, why));
            }
        }
    }
}

fn without_resources(one: &Value) -> Value {
    let mut one = one.clone();
    if let Value::Object(map) = &mut one {
        map.remove("resources");
    }
    one
}
