//! Workloads, but for the pods that they make.

use serde_json::Value;

use super::{spec, storage};
use crate::Object;
use crate::field::Path;
use crate::validate::{items, text};

/// More indexes than this can be too many to keep track of, if as many pods as that run at once.
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const PARALLELISM_SOFT_MAX: i64 = 10_000;

pub(super) fn stateful_set_create(object: &Object, told: &mut Vec<String>) {
    stateful_set(object, |path| path, told);
}

pub(super) fn stateful_set_update(object: &Object, told: &mut Vec<String>) {
    // Upstream names the field so when the set is changed, and only then.
    stateful_set(object, |path| path.child("Spec"), told);
}

fn stateful_set(object: &Object, below: impl Fn(Path) -> Path, told: &mut Vec<String>) {
    let path = Path::new("spec").child("volumeClaimTemplates");
    for (index, claim) in items(spec(object), "volumeClaimTemplates").iter().enumerate() {
        storage::claim_spec(&claim["spec"], &below(path.index(index)), told);
    }
    if spec(object)["revisionHistoryLimit"].as_i64().is_some_and(|limit| limit < 0) {
        let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
        told.push(format!("spec.revisionHistoryLimit: {why}"));
    }
}

pub(super) fn job(new: &Object, old: Option<&Object>, told: &mut Vec<String>) {
    if is_new(new, old) {
        job_spec(spec(new), "spec", told);
    }
}

pub(super) fn cron_job_create(object: &Object, told: &mut Vec<String>) {
    job_spec(&spec(object)["jobTemplate"]["spec"], "spec.jobTemplate.spec", told);
}

pub(super) fn cron_job_update(new: &Object, old: &Object, told: &mut Vec<String>) {
    if is_new(new, Some(old)) {
        cron_job_create(new, told);
    }
    // A new one is refused for it, and so is one that had no zone in its schedule.
    if text(spec(new), "schedule").contains("TZ") {
        told.push(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .to_owned(),
        );
    }
}

fn is_new(new: &Object, old: Option<&Object>) -> bool {
    old.is_none_or(|old| old.generation() != new.generation())
}

fn job_spec(spec: &Value, path: &str, told: &mut Vec<String>) {
    let number = |field: &str| spec[field].as_i64().unwrap_or(0);
    let is_large = number("completions") > COMPLETIONS_SOFT_MAX
        && number("parallelism") > PARALLELISM_SOFT_MAX;
    if text(spec, "completionMode") == "Indexed" && is_large {
        told.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
}
