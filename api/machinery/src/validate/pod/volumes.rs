//! The volumes of a pod: their names, and that each has one source.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::volume_sources::{self, SOURCES};
use super::{Whole, claim_template, given, invalid_each, items, names, projected, text};
use crate::field::{Error, Path};

/// The volumes that are right in themselves.
pub(super) fn volumes<'a>(
    whole: &Whole<'a>,
    path: &Path,
    errors: &mut Vec<Error>,
) -> HashMap<&'a str, &'a Value> {
    let list = items(whole.spec, "volumes");
    let pod = text(whole.metadata, "name");
    let created: HashSet<_> = list
        .iter()
        .filter(|volume| !pod.is_empty() && given(volume, "ephemeral").is_some())
        .map(|volume| format!("{pod}-{}", text(volume, "name")))
        .collect();
    let mut good = HashMap::new();
    for (index, volume) in list.iter().enumerate() {
        let path = path.index(index);
        let before = errors.len();
        sources(whole, volume, &path, errors);
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else {
            invalid_each(&path.child("name"), name, names::label_1123(name), errors);
        }
        if good.contains_key(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        // A volume that is wrong in itself does not take its name.
        if errors.len() == before {
            good.insert(name, volume);
        }
        let claim = text(&volume["persistentVolumeClaim"], "claimName");
        if created.contains(claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(Error::invalid(&path, claim, why));
        }
    }
    good
}

fn sources(whole: &Whole<'_>, volume: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut has_one = false;
    for (key, more_path, own_path) in SOURCES {
        let Some(source) = given(volume, key) else { continue };
        if has_one {
            let why = "may not specify more than 1 volume type";
            errors.push(Error::forbidden(&path.child(more_path), why));
        } else {
            source_of_kind(whole, (key, source), &path.child(own_path), errors);
            if key == "ephemeral" {
                claim_name(whole, volume, &path.child("name"), errors);
            }
        }
        has_one = true;
        let portal = text(source, "targetPortal");
        if key == "iscsi"
            && given(source, "initiatorName").is_some()
            && text(volume, "name").len() + 1 + portal.len() > 64
        {
            let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.push(Error::invalid(&path.child("name"), text(volume, "name"), why));
        }
    }
    if !has_one {
        errors.push(Error::required(path, "must specify a volume type"));
    }
}

fn source_of_kind(
    whole: &Whole<'_>,
    (kind, source): (&str, &Value),
    path: &Path,
    errors: &mut Vec<Error>,
) {
    match kind {
        "projected" => projected::projected(source, path, errors),
        "ephemeral" => {
            let Some(template) = given(source, "volumeClaimTemplate") else {
                errors.push(Error::required(&path.child("volumeClaimTemplate"), ""));
                return;
            };
            claim_template::template(template, &path.child("volumeClaimTemplate"), errors);
        }
        "image" => {
            if whole.is_pod() && text(source, "reference").is_empty() {
                errors.push(Error::required(&path.child("reference"), ""));
            }
            let policy = text(source, "pullPolicy");
            super::containers::pull_policy(policy, &path.child("pullPolicy"), errors);
        }
        _ => volume_sources::source(kind, source, path, errors),
    }
}

/// The claim that is made for an ephemeral volume has a good name.
fn claim_name(whole: &Whole<'_>, volume: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (pod, name) = (text(whole.metadata, "name"), text(volume, "name"));
    if pod.is_empty() || name.is_empty() {
        return;
    }
    let claim = format!("{pod}-{name}");
    for problem in names::subdomain_1123(&claim) {
        errors.push(Error::invalid(path, name, format!("PVC name {claim:?}: {problem}")));
    }
}

pub(super) fn no_backsteps(value: &str) -> Vec<String> {
    if value.split('/').any(|part| part == "..") {
        return vec!["must not contain '..'".to_owned()];
    }
    Vec::new()
}

/// A relative path that does not climb.
pub(super) fn descending_path(value: &str, path: &Path, errors: &mut Vec<Error>) {
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    invalid_each(path, value, no_backsteps(value), errors);
}

/// A descending path whose first part does not begin with two dots: those names are the kubelet's.
pub(super) fn unreserved_path(value: &str, path: &Path, errors: &mut Vec<Error>) {
    descending_path(value, path, errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(Error::invalid(path, value, "must not start with '..'"));
    }
}
