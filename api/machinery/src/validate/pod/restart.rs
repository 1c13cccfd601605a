//! When a container is started again: its own policy, its rules, and its policy for resizes.

use std::collections::HashSet;

use serde_json::Value;

use super::{Whole, given, items, text};
use crate::field::{Error, Path};

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// An init container without a policy can have no rules.
pub(super) fn init_policy(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    if given(one, "restartPolicy").is_some() {
        policy(one, path, errors);
    } else if !items(one, "restartPolicyRules").is_empty() {
        let why = "must specify restartPolicy when restart rules are used";
        errors.push(Error::required(&path.child("restartPolicy"), why));
    }
}

pub(super) fn policy(one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let rules = items(one, "restartPolicyRules");
    let policy_path = path.child("restartPolicy");
    if given(one, "restartPolicy").is_none() {
        if rules.is_empty() {
            return;
        }
        let why = "must specify restartPolicy when restart rules are used";
        errors.push(Error::required(&policy_path, why));
    } else {
        let allowed = ["Always", "Never", "OnFailure"];
        supported(&policy_path, text(one, "restartPolicy"), &allowed, errors);
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let actions = ["Restart", "RestartAllContainers"];
        supported(&path.child("action"), text(rule, "action"), &actions, errors);
        let path = path.child("exitCodes");
        let Some(codes) = given(rule, "exitCodes") else {
            errors.push(Error::required(&path, "must be specified"));
            continue;
        };
        supported(&path.child("operator"), text(codes, "operator"), &["In", "NotIn"], errors);
        let values = items(codes, "values").len();
        if values > EXIT_CODES_MAX {
            errors.push(Error::too_many(&path.child("values"), values, EXIT_CODES_MAX));
        }
    }
}

/// An empty text is not supported either.
pub(super) fn supported(path: &Path, value: &str, allowed: &[&str], errors: &mut Vec<Error>) {
    if !allowed.contains(&value) {
        errors.push(Error::not_supported(path, value, allowed));
    }
}

pub(super) fn resize_policy(whole: &Whole<'_>, one: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (index, policy) in items(one, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if seen.contains(&resource) {
            errors.push(Error::duplicate(&path.index(index), resource));
        }
        seen.insert(resource);
        super::one_of(path, resource, &["cpu", "memory"], true, errors);
        super::one_of(path, restart, &["NotRequired", "RestartContainer"], true, errors);
        if whole.spec["restartPolicy"] == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path, restart, why));
        }
    }
}
