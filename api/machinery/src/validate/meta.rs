//! `metadata` of every kind.

use std::collections::HashSet;

use serde_json::Value;

use super::core::shown::Shown;
use super::{invalid_each, names, text};
use crate::field::{Error, ErrorKind, Path};
use crate::kinds::NameRule;
use crate::limits::{ANNOTATIONS_BYTES_MAX, WHOLE_LIST_ERRORS_MAX};
use crate::{Object, ResourceInfo};

fn name_problems(rule: NameRule, name: &str, is_prefix: bool) -> Vec<String> {
    // A prefix may end in a hyphen: the random part follows it.
    let masked = match name.strip_suffix('-').and_then(|name| name.get(..name.len().max(1) - 1)) {
        Some(start) if is_prefix && name.len() > 1 => format!("{start}a"),
        _ => name.to_owned(),
    };
    match rule {
        NameRule::Subdomain => names::subdomain_1123(&masked),
        NameRule::Label => names::label_1123(&masked),
        NameRule::PathSegment => names::path_segment(name),
        NameRule::Address => {
            let refused = super::core::address::canonical(&Path::default(), name);
            refused.into_iter().map(|error| error.detail).collect()
        }
    }
}

pub(super) fn create(info: &ResourceInfo, object: &Object) -> Vec<Error> {
    create_as(info.name_rule, info, object)
}

/// The same with another rule for the name.
pub(super) fn create_as(rule: NameRule, info: &ResourceInfo, object: &Object) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::new("metadata");
    let generate_name = object.generate_name();
    if !generate_name.is_empty() {
        let problems = name_problems(rule, generate_name, true);
        invalid_each(&path.child("generateName"), generate_name, problems, &mut errors);
    }
    if object.name().is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        let problems = name_problems(rule, object.name(), false);
        invalid_each(&path.child("name"), object.name(), problems, &mut errors);
    }
    if info.namespaced && object.namespace().is_empty() {
        errors.push(Error::required(&path.child("namespace"), ""));
    } else if info.namespaced {
        let problems = names::label_1123(object.namespace());
        invalid_each(&path.child("namespace"), object.namespace(), problems, &mut errors);
    }
    of_kind(info, object, &mut errors);
    errors
}

fn of_kind(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    let metadata = object.at(&["metadata"]).unwrap_or(&Value::Null);
    let path = Path::new("metadata");
    if info.is_custom() || info.group == "apiextensions.k8s.io" {
        any(metadata, &path, errors);
    } else {
        common(metadata, &path, errors);
    }
}

/// Labels, annotations, owners, finalizers.
pub(super) fn common(metadata: &Value, path: &Path, errors: &mut Vec<Error>) {
    any(metadata, path, errors);
    let path = path.child("finalizers");
    for (index, name) in super::items(metadata, "finalizers").iter().enumerate() {
        standard_finalizer(name.as_str().unwrap_or(""), &path.index(index), errors);
    }
}

/// The same where finalizers may have any name: definitions, and objects of custom kinds.
pub(super) fn any(metadata: &Value, path: &Path, errors: &mut Vec<Error>) {
    labels(&metadata["labels"], &path.child("labels"), errors);
    annotations(&metadata["annotations"], &path.child("annotations"), errors);
    owners(metadata, &path.child("ownerReferences"), errors);
    finalizers(metadata, &path.child("finalizers"), errors);
}

fn owners(metadata: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut controller: Option<String> = None;
    let mut surplus = 0;
    for owner in super::items(metadata, "ownerReferences") {
        owner_reference(owner, path, errors);
        if owner["controller"] != true {
            continue;
        }
        let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
        let Some(first) = &controller else {
            controller = Some(this);
            continue;
        };
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
        );
        surplus += 1;
        if surplus > WHOLE_LIST_ERRORS_MAX {
            continue;
        }
        let each: Vec<String> = super::items(metadata, "ownerReferences")
            .iter()
            .map(|owner| shown_owner(owner).compact())
            .collect();
        let all = Shown::Text(format!("[{}]", each.join(",")));
        errors.push(all.error(ErrorKind::Invalid, path, &why));
    }
}

fn owner_reference(owner: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (group, version) = match *text(owner, "apiVersion").split('/').collect::<Vec<_>>() {
        [version] => ("", version),
        [group, version] => (group, version),
        _ => ("", ""),
    };
    if version.is_empty() {
        let shown = text(owner, "apiVersion");
        errors.push(Error::invalid(&path.child("apiVersion"), shown, "version must not be empty"));
    }
    for key in ["kind", "name", "uid"] {
        if text(owner, key).is_empty() {
            errors.push(Error::invalid(&path.child(key), "", "must not be empty"));
        }
    }
    if (group, version, text(owner, "kind")) == ("", "v1", "Event") {
        let why = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(shown_owner(owner).error(ErrorKind::Invalid, path, why));
    }
}

fn shown_owner(owner: &Value) -> Shown {
    let texts = ["apiVersion", "kind", "name", "uid"].map(|key| (key, text(owner, key).into()));
    let flags = ["controller", "blockOwnerDeletion"].map(|key| (key, owner[key].clone()));
    let flags = flags.into_iter().filter(|(_, flag)| !flag.is_null());
    Shown::Fields(texts.into_iter().chain(flags).map(|(key, value)| (key, value.into())).collect())
}

fn finalizers(metadata: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = super::items(metadata, "finalizers");
    for name in list.iter().filter_map(Value::as_str) {
        invalid_each(path, name, names::qualified_name(name), errors);
    }
    let has = |name: &str| list.iter().any(|one| one == name);
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(Error::invalid(path, metadata["finalizers"].clone(), why));
    }
}

/// The name of a finalizer that stands outside of the metadata.
pub(super) fn finalizer(name: &str, path: &Path, errors: &mut Vec<Error>) {
    invalid_each(path, name, names::qualified_name(name), errors);
    standard_finalizer(name, path, errors);
}

fn standard_finalizer(name: &str, path: &Path, errors: &mut Vec<Error>) {
    let is_standard = matches!(name, "foregroundDeletion" | "orphan" | "kubernetes");
    if !name.contains('/') && !is_standard {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(Error::invalid(path, name, why));
    }
}

pub(super) fn labels(labels: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        invalid_each(path, key, names::qualified_name(key), errors);
        let value = value.as_str().unwrap_or("");
        invalid_each(path, value, names::label_value(value), errors);
    }
}

pub(super) fn annotations(annotations: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut total = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // The rule for annotation keys is that of labels, in lower case.
        invalid_each(path, key, names::qualified_name(&key.to_lowercase()), errors);
        total += key.len() + value.as_str().unwrap_or("").len();
    }
    if total > ANNOTATIONS_BYTES_MAX {
        errors.push(Error::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object) -> Vec<Error> {
    let path = Path::new("metadata");
    if new.resource_version().is_empty() && !info.unconditional_update {
        let why = "must be specified for an update";
        return vec![Error::invalid(&path.child("resourceVersion"), 0, why)];
    }
    let mut errors = Vec::new();
    let prefix = new.generate_name();
    if !prefix.is_empty() {
        let problems = names::path_segment(prefix);
        invalid_each(&path.child("generateName"), prefix, problems, &mut errors);
    }
    of_kind(info, new, &mut errors);
    if old.deletion_timestamp().is_some() {
        new_finalizers(new, old, &path, &mut errors);
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let get = |object: &Object| object.at(&["metadata", field]).cloned().unwrap_or_default();
        let (now, before) = (get(new), get(old));
        if now != before {
            errors.push(Error::invalid(&path.child(field), now, "field is immutable"));
        }
    }
    errors
}

fn new_finalizers(new: &Object, old: &Object, path: &Path, errors: &mut Vec<Error>) {
    let before: HashSet<_> = old.finalizers().into_iter().collect();
    let mut added = new.finalizers();
    added.retain(|one| !before.contains(one));
    added.sort();
    added.dedup();
    if added.is_empty() {
        return;
    }
    let listed: Vec<_> = added.iter().map(|one| format!("{one:?}")).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        listed.join(", ")
    );
    errors.push(Error::forbidden(&path.child("finalizers"), why));
}
