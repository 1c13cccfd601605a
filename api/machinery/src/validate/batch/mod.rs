//! Jobs and CronJobs.

mod cron_job;
mod duration;
mod indexes;
mod job;
mod job_spec;
mod job_status;
mod job_update;
mod policies;
mod schedule;
#[cfg(test)]
mod test;

use crate::field::Error;
use crate::{Object, ResourceInfo};

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Job" => job::create(object, errors),
        "CronJob" => cron_job::create(object, errors),
        _ => {}
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    match info.kind {
        "Job" => job::update(new, old, errors),
        "CronJob" => cron_job::update(new, old, errors),
        _ => {}
    }
}

/// The status of a CronJob is its controller's own affair.
pub(super) fn status_update(
    info: &ResourceInfo,
    new: &Object,
    old: &Object,
    errors: &mut Vec<Error>,
) {
    if info.kind == "Job" {
        job_status::update(new, old, errors);
    }
}
