//! The decision of the ReplicaSet controller: how many pods to make, which to delete, what the status says.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    core::v1::Pod,
};

use crate::{
    limits,
    object::{available_in, is_active, phase, ready_since},
};

/// What to do about the number of pods.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// As many as wanted.
    Keep,
    /// Make so many.
    Create(usize),
    /// Delete these.
    Delete(Vec<Arc<Pod>>),
}

/// Decides about `active` pods of the set. `related` are the pods of all sets of the same owner: a node that
/// holds several of them loses one first.
#[must_use]
pub fn reconcile(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    now: Timestamp,
) -> Plan {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(0);
    match active.len().cmp(&wanted) {
        Ordering::Equal => Plan::Keep,
        Ordering::Less => Plan::Create((wanted - active.len()).min(limits::REPLICA_BURST)),
        Ordering::Greater => {
            let count = (active.len() - wanted).min(limits::REPLICA_BURST);
            let mut ranked = active.to_vec();
            let mut per_node: HashMap<&str, usize> = HashMap::new();
            for pod in related.iter().filter(|pod| is_active(pod)) {
                *per_node.entry(node(pod)).or_default() += 1;
            }
            let rank = |pod: &Pod| per_node.get(node(pod)).copied().unwrap_or(0);
            ranked.sort_by(|a, b| deletion_order(a, b, rank(a), rank(b), now));
            ranked.truncate(count);
            Plan::Delete(ranked)
        }
    }
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Which of two pods goes first (`Less`): upstream's order, from "was never scheduled" to "is young".
fn deletion_order(a: &Pod, b: &Pod, rank_a: usize, rank_b: usize, now: Timestamp) -> Ordering {
    let phase_rank = |pod: &Pod| match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let (ready_a, ready_b) = (ready_since(a), ready_since(b));
    (!node(a).is_empty())
        .cmp(&!node(b).is_empty())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| ready_a.is_some().cmp(&ready_b.is_some()))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| match (ready_a, ready_b) {
            (Some(at_a), Some(at_b)) if at_a != at_b => younger_first(at_a, at_b, now),
            _ => Ordering::Equal,
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            match (created(a), created(b)) {
                (Some(at_a), Some(at_b)) if at_a != at_b => younger_first(at_a, at_b, now),
                (at_a, at_b) => at_a.is_some().cmp(&at_b.is_some()),
            }
        })
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// Ages are compared by their order of magnitude, so that the choice among similar pods is random (by uid).
fn younger_first(a: Timestamp, b: Timestamp, now: Timestamp) -> Ordering {
    let magnitude = |at: Timestamp| {
        let nanoseconds = now.duration_since(at).as_nanos();
        u128::try_from(nanoseconds).ok().filter(|age| *age > 0).map(u128::ilog2)
    };
    magnitude(a).cmp(&magnitude(b))
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|all| all.get("controller.kubernetes.io/pod-deletion-cost"));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
}

/// Why pods could not be made or deleted: reason and message of the ReplicaFailure condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// FailedCreate or FailedDelete.
    pub reason: &'static str,
    /// The server's answer.
    pub message: String,
}

/// The status that the set should have.
#[must_use]
pub fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.clone().unwrap_or_default();
    let template_labels =
        spec.template.and_then(|template| template.metadata?.labels).unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let fully_labeled = active.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        template_labels
            .iter()
            .all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
    });
    let waits = active.iter().filter_map(|pod| available_in(pod, min_ready, now));
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let nonzero = |count: usize| (count > 0).then(|| number(count));

    let old = set.status.clone().unwrap_or_default();
    let mut conditions = old.conditions.unwrap_or_default();
    let known = conditions.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match failure {
        Some(failure) if !known => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(api_client::api_time(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
    }
    ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: nonzero(fully_labeled.count()),
        ready_replicas: nonzero(waits.clone().count()),
        available_replicas: nonzero(waits.filter(std::time::Duration::is_zero).count()),
        terminating_replicas: Some(number(terminating)),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}
