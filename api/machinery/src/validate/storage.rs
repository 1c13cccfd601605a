//! Storage classes and what CSI drivers say of themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::core::shown::Shown;
use super::core::{unchanged, volume, volume_sources};
use super::{invalid_each, items, names, not_negative, one_of, selectors, text};
use crate::field::{Error, ErrorKind, Path};
use crate::limits::PAIR_ERRORS_MAX;
use crate::quantity::Quantity;
use crate::{Object, ResourceInfo};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const VOLUME_ERROR_BYTES_MAX: usize = 1024;
const NODE_ID_BYTES_MAX: usize = 256;
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;
const ALLOCATABLE_SECONDS_MIN: i64 = 10;

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "StorageClass" => storage_class(object, errors),
        "VolumeAttachment" => attachment(object, errors),
        "CSIDriver" => driver(object, errors),
        "CSINode" => node(object, errors),
        "CSIStorageCapacity" => capacity(object, errors),
        "VolumeAttributesClass" => attributes_class(object, errors),
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    if info.kind == "VolumeAttributesClass" {
        for field in ["driverName", "parameters"] {
            if new.at(&[field]) != old.at(&[field]) {
                let why = format!("updates to {field} are forbidden.");
                errors.push(Error::forbidden(&Path::new(field), why));
            }
        }
    }
    create(info, new, errors);
    match info.kind {
        "StorageClass" => {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                unchanged(new, old, &[field], errors);
            }
        }
        "VolumeAttachment" => attachment_update(new, old, errors),
        "CSIDriver" => {
            for (field, shown) in [
                ("attachRequired", "attachedRequired"),
                ("volumeLifecycleModes", "volumeLifecycleModes"),
            ] {
                let at = ["spec", field];
                if new.at(&at) != old.at(&at) {
                    let value = new.at(&at).cloned().unwrap_or_default();
                    let path = Path::new("spec").child(shown);
                    errors.push(Error::invalid(&path, value, "field is immutable"));
                }
            }
        }
        "CSINode" => node_update(new, old, errors),
        "CSIStorageCapacity" => {
            unchanged(new, old, &["nodeTopology"], errors);
            unchanged(new, old, &["storageClassName"], errors);
        }
        _ => {}
    }
}

pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind == "VolumeAttachment" {
        attachment(new, errors);
        attachment_update(new, old, errors);
    }
}

fn spec(object: &Object) -> &Value {
    object.at(&["spec"]).unwrap_or(&Value::Null)
}

fn provisioner(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
    } else {
        let lower = name.to_lowercase();
        invalid_each(path, &lower, names::qualified_name(&lower), errors);
    }
}

fn parameters(object: &Object, may_be_empty: bool, errors: &mut Vec<Error>) {
    let path = Path::new("parameters");
    let map = object.at(&["parameters"]).and_then(Value::as_object);
    let count = map.map_or(0, serde_json::Map::len);
    if count > PARAMETERS_MAX {
        errors.push(Error::too_long(&path, PARAMETERS_MAX));
        return;
    }
    let mut total = 0;
    for (key, value) in map.into_iter().flatten() {
        if key.is_empty() {
            errors.push(Error::invalid(&path, "", "field can not be empty."));
        }
        total += key.len() + value.as_str().unwrap_or("").len();
    }
    if total > PARAMETERS_BYTES_MAX {
        errors.push(Error::too_long(&path, PARAMETERS_BYTES_MAX));
    }
    if !may_be_empty && count == 0 {
        errors.push(Error::required(&path, "must contain at least one key/value pair"));
    }
}

fn storage_class(object: &Object, errors: &mut Vec<Error>) {
    provisioner(object.text(&["provisioner"]), &Path::new("provisioner"), errors);
    parameters(object, true, errors);
    let policy = object.text(&["reclaimPolicy"]);
    one_of(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"], false, errors);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    let path = Path::new("volumeBindingMode");
    match object.at(&["volumeBindingMode"]).and_then(Value::as_str) {
        None => errors.push(Error::required(&path, "")),
        Some(mode) if !modes.contains(&mode) => {
            errors.push(Error::not_supported(&path, mode, &modes));
        }
        Some(_) => {}
    }
    topologies(object, errors);
}

fn topologies(object: &Object, errors: &mut Vec<Error>) {
    let terms = object.at(&["allowedTopologies"]).and_then(Value::as_array);
    let terms: &[Value] = terms.map_or(&[], Vec::as_slice);
    // Upstream compares with as many empty terms as there are terms, besides those before.
    let mut seen: BTreeMap<BTreeMap<&str, BTreeSet<&str>>, usize> = BTreeMap::new();
    seen.insert(BTreeMap::new(), terms.len());
    let mut told = 0;
    for (index, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies").index(index).child("matchLabelExpressions");
        let mut this = BTreeMap::new();
        for (index, one) in items(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(index);
            let (key, values) = (text(one, "key"), items(one, "values"));
            if values.is_empty() {
                errors.push(Error::required(&path.child("values"), ""));
            }
            let mut set = BTreeSet::new();
            for (index, value) in values.iter().enumerate() {
                let value = value.as_str().unwrap_or("");
                if !set.insert(value) {
                    errors.push(Error::duplicate(&path.child("values").index(index), value));
                }
            }
            invalid_each(&path.child("key"), key, names::qualified_name(key), errors);
            if this.insert(key, set).is_some() {
                errors.push(Error::duplicate(&path.child("key"), key));
            }
        }
        let known = seen.entry(this).or_default();
        // One more for each that is the same: their number is the square of the terms'.
        for _ in 0..(*known).min(PAIR_ERRORS_MAX.saturating_sub(told)) {
            errors.push(Error::duplicate(&path, ""));
            told += 1;
        }
        *known += 1;
    }
}

fn attachment(object: &Object, errors: &mut Vec<Error>) {
    let spec = spec(object);
    let path = Path::new("spec");
    volume_sources::driver_name(text(spec, "attacher"), &path.child("attacher"), errors);
    let (source, source_path) = (&spec["source"], path.child("source"));
    let name = source["persistentVolumeName"].as_str();
    let inline = &source["inlineVolumeSpec"];
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match name {
        None if inline.is_null() => errors.push(Error::required(&source_path, why)),
        Some(_) if !inline.is_null() => errors.push(Error::forbidden(&source_path, why)),
        Some("") => {
            let why = "must specify non empty persistentVolumeName";
            errors.push(Error::required(&source_path.child("persistentVolumeName"), why));
        }
        Some(_) => {}
        None => {
            volume::volume_spec(inline, None, &source_path.child("inlineVolumeSpec"), errors);
        }
    }
    let node = text(spec, "nodeName");
    invalid_each(&path.child("nodeName"), node, names::subdomain_1123(node), errors);
    attachment_status(object.at(&["status"]).unwrap_or(&Value::Null), errors);
    if let Some(name) = name {
        let path = source_path.child("persistentVolumeName");
        invalid_each(&path, name, names::subdomain_1123(name), errors);
    }
}

fn attachment_status(status: &Value, errors: &mut Vec<Error>) {
    let path = Path::new("status");
    let metadata = status["attachmentMetadata"].as_object().into_iter().flatten();
    let total: usize =
        metadata.map(|(key, value)| key.len() + value.as_str().unwrap_or("").len()).sum();
    if total > PARAMETERS_BYTES_MAX {
        errors.push(Error::too_long(&path.child("attachmentMetadata"), PARAMETERS_BYTES_MAX));
    }
    for field in ["attachError", "detachError"] {
        let (path, error) = (path.child(field), &status[field]);
        if text(error, "message").len() > VOLUME_ERROR_BYTES_MAX {
            // Upstream names the limit of the metadata here.
            errors.push(Error::too_long(&path.child("message"), PARAMETERS_BYTES_MAX));
        }
        if let Some(code) = error["errorCode"].as_i64().filter(|code| *code < 0) {
            let why = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(Error::invalid(&path.child("errorCode"), code, why));
        }
    }
}

fn attachment_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let now = spec(new);
    if now == spec(old) {
        return;
    }
    let names = [
        ("PersistentVolumeName", "persistentVolumeName"),
        ("InlineVolumeSpec", "inlineVolumeSpec"),
    ];
    let shown = Shown::Fields(vec![
        ("Attacher", json!(text(now, "attacher")).into()),
        ("Source", Shown::members(&now["source"], &names)),
        ("NodeName", json!(text(now, "nodeName")).into()),
    ]);
    errors.push(shown.error(ErrorKind::Invalid, &Path::new("spec"), "field is immutable"));
}

fn driver(object: &Object, errors: &mut Vec<Error>) {
    let spec = spec(object);
    let path = Path::new("spec");
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if spec[field].is_null() {
            errors.push(Error::required(&path.child(shown), ""));
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    if let Some(policy) = spec["fsGroupPolicy"].as_str()
        && !policies.contains(&policy)
    {
        errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, &policies));
    }
    token_requests(spec, &path.child("tokenRequests"), errors);
    for mode in items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        let modes = ["Persistent", "Ephemeral"];
        if !modes.contains(&mode) {
            errors.push(Error::not_supported(&path.child("volumeLifecycleModes"), mode, &modes));
        }
    }
    if spec["seLinuxMount"].is_null() {
        errors.push(Error::required(&path.child("seLinuxMount"), ""));
    }
    let field = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = spec[field].as_i64().filter(|value| *value < ALLOCATABLE_SECONDS_MIN) {
        let why = "must be greater than or equal to 10 seconds";
        errors.push(Error::invalid(&path.child(field), seconds, why));
    }
    let field = "serviceAccountTokenInSecrets";
    if !spec[field].is_null() && items(spec, "tokenRequests").is_empty() {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(Error::invalid(&path.child(field), spec[field].clone(), why));
    }
}

fn token_requests(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (index, request) in items(spec, "tokenRequests").iter().enumerate() {
        let path = path.index(index);
        let audience = text(request, "audience");
        if seen.contains(&audience) {
            errors.push(Error::duplicate(&path.child("audience"), audience));
            continue;
        }
        seen.insert(audience);
        let Some(seconds) = request["expirationSeconds"].as_i64() else { continue };
        let why = match seconds {
            seconds if seconds < *TOKEN_SECONDS.start() => {
                "may not specify a duration less than 10 minutes"
            }
            seconds if seconds > *TOKEN_SECONDS.end() => {
                "may not specify a duration larger than 2^32 seconds"
            }
            _ => continue,
        };
        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, why));
    }
}

fn node(object: &Object, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (index, driver) in items(spec(object), "drivers").iter().enumerate() {
        let path = Path::new("spec").child("drivers").index(index);
        let (name, id) = (text(driver, "name"), text(driver, "nodeID"));
        volume_sources::driver_name(name, &path.child("name"), errors);
        if id.is_empty() {
            errors.push(Error::required(&path.child("nodeID"), ""));
        }
        if id.len() > NODE_ID_BYTES_MAX {
            let why = format!("must be {NODE_ID_BYTES_MAX} characters or less");
            errors.push(Error::invalid(&path.child("nodeID"), id, why));
        }
        let count = path.child("allocatable").child("count");
        not_negative(&count, &driver["allocatable"]["count"], errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        seen.insert(name);
        let mut keys = HashSet::new();
        for key in items(driver, "topologyKeys") {
            let key = key.as_str().unwrap_or("");
            if key.is_empty() {
                errors.push(Error::required(&path, ""));
            }
            if keys.contains(&key) {
                errors.push(Error::duplicate(&path, key));
            }
            keys.insert(key);
            invalid_each(&path, key, names::qualified_name(key), errors);
        }
    }
}

/// A driver of a node stays as it is, but for how much it can take.
fn node_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let differs = |driver: &Value| format!("{} {}", driver["nodeID"], driver["topologyKeys"]);
    // Drivers of one name that are the same are told once: a second one is refused anyway.
    let mut by_name: HashMap<&str, BTreeMap<String, &Value>> = HashMap::new();
    for now in items(spec(new), "drivers") {
        by_name.entry(text(now, "name")).or_default().entry(differs(now)).or_insert(now);
    }
    let (mut seen, mut told) = (HashSet::new(), 0);
    for before in items(spec(old), "drivers") {
        let (name, was) = (text(before, "name"), differs(before));
        if !seen.insert((name, was.clone())) {
            continue;
        }
        for (_, now) in by_name.get(name).into_iter().flatten().filter(|(is, _)| **is != was) {
            told += 1;
            if told > PAIR_ERRORS_MAX {
                return;
            }
            let shown = Shown::Fields(vec![
                ("Name", now["name"].clone().into()),
                ("NodeID", now["nodeID"].clone().into()),
                ("TopologyKeys", now["topologyKeys"].clone().into()),
                ("Allocatable", Value::Null.into()),
            ]);
            let path = Path::new("spec").child("drivers");
            errors.push(shown.error(ErrorKind::Invalid, &path, "field is immutable"));
        }
    }
}

fn capacity(object: &Object, errors: &mut Vec<Error>) {
    let topology = object.at(&["nodeTopology"]).unwrap_or(&Value::Null);
    selectors::label_selector(topology, &Path::new("nodeTopology"), errors);
    let class = object.text(&["storageClassName"]);
    invalid_each(&Path::new("storageClassName"), class, names::subdomain_1123(class), errors);
    let capacity = object.text(&["capacity"]).parse::<Quantity>();
    if let Some(capacity) = capacity.ok().filter(Quantity::is_negative) {
        let path = Path::new("capacity");
        errors.push(Error::invalid(&path, capacity.to_string(), super::NOT_NEGATIVE));
    }
}

fn attributes_class(object: &Object, errors: &mut Vec<Error>) {
    provisioner(object.text(&["driverName"]), &Path::new("driverName"), errors);
    parameters(object, false, errors);
}
