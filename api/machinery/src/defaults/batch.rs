//! Defaults of `batch`.

use super::Scalar::{Flag, Number, Text};
use super::{Table, Tree};
use super::{child, descend, ensure, fill, items, labels_from_template, pod, set, set_zero};

pub(super) fn apply(kind: &str, map: &mut Tree) {
    match kind {
        "Job" => job(map),
        "CronJob" => cron_job(map),
        _ => {}
    }
}

const JOB: &Table = &[
    ("parallelism", Number(1)),
    ("completionMode", Text("NonIndexed")),
    ("suspend", Flag(false)),
    ("manualSelector", Flag(false)),
];

fn job(map: &mut Tree) {
    labels_from_template(map);
    let Some(spec) = ensure(map, "spec") else { return };
    let is_set = |key: &str| spec.get(key).is_some_and(|value| !value.is_null());
    let is_single = !is_set("completions") && !is_set("parallelism");
    let backoff_limit = if is_set("backoffLimitPerIndex") { i32::MAX } else { 6 };
    let replacement = if is_set("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    if is_single {
        set(spec, "completions", 1);
    }
    set(spec, "backoffLimit", backoff_limit);
    set(spec, "podReplacementPolicy", replacement);
    fill(spec, JOB);
    job_spec(spec);
}

const CRON_JOB: &Table = &[
    ("suspend", Flag(false)),
    ("successfulJobsHistoryLimit", Number(3)),
    ("failedJobsHistoryLimit", Number(1)),
];

/// The jobs it makes get their own defaults when they are made.
fn cron_job(map: &mut Tree) {
    let Some(spec) = ensure(map, "spec") else { return };
    set_zero(spec, "concurrencyPolicy", "Allow");
    fill(spec, CRON_JOB);
    if let Some(job) = descend(spec, &["jobTemplate", "spec"]) {
        job_spec(job);
    }
}

/// What a job and a template of one share.
fn job_spec(spec: &mut Tree) {
    let rules = child(spec, "podFailurePolicy").into_iter().flat_map(|it| items(it, "rules"));
    for pattern in rules.flat_map(|rule| items(rule, "onPodConditions")) {
        set_zero(pattern, "status", "True");
    }
    pod::template(spec);
}
