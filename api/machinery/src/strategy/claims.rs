//! Claims: where a volume's content comes from, and devices that are no longer allocated.

use serde_json::Value;

use crate::Object;

const OLD: &[&str] = &["spec", "dataSource"];
const NEW: &[&str] = &["spec", "dataSourceRef"];

fn is_set(claim: &Object, path: &[&str]) -> bool {
    claim.at(path).is_some_and(|one| !one.is_null())
}

/// `dataSource` and `dataSourceRef` say the same in two ways; what only one of them says is copied to
/// the other. The older one can say it only of claims and snapshots of the same namespace, unless the
/// claim had a source before. Sources in other namespaces are a feature that is off.
pub(super) fn mirror_data_sources(claim: &mut Object, old: Option<&Object>) {
    let had = |path: &[&str]| old.is_some_and(|old| is_set(old, path));
    let is_elsewhere = !claim.text(&["spec", "dataSourceRef", "namespace"]).is_empty();
    if is_elsewhere && !had(NEW) {
        claim.remove(NEW);
    }
    if !had(OLD) && !had(NEW) && !is_set(claim, NEW) && !is_of_old_kinds(claim) {
        // Anything else was never meant, and is ignored as it always was.
        claim.remove(OLD);
    }
    copy_data_source(claim);
}

fn is_of_old_kinds(claim: &Object) -> bool {
    let group = claim.text(&["spec", "dataSource", "apiGroup"]);
    let kind = claim.text(&["spec", "dataSource", "kind"]);
    matches!(
        (group, kind),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

fn copy_data_source(claim: &mut Object) {
    match (is_set(claim, OLD), is_set(claim, NEW)) {
        (true, false) => {
            if let Some(source) = claim.at(OLD).cloned() {
                claim.set(NEW, source);
            }
        }
        (false, true) if claim.text(&["spec", "dataSourceRef", "namespace"]).is_empty() => {
            let mut source = claim.at(NEW).cloned().unwrap_or_default();
            if let Some(source) = source.as_object_mut() {
                source.remove("namespace");
            }
            claim.set(OLD, source);
        }
        _ => {}
    }
}

/// What is told of devices ends with their allocation.
pub(super) fn drop_deallocated(claim: &mut Object, old: &Object) {
    let same = |one: &Value, other: &Value| {
        let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_owned();
        ["driver", "pool", "device", "shareID"]
            .iter()
            .all(|field| text(one, field) == text(other, field))
    };
    let results = |claim: &Object| -> Vec<Value> {
        let path = ["status", "allocation", "devices", "results"];
        claim.at(&path).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let kept = results(claim);
    let mut gone = results(old);
    gone.retain(|one| !kept.iter().any(|other| same(one, other)));
    if gone.is_empty() {
        return;
    }
    let Some(Value::Array(mut told)) = claim.at(&["status", "devices"]).cloned() else { return };
    told.retain(|one| !gone.iter().any(|other| same(one, other)));
    if told.is_empty() {
        claim.remove(&["status", "devices"]);
    } else {
        claim.set(&["status", "devices"], told.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn a_source_that_was_taken_once_stays() {
        let foreign = json!({"apiGroup": "x.y", "kind": "Q", "name": "z"});
        let mut new = claim(json!({"spec": {"dataSource": foreign}}));
        mirror_data_sources(&mut new, None);
        assert_eq!(new, claim(json!({"spec": {}})), "only claims and snapshots can be named so");
        let mut both = claim(json!({"spec": {"dataSourceRef": foreign}}));
        mirror_data_sources(&mut both, None);
        assert_eq!(both.at(OLD), Some(&foreign));
        let mut put = claim(json!({"spec": {"dataSource": foreign}}));
        mirror_data_sources(&mut put, Some(&both));
        assert_eq!(put, both);
        let elsewhere = json!({"kind": "Q", "name": "z", "namespace": "other"});
        let mut new = claim(json!({"spec": {"dataSourceRef": elsewhere}}));
        mirror_data_sources(&mut new, None);
        assert_eq!(new, claim(json!({"spec": {}})));
    }

    #[test]
    fn devices_that_are_given_back_are_not_told_of() {
        let device = |name: &str| json!({"driver": "d.x", "pool": "p", "device": name});
        let with = |allocated: &[&str], told: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| device(name)).collect::<Vec<_>>();
            claim(json!({"status": {"allocation": {"devices": {"results": list(allocated)}},
                "devices": list(told)}}))
        };
        let old = with(&["a", "b"], &["a", "b"]);
        let mut new = with(&["b"], &["a", "b"]);
        drop_deallocated(&mut new, &old);
        assert_eq!(new, with(&["b"], &["b"]));
        let mut none = claim(json!({"status": {"devices": [device("a"), device("b")]}}));
        drop_deallocated(&mut none, &old);
        assert_eq!(none, claim(json!({"status": {}})));
    }
}
