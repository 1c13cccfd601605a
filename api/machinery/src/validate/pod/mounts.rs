//! Where a container sees its volumes.

use std::collections::HashSet;

use serde_json::Value;

use super::restart::supported;
use super::volumes::descending_path;
use super::{Whole, given, items, text};
use crate::field::{Error, Path};

fn texts_of<'a>(list: &'a [Value], key: &str) -> HashSet<&'a str> {
    list.iter().map(|one| text(one, key)).collect()
}

pub(super) fn mounts(whole: &Whole<'_>, one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let devices = texts_of(items(one, "volumeDevices"), "name");
    let device_paths = texts_of(items(one, "volumeDevices"), "devicePath");
    let mut seen = HashSet::new();
    for (index, mount) in items(one, "volumeMounts").iter().enumerate() {
        let list_path = path;
        let path = list_path.index(index);
        let (name, at) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        if whole.volume(name).is_none() {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        if at.is_empty() {
            errors.push(Error::required(&path.child("mountPath"), ""));
        }
        if seen.contains(&at) {
            errors.push(Error::invalid(&path.child("mountPath"), at, "must be unique"));
        }
        seen.insert(at);
        if devices.contains(name) {
            let why = "must not already exist in volumeDevices";
            errors.push(Error::invalid(&path.child("name"), name, why));
        }
        if device_paths.contains(at) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(Error::invalid(&path.child("mountPath"), at, why));
        }
        // The rest is told at the list, as upstream does.
        let (sub_path, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub_path.is_empty() {
            descending_path(sub_path, &list_path.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                errors.push(Error::invalid(&path.child("subPathExpr"), expression, why));
            }
            descending_path(expression, &list_path.child("subPathExpr"), errors);
        }
        propagation(one, mount, &list_path.child("mountPropagation"), errors);
        recursive_read_only(mount, &list_path.child("recursiveReadOnly"), errors);
    }
}

fn propagation(one: &Value, mount: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(mode) = mount["mountPropagation"].as_str() else { return };
    supported(path, mode, &["Bidirectional", "HostToContainer", "None"], errors);
    if mode == "Bidirectional" && one["securityContext"]["privileged"] != true {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(Error::forbidden(path, why));
    }
}

fn recursive_read_only(mount: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(mode) = mount["recursiveReadOnly"].as_str() else { return };
    supported(path, mode, &["Disabled", "Enabled", "IfPossible"], errors);
    if !matches!(mode, "Enabled" | "IfPossible") {
        return;
    }
    if mount["readOnly"] != true {
        errors.push(Error::forbidden(path, "may only be specified when readOnly is true"));
    }
    if given(mount, "mountPropagation").is_some_and(|mode| mode != "None") {
        let why = "may only be specified when mountPropagation is None or not specified";
        errors.push(Error::forbidden(path, why));
    }
}

pub(super) fn devices(whole: &Whole<'_>, one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mounts = texts_of(items(one, "volumeMounts"), "name");
    let mount_paths = texts_of(items(one, "volumeMounts"), "mountPath");
    let (mut seen_names, mut seen_paths) = (HashSet::new(), HashSet::new());
    for (index, device) in items(one, "volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (name, at) = (text(device, "name"), text(device, "devicePath"));
        let (name_path, at_path) = (path.child("name"), path.child("devicePath"));
        if name.is_empty() {
            errors.push(Error::required(&name_path, ""));
        }
        if seen_names.contains(&name) {
            errors.push(Error::invalid(&name_path, name, "must be unique"));
        }
        match whole.volume(name) {
            None => errors.push(Error::not_found(&name_path, name)),
            Some(volume) => {
                let is_claim = ["persistentVolumeClaim", "ephemeral"]
                    .iter()
                    .any(|source| given(volume, source).is_some());
                if !is_claim {
                    let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.push(Error::invalid(&name_path, name, why));
                }
            }
        }
        if at.is_empty() {
            errors.push(Error::required(&at_path, ""));
        }
        if seen_paths.contains(&at) {
            errors.push(Error::invalid(&at_path, at, "must be unique"));
        }
        if at.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&at_path, at, "can not contain backsteps ('..')"));
        } else {
            seen_paths.insert(at);
        }
        if mounts.contains(name) {
            let why = "must not already exist in volumeMounts";
            errors.push(Error::invalid(&name_path, name, why));
        }
        if mount_paths.contains(at) {
            let why = "must not already exist as a path in volumeMounts";
            errors.push(Error::invalid(&at_path, at, why));
        }
        if !name.is_empty() {
            seen_names.insert(name);
        }
    }
}
