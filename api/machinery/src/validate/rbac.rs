//! Roles and their bindings.

use serde_json::Value;

use super::core::shown::Shown;
use super::{invalid_each, items, names, selectors, text};
use crate::field::{Error, ErrorKind, Path};
use crate::{Object, ResourceInfo};

/// The group of roles, users and groups.
const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Role" | "ClusterRole" => role(object, info.namespaced, errors),
        _ => binding(object, info.namespaced, errors),
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    create(info, new, errors);
    if matches!(info.kind, "RoleBinding" | "ClusterRoleBinding") {
        binding_update(new, old, errors);
    }
}

fn role(object: &Object, is_namespaced: bool, errors: &mut Vec<Error>) {
    let rules = object.at(&["rules"]).and_then(Value::as_array);
    for (index, one) in rules.into_iter().flatten().enumerate() {
        rule(one, is_namespaced, &Path::new("rules").index(index), errors);
    }
    if let Some(aggregation) = object.at(&["aggregationRule"]).filter(|rule| !rule.is_null())
        && items(aggregation, "clusterRoleSelectors").is_empty()
    {
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(Error::required(&path, why));
    }
    let selectors = object.at(&["aggregationRule", "clusterRoleSelectors"]);
    for (index, one) in selectors.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = Path::new("aggregationRule").child("clusterRoleSelectors").index(index);
        let before = errors.len();
        selectors::label_selector(one, &path, errors);
        if errors.len() > before {
            // Upstream shows the selector it could not make.
            errors.push(Error::invalid(&path, Value::Null, "invalid label selector."));
        }
    }
}

fn rule(rule: &Value, is_namespaced: bool, path: &Path, errors: &mut Vec<Error>) {
    let has = |key: &str| !items(rule, key).is_empty();
    if !has("verbs") {
        let why = "verbs must contain at least one value";
        errors.push(Error::required(&path.child("verbs"), why));
    }
    if has("nonResourceURLs") {
        let at = path.child("nonResourceURLs");
        let shown = rule["nonResourceURLs"].clone();
        if is_namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.push(Error::invalid(&at, shown.clone(), why));
        }
        if has("apiGroups") || has("resources") || has("resourceNames") {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(Error::invalid(&at, shown, why));
        }
        return;
    }
    if !has("apiGroups") {
        let why = "resource rules must supply at least one api group";
        errors.push(Error::required(&path.child("apiGroups"), why));
    }
    if !has("resources") {
        let why = "resource rules must supply at least one resource";
        errors.push(Error::required(&path.child("resources"), why));
    }
}

fn binding(object: &Object, is_namespaced: bool, errors: &mut Vec<Error>) {
    let path = Path::new("roleRef");
    let group = object.text(&["roleRef", "apiGroup"]);
    if group != GROUP {
        errors.push(Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
    }
    let kind = object.text(&["roleRef", "kind"]);
    let kinds: &[&str] = if is_namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&path.child("kind"), kind, kinds));
    }
    let name = object.text(&["roleRef", "name"]);
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        invalid_each(&path.child("name"), name, names::path_segment(name), errors);
    }
    let subjects = object.at(&["subjects"]).and_then(Value::as_array);
    for (index, one) in subjects.into_iter().flatten().enumerate() {
        subject(one, is_namespaced, &Path::new("subjects").index(index), errors);
    }
}

fn subject(subject: &Value, is_namespaced: bool, path: &Path, errors: &mut Vec<Error>) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let kind = text(subject, "kind");
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                invalid_each(&path.child("name"), name, names::subdomain_1123(name), errors);
            }
            if !group.is_empty() {
                errors.push(Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !is_namespaced && text(subject, "namespace").is_empty() {
                errors.push(Error::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" if group != GROUP => {
            errors.push(Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
        }
        "User" | "Group" => {}
        _ => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(Error::not_supported(&path.child("kind"), kind, &kinds));
        }
    }
}

fn binding_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    if new.at(&["roleRef"]) != old.at(&["roleRef"]) {
        let role = new.at(&["roleRef"]).unwrap_or(&Value::Null);
        let names = [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")];
        let shown = Shown::texts(role, &names);
        errors.push(shown.error(
            ErrorKind::Invalid,
            &Path::new("roleRef"),
            "cannot change roleRef",
        ));
    }
}
