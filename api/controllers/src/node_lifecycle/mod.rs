//! Nodes: silent ones become Unknown and tainted, and their pods are evicted when their tolerations end.

mod eviction;
mod health;

use std::{collections::HashMap, sync::Arc, time::Duration};

use api_client::{Outcome, events::Severity, is_not_found};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use eviction::{Fate, fate, tolerates};
pub use health::{Grace, Seen, judge, observe, taints};

use crate::{context::Context, object::pod_condition};

/// An event about a node names it by name as uid, as upstream does: `kubectl describe node` looks for that.
fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        api_version: Some("v1".to_owned()),
        ..ObjectReference::default()
    }
}

fn note(context: &Context, node: &str, why: &'static str, what: String) {
    context.recorder.note_about(node_reference(node), Severity::Normal, why, what);
}

/// Looks at all nodes every period, until `stop` fires.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut first = true;
    loop {
        let nodes = context.world.nodes.list();
        let now = clock::instant();
        let names: Vec<String> =
            nodes.iter().map(|node| api_client::key_of(node.as_ref())).collect();
        seen.retain(|name, _| {
            let stays = names.contains(name);
            if !stays {
                let what = format!("Removing Node {name} from Controller");
                note(&context, name, "RemovingNode", what);
            }
            stays
        });
        let mut work = Vec::new();
        for (node, name) in nodes.iter().zip(names) {
            let lease = context.world.node_leases.get(&format!("kube-node-lease/{name}"));
            let before = seen.remove(&name);
            if before.is_none() && !first {
                let what = format!("Registered Node {name} in Controller");
                note(&context, &name, "RegisteredNode", what);
            }
            let current = observe(before, node, lease.as_deref(), now);
            work.push((Arc::clone(node), current.clone()));
            seen.insert(name, current);
        }
        first = false;
        let context_ref = &context;
        stream::iter(work)
            .for_each_concurrent(8, |(node, seen)| async move {
                if let Err(error) = look_at(context_ref, &node, &seen, now).await {
                    let name = node.metadata.name.as_deref().unwrap_or_default();
                    warn!(node = name, %error, "node not brought up to date, will retry");
                }
            })
            .await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock::sleep(context.config.node_monitor_period) => {}
        }
    }
}

fn ready_status(node: &Node) -> Option<&str> {
    health::condition(node, "Ready").map(|condition| condition.status.as_str())
}

async fn look_at(
    context: &Context,
    node: &Node,
    seen: &Seen,
    now: Instant,
) -> Result<(), kube::Error> {
    let grace = Grace {
        monitor: context.config.node_monitor_grace_period,
        startup: context.config.node_startup_grace_period,
    };
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Node> = Api::all(context.client.clone());
    let wall = clock::now();
    let mut node = node.clone();
    if let Some(unknown) = judge(&node, seen, grace, now, wall) {
        info!(node = name, "node is silent, its conditions become Unknown");
        let was_ready = ready_status(&node) == Some("True");
        node = api.replace_status(name, &PostParams::default(), &unknown).await?;
        if was_ready {
            let what = format!("Node {name} status is now: NodeNotReady");
            note(context, name, "NodeNotReady", what);
        }
    }
    if ready_status(&node).is_some_and(|status| status != "True") {
        mark_pods_not_ready(context, name).await?;
    }
    sync_taints(&api, &node, wall).await
}

async fn sync_taints(api: &Api<Node>, node: &Node, wall: Timestamp) -> Result<(), kube::Error> {
    let Some(next) = taints(node, wall) else { return Ok(()) };
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let patch = serde_json::json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": if next.is_empty() { None } else { Some(next) } },
    });
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        // The node moved on: the next event or round decides again.
        Err(error) if is_not_found(&error) || api_client::is_conflict(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// Taints follow a change of a node at once, without waiting for the next round.
///
/// # Errors
/// The request that failed.
pub async fn sync_node(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(node) = context.world.nodes.get(&key) else { return Ok(Outcome::Done) };
    sync_taints(&Api::all(context.client.clone()), &node, clock::now()).await?;
    Ok(Outcome::Done)
}

async fn mark_pods_not_ready(context: &Context, node: &str) -> Result<(), kube::Error> {
    for pod in context.world.pods.by_index(&format!("node:{node}")) {
        let Some(ready) = pod_condition(&pod, "Ready").filter(|c| c.status == "True") else {
            continue;
        };
        let mut condition = ready.clone();
        condition.status = "False".to_owned();
        condition.last_transition_time = Some(api_client::api_time(clock::now()));
        let patch = serde_json::json!({
            "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] }
        });
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                let what = "Node is not ready".to_owned();
                context.recorder.note(pod.as_ref(), Severity::Warning, "NodeNotReady", what);
            }
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Evicts the pod `key` when its time on a tainted node is over.
///
/// # Errors
/// The request that failed.
pub async fn sync_pod(context: Arc<Context>, key: String) -> Result<Outcome, kube::Error> {
    let Some(pod) = context.world.pods.get(&key) else { return Ok(Outcome::Done) };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let Some(node) = context.world.nodes.get(node) else { return Ok(Outcome::Done) };
    if pod.metadata.deletion_timestamp.is_some() || crate::object::is_terminal(&pod) {
        return Ok(Outcome::Done);
    }
    let node_taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let now = clock::now();
    let at = match fate(&pod, &node_taints, now) {
        Fate::Stay => return Ok(Outcome::Done),
        Fate::GoAt(at) => at,
    };
    if at > now {
        let wait = at.duration_since(now);
        return Ok(Outcome::After(Duration::try_from(wait).unwrap_or(Duration::ZERO)));
    }
    let (namespace, name) = api_client::split_key(&key);
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let what = format!("Marking for deletion Pod {key}");
    context.recorder.note(pod.as_ref(), Severity::Normal, "TaintManagerEviction", what);
    let patch = serde_json::json!({
        "metadata": { "uid": pod.metadata.uid },
        "status": { "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": api_client::api_time(now),
        }] },
    });
    match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(error) if is_not_found(&error) => return Ok(Outcome::Done),
        other => drop(other?),
    }
    context.delete(pod.as_ref()).await?;
    Ok(Outcome::Done)
}
