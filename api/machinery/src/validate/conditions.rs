//! Lists of `metav1.Condition` in a status.

use std::collections::HashSet;

use serde_json::Value;

use super::{invalid_each, names, text};
use crate::field::{Error, Path};

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Each condition, and that no type is there twice.
pub(super) fn each(conditions: &[Value], path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = text(condition, "type");
        if seen.contains(&kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        seen.insert(kind);
        invalid_each(&path.child("type"), kind, names::qualified_name(kind), errors);
        one_condition(condition, &path, errors);
    }
}

fn one_condition(condition: &Value, path: &Path, errors: &mut Vec<Error>) {
    let status = text(condition, "status");
    if !STATUSES.contains(&status) {
        errors.push(Error::not_supported(&path.child("status"), status, &STATUSES));
    }
    if let Some(number) = condition["observedGeneration"].as_i64().filter(|number| *number < 0) {
        let why = "must be greater than or equal to zero";
        errors.push(Error::invalid(&path.child("observedGeneration"), number, why));
    }
    if text(condition, "lastTransitionTime").is_empty() {
        errors.push(Error::required(&path.child("lastTransitionTime"), ""));
    }
    let reason = text(condition, "reason");
    let path_of_reason = path.child("reason");
    if reason.is_empty() {
        errors.push(Error::required(&path_of_reason, ""));
    } else if !is_reason(reason) {
        errors.push(Error::invalid(&path_of_reason, reason, REASON));
    }
    if reason.len() > REASON_BYTES_MAX {
        errors.push(Error::too_long(&path_of_reason, REASON_BYTES_MAX));
    }
    if text(condition, "message").len() > MESSAGE_BYTES_MAX {
        errors.push(Error::too_long(&path.child("message"), MESSAGE_BYTES_MAX));
    }
}

fn is_reason(reason: &str) -> bool {
    let ends = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_';
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(ends)
        && bytes.iter().all(|c| ends(c) || matches!(c, b',' | b':'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_complete_and_of_different_types() {
        let good = json!({"type": "A", "status": "True", "reason": "Ok",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let all = [good, json!({"type": "A", "status": "Maybe", "reason": "1"})];
        let mut errors = Vec::new();
        each(&all, &Path::new("status.conditions"), &mut errors);
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "status.conditions[1].type: Duplicate value: \"A\"");
        assert!(told[1].starts_with("status.conditions[1].status: Unsupported value: \"Maybe\""));
        assert_eq!(told[2], "status.conditions[1].lastTransitionTime: Required value");
        assert!(told[3].starts_with("status.conditions[1].reason: Invalid value: \"1\": a cond"));
        assert_eq!(told.len(), 4);
    }
}
