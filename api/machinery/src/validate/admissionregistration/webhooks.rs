//! Webhook configurations.

use serde_json::Value;

use super::{
    Admission, FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, client_config, expressions,
    one_of_if_set, rules,
};
use crate::Object;
use crate::admission::Compiler;
use crate::field::{Error, Path};
use crate::validate::repeated;
use crate::validate::selectors::{self, Values};
use crate::validate::{invalid_each, items, names, text};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];

/// What an update may leave as it is, because the stored object already has it.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
struct Tolerated {
    match_conditions: bool,
    side_effects: bool,
    unknown_versions: bool,
    same_names: bool,
    any_label_values: bool,
}

fn hooks(object: &Object) -> &[Value] {
    object.at(&["webhooks"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn tolerated(new: &[Value], old: Option<&Object>) -> Tolerated {
    let Some(old) = old else {
        return Tolerated {
            match_conditions: false,
            side_effects: false,
            unknown_versions: false,
            same_names: false,
            any_label_values: false,
        };
    };
    let old = hooks(old);
    let is_same =
        |(a, b): (&Value, &Value)| items(a, "matchConditions") == items(b, "matchConditions");
    let has_effects = |hook: &Value| !NO_SIDE_EFFECTS.contains(&text(hook, "sideEffects"));
    let has_unknown = |hook: &Value| {
        let versions = items(hook, "admissionReviewVersions");
        !versions.is_empty() && !versions.iter().any(is_review_version)
    };
    let has_bad_values = |hook: &Value| {
        let mut found = Vec::new();
        for key in ["namespaceSelector", "objectSelector"] {
            selectors::labels(&hook[key], Values::OfLabels, &Path::default(), &mut found);
        }
        !found.is_empty()
    };
    Tolerated {
        match_conditions: new.len() == old.len() && new.iter().zip(old).all(is_same),
        side_effects: old.iter().any(has_effects),
        unknown_versions: old.iter().any(has_unknown),
        same_names: repeated(old, |hook| text(hook, "name")).contains(&true),
        any_label_values: old.iter().any(has_bad_values),
    }
}

fn is_review_version(version: &Value) -> bool {
    version.as_str().is_some_and(|version| REVIEW_VERSIONS.contains(&version))
}

pub(super) fn configuration(
    admission: Admission,
    new: &Object,
    old: Option<&Object>,
    errors: &mut Vec<Error>,
) {
    let list = hooks(new);
    let tolerated = tolerated(list, old);
    let again = repeated(list, |hook| text(hook, "name"));
    for (index, hook) in list.iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        webhook(admission, hook, tolerated, &path, errors);
        review_versions(hook, tolerated, &path.child("admissionReviewVersions"), errors);
        let name = text(hook, "name");
        if !tolerated.same_names && !name.is_empty() && again[index] {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
    }
}

fn webhook(
    admission: Admission,
    hook: &Value,
    tolerated: Tolerated,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    full_name(text(hook, "name"), &path.child("name"), errors);
    for (index, rule) in items(hook, "rules").iter().enumerate() {
        rules::rule(rule, &path.child("rules").index(index), errors);
    }
    let policy = &hook["failurePolicy"];
    one_of_if_set(&path.child("failurePolicy"), policy, &FAILURE_POLICIES, errors);
    one_of_if_set(&path.child("matchPolicy"), &hook["matchPolicy"], &MATCH_POLICIES, errors);
    let allowed: &[&str] = if tolerated.side_effects { &SIDE_EFFECTS } else { &NO_SIDE_EFFECTS };
    if hook["sideEffects"].is_null() {
        let why = format!("must specify one of {}", allowed.join(", "));
        errors.push(Error::required(&path.child("sideEffects"), why));
    }
    one_of_if_set(&path.child("sideEffects"), &hook["sideEffects"], allowed, errors);
    if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|one| !(1..=30).contains(one)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(Error::invalid(&path.child("timeoutSeconds"), seconds, why));
    }
    let values = if tolerated.any_label_values { Values::Any } else { Values::OfLabels };
    for key in ["namespaceSelector", "objectSelector"] {
        selectors::labels(&hook[key], values, &path.child(key), errors);
    }
    if admission == Admission::Mutating {
        let (path, policy) = (path.child("reinvocationPolicy"), &hook["reinvocationPolicy"]);
        one_of_if_set(&path, policy, &REINVOCATION_POLICIES, errors);
    }
    client_config::check(&hook["clientConfig"], &path.child("clientConfig"), errors);
    if !tolerated.match_conditions {
        let compiler = Compiler::new(false, false);
        expressions::match_conditions(hook, path, &compiler, errors);
    }
}

/// At least three segments.
fn full_name(name: &str, path: &Path, errors: &mut Vec<Error>) {
    let problems = names::subdomain_1123(name);
    if name.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !problems.is_empty() {
        errors.push(Error::invalid(path, name, problems.join(",")));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(Error::invalid(path, name, why));
    }
}

fn review_versions(hook: &Value, tolerated: Tolerated, path: &Path, errors: &mut Vec<Error>) {
    let versions = items(hook, "admissionReviewVersions");
    if versions.is_empty() {
        let why = format!("must specify one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(Error::required(path, why));
        return;
    }
    let again = repeated(versions, Value::to_string);
    for (index, version) in versions.iter().enumerate() {
        let (path, name) = (path.index(index), version.as_str().unwrap_or(""));
        if again[index] {
            errors.push(Error::invalid(&path, name, "duplicate version"));
        } else {
            invalid_each(&path, name, names::label_1035(name), errors);
        }
    }
    if !tolerated.unknown_versions && !versions.iter().any(is_review_version) {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(Error::invalid(path, versions.to_vec(), why));
    }
}
