//! Events, in the version that is kept: those of the core group have fewer rules than those of
//! `events.k8s.io`, whose fields upstream tells by the names of the core group too.

use serde_json::Value;

use super::go_shape::{self, NUMBER, Shape, TEXT};
use super::{invalid_each, meta, names};
use crate::field::{Error, Path};
use crate::kinds::NameRule;
use crate::{Object, ResourceInfo};

const TEXT_BYTES_MAX: usize = 128;
const NOTE_BYTES_MAX: usize = 1024;
const UNSET: &str = "needs to be unset";

const PLAIN: Shape = Shape::Plain;
const REFERENCE: Shape = Shape::Inline(&[
    ("kind", "Kind", TEXT),
    ("namespace", "Namespace", TEXT),
    ("name", "Name", TEXT),
    ("uid", "UID", TEXT),
    ("apiVersion", "APIVersion", TEXT),
    ("resourceVersion", "ResourceVersion", TEXT),
    ("fieldPath", "FieldPath", TEXT),
]);
const SOURCE: Shape = Shape::Inline(&[("component", "Component", TEXT), ("host", "Host", TEXT)]);

/// What never changes: the name here, the name that is told, and how the value is shown. Upstream
/// looks at the reason twice.
const FIXED: [(&str, &str, Shape); 14] = [
    ("involvedObject", "involvedObject", REFERENCE),
    ("reason", "reason", TEXT),
    ("message", "message", TEXT),
    ("source", "source", SOURCE),
    ("firstTimestamp", "firstTimestamp", PLAIN),
    ("lastTimestamp", "lastTimestamp", PLAIN),
    ("count", "count", NUMBER),
    ("reason", "reason", TEXT),
    ("type", "type", TEXT),
    ("eventTime", "eventTime", PLAIN),
    ("action", "action", TEXT),
    ("related", "related", REFERENCE),
    ("reportingComponent", "reportingController", TEXT),
    ("reportingInstance", "reportingInstance", TEXT),
];

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    // An event's own rules come first.
    errors.clear();
    common(info, object, errors);
    if info.group.is_empty() {
        // Any path segment may be its name.
        if errors.is_empty() {
            errors.extend(meta::create_as(NameRule::PathSegment, info, object));
        }
        return;
    }
    errors.extend(meta::create(info, object));
    series(object, errors);
    if !is_set(object, "eventTime") {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = object.text(&["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        let why = format!("has invalid value: {kind}");
        errors.push(Error::invalid(&Path::new("type"), "", why));
    }
    let source = |key| !object.text(&["source", key]).is_empty();
    for (is_set, told) in [
        (is_set(object, "firstTimestamp"), "firstTimestamp"),
        (is_set(object, "lastTimestamp"), "lastTimestamp"),
        (number(object, &["count"]) != 0, "count"),
        (source("component") || source("host"), "source"),
    ] {
        if is_set {
            errors.push(Error::invalid(&Path::new(told), "", UNSET));
        }
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    common(info, new, errors);
    if info.group.is_empty() {
        return;
    }
    // Upstream looks at the metadata a second time.
    errors.extend(meta::update(info, new, old));
    if new.at(&["series"]) != old.at(&["series"]) {
        series(new, errors);
    }
    for (field, told, shape) in FIXED {
        let [new, old] = [new, old].map(|object| object.at(&[field]).unwrap_or(&Value::Null));
        let is_same_time = field == "eventTime" && micros(new) == micros(old);
        if new != old && !is_same_time {
            let shape = if new.is_null() && field == "related" { &PLAIN } else { &shape };
            let path = Path::new(told);
            errors.push(go_shape::invalid(&path, new, shape, "field is immutable"));
        }
    }
}

fn is_set(object: &Object, field: &str) -> bool {
    object.at(&[field]).is_some_and(|value| !value.is_null())
}

fn number(object: &Object, path: &[&str]) -> i64 {
    object.at(path).and_then(Value::as_i64).unwrap_or(0)
}

/// A time to the microsecond: what is finer than that may differ.
fn micros(time: &Value) -> Option<i64> {
    time.as_str().and_then(crate::time::parse).map(|time| time.as_microsecond())
}

fn series(object: &Object, errors: &mut Vec<Error>) {
    if !is_set(object, "series") {
        return;
    }
    if number(object, &["series", "count"]) < 2 {
        errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if object.text(&["series", "lastObservedTime"]).is_empty() {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

/// Events without a time are those of the older API, with fewer rules.
fn common(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    let (involved, namespace) = (object.text(&["involvedObject", "namespace"]), object.namespace());
    let is_new = is_set(object, "eventTime");
    let is_wrong = match (involved, is_new) {
        ("", true) => !matches!(namespace, "default" | "kube-system"),
        ("", false) => !matches!(namespace, "" | "default"),
        (_, true) => false,
        (_, false) => involved != namespace,
    };
    if is_wrong {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(Error::invalid(&path, involved, "does not match event.namespace"));
    }
    if is_new {
        let controller = object.text(&["reportingComponent"]);
        let is_core = info.group.is_empty();
        let path = Path::new(if is_core { "reportingComponent" } else { "reportingController" });
        if controller.is_empty() {
            errors.push(Error::required(&path, ""));
        }
        invalid_each(&path, controller, names::qualified_name(controller), errors);
        for field in ["reportingInstance", "action", "reason"] {
            let (path, length) = (Path::new(field), object.text(&[field]).len());
            if length == 0 {
                errors.push(Error::required(&path, ""));
            }
            at_most(&path, length, TEXT_BYTES_MAX, errors);
        }
        let note = object.text(&["message"]).len();
        at_most(&Path::new("message"), note, NOTE_BYTES_MAX, errors);
    }
    invalid_each(&Path::new("namespace"), namespace, names::subdomain_1123(namespace), errors);
}

fn at_most(path: &Path, length: usize, max: usize, errors: &mut Vec<Error>) {
    if length > max {
        errors.push(Error::invalid(path, "", format!("can have at most {max} characters")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info() -> &'static ResourceInfo {
        crate::kinds::find("events.k8s.io", "v1", "events").unwrap()
    }

    /// Made in the names of `events.k8s.io`.
    fn event(changes: &Value) -> Object {
        let mut event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a.b/c",
            "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal",
            "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "note": "n"});
        for (key, value) in changes.as_object().unwrap() {
            event[key] = value.clone();
        }
        crate::convert::to(info().kept(), Object::from_value(event).unwrap())
    }

    #[test]
    fn new_events_are_told_in_upstreams_words() {
        for (changes, want) in [
            (json!({}), vec![]),
            (
                json!({"eventTime": null, "type": "x", "deprecatedCount": 1, "series": {"count": 1}}),
                vec![
                    "series.count: Invalid value: \"\": should be at least 2",
                    "series.lastObservedTime: Required value",
                    "eventTime: Required value",
                    "type: Invalid value: \"\": has invalid value: x",
                    "count: Invalid value: \"\": needs to be unset",
                ],
            ),
            (
                json!({"eventTime": null, "regarding": {"namespace": "x"},
                    "deprecatedSource": {"host": "h"}}),
                vec![
                    "involvedObject.namespace: Invalid value: \"x\": does not match event.namespace",
                    "eventTime: Required value",
                    "source: Invalid value: \"\": needs to be unset",
                ],
            ),
            (
                json!({"reportingInstance": "", "action": "a".repeat(129), "note": "n".repeat(1025)}),
                vec![
                    "reportingInstance: Required value",
                    "action: Invalid value: \"\": can have at most 128 characters",
                    "message: Invalid value: \"\": can have at most 1024 characters",
                ],
            ),
        ] {
            let mut errors = Vec::new();
            create(info(), &event(&changes), &mut errors);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn an_event_that_happened_stays_as_it_was() {
        let mut errors = Vec::new();
        let finer = json!({"eventTime": "2026-01-01T00:00:00.000000001Z",
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}});
        update(info(), &event(&finer), &event(&json!({})), &mut errors);
        assert_eq!(errors, []);
        let other = json!({"note": "m", "regarding": {"name": "q"}});
        update(info(), &event(&other), &event(&json!({})), &mut errors);
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "involvedObject: Invalid value: {\"Kind\":\"\",\"Namespace\":\"\",\"Name\":\"q\",\"UID\":\"\",\"APIVersion\":\"\",\"ResourceVersion\":\"\",\"FieldPath\":\"\"}: field is immutable",
                "message: Invalid value: \"m\": field is immutable",
            ]
        );
    }
}
