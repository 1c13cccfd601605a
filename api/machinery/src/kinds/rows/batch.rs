//! `batch`.

use super::{NAMESPACED, status};
use crate::kinds::{Propagation, ResourceInfo};

const BATCH: ResourceInfo = ResourceInfo { group: "batch", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 2] = [
    ResourceInfo {
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        short_names: &["cj"],
        categories: &["all"],
        namespaced: true,
        subresources: &[status("batch", "CronJob")],
        storage_prefix: "cronjobs",
        has_status: true,
        has_generation: true,
        type_name: "api.batch.v1.CronJob",
        ..BATCH
    },
    ResourceInfo {
        kind: "Job",
        plural: "jobs",
        singular: "job",
        categories: &["all"],
        namespaced: true,
        subresources: &[status("batch", "Job")],
        storage_prefix: "jobs",
        selectable_fields: &["status.successful"],
        has_status: true,
        has_generation: true,
        default_propagation: Propagation::Orphan,
        type_name: "api.batch.v1.Job",
        ..BATCH
    },
];
