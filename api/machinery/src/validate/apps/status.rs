//! Counters in the status of workloads.

use serde_json::Value;

use crate::Object;
use crate::field::{Error, Path};
use crate::validate::not_negative;

/// What holds for the counters of one kind.
struct Counters {
    not_negative: &'static [&'static str],
    /// These are part of `replicas`.
    part_of_all: &'static [&'static str],
    /// What a ready replica that is not there is called.
    more_than_ready: &'static str,
    never_decreases: bool,
}

const REPLICA_SET: Counters = Counters {
    not_negative: &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ],
    part_of_all: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    more_than_ready: "cannot be greater than readyReplicas",
    never_decreases: false,
};
const DEPLOYMENT: Counters = Counters {
    not_negative: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ],
    part_of_all: &["updatedReplicas", "readyReplicas", "availableReplicas"],
    more_than_ready: "cannot be greater than readyReplicas",
    never_decreases: true,
};
const STATEFUL_SET: Counters = Counters {
    not_negative: &[
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ],
    part_of_all: &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
    more_than_ready: "cannot be greater than status.readyReplicas",
    never_decreases: true,
};
const DAEMON_SET: Counters = Counters {
    not_negative: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ],
    part_of_all: &[],
    more_than_ready: "",
    never_decreases: true,
};

/// The status of a workload; kinds without such counters are fine.
pub(in crate::validate) fn update(kind: &str, new: &Object, old: &Object, errors: &mut Vec<Error>) {
    let counters = match kind {
        "Deployment" => DEPLOYMENT,
        "ReplicaSet" | "ReplicationController" => REPLICA_SET,
        "StatefulSet" => STATEFUL_SET,
        "DaemonSet" => DAEMON_SET,
        _ => return,
    };
    let status = new.at(&["status"]).unwrap_or(&Value::Null);
    let path = Path::new("status");
    for field in counters.not_negative {
        not_negative(&path.child(field), &status[*field], errors);
    }
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    for field in counters.part_of_all {
        if count(field) > count("replicas") {
            let why = "cannot be greater than status.replicas";
            errors.push(Error::invalid(&path.child(field), count(field), why));
        }
    }
    let available = count("availableReplicas");
    if !counters.part_of_all.is_empty() && available > count("readyReplicas") {
        let path = path.child("availableReplicas");
        errors.push(Error::invalid(&path, available, counters.more_than_ready));
    }
    let collisions = |object: &Object| object.at(&["status", "collisionCount"])?.as_i64();
    let (now, before) = (collisions(new), collisions(old));
    // A missing count is less than any.
    if counters.never_decreases && now < before {
        let path = path.child("collisionCount");
        errors.push(Error::invalid(&path, now.unwrap_or(0), "cannot be decremented"));
    }
}
