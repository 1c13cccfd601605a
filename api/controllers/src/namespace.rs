//! Empties namespaces that are on their way out, pods first, and then lets them go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api_client::{Outcome, is_conflict, is_not_found};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, PartialObjectMeta, PostParams},
};

use crate::{
    context::Context,
    discovery::{self, Kind},
    limits,
};

/// What one round of deleting found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Round {
    /// Groups that discovery could not read.
    pub discovery_failures: Vec<String>,
    /// Deletions that failed.
    pub failures: Vec<String>,
    /// `plural.group` to objects that are still there.
    pub remaining: BTreeMap<String, usize>,
    /// Finalizers that hold objects back.
    pub finalizers: BTreeMap<String, usize>,
    /// The longest grace period of a pod that is still ending, in seconds.
    pub grace_seconds: i64,
}

impl Round {
    /// True when nothing is left and nothing is unknown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.discovery_failures.is_empty() && self.failures.is_empty() && self.remaining.is_empty()
    }
}

/// The five conditions of a namespace that is being deleted, with upstream's reasons and messages.
#[must_use]
pub fn conditions(
    old: &[NamespaceCondition],
    round: &Round,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let list = |counts: &BTreeMap<String, usize>, middle: &str, end: &str| {
        let lines: Vec<_> =
            counts.iter().map(|(name, count)| format!("{name} {middle} {count} {end}")).collect();
        lines.join(", ")
    };
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("DiscoveryFailed", "ResourcesDiscovered", "All resources successfully discovered"),
            (!round.discovery_failures.is_empty()).then(|| {
                format!(
                    "Discovery failed for some groups, {} failing: {}",
                    round.discovery_failures.len(),
                    round.discovery_failures.join(", ")
                )
            }),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            (
                "GroupVersionParsingFailed",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            None,
        ),
        (
            "NamespaceDeletionContentFailure",
            (
                "ContentDeletionFailed",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            (!round.failures.is_empty()).then(|| {
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    round.failures.len(),
                    round.failures.join(", ")
                )
            }),
        ),
        (
            "NamespaceContentRemaining",
            ("SomeResourcesRemain", "ContentRemoved", "All content successfully removed"),
            (!round.remaining.is_empty()).then(|| {
                let lines = list(&round.remaining, "has", "resource instances");
                format!("Some resources are remaining: {lines}")
            }),
        ),
        (
            "NamespaceFinalizersRemaining",
            (
                "SomeFinalizersRemain",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
            (!round.finalizers.is_empty()).then(|| {
                let lines = list(&round.finalizers, "in", "resource instances");
                format!("Some content in the namespace has finalizers remaining: {lines}")
            }),
        ),
    ];
    let mut next = old.to_vec();
    for (kind, (bad_reason, good_reason, good_message), problem) in rows {
        let status = if problem.is_some() { "True" } else { "False" };
        let reason = if problem.is_some() { bad_reason } else { good_reason };
        let message = problem.unwrap_or_else(|| good_message.to_owned());
        let known = next.iter_mut().find(|condition| condition.type_ == kind);
        let mut condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(api_client::api_time(now)),
        };
        match known {
            Some(known) => {
                if known.status == condition.status {
                    condition.last_transition_time.clone_from(&known.last_transition_time);
                }
                *known = condition;
            }
            None => next.push(condition),
        }
    }
    next
}

/// Brings the deletion of one namespace forward.
///
/// # Errors
/// The first request that failed; the key is tried again.
pub async fn sync(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(cached) = context.world.namespaces.get(&key) else { return Ok(Outcome::Done) };
    if cached.metadata.deletion_timestamp.is_none() {
        return Ok(Outcome::Done);
    }
    // The uid guards against a namespace that was deleted and made again under the same name.
    let api: Api<Namespace> = Api::all(context.client.clone());
    let Some(namespace) = api.get_opt(&key).await? else { return Ok(Outcome::Done) };
    let ours = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    let held = ours.is_some_and(|all| all.iter().any(|name| name == "kubernetes"));
    if namespace.metadata.uid != cached.metadata.uid || !held {
        return Ok(Outcome::Done);
    }

    let round = delete_content(&context, &key).await?;
    let status = namespace.status.clone().unwrap_or_default();
    let old = status.conditions.clone().unwrap_or_default();
    let next = conditions(&old, &round, clock::now());
    let mut namespace = namespace;
    if next != old {
        namespace.status = Some(k8s_openapi::api::core::v1::NamespaceStatus {
            conditions: Some(next),
            phase: Some("Terminating".to_owned()),
        });
        let post = PostParams::default();
        match api.replace_status(&key, &post, &namespace).await {
            Ok(written) => namespace = written,
            Err(error) if is_not_found(&error) => return Ok(Outcome::Done),
            Err(error) => return Err(error),
        }
    }
    if !round.is_empty() {
        // Upstream waits half the longest grace period; failures back off.
        if !round.discovery_failures.is_empty() || !round.failures.is_empty() {
            return Ok(Outcome::Retry);
        }
        let seconds = u64::try_from(round.grace_seconds / 2 + 1).unwrap_or(1);
        return Ok(if round.grace_seconds > 0 {
            Outcome::After(Duration::from_secs(seconds.min(15)))
        } else {
            Outcome::Retry
        });
    }
    finalize(&context, namespace).await
}

async fn finalize(context: &Context, mut namespace: Namespace) -> Result<Outcome, kube::Error> {
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|name| name != "kubernetes");
    }
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let api: Api<Namespace> = Api::all(context.client.clone());
    let done: Result<Namespace, _> =
        api.replace_subresource("finalize", &name, &PostParams::default(), &namespace).await;
    match done {
        Ok(_) => Ok(Outcome::Done),
        Err(error) if is_not_found(&error) => Ok(Outcome::Done),
        Err(error) if is_conflict(&error) => Ok(Outcome::Retry),
        Err(error) => Err(error),
    }
}

async fn delete_content(context: &Context, namespace: &str) -> Result<Round, kube::Error> {
    let found = discovery::discover(&context.client).await?;
    let mut round = Round { discovery_failures: found.failures, ..Round::default() };
    let kinds: Vec<Kind> = found
        .kinds
        .into_iter()
        .filter(|kind| kind.namespaced && kind.can(&["delete", "list"]))
        .collect();
    let (pods, others): (Vec<_>, Vec<_>) = kinds
        .into_iter()
        .partition(|kind| kind.resource.group.is_empty() && kind.resource.plural == "pods");
    // Pods end before what they use is taken away (network policies, config, identities).
    for kind in pods {
        delete_kind(context, namespace, &kind).await.merge(&kind, &mut round);
    }
    if !round.remaining.is_empty() || !round.failures.is_empty() {
        return Ok(round);
    }
    let mut results = stream::iter(others)
        .map(|kind| async move { (delete_kind(context, namespace, &kind).await, kind) })
        .buffer_unordered(limits::NAMESPACE_REQUESTS_MAX);
    while let Some((left, kind)) = results.next().await {
        left.merge(&kind, &mut round);
    }
    Ok(round)
}

/// What is left of one kind.
struct Left(Result<Vec<PartialObjectMeta<DynamicObject>>, kube::Error>);

impl Left {
    fn merge(self, kind: &Kind, round: &mut Round) {
        let plural = format!("{}.{}", kind.resource.plural, kind.resource.group);
        match self.0 {
            Err(error) => round.failures.push(format!("{plural}: {error}")),
            Ok(left) => {
                for object in &left {
                    for finalizer in object.metadata.finalizers.iter().flatten() {
                        *round.finalizers.entry(finalizer.clone()).or_default() += 1;
                    }
                    let grace = object.metadata.deletion_grace_period_seconds.unwrap_or(0);
                    round.grace_seconds = round.grace_seconds.max(grace);
                }
                if !left.is_empty() {
                    round.remaining.insert(plural, left.len());
                }
            }
        }
    }
}

async fn delete_kind(context: &Context, namespace: &str, kind: &Kind) -> Left {
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &kind.resource);
    let work = async {
        let before = api.list_metadata(&ListParams::default()).await?.items;
        if before.is_empty() {
            return Ok(before);
        }
        let background = DeleteParams::background();
        if kind.can(&["deletecollection"]) {
            api.delete_collection(&background, &ListParams::default()).await?;
        } else {
            for object in before.iter().filter(|o| o.metadata.deletion_timestamp.is_none()) {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                match api.delete(name, &background).await {
                    Err(error) if !is_not_found(&error) => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(api.list_metadata(&ListParams::default()).await?.items)
    };
    match work.await {
        // A kind that went away meanwhile holds nothing.
        Err(error) if is_not_found(&error) || api_client::status_code(&error) == Some(405) => {
            Left(Ok(Vec::new()))
        }
        other => Left(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left_and_keep_their_transition_times() {
        let start = Timestamp::from_second(1000).unwrap();
        let mut round = Round::default();
        round.remaining.insert("pods.".into(), 2);
        round.finalizers.insert("example.com/hold".into(), 1);
        let first = conditions(&[], &round, start);
        assert_eq!(first.len(), 5);
        let message = |all: &[NamespaceCondition], kind: &str| {
            let found = all.iter().find(|condition| condition.type_ == kind).unwrap();
            format!("{} {}", found.status, found.message.as_deref().unwrap())
        };
        assert_eq!(
            message(&first, "NamespaceContentRemaining"),
            "True Some resources are remaining: pods. has 2 resource instances"
        );
        assert_eq!(
            message(&first, "NamespaceFinalizersRemaining"),
            "True Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        let later = Timestamp::from_second(2000).unwrap();
        assert_eq!(conditions(&first, &round, later), first, "nothing new, nothing changes");
        let done = conditions(&first, &Round::default(), later);
        assert_eq!(
            message(&done, "NamespaceContentRemaining"),
            "False All content successfully removed"
        );
    }
}
