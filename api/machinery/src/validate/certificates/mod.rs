//! Certificate signing requests.
//!
//! A request is taken apart as far as its outer DER goes. What is inside the subject, the key and
//! the attributes is not looked at, and neither is the signature.

mod der;
mod pem;

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{items, names, text};
use crate::field::{Error, Path};
use crate::validate::repeated;
use crate::{Object, ResourceInfo};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// Conditions that are there for good, and only ever true.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const DOMAIN_BYTES_MAX: usize = 253;
const SIGNER_BYTES_MAX: usize = 571;

/// Which resource a request comes in by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Main,
    Status,
    Approval,
}

pub(super) fn create(_info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    check(object, None, errors);
}

pub(super) fn update(_info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    check_update(Door::Main, new, old, errors);
}

pub(super) fn status_update(
    _info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    check_update(Door::Status, new, old, errors);
}

pub(super) fn approval_update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    check_update(Door::Approval, new, old, errors);
}

fn spec(object: &Object) -> &Value {
    object.at(&["spec"]).unwrap_or(&Value::Null)
}

fn status(object: &Object) -> &Value {
    object.at(&["status"]).unwrap_or(&Value::Null)
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or("")).unwrap_or_default()
}

/// What a stored object already has wrong, it may keep.
fn check(new: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    let (spec_of_new, path) = (spec(new), Path::new("spec"));
    if let Some(why) = problem_of_request(&bytes(&spec_of_new["request"])) {
        let value = spec_of_new["request"].clone();
        errors.push(Error::invalid(&path.child("request"), value, why));
    }
    usages(spec_of_new, old.map(spec), &path.child("usages"), errors);
    let signer = text(spec_of_new, "signerName");
    let may_be_legacy = old.is_some_and(|old| text(spec(old), "signerName") == LEGACY_SIGNER);
    if signer == LEGACY_SIGNER && !may_be_legacy {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(Error::invalid(&path.child("signerName"), signer, why));
    } else {
        signer_name(signer, &path.child("signerName"), errors);
    }
    let seconds = spec_of_new["expirationSeconds"].as_i64();
    if let Some(seconds) = seconds.filter(|seconds| *seconds < EXPIRATION_SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, why));
    }
    let old_conditions = old.map_or(&[][..], |old| items(status(old), "conditions"));
    conditions(items(status(new), "conditions"), old_conditions, errors);
    let certificate = &status(new)["certificate"];
    let may_be_anything = old.is_some_and(|old| {
        let old = &status(old)["certificate"];
        bytes(old) == bytes(certificate) || problem_of_certificate(&bytes(old)).is_some()
    });
    if let Some(why) = problem_of_certificate(&bytes(certificate)).filter(|_| !may_be_anything) {
        let path = Path::new("status").child("certificate");
        errors.push(Error::invalid(&path, "<certificate data>", why));
    }
}

fn problem_of_request(text: &[u8]) -> Option<String> {
    match pem::first(text).filter(|block| block.kind == b"CERTIFICATE REQUEST") {
        Some(block) => der::certificate_request(&block.bytes).err(),
        None => Some("PEM block type must be CERTIFICATE REQUEST".to_owned()),
    }
}

fn problem_of_certificate(text: &[u8]) -> Option<String> {
    let (mut rest, mut count) = (text, 0);
    while let Some(block) = pem::first(rest) {
        if block.kind != b"CERTIFICATE" {
            let kind = String::from_utf8_lossy(block.kind);
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {kind:?}"));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if block.bytes.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        if !der::are_sequences(&block.bytes) {
            return Some("x509: malformed certificate".to_owned());
        }
        (rest, count) = (block.rest, count + 1);
    }
    let is_missing = count == 0 && !text.is_empty();
    is_missing.then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

fn is_known_usage(usage: &Value) -> bool {
    usage.as_str().is_some_and(|usage| USAGES.contains(&usage))
}

fn has_repeated(list: &[Value]) -> bool {
    repeated(list, Value::to_string).contains(&true)
}

fn usages(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Vec<Error>) {
    let list = items(spec, "usages");
    let old = old.map_or(&[][..], |old| items(old, "usages"));
    if list.is_empty() {
        errors.push(Error::required(path, ""));
    }
    if old.iter().all(is_known_usage) {
        for (index, usage) in list.iter().enumerate().filter(|(_, one)| !is_known_usage(one)) {
            errors.push(Error::not_supported(&path.index(index), usage.clone(), &USAGES));
        }
    }
    if !has_repeated(old) {
        let again = repeated(list, Value::to_string);
        for (index, usage) in list.iter().enumerate().filter(|(index, _)| again[*index]) {
            errors.push(Error::duplicate(&path.index(index), usage.clone()));
        }
    }
}

fn signer_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    let Some((domain, signer)) = name.split_once('/').filter(|(_, end)| !end.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(Error::invalid(path, name, why));
    };
    if domain.len() > DOMAIN_BYTES_MAX {
        errors.push(Error::too_long(path, DOMAIN_BYTES_MAX));
    }
    first_bad_label(domain, names::label_1123, path, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, domain, why));
    }
    first_bad_label(signer, names::subdomain_1123, path, errors);
    if name.len() > SIGNER_BYTES_MAX {
        errors.push(Error::too_long(path, SIGNER_BYTES_MAX));
    }
}

fn first_bad_label(
    part: &str,
    rule: fn(&str) -> Vec<String>,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    let mut labels = part.split('.').map(|label| (label, rule(label)));
    if let Some((label, problems)) = labels.find(|(_, problems)| !problems.is_empty()) {
        for why in problems {
            let why = format!("validating label {label:?}: {why}");
            errors.push(Error::invalid(path, part, why));
        }
    }
}

fn kind(condition: &Value) -> &str {
    text(condition, "type")
}

fn conditions(list: &[Value], old: &[Value], errors: &mut Vec<Error>) {
    let has = |list: &[Value], wanted: &str| list.iter().any(|one| kind(one) == wanted);
    let may_be_empty = has(old, "");
    let may_be_both = has(old, "Approved") && has(old, "Denied");
    let may_be_repeated = repeated(old, kind).contains(&true);
    let all_path = Path::new("status").child("conditions");
    let again = repeated(list, kind);
    let mut before = HashSet::new();
    for (index, condition) in list.iter().enumerate() {
        let (path, kind) = (all_path.index(index), kind(condition));
        if kind.is_empty() && !may_be_empty {
            errors.push(Error::required(&path.child("type"), ""));
        }
        let allowed = if FINAL.contains(&kind) { &["True"][..] } else { &STATUSES };
        super::one_of(&path.child("status"), text(condition, "status"), allowed, true, errors);
        let opposite = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !may_be_both && !opposite.is_empty() && before.contains(opposite) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(Error::invalid(&all_path, kind, why));
        }
        if !may_be_repeated && again[index] {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        before.insert(kind);
    }
}

fn check_update(door: Door, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    check(new, Some(old), errors);
    let path = Path::new("status").child("conditions");
    let of_kind = |object: &Object, wanted: &str| -> Vec<Value> {
        let all = items(status(object), "conditions").iter();
        all.filter(|one| kind(one) == wanted).cloned().collect()
    };
    for wanted in FINAL {
        if of_kind(new, wanted).len() < of_kind(old, wanted).len() {
            let why = format!("updates may not remove a condition of type {wanted:?}");
            errors.push(Error::forbidden(&path, why));
        }
    }
    if door != Door::Approval {
        for wanted in ["Approved", "Denied"] {
            let (new, old) = (of_kind(new, wanted), of_kind(old, wanted));
            if new.len() > old.len() {
                let why = format!("updates may not add a condition of type {wanted:?}");
                errors.push(Error::forbidden(&path, why));
            } else if new.len() == old.len() && new != old {
                let told = difference(&old, &new);
                let why = format!("updates may not modify a condition of type {wanted:?}\n{told}");
                errors.push(Error::forbidden(&path, why));
            }
        }
    }
    let certificate = |object| bytes(&status(object)["certificate"]);
    if certificate(new) != certificate(old) {
        let path = Path::new("status").child("certificate");
        if door != Door::Status {
            errors.push(Error::forbidden(&path, "updates may not set certificate content"));
        } else if !certificate(old).is_empty() {
            let why = "updates may not modify existing certificate content";
            errors.push(Error::forbidden(&path, why));
        }
    }
}

/// The fields of a condition in Go's order; those that are times are null when missing.
const CONDITION: [(&str, &str); 6] = [
    ("type", "Type"),
    ("status", "Status"),
    ("reason", "Reason"),
    ("message", "Message"),
    ("lastUpdateTime", "LastUpdateTime"),
    ("lastTransitionTime", "LastTransitionTime"),
];

fn lines(conditions: &[Value]) -> Vec<String> {
    let mut lines = vec!["[".to_owned()];
    for (index, condition) in conditions.iter().enumerate() {
        lines.push(" {".to_owned());
        for (key, name) in CONDITION {
            let value = match &condition[key] {
                Value::Null if key.ends_with("Time") => Value::Null,
                Value::Null => "".into(),
                value => value.clone(),
            };
            let comma = if name == "LastTransitionTime" { "" } else { "," };
            lines.push(format!("  \"{name}\": {value}{comma}"));
        }
        let comma = if index + 1 == conditions.len() { "" } else { "," };
        lines.push(format!(" }}{comma}"));
    }
    lines.push("]".to_owned());
    lines
}

/// A unified difference of equally many conditions: each line is compared with its like.
fn difference(old: &[Value], new: &[Value]) -> String {
    const CONTEXT: usize = 3;
    let (old, new) = (lines(old), lines(new));
    let is_changed = |index: &usize| old[*index] != new[*index];
    let all = 0..old.len().min(new.len());
    let (Some(first), Some(last)) = (all.clone().find(is_changed), all.clone().rfind(is_changed))
    else {
        return String::new();
    };
    let (from, to) = (first.saturating_sub(CONTEXT), all.end.min(last + 1 + CONTEXT));
    let (start, length) = (from + 1, to - from);
    let mut told = format!("@@ -{start},{length} +{start},{length} @@\n");
    let mut added = String::new();
    for index in from..to {
        if is_changed(&index) {
            told += &format!("-{}\n", old[index]);
            added += &format!("+{}\n", new[index]);
        } else {
            told += &std::mem::take(&mut added);
            told += &format!(" {}\n", old[index]);
        }
    }
    told + &added
}

#[cfg(test)]
mod tests;
