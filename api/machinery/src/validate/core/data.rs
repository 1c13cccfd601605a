//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::unchanged;
use crate::Object;
use crate::field::{Error, Path};
use crate::limits::DATA_BYTES_MAX;
use crate::validate::{invalid_each, names};

/// What stands where a secret's content would be shown.
const REDACTED: &str = "<secret contents redacted>";

fn entries<'a>(object: &'a Object, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = object.at(&[field]).and_then(Value::as_object).into_iter().flatten();
    map.map(|(key, value)| (key, value.as_str().unwrap_or("")))
}

fn decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}

pub(super) fn config_map(object: &Object, errors: &mut Vec<Error>) {
    let mut total = 0;
    for (key, value) in entries(object, "data") {
        let path = Path::new("data").key(key);
        invalid_each(&path, key, names::config_key(key), errors);
        if object.at(&["binaryData", key]).is_some() {
            let why = "duplicate of key present in binaryData";
            errors.push(Error::invalid(&path, key.as_str(), why));
        }
        total += value.len();
    }
    for (key, value) in entries(object, "binaryData") {
        invalid_each(&Path::new("binaryData").key(key), key, names::config_key(key), errors);
        total += decoded(value).len();
    }
    if total > DATA_BYTES_MAX {
        // Upstream writes the path of the whole like this.
        errors.push(Error::too_long(&Path::new("[]"), DATA_BYTES_MAX));
    }
}

pub(super) fn config_map_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    immutable_data(new, old, &["data", "binaryData"], errors);
    config_map(new, errors);
}

pub(super) fn secret(object: &Object, errors: &mut Vec<Error>) {
    let mut total = 0;
    for (key, value) in entries(object, "data") {
        invalid_each(&Path::new("data").key(key), key, names::config_key(key), errors);
        total += decoded(value).len();
    }
    if total > DATA_BYTES_MAX {
        errors.push(Error::too_long(&Path::new("data"), DATA_BYTES_MAX));
    }
    let has = |key: &str| object.at(&["data", key]).is_some();
    let missing = |key: &str| Error::required(&Path::new("data").key(key), "");
    match object.text(&["type"]) {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if object.annotations().get(key).is_none_or(String::is_empty) {
                let path = Path::new("metadata").child("annotations").key(key);
                errors.push(Error::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => registry_logins(object, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => registry_logins(object, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.extend(["username", "password"].map(missing));
        }
        "kubernetes.io/ssh-auth" if object.text(&["data", "ssh-privatekey"]).is_empty() => {
            errors.push(missing("ssh-privatekey"));
        }
        "kubernetes.io/tls" => {
            errors.extend(["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)).map(missing));
        }
        _ => {}
    }
}

fn registry_logins(object: &Object, key: &str, errors: &mut Vec<Error>) {
    let path = Path::new("data").key(key);
    if object.at(&["data", key]).is_none() {
        errors.push(Error::required(&path, ""));
    } else if let Some(why) = json_problem(&decoded(object.text(&["data", key]))) {
        errors.push(Error::invalid(&path, REDACTED, why));
    }
}

/// Why bytes are not a JSON object, in the words of upstream's reader.
fn json_problem(bytes: &[u8]) -> Option<String> {
    let kind = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(_) | Value::Null) => return None,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(error) if error.is_eof() => return Some("unexpected end of JSON input".to_owned()),
        Err(error) => {
            let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
            let letter = line.and_then(|line| line.get(error.column().saturating_sub(1)));
            let letter = char::from(letter.copied().unwrap_or(b' '));
            return Some(format!("invalid character {letter:?} looking for beginning of value"));
        }
    };
    let target = "Go value of type map[string]interface {}";
    Some(format!("json: cannot unmarshal {kind} into {target}"))
}

pub(super) fn secret_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    unchanged(new, old, &["type"], errors);
    immutable_data(new, old, &["data"], errors);
    secret(new, errors);
}

/// Once `immutable` is true, it and the data stay.
fn immutable_data(new: &Object, old: &Object, fields: &[&str], errors: &mut Vec<Error>) {
    if old.at(&["immutable"]) != Some(&Value::Bool(true)) {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if new.at(&["immutable"]) != Some(&Value::Bool(true)) {
        errors.push(Error::forbidden(&Path::new("immutable"), why));
    }
    for field in fields {
        if new.at(&[field]) != old.at(&[field]) {
            errors.push(Error::forbidden(&Path::new(field), why));
        }
    }
}
