//! Pod templates of workloads, and the selectors that must match them.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::selector::Labels;
use crate::validate::{items, names, pod, selectors, shown, text};

const NO_MATCH: &str = "`selector` does not match template `labels`";

/// What `kind` asks of its pods: that they go on until they are told to end.
pub(super) fn runs_forever(template: &Value, path: &Path, kind: &str, errors: &mut Vec<Error>) {
    let (spec, path) = (&template["spec"], path.child("spec"));
    let policy = text(spec, "restartPolicy");
    if !matches!(policy, "Always" | "") {
        errors.push(Error::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if !spec["activeDeadlineSeconds"].is_null() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(Error::forbidden(&path.child("activeDeadlineSeconds"), why));
    }
}

/// A missing selector matches nothing, an empty one everything.
pub(in crate::validate) fn matches(selector: &Value, template: &Value) -> bool {
    let labels = &template["metadata"]["labels"];
    !selector.is_null() && Labels::from_object(selector).matches(|key| labels[key].as_str())
}

pub(in crate::validate) fn no_match(template: &Value, path: &Path) -> Error {
    let shown = template["metadata"]["labels"].clone();
    Error::invalid(&path.child("metadata").child("labels"), shown, NO_MATCH)
}

/// The selector and the template of a Deployment or ReplicaSet.
pub(super) fn selector_and_template(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let selector = &spec["selector"];
    let selector_path = path.child("selector");
    let understood = selector_of(selector, &selector_path, "deployment", errors);
    if !understood {
        let shown = shown::selector(selector);
        errors.push(shown::invalid(&selector_path, &shown, "invalid label selector"));
        return;
    }
    let (template, path) = (&spec["template"], path.child("template"));
    if !matches(selector, template) {
        errors.push(no_match(template, &path));
    }
    pod::template(template, &path, errors);
    runs_forever(template, &path, "ReplicaSet", errors);
}

/// A selector that must be there and not be empty; says whether it can be used.
pub(super) fn selector_of(
    selector: &Value,
    path: &Path,
    kind: &str,
    errors: &mut Vec<Error>,
) -> bool {
    if selector.is_null() {
        errors.push(Error::required(path, ""));
        return true;
    }
    let before = errors.len();
    selectors::label_selector(selector, path, errors);
    let understood = errors.len() == before;
    if Labels::from_object(selector).is_empty() {
        let why = format!("empty selector is invalid for {kind}");
        errors.push(shown::invalid(path, &shown::selector(selector), &why));
    }
    understood
}

/// Whether a stored selector has a value that a new one could not have.
pub(in crate::validate) fn has_invalid_value(selector: &Value) -> bool {
    items(selector, "matchExpressions")
        .iter()
        .flat_map(|one| items(one, "values"))
        .filter_map(Value::as_str)
        .any(|value| !names::label_value(value).is_empty())
}
