//! A `PersistentVolumeClaim` stays while a pod that has a node uses it.
//!
//! The queue holds namespaces: however many claims go at once, the server is asked for the pods
//! once.

use std::sync::Arc;

use api_client::{Outcome, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use kube::{Api, api::ListParams};

use super::{CLAIM, Change, carry_out, is_candidate, judge};
use crate::{
    context::Context,
    limits,
    object::{controller_of, is_terminal},
    world::World,
};

/// What the claim of a volume is called; none for a volume of another kind.
fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    volume.ephemeral.as_ref()?;
    Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name))
}

/// `claim:<namespace>/<name>` of every claim that the pod names.
#[must_use]
pub fn index(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let names = volumes.filter_map(|volume| claim_name(pod, volume));
    names.map(|name| format!("claim:{namespace}/{name}")).collect()
}

/// The node is done with the pod, or it was deleted by force; only finalizers may keep it. Such a
/// pod must not hold its own ephemeral claims, which may be what it waits for.
fn is_shut_down(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// True when the pod keeps the claim. A pod without a node does not: no node starts it with a
/// claim that is going.
#[must_use]
pub fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = &pod.spec else { return false };
    if spec.node_name.as_deref().unwrap_or_default().is_empty() {
        return false;
    }
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let is_owner = || {
        pod.metadata.namespace == claim.metadata.namespace
            && controller_of(&claim.metadata)
                .is_some_and(|owner| pod.metadata.uid.as_ref() == Some(&owner.uid))
    };
    spec.volumes.iter().flatten().any(|volume| {
        if claim_name(pod, volume).as_deref() != Some(name) {
            return false;
        }
        volume.persistent_volume_claim.is_some() || !is_shut_down(pod) && is_owner()
    })
}

/// Hears of a pod: one that ended, has no node yet or is gone may have been the last to use its
/// claims.
pub fn pod_changed(queue: &WorkQueue<String>, before: Option<&Arc<Pod>>, after: Option<&Arc<Pod>>) {
    let releases = match (before, after) {
        (_, None) => true,
        (before, Some(pod)) => {
            let is_another = before.is_some_and(|old| old.metadata.uid != pod.metadata.uid);
            let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            is_another || is_terminal(pod) || is_shut_down(pod) || !has_node
        }
    };
    if !releases {
        return;
    }
    for pod in [before, after].into_iter().flatten() {
        if !index(pod).is_empty() {
            queue.add(pod.metadata.namespace.clone().unwrap_or_default());
        }
    }
}

/// Decides about the claims of a namespace as far as the cache can: additions, and candidates for
/// removal that only the server's own list of pods can confirm.
#[must_use]
pub fn reconcile(world: &World, namespace: &str) -> Vec<(Arc<PersistentVolumeClaim>, Change)> {
    let mut changes = Vec::new();
    for claim in world.claims.in_namespace(namespace) {
        if !is_candidate(&claim.metadata, CLAIM) {
            continue;
        }
        let pods = world.pods.by_index(&format!("claim:{}", api_client::key_of(claim.as_ref())));
        let used = pods.iter().any(|pod| uses(pod, &claim));
        if let Some(change) = judge(&claim.metadata, CLAIM, used) {
            changes.push((claim, change));
        }
    }
    changes
}

/// Carries the decisions out; what fails does not keep the others.
///
/// # Errors
/// The first request that failed.
pub async fn sync(context: Arc<Context>, namespace: String) -> Result<Outcome, kube::Error> {
    let changes = reconcile(&context.world, &namespace);
    let mut pods = None;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let mut failed = None;
    for (claim, change) in changes {
        if change == Change::Remove {
            if pods.is_none() {
                pods = Some(live_pods(&context, &namespace).await?);
            }
            // V2: a pod that is not in the cache yet counts too.
            if pods.iter().flatten().any(|pod| uses(pod, &claim)) {
                continue;
            }
        }
        if let Err(error) = carry_out(&api, claim.as_ref(), CLAIM, change).await {
            failed = failed.or(Some(error));
        }
    }
    failed.map_or(Ok(Outcome::Done), Err)
}

async fn live_pods(context: &Context, namespace: &str) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let mut pods = Vec::new();
    let mut page = ListParams::default().limit(limits::PAGE);
    loop {
        let list = api.list(&page).await?;
        pods.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(node: &str, volume: Value, extra: Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "nodeName": node, "volumes": [volume]},
        });
        for (key, value) in extra.as_object().unwrap() {
            pod["metadata"][key] = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    fn claim(name: &str, owner: Option<&str>) -> PersistentVolumeClaim {
        let owners = owner.map(|uid| {
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}])
        });
        serde_json::from_value(json!({"metadata": {
            "name": name, "namespace": "n", "finalizers": [CLAIM], "ownerReferences": owners,
            "deletionTimestamp": "2026-01-01T00:00:00Z"}}))
        .unwrap()
    }

    #[test]
    fn a_claim_is_used_by_pods_that_have_a_node_and_name_it() {
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
        let ephemeral = json!({"name": "v", "ephemeral": {}});
        let other = json!({"name": "v", "emptyDir": {}});
        let none = json!({});
        let shut = json!({"deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 0});
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 30});
        for (case, pod, claim, expected) in [
            ("named", pod("n1", named.clone(), none.clone()), claim("data", None), true),
            ("another", pod("n1", named.clone(), none.clone()), claim("logs", None), false),
            ("no node", pod("", named.clone(), none.clone()), claim("data", None), false),
            ("shut down", pod("n1", named, shut.clone()), claim("data", None), true),
            ("emptyDir", pod("n1", other, none.clone()), claim("data", None), false),
            ("own", pod("n1", ephemeral.clone(), none.clone()), claim("p-v", Some("u")), true),
            ("own, going", pod("n1", ephemeral.clone(), going), claim("p-v", Some("u")), true),
            ("own, shut down", pod("n1", ephemeral.clone(), shut), claim("p-v", Some("u")), false),
            (
                "same name",
                pod("n1", ephemeral.clone(), none.clone()),
                claim("p-v", Some("w")),
                false,
            ),
            ("not owned", pod("n1", ephemeral, none), claim("p-v", None), false),
        ] {
            assert_eq!(uses(&pod, &claim), expected, "{case}");
            // The cache finds what the direct question finds.
            let world = World::new();
            world.pods.put(Arc::new(pod));
            world.claims.put(Arc::new(claim));
            assert_eq!(reconcile(&world, "n").is_empty(), expected, "{case}");
        }
    }

    #[test]
    fn pods_that_can_free_a_claim_queue_their_namespace() {
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
        let running = Arc::new(pod("n1", named.clone(), json!({})));
        let mut ended = running.as_ref().clone();
        ended.status = Some(serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
        let ended = Arc::new(ended);
        let again = Arc::new(pod("n1", named, json!({"uid": "w"})));
        let plain = Arc::new(pod("n1", json!({"name": "v", "emptyDir": {}}), json!({})));
        for (case, before, after, expected) in [
            ("starts", None, Some(&running), 0),
            ("runs on", Some(&running), Some(&running), 0),
            ("ended", Some(&running), Some(&ended), 1),
            ("replaced", Some(&running), Some(&again), 1),
            ("gone", Some(&running), None, 1),
            ("without a claim", Some(&plain), None, 0),
        ] {
            let queue = WorkQueue::new("test");
            pod_changed(&queue, before, after);
            assert_eq!(queue.len(), expected, "{case}");
        }
    }
}
