//! What a job's spec may say, in a Job as in a CronJob's template.

use serde_json::Value;

use super::policies;
use crate::field::{Error, Path};
use crate::validate::{names, not_negative, pod, text};

const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// Above this many completions, the next two limits hold.
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const PARALLELISM_MAX_OF_MANY: i64 = 10_000;
const FAILED_INDEXES_MAX_OF_MANY: i64 = 10_000;
const MANAGED_BY_BYTES_MAX: usize = 63;

const COUNTS: [&str; 6] = [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
];

pub(super) fn check(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    for field in COUNTS {
        not_negative(&path.child(field), &spec[field], errors);
    }
    let failed = &spec["maxFailedIndexes"];
    not_negative(&path.child("maxFailedIndexes"), failed, errors);
    if !failed.is_null() && spec["backoffLimitPerIndex"].is_null() {
        let why = "when maxFailedIndexes is specified";
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), why));
    }
    managed_by(spec, path, errors);
    completion_mode(spec, path, errors);
    policies::pod_failure(spec, &path.child("podFailurePolicy"), errors);
    policies::success(spec, &path.child("successPolicy"), errors);
    policies::pod_replacement(spec, &path.child("podReplacementPolicy"), errors);
    pod::template(&spec["template"], &path.child("template"), errors);
    restart_policy(spec, path, errors);
}

fn managed_by(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(name) = spec["managedBy"].as_str() else { return };
    let path = path.child("managedBy");
    match name.split_once('/') {
        _ if name.is_empty() => errors.push(Error::required(&path, "")),
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            let problems = names::subdomain_1123(host);
            errors.extend(problems.into_iter().map(|why| Error::invalid(&path, host, why)));
            let fits = |c: u8| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c);
            if !rest.bytes().all(fits) {
                let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
                errors.push(Error::invalid(&path, rest, why));
            }
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(&path, name, why));
        }
    }
    if name.len() > MANAGED_BY_BYTES_MAX {
        errors.push(Error::too_long(&path, MANAGED_BY_BYTES_MAX));
    }
}

fn completion_mode(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    match spec["completionMode"].as_str() {
        Some("Indexed") => indexed(spec, path, errors),
        None | Some("NonIndexed") => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if !spec[field].is_null() {
                    let why = "requires indexed completion mode";
                    errors.push(Error::invalid(&path.child(field), spec[field].clone(), why));
                }
            }
        }
        Some(other) => {
            let path = path.child("completionMode");
            errors.push(Error::not_supported(&path, other, &["NonIndexed", "Indexed"]));
        }
    }
}

fn indexed(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let count = |field: &str| spec[field].as_i64();
    let at_most = |field: &str, max: i64, suffix: &str, errors: &mut Vec<Error>| {
        if let Some(value) = count(field).filter(|value| *value > max) {
            let why = format!("must be less than or equal to {max}{suffix}");
            errors.push(Error::invalid(&path.child(field), value, why));
        }
    };
    if spec["completions"].is_null() {
        let why = "when completion mode is Indexed";
        errors.push(Error::required(&path.child("completions"), why));
    }
    let suffix = " when completion mode is Indexed";
    at_most("parallelism", PARALLELISM_MAX, suffix, errors);
    if let (Some(failed), Some(all)) = (count("maxFailedIndexes"), count("completions"))
        && failed > all
    {
        let why = "must be less than or equal to completions";
        errors.push(Error::invalid(&path.child("maxFailedIndexes"), failed, why));
    }
    at_most("maxFailedIndexes", FAILED_INDEXES_MAX, "", errors);
    let is_many = count("completions").is_some_and(|all| all > COMPLETIONS_SOFT_MAX);
    if !is_many || spec["backoffLimitPerIndex"].is_null() {
        return;
    }
    if spec["maxFailedIndexes"].is_null() {
        let why = format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}");
        errors.push(Error::required(&path.child("maxFailedIndexes"), why));
    }
    let suffix = format!(
        " when completions are above {COMPLETIONS_SOFT_MAX} and used with backoff limit per index"
    );
    at_most("parallelism", PARALLELISM_MAX_OF_MANY, &suffix, errors);
    at_most("maxFailedIndexes", FAILED_INDEXES_MAX_OF_MANY, &suffix, errors);
}

/// A job ends, and so its pods do.
fn restart_policy(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    let path = path.child("template").child("spec").child("restartPolicy");
    match policy {
        "Always" | "" => {
            let why = "valid values: \"OnFailure\", \"Never\"";
            errors.push(Error::required(&path, why));
        }
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(&path, policy, why));
        }
        "OnFailure" | "Never" => {}
        _ => errors.push(Error::not_supported(&path, policy, &["OnFailure", "Never"])),
    }
}
