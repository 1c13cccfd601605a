//! Leases.

use serde_json::Value;

use super::{NOT_NEGATIVE, invalid_each, names, text};
use crate::field::{Error, Path};
use crate::{Object, ResourceInfo};

/// The only strategy of coordinated leader election that is not somebody's own.
const LEASE_STRATEGY: &str = "OldestEmulationVersion";

pub(super) fn create(info: &ResourceInfo, object: &Object, errors: &mut Vec<Error>) {
    if info.kind == "Lease" {
        lease(object, errors);
    }
}

pub(super) fn update(info: &ResourceInfo, new: &Object, _old: &Object, errors: &mut Vec<Error>) {
    create(info, new, errors);
}

fn lease(object: &Object, errors: &mut Vec<Error>) {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|s| *s <= 0) {
        let why = "must be greater than 0";
        errors.push(Error::invalid(&path.child("leaseDurationSeconds"), seconds, why));
    }
    if let Some(count) = spec["leaseTransitions"].as_i64().filter(|count| *count < 0) {
        errors.push(Error::invalid(&path.child("leaseTransitions"), count, NOT_NEGATIVE));
    }
    // An empty holder is how a leader gives its lease back.
    let strategy = text(spec, "strategy");
    // The path says it twice, as upstream's does.
    let at = path.child("strategy").child("strategy");
    if strategy.contains('/') {
        invalid_each(&at, strategy, names::qualified_name(strategy), errors);
    } else if spec["strategy"].is_string() && strategy != LEASE_STRATEGY {
        errors.push(Error::not_supported(&at, strategy, &[LEASE_STRATEGY]));
    }
    if !text(spec, "preferredHolder").is_empty() && strategy.is_empty() {
        let why = "may only be specified if `strategy` is defined";
        errors.push(Error::forbidden(&path.child("preferredHolder"), why));
    }
}
