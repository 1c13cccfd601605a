//! How workloads replace their pods, and numbers that may be percentages.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::validate::shown::{self, Field, Shape};
use crate::validate::{not_negative, text};

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
const STRATEGY: &[Field] = &[
    ("type", "Type", Shape::Text),
    (
        "rollingUpdate",
        "RollingUpdate",
        Shape::Struct(&[
            ("maxUnavailable", "MaxUnavailable", Shape::Number),
            ("maxSurge", "MaxSurge", Shape::Number),
        ]),
    ),
];
const PARTITIONED: &[Field] =
    &[("partition", "Partition", Shape::Number), ("maxUnavailable", "MaxUnavailable", Shape::Json)];
const PARTITIONED_STRATEGY: &[Field] = &[
    ("type", "Type", Shape::Text),
    ("rollingUpdate", "RollingUpdate", Shape::Struct(PARTITIONED)),
];

/// Of a Deployment.
pub(super) fn deployment(strategy: &Value, path: &Path, errors: &mut Vec<Error>) {
    let rolling = &strategy["rollingUpdate"];
    let path_of_rolling = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if rolling.is_null() => {}
        "Recreate" => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(Error::forbidden(&path_of_rolling, why));
        }
        "RollingUpdate" if rolling.is_null() => {
            let why = "this should be defaulted and never be nil";
            errors.push(Error::required(&path_of_rolling, why));
        }
        "RollingUpdate" => {
            let (gone, extra) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let path = path_of_rolling.child("maxUnavailable");
            int_or_percent(&path, gone, errors);
            int_or_percent(&path_of_rolling.child("maxSurge"), extra, errors);
            if number(gone) == 0 && number(extra) == 0 {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.push(invalid_number(&path, gone, why));
            }
            at_most_all(&path, gone, errors);
        }
        _ => {
            let shown = shown::structure(strategy, STRATEGY);
            errors.push(shown::not_supported(path, &shown, &["Recreate", "RollingUpdate"]));
        }
    }
}

/// Of a DaemonSet.
pub(super) fn daemon_set(strategy: &Value, path: &Path, errors: &mut Vec<Error>) {
    let rolling = &strategy["rollingUpdate"];
    let path_of_rolling = path.child("rollingUpdate");
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => {
            errors.push(Error::required(&path_of_rolling, ""));
        }
        "RollingUpdate" => {
            let fields = ["maxUnavailable", "maxSurge"];
            for field in fields {
                int_or_percent(&path_of_rolling.child(field), &rolling[field], errors);
            }
            for field in fields {
                at_most_all(&path_of_rolling.child(field), &rolling[field], errors);
            }
            match fields.map(|field| number(&rolling[field]) == 0) {
                [false, false] => {
                    let why = "may not be set when maxUnavailable is non-zero";
                    let path = path_of_rolling.child("maxSurge");
                    errors.push(invalid_number(&path, &rolling["maxSurge"], why));
                }
                [true, true] => {
                    let why = "cannot be 0 when maxSurge is 0";
                    errors.push(Error::required(&path_of_rolling.child("maxUnavailable"), why));
                }
                [true, false] | [false, true] => {}
            }
        }
        _ => {
            let shown = shown::structure(strategy, STRATEGY);
            errors.push(shown::not_supported(path, &shown, &["RollingUpdate", "OnDelete"]));
        }
    }
}

/// Of a StatefulSet.
pub(super) fn stateful_set(strategy: &Value, path: &Path, errors: &mut Vec<Error>) {
    let rolling = &strategy["rollingUpdate"];
    let path_of_rolling = path.child("rollingUpdate");
    match text(strategy, "type") {
        "" => errors.push(Error::required(path, "")),
        "OnDelete" if !rolling.is_null() => {
            let shown = shown::structure(rolling, PARTITIONED);
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(shown::invalid(&path_of_rolling, &shown, why));
        }
        "RollingUpdate" if !rolling.is_null() => {
            not_negative(&path_of_rolling.child("partition"), &rolling["partition"], errors);
            let (gone, path) =
                (&rolling["maxUnavailable"], path_of_rolling.child("maxUnavailable"));
            if gone.is_null() {
                return;
            }
            int_or_percent(&path, gone, errors);
            if number(gone) == 0 {
                errors.push(Error::invalid(&path, gone.clone(), "cannot be 0"));
            }
            at_most_all(&path, gone, errors);
        }
        "OnDelete" | "RollingUpdate" => {}
        _ => {
            let shown = shown::structure(strategy, PARTITIONED_STRATEGY);
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(shown::invalid(path, &shown, why));
        }
    }
}

/// A missing number is shown as 0.
fn invalid_number(path: &Path, value: &Value, why: &str) -> Error {
    let shown = if value.is_null() { Value::from(0) } else { value.clone() };
    Error::invalid(path, shown, why)
}

/// The digits before the `%`, and nothing else.
fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// A number, or the number before the `%`; what cannot be read counts as 0.
fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => percent(text).unwrap_or_else(|| text.parse().unwrap_or(0)),
        other => other.as_i64().unwrap_or(0),
    }
}

pub(in crate::validate) fn int_or_percent(path: &Path, value: &Value, errors: &mut Vec<Error>) {
    match value {
        Value::String(text) if percent(text).is_none() => {
            errors.push(Error::invalid(path, text.as_str(), PERCENT));
        }
        Value::String(_) => {}
        other => not_negative(path, other, errors),
    }
}

/// A percentage is of something, and cannot be more than that.
pub(in crate::validate) fn at_most_all(path: &Path, value: &Value, errors: &mut Vec<Error>) {
    if value.as_str().and_then(percent).is_some_and(|percent| percent > 100) {
        errors.push(Error::invalid(path, value.clone(), "must not be greater than 100%"));
    }
}
