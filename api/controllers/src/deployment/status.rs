//! What a Deployment's status says, from the ReplicaSets it has.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetStatus,
};

use super::replica_sets::{available, desired, max_unavailable, total};

pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) fn condition<'a>(
    status: &'a DeploymentStatus,
    kind: &str,
) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

pub(super) fn new_condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(api_client::api_time(now)),
        last_update_time: Some(api_client::api_time(now)),
    }
}

/// Puts a condition in; one with the same status and reason stays as it is.
pub(super) fn set_condition(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = condition(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
    }
    remove_condition(status, &new.type_);
    status.conditions.get_or_insert_default().push(new);
}

pub(super) fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
    }
}

/// The deadline in seconds; upstream's "no deadline" is the greatest number.
pub(super) fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != i32::MAX).then_some(seconds)
}

fn sum(sets: &[&ReplicaSet], field: fn(&ReplicaSetStatus) -> Option<i32>) -> i32 {
    sets.iter().filter_map(|set| set.status.as_ref().and_then(field)).sum()
}

/// The counts and the Available condition.
pub(super) fn counts(
    deployment: &Deployment,
    all: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let available = all.iter().map(|set| available(set)).sum::<i32>();
    let unavailable = (total(all.iter().copied()) - available).max(0);
    let old = deployment.status.clone().unwrap_or_default();
    let nonzero = |count: i32| (count != 0).then_some(count);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(all, |status| Some(status.replicas))),
        updated_replicas: nonzero(sum(new.as_slice(), |status| Some(status.replicas))),
        ready_replicas: nonzero(sum(all, |status| status.ready_replicas)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero(unavailable),
        terminating_replicas: terminating(all),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let enough = available >= desired(deployment) - max_unavailable(deployment);
    let (value, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut status, new_condition("Available", value, reason, message.to_owned(), now));
    status
}

/// Unknown while any set does not say.
fn terminating(all: &[&ReplicaSet]) -> Option<i32> {
    all.iter()
        .map(|set| set.status.as_ref().and_then(|status| status.terminating_replicas))
        .try_fold(0, |sum, count| count.map(|count| sum + count))
}

pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = desired(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let outdated = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    new.updated_replicas > old.updated_replicas
        || outdated(new) < outdated(old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn has_timed_out(status: &DeploymentStatus, deadline: i32, now: Timestamp) -> bool {
    let Some(current) = condition(status, PROGRESSING) else { return false };
    match current.reason.as_deref() {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => current
            .last_update_time
            .as_ref()
            .is_some_and(|time| now.duration_since(time.0).as_secs() > i64::from(deadline)),
    }
}

/// The whole status during a rollout. `old` is the status that the server has.
pub(super) fn rollout(
    deployment: &Deployment,
    old: &DeploymentStatus,
    all: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = counts(deployment, all, new, now);
    let current = condition(&deployment.status.clone().unwrap_or_default(), PROGRESSING).cloned();
    match progress_deadline(deployment) {
        None => remove_condition(&mut status, PROGRESSING),
        Some(deadline) => {
            let settled = status.replicas == status.updated_replicas
                && current.as_ref().is_some_and(|c| c.reason.as_deref() == Some(NEW_SET_AVAILABLE));
            if !settled {
                let subject = match new {
                    Some(set) => format!(
                        "ReplicaSet \"{}\"",
                        set.metadata.name.as_deref().unwrap_or_default()
                    ),
                    None => format!(
                        "Deployment \"{}\"",
                        deployment.metadata.name.as_deref().unwrap_or_default()
                    ),
                };
                let progress = |value: &str, reason: &str, verb: &str| {
                    new_condition(PROGRESSING, value, reason, format!("{subject} {verb}."), now)
                };
                if is_complete(deployment, &status) {
                    let done = progress("True", NEW_SET_AVAILABLE, "has successfully progressed");
                    set_condition(&mut status, done);
                } else if has_progressed(old, &status) {
                    // Each progress moves lastUpdateTime, though the reason stays the same.
                    let mut moving = progress("True", "ReplicaSetUpdated", "is progressing");
                    if let Some(current) = current.filter(|current| current.status == "True") {
                        moving.last_transition_time = current.last_transition_time;
                    }
                    remove_condition(&mut status, PROGRESSING);
                    set_condition(&mut status, moving);
                } else if has_timed_out(&status, deadline, now) {
                    let late = progress("False", TIMED_OUT, "has timed out progressing");
                    set_condition(&mut status, late);
                }
            }
        }
    }
    match replica_failure(all, new) {
        Some(failure) => set_condition(&mut status, failure),
        None => remove_condition(&mut status, REPLICA_FAILURE),
    }
    status
}

/// The newest set's failure matters more than those of old ones.
fn replica_failure(all: &[&ReplicaSet], new: Option<&ReplicaSet>) -> Option<DeploymentCondition> {
    let failure = new.into_iter().chain(all.iter().copied()).find_map(|set| {
        let mut conditions = set.status.as_ref()?.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == REPLICA_FAILURE)
    })?;
    Some(DeploymentCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_transition_time: failure.last_transition_time.clone(),
        last_update_time: failure.last_transition_time.clone(),
    })
}

/// When to look again whether a rollout is stuck.
pub(super) fn next_check(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = progress_deadline(deployment)?;
    let current = condition(status, PROGRESSING)?;
    if is_complete(deployment, status)
        || matches!(current.reason.as_deref(), Some(TIMED_OUT | NEW_SET_AVAILABLE))
    {
        return None;
    }
    let passed = now.duration_since(current.last_update_time.as_ref()?.0).as_secs();
    let left = u64::try_from(i64::from(deadline) - passed).unwrap_or(0);
    Some(Duration::from_secs(left + 1))
}
