//! Which requests a webhook or a policy is about.

use std::collections::HashSet;

use serde_json::Value;

use super::{MATCH_POLICIES, one_of_and_set, one_of_if_set};
use crate::field::{Error, Path};
use crate::validate::selectors::{self, Values};
use crate::validate::{invalid_each, items, names};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
/// What a policy that mutates may be about.
const MUTABLE_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// The texts of a list.
fn texts<'a>(rule: &'a Value, key: &str) -> Vec<&'a str> {
    items(rule, key).iter().map(|one| one.as_str().unwrap_or("")).collect()
}

pub(super) fn rule(rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let operations = texts(rule, "operations");
    all_or_some(rule, "operations", "operations", path, errors);
    for (index, operation) in operations.into_iter().enumerate() {
        if !OPERATIONS.contains(&operation) {
            let path = path.child("operations").index(index);
            errors.push(Error::not_supported(&path, operation, &OPERATIONS));
        }
    }
    all_or_some(rule, "apiGroups", "API groups", path, errors);
    all_or_some(rule, "apiVersions", "API versions", path, errors);
    for (index, version) in texts(rule, "apiVersions").into_iter().enumerate() {
        if version.is_empty() {
            errors.push(Error::required(&path.child("apiVersions").index(index), ""));
        }
    }
    resources(rule, &path.child("resources"), errors);
    one_of_if_set(&path.child("scope"), &rule["scope"], &SCOPES, errors);
}

/// A list that is not empty, and either `*` or without it.
fn all_or_some(rule: &Value, key: &str, what: &str, path: &Path, errors: &mut Vec<Error>) {
    let (path, list) = (path.child(key), texts(rule, key));
    if list.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    if list.len() > 1 && list.contains(&"*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(&path, list, why));
    }
}

fn resources(rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = texts(rule, "resources");
    if list.is_empty() {
        errors.push(Error::required(path, ""));
    }
    // The resources of which all subresources, and the subresources of all resources, are meant.
    let (mut whole, mut everywhere): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    // Upstream remembers only the last resource that has no subresource.
    let mut is_last_plain_named = false;
    for (index, one) in list.iter().copied().enumerate() {
        if one.is_empty() {
            errors.push(Error::required(&path.index(index), ""));
            continue;
        }
        let Some((resource, sub)) = one.split_once('/') else {
            is_last_plain_named = one != "*";
            continue;
        };
        for (is_covered, by) in [
            (whole.contains(&resource), format!("{resource}/*")),
            (everywhere.contains(&sub), format!("*/{sub}")),
        ] {
            if is_covered {
                let why = format!("if '{by}' is present, must not specify {one}");
                errors.push(Error::invalid(&path.index(index), one, why));
            }
        }
        if sub == "*" {
            whole.push(resource);
        }
        if resource == "*" {
            everywhere.push(sub);
        }
    }
    if list.len() > 1 && list.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(Error::invalid(path, list.clone(), why));
    }
    if list.contains(&"*") && is_last_plain_named {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(path, list, why));
    }
}

/// `matchConstraints` of a policy and `matchResources` of a binding.
pub(super) fn match_resources(resources: &Value, path: &Path, errors: &mut Vec<Error>) {
    let policy = &resources["matchPolicy"];
    one_of_and_set(&path.child("matchPolicy"), policy, &MATCH_POLICIES, errors);
    for key in ["namespaceSelector", "objectSelector"] {
        let path = path.child(key);
        if resources[key].is_null() {
            errors.push(Error::required(&path, ""));
        }
        selectors::labels(&resources[key], Values::OfLabels, &path, errors);
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (index, one) in items(resources, key).iter().enumerate() {
            let path = path.child(key).index(index);
            resource_names(one, &path.child("resourceNames"), errors);
            rule(one, &path, errors);
        }
    }
}

fn resource_names(rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = texts(rule, "resourceNames");
    let mut seen = HashSet::new();
    for (index, name) in list.iter().copied().enumerate() {
        let path = path.index(index);
        invalid_each(&path, name, names::path_segment(name), errors);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
}

/// Nothing that is deleted can be changed.
pub(super) fn only_mutable(resources: &Value, path: &Path, errors: &mut Vec<Error>) {
    let path = path.child("resourceRules").child("operations");
    for rule in items(resources, "resourceRules") {
        for operation in texts(rule, "operations") {
            if !MUTABLE_OPERATIONS.contains(&operation) {
                errors.push(Error::not_supported(&path, operation, &MUTABLE_OPERATIONS));
            }
        }
    }
}
