//! When a job has failed, when it has succeeded, and when a pod is replaced.

use std::collections::BTreeSet;

use serde_json::Value;

use super::indexes;
use crate::field::{Error, Path};
use crate::validate::shown::{self, Field, Shape};
use crate::validate::{invalid_each, items, names, not_negative, text};

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REPLACEMENTS: [&str; 2] = ["Failed", "TerminatingOrFailed"];

pub(super) const POD_FAILURE: &[Field] = &[(
    "rules",
    "Rules",
    Shape::List(&[
        ("action", "Action", Shape::Text),
        (
            "onExitCodes",
            "OnExitCodes",
            Shape::Struct(&[
                ("containerName", "ContainerName", Shape::Json),
                ("operator", "Operator", Shape::Text),
                ("values", "Values", Shape::Json),
            ]),
        ),
        (
            "onPodConditions",
            "OnPodConditions",
            Shape::List(&[("type", "Type", Shape::Text), ("status", "Status", Shape::Text)]),
        ),
    ]),
)];
pub(super) const SUCCESS: &[Field] = &[(
    "rules",
    "Rules",
    Shape::List(&[
        ("succeededIndexes", "SucceededIndexes", Shape::Json),
        ("succeededCount", "SucceededCount", Shape::Json),
    ]),
)];

/// A text of a closed set, with upstream's way of listing what is possible.
fn choice(value: &str, path: &Path, allowed: &[&str], errors: &mut Vec<Error>) {
    if value.is_empty() {
        let quoted: Vec<_> = allowed.iter().map(|one| format!("{one:?}")).collect();
        let why = format!("valid values: [{}]", quoted.join(" "));
        errors.push(Error::required(path, why));
    } else if !allowed.contains(&value) {
        errors.push(Error::not_supported(path, value, allowed));
    }
}

pub(super) fn pod_replacement(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(policy) = spec["podReplacementPolicy"].as_str() else { return };
    let count = if spec["podFailurePolicy"].is_null() { 2 } else { 1 };
    let allowed = &REPLACEMENTS[..count];
    if !allowed.contains(&policy) {
        errors.push(Error::not_supported(path, policy, allowed));
    }
}

pub(super) fn pod_failure(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let rules = items(&spec["podFailurePolicy"], "rules");
    let path = path.child("rules");
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &path.index(index), errors);
    }
}

fn failure_rule(spec: &Value, rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (action, path_of_action) = (text(rule, "action"), path.child("action"));
    choice(action, &path_of_action, &ACTIONS, errors);
    if action == "FailIndex" && spec["backoffLimitPerIndex"].is_null() {
        let why = "requires the backoffLimitPerIndex to be set";
        errors.push(Error::invalid(&path_of_action, action, why));
    }
    let by_exit_code = !rule["onExitCodes"].is_null();
    if by_exit_code {
        exit_codes(spec, &rule["onExitCodes"], &path.child("onExitCodes"), errors);
    }
    let conditions = items(rule, "onPodConditions");
    pod_conditions(conditions, &path.child("onPodConditions"), errors);
    let why = match (by_exit_code, conditions.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        (true, true) | (false, false) => return,
    };
    errors.push(shown::invalid(path, "", why));
}

fn pod_conditions(conditions: &[Value], path: &Path, errors: &mut Vec<Error>) {
    if conditions.len() > CONDITIONS_MAX {
        errors.push(Error::too_many(path, conditions.len(), CONDITIONS_MAX));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = text(condition, "type");
        invalid_each(&path.child("type"), kind, names::qualified_name(kind), errors);
        choice(text(condition, "status"), &path.child("status"), &STATUSES, errors);
    }
}

fn exit_codes(spec: &Value, wanted: &Value, path: &Path, errors: &mut Vec<Error>) {
    let operator = text(wanted, "operator");
    choice(operator, &path.child("operator"), &OPERATORS, errors);
    let pod = &spec["template"]["spec"];
    let mut containers = items(pod, "containers").iter().chain(items(pod, "initContainers"));
    if let Some(name) = wanted["containerName"].as_str()
        && !containers.any(|container| text(container, "name") == name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.push(Error::invalid(&path.child("containerName"), name, why));
    }
    let (values, path) = (items(wanted, "values"), path.child("values"));
    if values.is_empty() {
        let why = "at least one value is required";
        errors.push(Error::invalid(&path, wanted["values"].clone(), why));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(Error::too_many(&path, values.len(), EXIT_CODES_MAX));
    }
    let codes: Vec<_> = values.iter().map(|value| value.as_i64().unwrap_or(0)).collect();
    let mut seen = BTreeSet::new();
    for (index, code) in codes.iter().copied().enumerate() {
        if operator == "In" && code == 0 {
            let why = "must not be 0 for the In operator";
            errors.push(Error::invalid(&path.index(index), code, why));
        }
        if !seen.insert(code) {
            errors.push(Error::duplicate(&path.index(index), code));
        }
    }
    if !codes.is_sorted() {
        errors.push(Error::invalid(&path, wanted["values"].clone(), "must be ordered"));
    }
}

pub(super) fn success(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let policy = &spec["successPolicy"];
    if policy.is_null() {
        return;
    }
    if text(spec, "completionMode") != "Indexed" {
        let shown = shown::structure(policy, SUCCESS);
        errors.push(shown::invalid(path, &shown, "requires indexed completion mode"));
        return;
    }
    let (rules, path) = (items(policy, "rules"), path.child("rules"));
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(Error::required(&path, why));
    }
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&path, rules.len(), RULES_MAX));
    }
    let completions = spec["completions"].as_i64().unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        success_rule(completions, rule, &path.index(index), errors);
    }
}

fn success_rule(completions: i64, rule: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (text, count) = (rule["succeededIndexes"].as_str(), rule["succeededCount"].as_i64());
    if text.is_none() && count.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(Error::required(path, why));
    }
    let mut total = 0;
    if let Some(text) = text {
        let path = path.child("succeededIndexes");
        if text.len() > INDEXES_BYTES_MAX {
            errors.push(Error::too_long(&path, INDEXES_BYTES_MAX));
        }
        match indexes::count(text, completions) {
            Ok(number) => total = number,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.push(Error::invalid(&path, text, why));
            }
        }
    }
    let Some(count) = count else { return };
    let path = path.child("succeededCount");
    not_negative(&path, &rule["succeededCount"], errors);
    if count > completions {
        let why = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.push(Error::invalid(&path, count, why));
    }
    if text.is_some() && count > total {
        let why = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(Error::invalid(&path, count, why));
    }
}
