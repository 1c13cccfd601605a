//! `metadata` of every kind.

use serde_json::Value;

use super::{invalid_each, names, text};
use crate::field::{Error, Path};
use crate::kinds::NameRule;
use crate::limits::ANNOTATIONS_BYTES_MAX;
use crate::{Object, ResourceInfo};

fn name_problems(rule: NameRule, name: &str, is_prefix: bool) -> Vec<String> {
    // A prefix may end in a hyphen: the random part follows it.
    let masked = if is_prefix && name.len() > 1 && name.ends_with('-') {
        format!("{}a", &name[..name.len() - 2])
    } else {
        name.to_owned()
    };
    match rule {
        NameRule::Subdomain => names::subdomain_1123(&masked),
        NameRule::Label => names::label_1123(&masked),
        NameRule::PathSegment => names::path_segment(name),
        NameRule::Address => names::address(name),
    }
}

pub(super) fn create(info: &ResourceInfo, object: &Object) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = Path::new("metadata");
    let generate_name = object.generate_name();
    if !generate_name.is_empty() {
        let problems = name_problems(info.name_rule, generate_name, true);
        invalid_each(&path.child("generateName"), generate_name, problems, &mut errors);
    }
    if object.name().is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        let problems = name_problems(info.name_rule, object.name(), false);
        invalid_each(&path.child("name"), object.name(), problems, &mut errors);
    }
    if info.namespaced && object.namespace().is_empty() {
        errors.push(Error::required(&path.child("namespace"), ""));
    } else if info.namespaced {
        let problems = names::label_1123(object.namespace());
        invalid_each(&path.child("namespace"), object.namespace(), problems, &mut errors);
    }
    common(object.at(&["metadata"]).unwrap_or(&Value::Null), &path, &mut errors);
    errors
}

/// Labels, annotations, owners, finalizers.
pub(super) fn common(metadata: &Value, path: &Path, errors: &mut Vec<Error>) {
    labels(&metadata["labels"], &path.child("labels"), errors);
    annotations(&metadata["annotations"], &path.child("annotations"), errors);
    let owners_path = path.child("ownerReferences");
    let mut controllers = 0;
    for (index, owner) in super::items(metadata, "ownerReferences").iter().enumerate() {
        let path = owners_path.index(index);
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, key).is_empty() {
                let what = if key == "apiVersion" {
                    "version must not be empty"
                } else {
                    "must not be empty"
                };
                errors.push(Error::invalid(&path.child(key), "", what));
            }
        }
        if owner["controller"] == true {
            controllers += 1;
        }
    }
    if controllers > 1 {
        let why =
            "Only one reference can have Controller set to true. Found \"true\" in references";
        errors.push(Error::invalid(&owners_path, metadata["ownerReferences"].clone(), why));
    }
    for (index, finalizer) in super::items(metadata, "finalizers").iter().enumerate() {
        let name = finalizer.as_str().unwrap_or("");
        let path = path.child("finalizers").index(index);
        invalid_each(&path, name, names::qualified_name(name), errors);
        let is_standard = matches!(name, "foregroundDeletion" | "orphan" | "kubernetes");
        if !name.contains('/') && !is_standard {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path, name, why));
        }
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
    let mut errors = Vec::new();
    let path = Path::new("metadata");
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
        let (now, before) = (new.text(&["metadata", field]), old.text(&["metadata", field]));
        if now != before {
            errors.push(Error::invalid(&path.child(field), now, "field is immutable"));
        }
    }
    if new.resource_version().is_empty() && !info.unconditional_update {
        let why = "must be specified for an update";
        errors.push(Error::invalid(&path.child("resourceVersion"), 0, why));
    }
    if old.deletion_timestamp().is_some() {
        let before = old.finalizers();
        let added: Vec<_> =
            new.finalizers().into_iter().filter(|one| !before.contains(one)).collect();
        if !added.is_empty() {
            let listed: Vec<_> = added.iter().map(|one| format!("{one:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                listed.join(", ")
            );
            errors.push(Error::forbidden(&path.child("finalizers"), why));
        }
    }
    common(new.at(&["metadata"]).unwrap_or(&Value::Null), &path, &mut errors);
    errors
}
