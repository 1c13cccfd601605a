//! Certificate signing requests: who asks, and who decides; and who serves an API.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::keep_metadata;
use crate::Object;

const CONDITIONS: &[&str] = &["status", "conditions"];

/// Writes down who asks; what the client wrote about that is dropped. `extra` is what else the
/// credentials say.
pub fn set_requester(
    request: &mut Object,
    username: &str,
    uid: &str,
    groups: &[String],
    extra: &BTreeMap<String, Vec<String>>,
) {
    for field in ["username", "uid", "groups", "extra"] {
        request.remove(&["spec", field]);
    }
    for (field, value) in [("username", username), ("uid", uid)] {
        if !value.is_empty() {
            request.set(&["spec", field], value.into());
        }
    }
    if !groups.is_empty() {
        request.set(&["spec", "groups"], json!(groups));
    }
    if !extra.is_empty() {
        request.set(&["spec", "extra"], json!(extra));
    }
}

/// Prepares `PUT certificatesigningrequests/NAME/approval`: only the conditions change.
pub fn prepare_for_approval(new: &mut Object, old: &Object, now: &str) {
    keep_metadata(new, old);
    date_conditions(new, old, now);
    let conditions = new.at(CONDITIONS).cloned();
    for field in ["spec", "status"] {
        super::keep(new, old, &[field]);
    }
    match conditions {
        Some(conditions) => new.set(CONDITIONS, conditions),
        None => {
            new.remove(CONDITIONS);
        }
    }
}

/// A service of this server's own is available from the start; others have to show it first.
pub(super) fn status_of_api_service(service: &Object, now: &str) -> Value {
    if service.at(&["spec", "service"]).is_some_and(|service| !service.is_null()) {
        return json!({});
    }
    json!({"conditions": [{
        "type": "Available",
        "status": "True",
        "lastTransitionTime": now,
        "reason": "Local",
        "message": "Local APIServices are always available",
    }]})
}

fn conditions(request: &Object) -> &[Value] {
    request.at(CONDITIONS).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Decisions are made through `approval` only: a status has those of the stored object.
pub(super) fn keep_decisions(new: &mut Object, old: &Object) {
    for decision in ["Approved", "Denied"] {
        let of = |request: &Object| -> Vec<Value> {
            conditions(request).iter().filter(|one| one["type"] == decision).cloned().collect()
        };
        // Adding and taking away is left to validation, which refuses it.
        let (now, before) = (of(new), of(old));
        if now.len() != before.len() || now == before {
            continue;
        }
        let mut kept = before.into_iter();
        let all = new.0.get_mut("status").and_then(|status| status.get_mut("conditions"));
        for one in all.and_then(Value::as_array_mut).into_iter().flatten() {
            if one["type"] == decision
                && let Some(kept) = kept.next()
            {
                *one = kept;
            }
        }
    }
}

/// Dates what is new: when it was written, and when it became what it is.
pub(super) fn date_conditions(new: &mut Object, old: &Object, now: &str) {
    let known: Vec<Value> = conditions(old).to_vec();
    let all = new.0.get_mut("status").and_then(|status| status.get_mut("conditions"));
    for one in all.and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(condition) = one.as_object_mut() else { continue };
        let is_unset = |value: Option<&Value>| value.is_none_or(Value::is_null);
        if is_unset(condition.get("lastUpdateTime")) {
            condition.insert("lastUpdateTime".to_owned(), now.into());
        }
        if is_unset(condition.get("lastTransitionTime")) {
            let same = known.iter().find(|known| {
                Some(&known["type"]) == condition.get("type")
                    && Some(&known["status"]) == condition.get("status")
                    && !known["lastTransitionTime"].is_null()
            });
            let since = same.map_or_else(|| now.into(), |same| same["lastTransitionTime"].clone());
            condition.insert("lastTransitionTime".to_owned(), since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(status: Value) -> Object {
        let tree =
            json!({"metadata": {"name": "r"}, "spec": {"request": "eA=="}, "status": status});
        Object::from_value(tree).unwrap()
    }

    #[test]
    fn an_approval_changes_conditions_only_and_dates_them() {
        let old = request(json!({"certificate": "YQ=="}));
        let mut new = request(json!({"conditions": [{"type": "Approved", "status": "True"}]}));
        new.set(&["spec", "request"], "other".into());
        prepare_for_approval(&mut new, &old, "2026-01-01T00:00:00Z");
        assert_eq!(new.text(&["spec", "request"]), "eA==");
        let dated = json!([{"type": "Approved", "status": "True",
            "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        assert_eq!(new.0["status"], json!({"certificate": "YQ==", "conditions": dated}));
    }

    #[test]
    fn a_status_does_not_rewrite_a_decision() {
        let old = request(json!({"conditions": [{"type": "Denied", "reason": "no"}]}));
        let mut new = request(json!({"conditions": [{"type": "Denied", "reason": "yes"}]}));
        keep_decisions(&mut new, &old);
        assert_eq!(new.0, old.0);
    }
}
