//! What a claim got: the allocation, its users and the state of its devices.

use serde_json::{Value, json};

use super::{IMMUTABLE, at_most, claims, devices, formats, no_repeats, shapes};
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::{conditions, go_shape, items, one_of, selectors, text};

const USERS_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONDITIONS_MAX: usize = 8;
const DATA_BYTES_MAX: usize = 10 * 1024;
const INTERFACE_BYTES_MAX: usize = 256;
const HARDWARE_BYTES_MAX: usize = 128;
const ADDRESSES_MAX: usize = 16;

pub(super) fn status(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let is_going = new.deletion_timestamp().is_some();
    let claim = &new.at(&["spec"]).unwrap_or(&Value::Null)["devices"];
    let [new, old] = [new, old].map(|object| object.at(&["status"]).unwrap_or(&Value::Null));
    let (path, allocation) = (Path::new("status"), &new["allocation"]);
    let users = at_most(new, ("reservedFor", USERS_MAX), &path, errors);
    for (path, user) in &users {
        for key in ["resource", "name", "uid"] {
            if text(user, key).is_empty() {
                errors.push(Error::required(&path.child(key), ""));
            }
        }
    }
    no_repeats(&users, |user| text(user, "uid").into(), errors);
    let list = at_most(new, ("devices", usize::MAX), &path, errors);
    for (path, device) in &list {
        device_status(device, allocation, path, errors);
    }
    no_repeats(&list, id, errors);
    let (users, users_path) = (items(new, "reservedFor"), path.child("reservedFor"));
    if !users.is_empty() && allocation.is_null() {
        let why = "may not be specified when `allocated` is not set";
        errors.push(Error::forbidden(&users_path, why));
    } else if is_going && users.iter().any(|one| !items(old, "reservedFor").contains(one)) {
        let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(Error::forbidden(&users_path, why));
    }
    let path = path.child("allocation");
    if allocation.is_null() {
        return;
    }
    if old["allocation"].is_null() {
        result(allocation, claim, &path, errors);
    } else if old["allocation"] != *allocation {
        errors.push(go_shape::invalid(&path, allocation, &shapes::ALLOCATION, IMMUTABLE));
    }
}

/// A device and its share, as upstream writes it.
fn id(device: &Value) -> Value {
    json!({"Device": text(device, "device"), "Driver": text(device, "driver"),
        "Pool": text(device, "pool"), "ShareID": text(device, "shareID")})
}

fn device_status(device: &Value, allocation: &Value, path: &Path, errors: &mut Vec<Error>) {
    formats::driver(text(device, "driver"), &path.child("driver"), errors);
    formats::pool(text(device, "pool"), &path.child("pool"), errors);
    formats::label(text(device, "device"), &path.child("device"), errors);
    if let Some(share) = device["shareID"].as_str() {
        formats::uid(share, &path.child("shareID"), errors);
    }
    let results = items(&allocation["devices"], "results");
    if !results.iter().any(|result| id(result) == id(device)) {
        let why = "must be an allocated device in the claim";
        errors.push(go_shape::invalid(path, &id(device), &shapes::DEVICE_ID, why));
    }
    let (list, list_path) = (items(device, "conditions"), path.child("conditions"));
    if list.len() > CONDITIONS_MAX {
        errors.push(Error::too_many(&list_path, list.len(), CONDITIONS_MAX));
    }
    conditions::each(list, &list_path, errors);
    claims::json_object(&device["data"], DATA_BYTES_MAX, &path.child("data"), errors);
    network(&device["networkData"], &path.child("networkData"), errors);
}

fn network(data: &Value, path: &Path, errors: &mut Vec<Error>) {
    for (key, max) in
        [("interfaceName", INTERFACE_BYTES_MAX), ("hardwareAddress", HARDWARE_BYTES_MAX)]
    {
        if text(data, key).len() > max {
            errors.push(Error::too_long(&path.child(key), max));
        }
    }
    let list = at_most(data, ("ips", ADDRESSES_MAX), path, errors);
    for (path, one) in &list {
        let address = one.as_str().unwrap_or("");
        if let Some(why) = problem_of_address(address) {
            errors.push(Error::invalid(path, address, why));
        }
    }
    no_repeats(&list, Value::clone, errors);
}

/// An address with the length of its network's prefix.
fn problem_of_address(text: &str) -> Option<String> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: std::net::IpAddr = address.parse().ok()?;
        let bits: u8 = length.parse().ok()?;
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
    });
    let Some((address, bits)) = parsed else {
        let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return Some(why.to_owned());
    };
    let canonical = format!("{address}/{bits}");
    (canonical != text).then(|| format!("must be in canonical form ({canonical:?})"))
}

fn result(allocation: &Value, claim: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (devices, devices_path) = (&allocation["devices"], path.child("devices"));
    for (path, one) in at_most(devices, ("results", RESULTS_MAX), &devices_path, errors) {
        claims::reference(text(one, "request"), claim, &path.child("request"), errors);
        formats::driver(text(one, "driver"), &path.child("driver"), errors);
        formats::pool(text(one, "pool"), &path.child("pool"), errors);
        formats::label(text(one, "device"), &path.child("device"), errors);
        devices::binding_conditions(one, &path, errors);
        if let Some(share) = one["shareID"].as_str() {
            formats::uid(share, &path.child("shareID"), errors);
        }
    }
    // Those of the class and those of the claim.
    let max = 2 * claims::CONFIGS_MAX;
    for (path, one) in at_most(devices, ("config", max), &devices_path, errors) {
        let sources = ["FromClaim", "FromClass"];
        one_of(&path.child("source"), text(one, "source"), &sources, true, errors);
        claims::references(one, claim, &path, errors);
        claims::opaque(one, false, &path, errors);
    }
    if !allocation["nodeSelector"].is_null() {
        selectors::nodes(&allocation["nodeSelector"], &path.child("nodeSelector"), errors);
    }
}
