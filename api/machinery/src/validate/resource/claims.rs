//! What a claim asks for.

use serde_json::Value;

use super::{at_most, formats, no_repeats, selection};
use crate::field::{Error, Path};
use crate::validate::{items, text};

pub(super) const REQUESTS_MAX: usize = 32;
pub(super) const CONFIGS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;

pub(super) fn name(value: &Value) -> Value {
    text(value, "name").into()
}

pub(super) fn spec(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (devices, path) = (&spec["devices"], path.child("devices"));
    let requests = at_most(devices, ("requests", REQUESTS_MAX), &path, errors);
    for (path, one) in &requests {
        request(one, path, errors);
    }
    no_repeats(&requests, name, errors);
    for (path, one) in at_most(devices, ("constraints", CONSTRAINTS_MAX), &path, errors) {
        references(one, devices, &path, errors);
        let (same, distinct) = (&one["matchAttribute"], &one["distinctAttribute"]);
        if let Some(name) = same.as_str() {
            formats::fully_qualified(name, &path.child("matchAttribute"), errors);
        } else if let Some(name) = distinct.as_str() {
            formats::fully_qualified(name, &path.child("distinctAttribute"), errors);
        } else {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(Error::required(&path, why));
        }
    }
    for (path, one) in at_most(devices, ("config", CONFIGS_MAX), &path, errors) {
        references(one, devices, &path, errors);
        opaque(one, false, &path, errors);
    }
}

fn request(request: &Value, path: &Path, errors: &mut Vec<Error>) {
    formats::label(text(request, "name"), &path.child("name"), errors);
    let (exactly, alternatives) = (&request["exactly"], items(request, "firstAvailable"));
    match (exactly.is_null(), alternatives.is_empty()) {
        (true, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(Error::required(path, why));
        }
        (false, false) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(Error::invalid(path, Value::Null, why));
        }
        (false, true) => wish(exactly, &path.child("exactly"), errors),
        (true, false) => {
            let list = at_most(request, ("firstAvailable", ALTERNATIVES_MAX), path, errors);
            for (path, one) in &list {
                formats::label(text(one, "name"), &path.child("name"), errors);
                wish(one, path, errors);
            }
            no_repeats(&list, name, errors);
        }
    }
}

/// What an exact request and an alternative have in common.
fn wish(wish: &Value, path: &Path, errors: &mut Vec<Error>) {
    formats::class(text(wish, "deviceClassName"), &path.child("deviceClassName"), errors);
    selection::selectors(wish, path, errors);
    let count = wish["count"].as_i64().unwrap_or(0);
    match text(wish, "allocationMode") {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.push(Error::invalid(&path.child("count"), count, why));
        }
        "ExactCount" if count <= 0 => {
            errors.push(Error::invalid(&path.child("count"), count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        mode => {
            let modes = ["All", "ExactCount"];
            errors.push(Error::not_supported(&path.child("allocationMode"), mode, &modes));
        }
    }
    selection::tolerations(wish, path, errors);
}

/// `requests` of a constraint or a configuration: names of what the claim asks for.
pub(super) fn references(owner: &Value, devices: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = at_most(owner, ("requests", REQUESTS_MAX), path, errors);
    for (path, one) in &list {
        reference(one.as_str().unwrap_or(""), devices, path, errors);
    }
    no_repeats(&list, Value::clone, errors);
}

/// `request` or `request/alternative`.
pub(super) fn reference(name: &str, devices: &Value, path: &Path, errors: &mut Vec<Error>) {
    let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let segments: Vec<&str> = name.split('/').collect();
    if segments.len() > 2 {
        return errors.push(Error::invalid(path, name, why));
    }
    for segment in &segments {
        formats::label(segment, path, errors);
    }
    let is_named = |one: &Value, wanted: &str| text(one, "name") == wanted;
    let mut requests = items(devices, "requests").iter();
    let request = requests.rfind(|one| is_named(one, segments[0]));
    let is_known = match (request, segments.get(1)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(request), Some(second)) => {
            items(request, "firstAvailable").iter().any(|one| is_named(one, second))
        }
    };
    if !is_known {
        errors.push(Error::invalid(path, name, why));
    }
}

/// A configuration for a driver. One that is stored may be longer than is allowed now.
pub(super) fn opaque(config: &Value, is_stored: bool, path: &Path, errors: &mut Vec<Error>) {
    let (opaque, path) = (&config["opaque"], path.child("opaque"));
    if opaque.is_null() {
        return errors.push(Error::required(&path, ""));
    }
    formats::driver(text(opaque, "driver"), &path.child("driver"), errors);
    let max = if is_stored { usize::MAX } else { PARAMETERS_BYTES_MAX };
    let parameters = &opaque["parameters"];
    if parameters.is_null() {
        errors.push(Error::required(&path.child("parameters"), ""));
    }
    json_object(parameters, max, &path.child("parameters"), errors);
}

/// Anything of a driver: a JSON object, if it is there.
pub(super) fn json_object(value: &Value, max: usize, path: &Path, errors: &mut Vec<Error>) {
    if value.is_null() {
        return;
    }
    if value.to_string().len() > max {
        errors.push(Error::too_long(path, max));
    } else if !value.is_object() {
        errors.push(Error::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}
