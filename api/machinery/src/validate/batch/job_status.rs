//! The status of a Job: other controllers than upstream's may write it, so it is checked well.
//!
//! Most rules only hold for what an update changes: a spec that changed may leave a status that
//! breaks them until the controller has been there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::indexes;
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::shown::{self, Field, Shape};
use crate::validate::{items, not_negative, text};

const UNCOUNTED: &[Field] =
    &[("succeeded", "Succeeded", Shape::Json), ("failed", "Failed", Shape::Json)];

/// The status before and after, and the spec that they are of.
struct Change<'a> {
    spec: &'a Value,
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn is_indexed(&self) -> bool {
        text(self.spec, "completionMode") == "Indexed"
    }

    /// Whether a field is not what it was.
    fn of(&self, field: &str) -> bool {
        self.new[field] != self.old[field]
    }

    fn now(&self, condition: &str) -> bool {
        has(self.new, condition, "True")
    }

    /// Whether a condition came or went.
    fn of_condition(&self, condition: &str) -> bool {
        self.now(condition) != has(self.old, condition, "True")
    }

    fn is_finished(&self) -> bool {
        is_finished(self.new)
    }

    fn of_finished(&self) -> bool {
        self.is_finished() != is_finished(self.old)
    }

    fn number(&self, field: &str) -> i64 {
        self.new[field].as_i64().unwrap_or(0)
    }
}

fn has(status: &Value, condition: &str, value: &str) -> bool {
    items(status, "conditions")
        .iter()
        .any(|one| text(one, "type") == condition && text(one, "status") == value)
}

fn is_finished(status: &Value) -> bool {
    has(status, "Complete", "True") || has(status, "Failed", "True")
}

pub(super) fn update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let change = Change {
        spec: new.at(&["spec"]).unwrap_or(&Value::Null),
        new: new.at(&["status"]).unwrap_or(&Value::Null),
        old: old.at(&["status"]).unwrap_or(&Value::Null),
    };
    counters(&change, errors);
    completion(&change, errors);
    finished(&change, errors);
    completed_and_failed_indexes(&change, errors);
    pods(&change, errors);
    success(&change, errors);
    transitions(&change, errors);
}

fn at(field: &str) -> Path {
    Path::new("status").child(field)
}

fn conditions(why: &str) -> Error {
    shown::invalid(&at("conditions"), "", why)
}

fn counters(change: &Change, errors: &mut Vec<Error>) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        not_negative(&at(field), &change.new[field], errors);
    }
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        let path = at("uncountedTerminatedPods").child(list);
        for (index, uid) in items(&change.new["uncountedTerminatedPods"], list).iter().enumerate() {
            let uid = uid.as_str().unwrap_or("");
            if uid.is_empty() {
                errors.push(Error::invalid(&path.index(index), "", "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(Error::duplicate(&path.index(index), uid));
            }
        }
    }
}

/// The condition `Complete` and the time that goes with it.
fn completion(change: &Change, errors: &mut Vec<Error>) {
    let complete = change.of_condition("Complete");
    if change.now("Complete") {
        if change.now("Failed") && (complete || change.of_condition("Failed")) {
            errors.push(conditions("cannot set Complete=True and Failed=true conditions"));
        }
        if change.now("FailureTarget") && (complete || change.of_condition("FailureTarget")) {
            errors.push(conditions("cannot set Complete=True and FailureTarget=true conditions"));
        }
    }
    let (time, path) = (&change.new["completionTime"], at("completionTime"));
    let timed = change.of("completionTime");
    if complete || timed {
        if !time.is_null() && !change.now("Complete") {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.push(Error::invalid(&path, time.clone(), why));
        }
        if time.is_null() && change.now("Complete") {
            errors.push(Error::required(&path, "completionTime is required for Complete jobs"));
        }
    }
    let start = text(change.new, "startTime");
    let is_before = time.as_str().is_some_and(|time| !start.is_empty() && time < start);
    if (timed || change.of("startTime")) && is_before {
        errors.push(Error::invalid(&path, time.clone(), "must be equal to or after `startTime`"));
    }
    if change.now("Failed")
        && !change.now("FailureTarget")
        && (change.of_condition("Failed") || change.of("failedIndexes"))
    {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        errors.push(conditions(why));
    }
    if change.now("Complete")
        && !change.now("SuccessCriteriaMet")
        && (complete || change.of_condition("SuccessCriteriaMet"))
    {
        let why =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.push(conditions(why));
    }
}

/// A job that has ended has started, and has nothing left to do.
fn finished(change: &Change, errors: &mut Vec<Error>) {
    if !change.is_finished() {
        return;
    }
    let finished = change.of_finished();
    let active = change.number("active");
    if active > 0 && (finished || change.of("active")) {
        errors.push(Error::invalid(&at("active"), active, "active>0 is invalid for finished job"));
    }
    let waits_for_nothing = change.spec["suspend"] == true && change.spec["completions"] == 0;
    if change.new["startTime"].is_null()
        && (finished || change.of("startTime"))
        && !waits_for_nothing
    {
        errors.push(Error::required(&at("startTime"), "startTime is required for finished job"));
    }
    let uncounted = &change.new["uncountedTerminatedPods"];
    let any = ["failed", "succeeded"].iter().any(|list| !items(uncounted, list).is_empty());
    if any && (finished || change.of("uncountedTerminatedPods")) {
        let shown = shown::structure(uncounted, UNCOUNTED);
        let why = "must be empty for finished job";
        errors.push(shown::invalid(&at("uncountedTerminatedPods"), &shown, why));
    }
}

fn completed_and_failed_indexes(change: &Change, errors: &mut Vec<Error>) {
    let completed = text(change.new, "completedIndexes");
    let failed = change.new["failedIndexes"].as_str();
    let (completed_changed, failed_changed) =
        (change.of("completedIndexes"), change.of("failedIndexes"));
    let completions = change.spec["completions"].as_i64();
    let limited = !change.spec["backoffLimitPerIndex"].is_null();
    let mut parse = |field: &str, text: &str| {
        if let Some(Err(why)) = completions.map(|all| indexes::count(text, all)) {
            let why = format!("error parsing {field}: {why}");
            errors.push(Error::invalid(&at(field), text, why));
        }
    };
    if completed_changed {
        parse("completedIndexes", completed);
    }
    if let Some(failed) = failed.filter(|_| failed_changed && limited) {
        parse("failedIndexes", failed);
    }
    if completed_changed && !completed.is_empty() && !change.is_indexed() {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(Error::invalid(&at("completedIndexes"), completed, why));
    }
    let Some(failed) = failed else { return };
    if failed_changed && !limited {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(Error::invalid(&at("failedIndexes"), failed, why));
    }
    let both = completions.and_then(|all| indexes::overlap(completed, failed, all));
    if let Some(index) = both.filter(|_| failed_changed || completed_changed) {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(Error::invalid(&at("failedIndexes"), failed, why));
    }
}

fn pods(change: &Change, errors: &mut Vec<Error>) {
    let terminating = change.number("terminating");
    if terminating > 0 && change.is_finished() && (change.of_finished() || change.of("terminating"))
    {
        let why = "terminating>0 is invalid for finished job";
        errors.push(Error::invalid(&at("terminating"), terminating, why));
    }
    let ready = change.number("ready");
    if !change.new["ready"].is_null()
        && ready > change.number("active")
        && (change.of("ready") || change.of("active"))
    {
        let why = "cannot set more ready pods than active";
        errors.push(Error::invalid(&at("ready"), ready, why));
    }
}

fn success(change: &Change, errors: &mut Vec<Error>) {
    if change.now("SuccessCriteriaMet") {
        if change.now("Failed") {
            let why = "cannot set SuccessCriteriaMet=True and Failed=true conditions";
            errors.push(conditions(why));
        }
        if change.now("FailureTarget") {
            let why = "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions";
            errors.push(conditions(why));
        }
    } else if !change.spec["successPolicy"].is_null() && change.now("Complete") {
        let why =
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(conditions(why));
    }
}

/// What has been decided stays decided.
fn transitions(change: &Change, errors: &mut Vec<Error>) {
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if change.of_condition(condition) && !change.now(condition) {
            let why = format!("cannot disable the terminal {condition}=True condition");
            errors.push(conditions(&why));
        }
    }
    let may_shrink =
        change.is_indexed() && change.spec["completions"] == change.spec["parallelism"];
    for (field, may_shrink) in [("failed", false), ("succeeded", may_shrink)] {
        let (now, before) = (change.number(field), change.old[field].as_i64().unwrap_or(0));
        if now < before && !may_shrink {
            let why = format!("cannot decrease the {field} counter");
            errors.push(Error::invalid(&at(field), now, why));
        }
    }
    let is_set = |status: &Value, field: &str| !status[field].is_null();
    let (end, start) = ("completionTime", "startTime");
    if change.of(end) && is_set(change.new, end) && is_set(change.old, end) {
        errors.push(Error::invalid(&at(end), change.new[end].clone(), "field is immutable"));
    }
    let resumes = has(change.old, "Suspended", "True") && has(change.new, "Suspended", "False");
    let waits = change.spec["suspend"] == true;
    if change.of(start) && is_set(change.old, start) && !waits && !resumes {
        let why = "field is immutable for unsuspended job once set";
        errors.push(Error::invalid(&at(start), change.new[start].clone(), why));
    }
    if change.of_condition("SuccessCriteriaMet") {
        if !change.now("SuccessCriteriaMet") {
            errors.push(conditions("cannot disable the SuccessCriteriaMet=True condition"));
        } else if has(change.old, "Complete", "True") {
            let why =
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            errors.push(conditions(why));
        }
    }
}
