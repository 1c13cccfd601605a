//! Where the bytes of a PersistentVolume are.

use serde_json::Value;

use super::shown::{self, Shown};
use crate::field::{Error, Path};
use crate::validate::{invalid_each, items, names, text};

type Check = fn(&Value, &str, &Path, &mut Vec<Error>);

/// Sources that know mount options.
pub(super) const WITH_MOUNT_OPTIONS: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

/// (field, its name as a second source, its name in refusals, check), in upstream's order.
const SOURCES: [(&str, &str, &str, Check); 22] = [
    ("hostPath", "hostPath", "hostPath", host_path),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", gce_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", aws_disk),
    ("glusterfs", "glusterfs", "glusterfs", glusterfs),
    ("flocker", "flocker", "flocker", flocker),
    ("nfs", "nfs", "nfs", nfs),
    ("rbd", "rbd", "rbd", rbd),
    ("quobyte", "quobyte", "quobyte", quobyte),
    ("cephfs", "cephFS", "cephfs", cephfs),
    ("iscsi", "iscsi", "iscsi", iscsi),
    ("cinder", "cinder", "cinder", cinder),
    ("fc", "fc", "fc", fibre_channel),
    ("flexVolume", "", "flexVolume", flex),
    ("azureFile", "azureFile", "azureFile", azure_file),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", vsphere),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", photon),
    ("portworxVolume", "portworxVolume", "portworxVolume", portworx),
    ("azureDisk", "azureDisk", "azureDisk", azure_disk),
    ("scaleIO", "scaleIO", "scaleIO", scale_io),
    ("local", "local", "local", local),
    ("storageos", "storageos", "storageos", storage_os),
    ("csi", "csi", "csi", csi),
];

/// Exactly one source must be given, and be right.
pub(super) fn sources(spec: &Value, volume: &str, path: &Path, errors: &mut Vec<Error>) {
    let mut count = 0;
    for (field, second, shown, check) in SOURCES {
        let source = &spec[field];
        if source.is_null() {
            continue;
        }
        if count > 0 && !second.is_empty() {
            let why = "may not specify more than 1 volume type";
            errors.push(Error::forbidden(&path.child(second), why));
            continue;
        }
        count += 1;
        check(source, volume, &path.child(shown), errors);
        if field == "local" && spec["nodeAffinity"].is_null() {
            let why = "Local volume requires node affinity";
            errors.push(Error::required(&path.child("nodeAffinity"), why));
        }
    }
    if count == 0 {
        errors.push(Error::required(path, "must specify a volume type"));
    }
}

/// A text that must be there, for each name.
fn required(source: &Value, fields: &[&str], path: &Path, errors: &mut Vec<Error>) {
    for field in fields {
        if text(source, field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
}

fn no_backsteps(value: &str, path: &Path, errors: &mut Vec<Error>) {
    if value.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

fn host_path(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    let value = text(source, "path");
    if value.is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
        return;
    }
    no_backsteps(value, &path.child("path"), errors);
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
    if let Some(kind) = source["type"].as_str()
        && !kinds.contains(&kind)
    {
        errors.push(Error::not_supported(&path.child("type"), kind, &kinds));
    }
}

fn partition(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    let number = source["partition"].as_i64().unwrap_or(0);
    if !(0..=255).contains(&number) {
        let why = "must be between 1 and 255, inclusive";
        errors.push(Error::invalid(&path.child("partition"), number, why));
    }
}

fn gce_disk(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["pdName"], path, errors);
    partition(source, path, errors);
}

fn aws_disk(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["volumeID"], path, errors);
    partition(source, path, errors);
}

fn glusterfs(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["endpoints", "path"], path, errors);
    let Some(namespace) = source["endpointsNamespace"].as_str() else { return };
    let path = path.child("endpointsNamespace");
    if namespace.is_empty() {
        let why = "if the endpointnamespace is set, it must be a valid namespace name";
        errors.push(Error::invalid(&path, "", why));
    } else {
        invalid_each(&path, namespace, names::label_1123(namespace), errors);
    }
}

fn flocker(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && id.is_empty() {
        errors.push(Error::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(Error::invalid(path, "resource", why));
    }
    if name.contains('/') {
        errors.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

fn nfs(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["server", "path"], path, errors);
    let directory = text(source, "path");
    if !directory.starts_with('/') {
        let why = "must be an absolute path";
        errors.push(Error::invalid(&path.child("path"), directory, why));
    }
}

fn monitors(source: &Value, path: &Path, errors: &mut Vec<Error>) {
    if items(source, "monitors").is_empty() {
        errors.push(Error::required(&path.child("monitors"), ""));
    }
}

fn rbd(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    monitors(source, path, errors);
    required(source, &["image"], path, errors);
}

fn cephfs(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    monitors(source, path, errors);
}

fn quobyte(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    let registry = text(source, "registry");
    let why = "must be a host:port pair or multiple pairs separated by commas";
    let registry_path = path.child("registry");
    if registry.is_empty() {
        errors.push(Error::required(&registry_path, why));
    } else if text(source, "tenant").len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(Error::required(&path.child("tenant"), why));
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.push(Error::invalid(&registry_path, registry, why));
        }
    }
    required(source, &["volume"], path, errors);
}

/// `host:port` or `[host]:port`, either part possibly empty.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_plain = |text: &str| !text.contains(['[', ']']);
    let fits = match inside {
        Some(host) => is_plain(host),
        None => is_plain(host) && !host.contains(':'),
    };
    fits && is_plain(port)
}

fn is_iscsi_name(name: &str) -> bool {
    let numbered = |prefix: &str, count: usize| {
        name.len() == 4 + count
            && name.starts_with(prefix)
            && name.bytes().skip(4).all(|letter| letter.is_ascii_alphanumeric())
    };
    let dated = || {
        let rest = name.strip_prefix("iqn.")?;
        let (date, rest) = (rest.get(..7)?, rest.get(7..)?.strip_prefix('.')?);
        let is_date = date.char_indices().all(|(index, letter)| match index {
            4 => letter == '-',
            _ => letter.is_ascii_digit(),
        });
        let (authority, unique) = rest.split_once(':')?;
        let is_authority = !authority.is_empty()
            && authority.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        let is_unique = !unique.is_empty()
            && !unique.contains(|letter: char| ",;*&$|".contains(letter) || letter.is_whitespace());
        (is_date && is_authority && is_unique).then_some(())
    };
    numbered("eui", 16) || numbered("naa", 32) || dated().is_some()
}

fn iscsi(source: &Value, volume: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["targetPortal"], path, errors);
    let portal = text(source, "targetPortal");
    let initiator = source["initiatorName"].as_str();
    if initiator.is_some() && volume.len() + 1 + portal.len() > 64 {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.push(Error::invalid(&path.child("targetportal"), portal, why));
    }
    let target = text(source, "iqn");
    if target.is_empty() {
        errors.push(Error::required(&path.child("iqn"), ""));
    } else if !is_iscsi_name(target) {
        errors.push(Error::invalid(&path.child("iqn"), target, "must be valid format"));
    }
    let unit = source["lun"].as_i64().unwrap_or(0);
    if !(0..=255).contains(&unit) {
        let why = "must be between 0 and 255, inclusive";
        errors.push(Error::invalid(&path.child("lun"), unit, why));
    }
    let secret_path = path.child("secretRef");
    let secret = &source["secretRef"];
    let needs_secret = ["chapAuthDiscovery", "chapAuthSession"];
    if needs_secret.iter().any(|field| source[field] == true) && secret.is_null() {
        errors.push(Error::required(&secret_path, ""));
    }
    if !secret.is_null() {
        required(secret, &["name"], &secret_path, errors);
    }
    if let Some(name) = initiator.filter(|name| !is_iscsi_name(name)) {
        errors.push(Error::invalid(&path.child("initiatorname"), name, "must be valid format"));
    }
}

fn cinder(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["volumeID"], path, errors);
    if !source["secretRef"].is_null() {
        required(&source["secretRef"], &["name", "namespace"], &path.child("secretRef"), errors);
    }
}

fn fibre_channel(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    let has = |field: &str| !items(source, field).is_empty();
    let names_path = path.child("targetWWNs");
    if !has("targetWWNs") && !has("wwids") {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(Error::required(&names_path, why));
    }
    if has("targetWWNs") && has("wwids") {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&names_path, source["targetWWNs"].clone(), why));
    }
    if !has("targetWWNs") {
        return;
    }
    match source["lun"].as_i64() {
        None => {
            let why = "lun is required if targetWWNs is specified";
            errors.push(Error::required(&path.child("lun"), why));
        }
        Some(unit) if !(0..=255).contains(&unit) => {
            let why = "must be between 0 and 255, inclusive";
            errors.push(Error::invalid(&path.child("lun"), unit, why));
        }
        Some(_) => {}
    }
}

fn flex(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["driver"], path, errors);
    for key in source["options"].as_object().into_iter().flat_map(|map| map.keys()) {
        let namespace = key.split('/').next().unwrap_or("").to_lowercase();
        let is_reserved = ["kubernetes.io", "k8s.io"]
            .iter()
            .any(|name| format!(".{namespace}").ends_with(&format!(".{name}")));
        if is_reserved {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(Error::invalid(&path.child("options").key(key), key.as_str(), why));
        }
    }
}

fn azure_file(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["secretName", "shareName"], path, errors);
    if source["secretNamespace"] == "" {
        errors.push(Error::required(&path.child("secretNamespace"), ""));
    }
}

fn vsphere(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["volumePath"], path, errors);
}

fn photon(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["pdID"], path, errors);
}

fn portworx(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["volumeID"], path, errors);
}

fn azure_disk(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["diskName", "diskURI"], path, errors);
    for (field, allowed) in [
        ("cachingMode", ["None", "ReadOnly", "ReadWrite"]),
        ("kind", ["Dedicated", "Managed", "Shared"]),
    ] {
        if let Some(value) = source[field].as_str()
            && !allowed.contains(&value)
        {
            errors.push(Error::not_supported(&path.child(field), value, &allowed));
        }
    }
    let (start, example) = match source["kind"].as_str() {
        None => return,
        Some("Managed") => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        Some(_) => (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        ),
    };
    let address = text(source, "diskURI");
    if !address.starts_with(start) {
        errors.push(Error::not_supported(&path.child("diskURI"), address, &[example]));
    }
}

fn scale_io(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["gateway", "system", "volumeName"], path, errors);
}

fn local(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["path"], path, errors);
    no_backsteps(text(source, "path"), &path.child("path"), errors);
}

fn storage_os(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    required(source, &["volumeName"], path, errors);
    for field in ["volumeName", "volumeNamespace"] {
        let name = text(source, field);
        if !name.is_empty() {
            invalid_each(&path.child(field), name, names::label_1123(name), errors);
        }
    }
    if !source["secretRef"].is_null() {
        required(&source["secretRef"], &["name", "namespace"], &path.child("secretRef"), errors);
    }
}

/// The name of a CSI driver: 63 bytes, any case.
pub(in crate::validate) fn driver_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > 63 {
        errors.push(Error::too_long(path, 63));
    }
    invalid_each(path, name, names::subdomain_1123(&name.to_lowercase()), errors);
}

fn csi(source: &Value, _: &str, path: &Path, errors: &mut Vec<Error>) {
    driver_name(text(source, "driver"), &path.child("driver"), errors);
    required(source, &["volumeHandle"], path, errors);
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = &source[field];
        if secret.is_null() {
            continue;
        }
        let path = path.child(field);
        for (part, rule) in [
            ("name", names::subdomain_1123 as fn(&str) -> Vec<String>),
            ("namespace", names::label_1123),
        ] {
            let value = text(secret, part);
            if value.is_empty() {
                errors.push(Error::required(&path.child(part), ""));
            } else {
                invalid_each(&path.child(part), value, rule(value), errors);
            }
        }
    }
}

/// The sources in the order in which upstream shows them, by its names for them.
const SHOWN: [(&str, &str); 22] = [
    ("GCEPersistentDisk", "gcePersistentDisk"),
    ("AWSElasticBlockStore", "awsElasticBlockStore"),
    ("HostPath", "hostPath"),
    ("Glusterfs", "glusterfs"),
    ("NFS", "nfs"),
    ("RBD", "rbd"),
    ("Quobyte", "quobyte"),
    ("ISCSI", "iscsi"),
    ("FlexVolume", "flexVolume"),
    ("Cinder", "cinder"),
    ("CephFS", "cephfs"),
    ("FC", "fc"),
    ("Flocker", "flocker"),
    ("AzureFile", "azureFile"),
    ("VsphereVolume", "vsphereVolume"),
    ("AzureDisk", "azureDisk"),
    ("PhotonPersistentDisk", "photonPersistentDisk"),
    ("PortworxVolume", "portworxVolume"),
    ("ScaleIO", "scaleIO"),
    ("Local", "local"),
    ("StorageOS", "storageos"),
    ("CSI", "csi"),
];

fn shown_source(source: &Value, field: &str) -> Shown {
    let members: &[(&str, &str)] = match field {
        _ if source.is_null() => return Value::Null.into(),
        "hostPath" => &[("Path", "path"), ("Type", "type")],
        "local" => &[("Path", "path"), ("FSType", "fsType")],
        "csi" => &[
            ("Driver", "driver"),
            ("VolumeHandle", "volumeHandle"),
            ("ReadOnly", "readOnly"),
            ("FSType", "fsType"),
            ("VolumeAttributes", "volumeAttributes"),
            ("ControllerPublishSecretRef", "controllerPublishSecretRef"),
            ("NodeStageSecretRef", "nodeStageSecretRef"),
            ("NodePublishSecretRef", "nodePublishSecretRef"),
            ("ControllerExpandSecretRef", "controllerExpandSecretRef"),
            ("NodeExpandSecretRef", "nodeExpandSecretRef"),
        ],
        _ => return source.clone().into(),
    };
    let zero = |key: &str| match (key, &source[key]) {
        ("readOnly", Value::Null) => false.into(),
        ("fsType", Value::Null) if field == "csi" => "".into(),
        (_, value) => value.clone(),
    };
    Shown::Fields(members.iter().map(|(name, key)| (*name, zero(key).into())).collect())
}

/// A volume stays where it is; only a CSI volume's missing secret for expansion may come.
pub(super) fn unchanged(new: &Value, old: &Value, errors: &mut Vec<Error>) {
    let mut new = new.clone();
    let secret = "controllerExpandSecretRef";
    if !old["csi"].is_null() && old["csi"][secret].is_null() && !new["csi"][secret].is_null() {
        new["csi"][secret] = Value::Null;
    }
    let same = |field: &str| {
        let without_nulls = |value: &Value| match value {
            Value::Object(map) => {
                let kept = map.iter().filter(|(_, value)| !value.is_null());
                kept.map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            other => other.clone(),
        };
        without_nulls(&new[field]) == without_nulls(&old[field])
    };
    if SOURCES.iter().all(|(field, ..)| same(field)) {
        return;
    }
    let all = |spec: &Value| {
        let each = SHOWN.iter().map(|(name, field)| (*name, shown_source(&spec[*field], field)));
        Shown::Fields(each.collect())
    };
    let difference = shown::difference(&all(old), &all(&new));
    let why = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
    errors.push(Error::forbidden(&Path::new("spec").child("persistentvolumesource"), why));
}
