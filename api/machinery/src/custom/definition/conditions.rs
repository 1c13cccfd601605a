//! What the server writes into the status of a definition, as a function of what it sees.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | CN1 | Deciding again on what was decided changes nothing. |
//! | CN2 | A condition's time changes with its status only. |

use serde_json::{Value, json};

use super::{Approval, accept, approval_of, list};
use crate::Object;
use crate::custom::structural;

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether a condition of a definition is true.
#[must_use]
pub fn is_true(definition: &Object, kind: &str) -> bool {
    let conditions = definition.at(&["status", "conditions"]).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == kind && one["status"] == "True")
}

/// Sets a condition; its time is `now` when its status is new (CN2).
pub fn set(definition: &mut Object, mut condition: Value, now: &str) {
    let path = ["status", "conditions"];
    let mut conditions =
        definition.at(&path).and_then(Value::as_array).cloned().unwrap_or_default();
    let known = conditions.iter_mut().find(|one| one["type"] == condition["type"]);
    let is_same = known.as_ref().is_some_and(|known| known["status"] == condition["status"]);
    condition["lastTransitionTime"] = match &known {
        Some(known) if is_same => known["lastTransitionTime"].clone(),
        _ => now.into(),
    };
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    definition.set(&path, Value::Array(conditions));
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

fn remove(definition: &mut Object, kind: &str) {
    let path = ["status", "conditions"];
    if let Some(Value::Array(conditions)) = definition.at(&path) {
        let kept: Vec<Value> =
            conditions.iter().filter(|one| one["type"] != kind).cloned().collect();
        definition.set(&path, Value::Array(kept));
    }
}

/// Decides the names of a definition, and what its schemas and its approval come to.
///
/// `of_group` are the accepted names of the definitions in its group.
pub fn decide<'a>(definition: &mut Object, of_group: impl Iterator<Item = &'a Value>, now: &str) {
    let wanted = definition.at(&["spec", "names"]).cloned().unwrap_or_default();
    let has = definition.at(&["status", "acceptedNames"]).cloned().unwrap_or_default();
    if wanted != has || !knows_names(definition) {
        let tree = Value::Object(definition.0.clone());
        let accepted = accept(&tree, of_group);
        definition.set(&["status", "acceptedNames"], accepted.names);
        set(definition, accepted.names_accepted, now);
        set(definition, keep_plain(accepted.established), now);
    }
    let versions = definition.at(&["spec"]).map(|spec| list(spec, "versions").to_vec());
    match structural::non_structural(&versions.unwrap_or_default()) {
        Some((reason, message)) => {
            set(definition, condition("NonStructuralSchema", "True", reason, &message), now);
        }
        None => remove(definition, "NonStructuralSchema"),
    }
    if let Some(approval) = approval(definition) {
        set(definition, approval, now);
    }
}

fn knows_names(definition: &Object) -> bool {
    let conditions = definition.at(&["status", "conditions"]).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "NamesAccepted")
}

/// Without the time, which [`set`] knows.
fn keep_plain(mut condition: Value) -> Value {
    if let Some(map) = condition.as_object_mut() {
        map.remove("lastTransitionTime");
    }
    condition
}

/// The names are accepted and the kind is served.
pub fn establish(definition: &mut Object, now: &str) {
    let message = "the initial names have been accepted";
    set(definition, condition("Established", "True", "InitialNamesAccepted", message), now);
}

/// Why a kind cannot be served although its names are accepted.
pub fn refuse(definition: &mut Object, why: &str, now: &str) {
    set(definition, condition("Established", "False", "NotServable", why), now);
}

/// How far the deletion of a definition has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    Pending,
    InProgress,
    Completed,
    NeverEstablished,
    Failed(String),
}

/// Says how far the deletion has come; the last step takes the finalizer away.
pub fn terminate(definition: &mut Object, step: &Deletion, now: &str) {
    let (status, reason, message) = match step {
        Deletion::Pending => (
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        ),
        Deletion::InProgress => {
            ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        }
        Deletion::Completed => ("False", "InstanceDeletionCompleted", "removed all instances"),
        Deletion::NeverEstablished => {
            ("False", "NeverEstablished", "resource was never established")
        }
        Deletion::Failed(why) => ("True", "InstanceDeletionFailed", why.as_str()),
    };
    set(definition, condition("Terminating", status, reason, message), now);
    if matches!(step, Deletion::Completed | Deletion::NeverEstablished) {
        let mut finalizers = definition.finalizers();
        finalizers.retain(|one| one != CLEANUP);
        definition.set_finalizers(&finalizers);
    }
}

/// Marks a definition for deletion, which waits for its objects.
pub fn mark_deleted(definition: &mut Object, now: &str) {
    definition.set(&["metadata", "deletionTimestamp"], now.into());
    let mut finalizers = definition.finalizers();
    if !finalizers.iter().any(|one| one == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
        definition.set_finalizers(&finalizers);
    }
    terminate(definition, &Deletion::Pending, now);
}

fn approval(definition: &Object) -> Option<Value> {
    if !super::is_protected(definition.text(&["spec", "group"])) {
        return None;
    }
    let note = definition.text(&["metadata", "annotations", super::APPROVAL]);
    let (status, reason, message) = match approval_of(definition) {
        Approval::Approved => ("True", "ApprovedAnnotation", format!("approved in {note}")),
        Approval::Bypassed => ("False", "UnapprovedAnnotation", format!("not approved: {note:?}")),
        Approval::Missing => (
            "False",
            "MissingAnnotation",
            format!(
                "protected groups must have approval annotation {:?}, see {}",
                super::APPROVAL,
                super::APPROVAL_PAGE
            ),
        ),
        Approval::Invalid => (
            "False",
            "InvalidAnnotation",
            format!(
                "protected groups must have approval annotation {:?} with either a URL or a reason starting with \"unapproved\", see {}",
                super::APPROVAL,
                super::APPROVAL_PAGE
            ),
        ),
    };
    Some(condition("KubernetesAPIApprovalPolicyConformant", status, reason, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Object {
        let names = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"});
        Object::from_value(json!({"spec": {"group": "g.example.com", "names": names,
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}]}}))
        .unwrap()
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        let mut first = definition();
        decide(&mut first, std::iter::empty(), "2026-01-01T00:00:00Z");
        assert!(is_true(&first, "NamesAccepted") && !is_true(&first, "Established"));
        let mut again = first.clone();
        let own = first.at(&["status", "acceptedNames"]).cloned().unwrap();
        decide(&mut again, std::iter::once(&own), "2026-01-02T00:00:00Z");
        assert_eq!(first, again);
        establish(&mut again, "2026-01-03T00:00:00Z");
        let mut last = again.clone();
        decide(&mut last, std::iter::once(&own), "2026-01-04T00:00:00Z");
        assert_eq!(last, again);
        assert!(is_true(&last, "Established"));
    }

    #[test]
    fn a_deleted_definition_waits_for_its_objects() {
        let mut going = definition();
        mark_deleted(&mut going, "2026-01-01T00:00:00Z");
        assert_eq!(going.finalizers(), [CLEANUP]);
        assert!(is_true(&going, "Terminating"));
        terminate(&mut going, &Deletion::Completed, "2026-01-01T00:00:01Z");
        assert!(going.finalizers().is_empty() && !is_true(&going, "Terminating"));
    }
}
