//! Admission policies, their bindings and webhook configurations.
//!
//! Expressions must compile. What a client may read to use a policy's parameters is not checked here.

mod client_config;
mod expressions;
mod policies;
mod rules;
mod url;
mod webhooks;

use serde_json::Value;

use super::{conditions, items, text};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

/// Kinds of webhooks and policies that change what they see have a few more rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Mutating,
    Validating,
}

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    check(info, object, None, errors);
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    check(info, new, Some(old), errors);
}

fn check(info: &ResourceInfo, new: &Object, old: Option<&Object>, errors: &mut Vec<Error>) {
    match info.kind {
        "MutatingWebhookConfiguration" => {
            webhooks::configuration(Admission::Mutating, new, old, errors);
        }
        "ValidatingWebhookConfiguration" => {
            webhooks::configuration(Admission::Validating, new, old, errors);
        }
        "MutatingAdmissionPolicy" => policies::policy(Admission::Mutating, new, old, errors),
        "ValidatingAdmissionPolicy" => policies::policy(Admission::Validating, new, old, errors),
        "MutatingAdmissionPolicyBinding" => policies::binding(Admission::Mutating, new, errors),
        "ValidatingAdmissionPolicyBinding" => {
            policies::binding(Admission::Validating, new, errors);
        }
        _ => {}
    }
}

/// Only policies that validate have a status. That `fieldRef` is a JSON path is not checked.
pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    _old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind != "ValidatingAdmissionPolicy" {
        return;
    }
    let (status, path) = (new.at(&["status"]).unwrap_or(&Value::Null), Path::new("status"));
    let warnings = items(&status["typeChecking"], "expressionWarnings");
    for (index, warning) in warnings.iter().enumerate() {
        let path = path.child("typeChecking").child("expressionWarnings").index(index);
        if text(warning, "warning").is_empty() {
            errors.push(Error::required(&path.child("warning"), ""));
        }
        if text(warning, "fieldRef").trim().is_empty() {
            errors.push(Error::required(&path.child("fieldRef"), ""));
        }
    }
    conditions::each(items(status, "conditions"), &path.child("conditions"), errors);
}

/// A field that may be missing; when it is there, it is one of a few.
fn one_of_if_set(path: &Path, value: &Value, allowed: &[&str], errors: &mut Vec<Error>) {
    if let Some(value) = value.as_str().filter(|value| !allowed.contains(value)) {
        errors.push(Error::not_supported(path, value, allowed));
    }
}

/// A field that the defaults fill: it is there, and one of a few.
fn one_of_and_set(path: &Path, value: &Value, allowed: &[&str], errors: &mut Vec<Error>) {
    if value.is_null() {
        errors.push(Error::required(path, ""));
    }
    one_of_if_set(path, value, allowed, errors);
}

#[cfg(test)]
mod tests;
