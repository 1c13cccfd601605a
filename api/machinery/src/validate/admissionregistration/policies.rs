//! Admission policies and their bindings.

use serde_json::Value;

use super::{
    Admission, FAILURE_POLICIES, REINVOCATION_POLICIES, expressions, one_of_and_set, rules,
};
use crate::Object;
use crate::admission::Compiler;
use crate::field::{Error, Path};
use crate::validate::repeated;
use crate::validate::selectors::{self, Values};
use crate::validate::{invalid_each, items, names, one_of, text};

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const NOT_FOUND_ACTIONS: [&str; 2] = ["Deny", "Allow"];

pub(super) fn policy(
    admission: Admission,
    new: &Object,
    old: Option<&Object>,
    errors: &mut Vec<Error>,
) {
    let (spec, path) = (new.at(&["spec"]).unwrap_or(&Value::Null), Path::new("spec"));
    let failure = &spec["failurePolicy"];
    one_of_and_set(&path.child("failurePolicy"), failure, &FAILURE_POLICIES, errors);
    if !spec["paramKind"].is_null() {
        param_kind(&spec["paramKind"], &path.child("paramKind"), errors);
    }
    let (constraints, constraints_path) =
        (&spec["matchConstraints"], path.child("matchConstraints"));
    if constraints.is_null() {
        errors.push(Error::required(&constraints_path, ""));
    } else {
        rules::match_resources(constraints, &constraints_path, errors);
        if items(constraints, "resourceRules").is_empty() {
            errors.push(Error::required(&constraints_path.child("resourceRules"), ""));
        }
        if admission == Admission::Mutating {
            rules::only_mutable(constraints, &constraints_path, errors);
        }
    }
    if !old.is_some_and(|old| has_same_conditions(spec, old)) {
        let compiler = Compiler::new(!spec["paramKind"].is_null(), false);
        expressions::match_conditions(spec, &path, &compiler, errors);
    }
    // Without variables, policies that validate do not know the name.
    let has_variables = admission == Admission::Mutating || !items(spec, "variables").is_empty();
    let mut compiler = Compiler::new(!spec["paramKind"].is_null(), has_variables);
    expressions::variables(spec, &path, &mut compiler, errors);
    match admission {
        Admission::Mutating => mutations(spec, &path, &compiler, errors),
        Admission::Validating => validations(new.name(), (spec, &path), &compiler, errors),
    }
}

/// Conditions that were stored stay as good as they were, unless they see other parameters.
fn has_same_conditions(spec: &Value, old: &Object) -> bool {
    let old = old.at(&["spec"]).unwrap_or(&Value::Null);
    spec["paramKind"] == old["paramKind"]
        && items(spec, "matchConditions") == items(old, "matchConditions")
}

fn validations(
    policy: &str,
    (spec, path): (&Value, &Path),
    compiler: &Compiler,
    errors: &mut Vec<Error>,
) {
    let list = items(spec, "validations");
    if list.is_empty() && items(spec, "auditAnnotations").is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        for key in ["validations", "auditAnnotations"] {
            errors.push(Error::required(&path.child(key), why));
        }
        return;
    }
    for (index, validation) in list.iter().enumerate() {
        let path = path.child("validations").index(index);
        expressions::validation(validation, &path, compiler, errors);
    }
    expressions::audit_annotations(policy, (spec, path), compiler, errors);
}

fn mutations(spec: &Value, path: &Path, compiler: &Compiler, errors: &mut Vec<Error>) {
    let list = items(spec, "mutations");
    if list.is_empty() {
        let why = "mutations must contain at least one item";
        errors.push(Error::required(&path.child("mutations"), why));
    }
    for (index, mutation) in list.iter().enumerate() {
        let path = path.child("mutations").index(index);
        expressions::mutation(mutation, &path, compiler, errors);
    }
    let policy = text(spec, "reinvocationPolicy");
    one_of(&path.child("reinvocationPolicy"), policy, &REINVOCATION_POLICIES, true, errors);
}

fn param_kind(kind: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (version_path, api_version) = (path.child("apiVersion"), text(kind, "apiVersion"));
    let parts: Vec<&str> = api_version.split('/').collect();
    let (group, version) = match parts.as_slice() {
        [version] => ("", *version),
        [group, version] => (*group, *version),
        _ => ("", ""),
    };
    if api_version.is_empty() {
        errors.push(Error::required(&version_path, ""));
    } else if parts.len() > 2 {
        let why = format!("unexpected GroupVersion string: {api_version}");
        errors.push(Error::invalid(&version_path, api_version, why));
    } else {
        let problems = names::subdomain_1123(group);
        if !group.is_empty() && !problems.is_empty() {
            errors.push(Error::invalid(&version_path, group, problems.join(",")));
        }
        let problems = names::label_1035(version);
        if version.is_empty() {
            let why = "version must be specified";
            errors.push(Error::invalid(&version_path, api_version, why));
        } else if !problems.is_empty() {
            errors.push(Error::invalid(&version_path, version, problems.join(",")));
        }
    }
    let name = text(kind, "kind");
    let problems = names::label_1035(&name.to_lowercase());
    if name.is_empty() {
        errors.push(Error::required(&path.child("kind"), ""));
    } else if !problems.is_empty() {
        let why =
            format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        errors.push(Error::invalid(&path.child("kind"), name, why));
    }
}

pub(super) fn binding(admission: Admission, object: &Object, errors: &mut Vec<Error>) {
    let (spec, path) = (object.at(&["spec"]).unwrap_or(&Value::Null), Path::new("spec"));
    let policy = text(spec, "policyName");
    if policy.is_empty() {
        errors.push(Error::required(&path.child("policyName"), ""));
    } else {
        invalid_each(&path.child("policyName"), policy, names::subdomain_1123(policy), errors);
    }
    if !spec["paramRef"].is_null() {
        param_ref(&spec["paramRef"], &path.child("paramRef"), errors);
    }
    let (resources, resources_path) = (&spec["matchResources"], path.child("matchResources"));
    if !resources.is_null() {
        rules::match_resources(resources, &resources_path, errors);
    }
    match admission {
        Admission::Mutating => rules::only_mutable(resources, &resources_path, errors),
        Admission::Validating => actions(spec, &path.child("validationActions"), errors),
    }
}

fn param_ref(reference: &Value, path: &Path, errors: &mut Vec<Error>) {
    let (name, selector) = (text(reference, "name"), &reference["selector"]);
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        invalid_each(&path.child("name"), name, names::path_segment(name), errors);
        if !selector.is_null() {
            errors.push(Error::forbidden(&path.child("name"), both));
        }
    }
    if !selector.is_null() {
        selectors::labels(selector, Values::OfLabels, &path.child("selector"), errors);
        if !name.is_empty() {
            errors.push(Error::forbidden(&path.child("selector"), both));
        }
    }
    if name.is_empty() && selector.is_null() {
        errors.push(Error::required(path, "one of name or selector must be specified"));
    }
    let action = text(reference, "parameterNotFoundAction");
    one_of(&path.child("parameterNotFoundAction"), action, &NOT_FOUND_ACTIONS, true, errors);
}

fn actions(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let list = items(spec, "validationActions");
    let again = repeated(list, Value::to_string);
    for (index, action) in list.iter().enumerate() {
        let (path, name) = (path.index(index), action.as_str().unwrap_or(""));
        if !ACTIONS.contains(&name) {
            errors.push(Error::not_supported(&path, name, &ACTIONS));
        }
        if again[index] {
            errors.push(Error::duplicate(&path, name));
        }
    }
    let has = |action: &str| list.iter().any(|one| one == action);
    if has("Deny") && has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(Error::invalid(path, list.to_vec(), why));
    }
    if list.is_empty() {
        errors.push(Error::required(path, "at least one validation action is required"));
    }
}
