//! The sources of volumes that need little to be right.

use serde_json::Value;

use super::restart::supported;
use super::volumes::{descending_path, no_backsteps, unreserved_path};
use super::{environment, given, invalid_each, items, names, number, text};
use crate::field::{Error, Path};

/// Every source in the order upstream looks at them; where one too many is told; and where what is
/// wrong in it is told.
pub(super) const SOURCES: [(&str, &str, &str); 30] = [
    ("emptyDir", "emptyDir", "emptyDir"),
    ("hostPath", "hostPath", "hostPath"),
    ("gitRepo", "gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret", "secret"),
    ("nfs", "nfs", "nfs"),
    ("iscsi", "iscsi", "iscsi"),
    ("glusterfs", "glusterfs", "glusterfs"),
    ("flocker", "flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd", "rbd"),
    ("cinder", "cinder", "cinder"),
    ("cephfs", "cephFS", "cephfs"),
    ("quobyte", "quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI", "downwardAPI"),
    ("fc", "fc", "fc"),
    ("flexVolume", "flexVolume", "flexVolume"),
    ("configMap", "configMap", "configMap"),
    ("azureFile", "azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk", "azureDisk"),
    ("storageos", "storageos", "storageos"),
    ("projected", "projected", "projected"),
    ("scaleIO", "scaleIO", "scaleIO"),
    ("csi", "csi", "csi"),
    ("ephemeral", "ephemeral", "ephemeral"),
    ("image", "image", "image"),
];

/// The fields that a source must have.
const NEEDED: [(&str, &[&str]); 19] = [
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("secret", &["secretName"]),
    ("nfs", &["server", "path"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("flexVolume", &["driver"]),
    ("configMap", &["name"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &["volumeName"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
];

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    }
}

pub(super) fn source(kind: &str, source: &Value, path: &Path, errors: &mut Vec<Error>) {
    let needed = NEEDED.iter().find(|(known, _)| *known == kind).map_or(&[][..], |found| found.1);
    for field in needed {
        if is_empty(&source[field]) {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    match kind {
        "emptyDir" => {
            let limit = super::container_resources::read(&source["sizeLimit"]);
            if limit.is_some_and(|limit| limit.is_negative()) {
                let why = "SizeLimit field must be a valid resource quantity";
                errors.push(Error::forbidden(&path.child("sizeLimit"), why));
            }
        }
        "hostPath" => host_path(source, path, errors),
        "gitRepo" => {
            descending_path(text(source, "directory"), &path.child("directory"), errors);
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            in_range(source, "partition", "must be between 1 and 255, inclusive", path, errors);
        }
        "secret" | "configMap" => {
            mode(source, "defaultMode", path, errors);
            for (index, item) in items(source, "items").iter().enumerate() {
                key_to_path(item, &path.child("items").index(index), errors);
            }
        }
        "nfs" if !text(source, "path").starts_with('/') => {
            let why = "must be an absolute path";
            errors.push(Error::invalid(&path.child("path"), text(source, "path"), why));
        }
        "iscsi" => iscsi(source, path, errors),
        "flocker" => flocker(source, path, errors),
        "cinder" => secret_name(source, "secretRef", path, errors),
        "quobyte" => quobyte(source, path, errors),
        "downwardAPI" => {
            mode(source, "defaultMode", path, errors);
            for file in items(source, "items") {
                downward_file(file, path, errors);
            }
        }
        "fc" => fibre_channel(source, path, errors),
        "flexVolume" => flex_options(source, path, errors),
        "azureDisk" => azure_disk(source, path, errors),
        "storageos" => {
            super::named(source, path, ("volumeName", names::label_1123), errors);
            super::named(source, path, ("volumeNamespace", names::label_1123), errors);
            secret_name(source, "secretRef", path, errors);
        }
        "csi" => csi(source, path, errors),
        _ => {}
    }
}

fn secret_name(source: &Value, field: &str, path: &Path, errors: &mut Vec<Error>) {
    if given(source, field).is_some_and(|secret| text(secret, "name").is_empty()) {
        errors.push(Error::required(&path.child(field).child("name"), ""));
    }
}

/// A number from 0 to 255, said in the words given.
fn in_range(source: &Value, field: &str, why: &str, path: &Path, errors: &mut Vec<Error>) {
    let value = number(source, field);
    if !(0..=255).contains(&value) {
        errors.push(Error::invalid(&path.child(field), value, why));
    }
}

const UNIT_NUMBER: &str = "must be between 0 and 255, inclusive";

/// The permissions of a file.
pub(super) fn mode(source: &Value, field: &str, path: &Path, errors: &mut Vec<Error>) {
    if let Some(mode) = source[field].as_i64().filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(Error::invalid(&path.child(field), mode, why));
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    let at = text(source, "path");
    if at.is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
        return;
    }
    invalid_each(&path.child("path"), at, no_backsteps(at), errors);
    if let Some(kind) = source["type"].as_str() {
        let kinds = [
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ];
        supported(&path.child("type"), kind, &kinds, errors);
    }
}

pub(super) fn key_to_path(item: &Value, path: &Path, errors: &mut Vec<Error>) {
    for field in ["key", "path"] {
        if text(item, field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    unreserved_path(text(item, "path"), &path.child("path"), errors);
    mode(item, "mode", path, errors);
}

const DOWNWARD_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

pub(super) fn downward_file(file: &Value, path: &Path, errors: &mut Vec<Error>) {
    if text(file, "path").is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
    }
    unreserved_path(text(file, "path"), &path.child("path"), errors);
    let resource = given(file, "resourceFieldRef");
    if let Some(field) = given(file, "fieldRef") {
        environment::field_ref(field, &DOWNWARD_FIELDS, &path.child("fieldRef"), errors);
        if resource.is_some() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(Error::invalid(path, "resource", why));
        }
    } else if let Some(resource) = resource {
        let path = path.child("resourceFieldRef");
        environment::resource_field_ref(resource, true, &path, errors);
    } else {
        errors.push(Error::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    mode(file, "mode", path, errors);
}

/// Whether the name of an initiator is one, by its kind.
fn is_initiator(name: &str) -> Option<bool> {
    let (kind, rest) = name.split_at_checked(3)?;
    let is_alphanumeric = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric());
    match kind {
        "iqn" => Some(names::is_iscsi_qualified(name)),
        // One letter of any kind stands between.
        "eui" => Some(rest.len() == 17 && rest.get(1..).is_some_and(is_alphanumeric)),
        "naa" => Some(rest.len() == 33 && rest.get(1..).is_some_and(is_alphanumeric)),
        _ => None,
    }
}

fn initiator(name: &str, path: &Path, errors: &mut Vec<Error>) {
    match is_initiator(name) {
        None => {
            let why = "must be valid format starting with iqn, eui, or naa";
            errors.push(Error::invalid(path, name, why));
        }
        Some(false) => errors.push(Error::invalid(path, name, "must be valid format")),
        Some(true) => {}
    }
}

fn iscsi(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    if text(source, "targetPortal").is_empty() {
        errors.push(Error::required(&path.child("targetPortal"), ""));
    }
    if text(source, "iqn").is_empty() {
        errors.push(Error::required(&path.child("iqn"), ""));
    } else {
        initiator(text(source, "iqn"), &path.child("iqn"), errors);
    }
    in_range(source, "lun", UNIT_NUMBER, path, errors);
    let needs_secret = source["chapAuthDiscovery"] == true || source["chapAuthSession"] == true;
    if needs_secret && given(source, "secretRef").is_none() {
        errors.push(Error::required(&path.child("secretRef"), ""));
    }
    if let Some(name) = source["initiatorName"].as_str() {
        initiator(name, &path.child("initiatorname"), errors);
    }
}

fn flocker(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        let why = "one of datasetName and datasetUUID is required";
        errors.push(Error::required(path, why));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(Error::invalid(path, "resource", why));
    }
    if name.contains('/') {
        errors.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

const TENANT_BYTES_MAX: usize = 64;

fn quobyte(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    let registry = text(source, "registry");
    let why = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.push(Error::required(&path.child("registry"), why));
    } else if text(source, "tenant").len() > TENANT_BYTES_MAX {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(Error::required(&path.child("tenant"), why));
    } else {
        for _ in registry.split(',').filter(|pair| !names::is_host_and_port(pair)) {
            errors.push(Error::invalid(&path.child("registry"), registry, why));
        }
    }
    if text(source, "volume").is_empty() {
        errors.push(Error::required(&path.child("volume"), ""));
    }
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (targets, wwids) = (items(source, "targetWWNs"), items(source, "wwids"));
    let targets_path = path.child("targetWWNs");
    if targets.is_empty() && wwids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(Error::required(&targets_path, why));
    }
    if !targets.is_empty() && !wwids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&targets_path, targets.to_vec(), why));
    }
    if !targets.is_empty() && given(source, "lun").is_none() {
        let why = "lun is required if targetWWNs is specified";
        errors.push(Error::required(&path.child("lun"), why));
    } else if !targets.is_empty() {
        in_range(source, "lun", UNIT_NUMBER, path, errors);
    }
}

fn flex_options(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    for key in source["options"].as_object().into_iter().flat_map(|map| map.keys()) {
        let namespace = key.split_once('/').map_or(key.as_str(), |(namespace, _)| namespace);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(Error::invalid(&path.child("options").key(key), key.as_str(), why));
        }
    }
}

fn azure_disk(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    if let Some(mode) = source["cachingMode"].as_str() {
        let modes = ["None", "ReadOnly", "ReadWrite"];
        supported(&path.child("cachingMode"), mode, &modes, errors);
    }
    let Some(kind) = source["kind"].as_str() else { return };
    supported(&path.child("kind"), kind, &["Dedicated", "Managed", "Shared"], errors);
    let (start, shape) = if kind == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        )
    };
    let uri = text(source, "diskURI");
    if !uri.starts_with(start) {
        errors.push(Error::not_supported(&path.child("diskURI"), uri, &[shape]));
    }
}

const DRIVER_BYTES_MAX: usize = 63;

fn csi(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    let driver = text(source, "driver");
    let driver_path = path.child("driver");
    if driver.is_empty() {
        errors.push(Error::required(&driver_path, ""));
    } else {
        if driver.len() > DRIVER_BYTES_MAX {
            errors.push(Error::too_long(&driver_path, DRIVER_BYTES_MAX));
        }
        let problems = names::subdomain_1123(&driver.to_lowercase());
        invalid_each(&driver_path, driver, problems, errors);
    }
    secret_name(source, "nodePublishSecretRef", path, errors);
    let secret = text(&source["nodePublishSecretRef"], "name");
    if !secret.is_empty() {
        invalid_each(&path.child("name"), secret, names::subdomain_1123(secret), errors);
    }
}
