//! Expressions and their names.

use std::collections::HashSet;

use api_cel::RESERVED;
use serde_json::Value;

use crate::admission::{Compiler, Purpose};
use crate::field::{Error, Path};
use crate::validate::{invalid_each, items, names, text};

const MATCH_CONDITIONS_MAX: usize = 64;
const AUDIT_ANNOTATIONS_MAX: usize = 20;
const AUDIT_EXPRESSION_BYTES_MAX: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

fn is_blank(value: &Value, key: &str) -> bool {
    text(value, key).trim().is_empty()
}

/// An expression that must compile; `shown` is how it was sent.
fn compiled(
    compiler: &Compiler,
    (text, shown): (&str, &str),
    purpose: Purpose,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    if let Some(why) = compiler.expression(text, purpose).error() {
        errors.push(Error::invalid(path, shown, why));
    }
}

pub(super) fn match_conditions(
    owner: &Value,
    path: &Path,
    compiler: &Compiler,
    errors: &mut Vec<Error>,
) {
    let path = path.child("matchConditions");
    let conditions = items(owner, "matchConditions");
    if conditions.len() > MATCH_CONDITIONS_MAX {
        errors.push(Error::too_many(&path, conditions.len(), MATCH_CONDITIONS_MAX));
    }
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let (expression, expression_path) =
            (text(condition, "expression").trim(), path.child("expression"));
        if expression.is_empty() {
            errors.push(Error::required(&expression_path, ""));
        } else {
            let text = (expression, expression);
            compiled(compiler, text, Purpose::Condition, &expression_path, errors);
        }
        let (path, name) = (path.child("name"), text(condition, "name"));
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        invalid_each(&path, name, names::qualified_name(name), errors);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
}

pub(super) fn variables(
    spec: &Value,
    path: &Path,
    compiler: &mut Compiler,
    errors: &mut Vec<Error>,
) {
    for (index, variable) in items(spec, "variables").iter().enumerate() {
        let path = path.child("variables").index(index);
        let name = text(variable, "name");
        if name.trim().is_empty() {
            errors.push(Error::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            let why = "must be a valid CEL identifier";
            errors.push(Error::invalid(&path.child("name"), name, why));
        }
        let (expression, path) = (text(variable, "expression"), path.child("expression"));
        if expression.trim().is_empty() {
            errors.push(Error::required(&path, "expression is not specified"));
        } else if let Some(why) = compiler.variable(name, expression, Purpose::Variable) {
            errors.push(Error::invalid(&path, expression, why));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && !name.as_bytes().first().is_none_or(u8::is_ascii_digit)
        && !RESERVED.contains(&name)
}

pub(super) fn validation(
    validation: &Value,
    path: &Path,
    compiler: &Compiler,
    errors: &mut Vec<Error>,
) {
    let (expression, expression_path) = (text(validation, "expression"), path.child("expression"));
    if expression.trim().is_empty() {
        errors.push(Error::required(&expression_path, "expression is not specified"));
    } else {
        let text = (expression, expression);
        compiled(compiler, text, Purpose::Condition, &expression_path, errors);
    }
    for key in ["messageExpression", "message"] {
        let (path, value) = (path.child(key), text(validation, key));
        if !value.is_empty() && value.trim().is_empty() {
            errors.push(Error::invalid(&path, value, "must be non-empty if specified"));
        } else if key == "messageExpression" && !value.is_empty() {
            compiled(compiler, (value, value), Purpose::Message, &path, errors);
        } else if key == "message" && value.trim().contains(['\n', '\r']) {
            errors.push(Error::invalid(&path, value, "must not contain line breaks"));
        }
    }
    super::one_of_if_set(&path.child("reason"), &validation["reason"], &REASONS, errors);
}

/// `policy` is the policy's name: it is the prefix of the annotations' keys.
pub(super) fn audit_annotations(
    policy: &str,
    (spec, path): (&Value, &Path),
    compiler: &Compiler,
    errors: &mut Vec<Error>,
) {
    let path = path.child("auditAnnotations");
    let annotations = items(spec, "auditAnnotations");
    if annotations.len() > AUDIT_ANNOTATIONS_MAX {
        let why = format!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations");
        errors.push(Error::invalid(&path, shown(annotations), why));
    }
    let mut seen = HashSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let (path, key) = (path.index(index), text(annotation, "key"));
        if policy.is_empty() {
            let why = "requires metadata.name be non-empty";
            errors.push(Error::invalid(&path.child("key"), key, why));
        } else {
            let full = format!("{policy}/{key}");
            invalid_each(&path.child("key"), &full, names::qualified_name(&full), errors);
        }
        let expression = text(annotation, "valueExpression").trim();
        let expression_path = path.child("valueExpression");
        if expression.is_empty() {
            errors.push(Error::required(&expression_path, "valueExpression is not specified"));
        } else if expression.len() > AUDIT_EXPRESSION_BYTES_MAX {
            let why = format!("must not exceed {AUDIT_EXPRESSION_BYTES_MAX} bytes in length");
            errors.push(Error::required(&expression_path, why));
        } else {
            let text = (expression, text(annotation, "valueExpression"));
            compiled(compiler, text, Purpose::AuditAnnotation, &expression_path, errors);
        }
        if !seen.insert(key) {
            errors.push(Error::duplicate(&path.child("key"), key));
        }
    }
}

/// Upstream shows the annotations by their Go field names.
fn shown(annotations: &[Value]) -> Vec<Value> {
    let one = |annotation: &Value| {
        serde_json::json!({"Key": text(annotation, "key"),
            "ValueExpression": text(annotation, "valueExpression")})
    };
    annotations.iter().map(one).collect()
}

pub(super) fn mutation(
    mutation: &Value,
    path: &Path,
    compiler: &Compiler,
    errors: &mut Vec<Error>,
) {
    let kind = text(mutation, "patchType");
    let (own, other, purpose) = match kind {
        "" => return errors.push(Error::required(&path.child("patchType"), "")),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Purpose::JsonPatch),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Purpose::ApplyConfiguration),
        _ => {
            let kinds = ["ApplyConfiguration", "JSONPatch"];
            return errors.push(Error::not_supported(&path.child("patchType"), kind, &kinds));
        }
    };
    if mutation[own].is_null() {
        let why = format!("must be specified when patchType is {kind}");
        errors.push(Error::required(&path.child(own), why));
    } else if is_blank(&mutation[own], "expression") {
        errors.push(Error::required(&path.child(own).child("expression"), ""));
    } else {
        let (expression, path) =
            (text(&mutation[own], "expression").trim(), path.child(own).child("expression"));
        compiled(compiler, (expression, expression), purpose, &path, errors);
    }
    if !mutation[other].is_null() {
        let why = format!("must not be specified when patchType is {kind}");
        errors.push(Error::invalid(&path.child(other), format!("{{{other}}}"), why));
    }
}
