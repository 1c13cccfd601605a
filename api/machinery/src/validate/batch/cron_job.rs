//! CronJobs.

use serde_json::Value;

use super::{job_spec, schedule};
use crate::Object;
use crate::field::{Error, Path};
use crate::validate::{not_negative, one_of, shown, text};

/// A job's name is its CronJob's name and 11 bytes more, in 63 bytes.
const NAME_BYTES_MAX: usize = 52;
const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

pub(super) fn create(object: &Object, errors: &mut Vec<Error>) {
    check(object, None, errors);
    if object.name().len() > NAME_BYTES_MAX {
        let why = "must be no more than 52 characters";
        errors.push(Error::invalid(&Path::new("metadata").child("name"), object.name(), why));
    }
}

pub(super) fn update(new: &Object, old: &Object, errors: &mut Vec<Error>) {
    check(new, old.at(&["spec"]).or(Some(&Value::Null)), errors);
}

fn check(object: &Object, stored: Option<&Value>, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    let had_zone = stored.is_some_and(|spec| text(spec, "schedule").contains("TZ"));
    format(spec, had_zone, &path.child("schedule"), errors);
    let deadline = "startingDeadlineSeconds";
    not_negative(&path.child(deadline), &spec[deadline], errors);
    if stored.is_none_or(|stored| stored["timeZone"] != spec["timeZone"]) {
        time_zone(&spec["timeZone"], &path.child("timeZone"), errors);
    }
    let policy = text(spec, "concurrencyPolicy");
    one_of(&path.child("concurrencyPolicy"), policy, &POLICIES, true, errors);
    job_template(&spec["jobTemplate"]["spec"], &path.child("jobTemplate").child("spec"), errors);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        not_negative(&path.child(field), &spec[field], errors);
    }
}

fn format(spec: &Value, had_zone: bool, path: &Path, errors: &mut Vec<Error>) {
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if let Err(why) = schedule::check(schedule) {
        errors.push(Error::invalid(path, schedule, why));
    }
    let why = match (schedule.contains("TZ"), had_zone) {
        (true, true) if !spec["timeZone"].is_null() => {
            "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        }
        (true, false) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        (true, true) | (false, _) => return,
    };
    errors.push(Error::invalid(path, schedule, why));
}

fn time_zone(zone: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(name) = zone.as_str() else { return };
    let fits = |c: u8| c.is_ascii_alphanumeric() || b".-_+".contains(&c);
    let is_part = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.bytes().all(fits)
    };
    if name.is_empty() {
        errors.push(Error::invalid(path, name, "timeZone must be nil or non-empty string"));
        return;
    }
    if !name.split('/').all(is_part) {
        errors.push(Error::invalid(path, name, format!("unknown time zone {name}")));
        return;
    }
    if name.eq_ignore_ascii_case("Local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(Error::invalid(path, name, why));
    }
    if let Err(why) = schedule::find_zone(name) {
        errors.push(Error::invalid(path, name, why));
    }
}

fn job_template(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    job_spec::check(spec, path, errors);
    let selector = &spec["selector"];
    if !selector.is_null() {
        let why = "`selector` will be auto-generated";
        let shown = shown::selector(selector);
        errors.push(shown::invalid(&path.child("selector"), &shown, why));
    }
    if spec["manualSelector"] == true {
        let path = path.child("manualSelector");
        errors.push(Error::not_supported(&path, true, &["nil", "false"]));
    }
}
