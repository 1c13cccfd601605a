//! The annotation of client-side apply: how objects move from it to server-side apply.

use serde_json::Value;

use super::compare::compare;
use super::fields::field_set;
use super::set::Set;
use super::target::Target;
use crate::{Object, limits};

/// The manager whose conflicts the annotation can settle.
pub(super) const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What client-side apply has set and nobody has changed since: no conflict for kubectl.
pub(super) fn settled(target: &Target, live: &Object) -> Option<Set> {
    let text = live.text(&["metadata", "annotations", ANNOTATION]);
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(&target.api_version) {
        return None;
    }
    super::check::check(&last, &target.node, super::check::Duplicates::Refused).ok()?;
    let comparison = compare(&last, &Value::Object(live.0.clone()), &target.node);
    let set = field_set(&last, &target.node);
    Some(
        set.difference(&comparison.modified)
            .difference(&comparison.added)
            .difference(&comparison.removed),
    )
}

/// Brings the annotation of an object that has one up to date with what kubectl applied.
pub(super) fn refresh(object: &mut Object, config: &Object) {
    let path = ["metadata", "annotations", ANNOTATION];
    if object.text(&path).is_empty() {
        return;
    }
    let mut config = config.clone();
    config.remove(&path);
    let text = super::path::json(&Value::Object(config.0)) + "\n";
    object.set(&path, text.into());
    let bytes: usize =
        object.annotations().iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > limits::ANNOTATIONS_BYTES_MAX {
        object.remove(&path);
    }
}
