//! Deletes pods that nobody will end: those of nodes that are gone, and finished ones over the threshold.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{context::Context, limits, object::is_terminal, world::World};

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its node is gone.
    Orphaned,
    /// It was deleted before it had a node.
    NeverScheduled,
    /// There are too many finished pods.
    Finished,
}

fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Decides about all pods. `gone` are nodes that have been missing for long enough.
#[must_use]
pub fn reconcile(
    world: &World,
    gone: &HashSet<String>,
    threshold: usize,
) -> Vec<(Arc<Pod>, Cause)> {
    let mut doomed = Vec::new();
    let mut finished = Vec::new();
    for pod in world.pods.list() {
        if gone.contains(node_name(&pod)) {
            doomed.push((pod, Cause::Orphaned));
        } else if pod.metadata.deletion_timestamp.is_some() && node_name(&pod).is_empty() {
            doomed.push((pod, Cause::NeverScheduled));
        } else if is_terminal(&pod) && pod.metadata.deletion_timestamp.is_none() {
            finished.push(pod);
        }
    }
    if threshold > 0 && finished.len() > threshold {
        finished.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let excess = finished.len() - threshold;
        doomed.extend(finished.into_iter().take(excess).map(|pod| (pod, Cause::Finished)));
    }
    doomed
}

/// Looks at the pods every period, until `stop` fires.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut missing: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock::sleep(limits::POD_GC_PERIOD) => {}
        }
        let world = &context.world;
        let wanted: HashSet<String> =
            world.pods.list().iter().map(|pod| node_name(pod).to_owned()).collect();
        missing.retain(|name, _| wanted.contains(name) && world.nodes.get(name).is_none());
        for name in wanted {
            if !name.is_empty() && world.nodes.get(&name).is_none() {
                missing.entry(name).or_insert_with(clock::instant);
            }
        }
        let mut gone = HashSet::new();
        for (name, since) in &missing {
            if clock::instant().duration_since(*since) < limits::POD_GC_QUARANTINE {
                continue;
            }
            // The cache may be behind: only the server's own answer counts.
            let nodes: Api<Node> = Api::all(context.client.clone());
            if matches!(nodes.get_metadata_opt(name).await, Ok(None)) {
                gone.insert(name.clone());
            }
        }
        for (pod, cause) in reconcile(world, &gone, context.config.terminated_pod_gc_threshold) {
            if let Err(error) = remove(&context, &pod, cause).await {
                warn!(pod = api_client::key_of(pod.as_ref()), %error, "pod not collected, will retry");
            }
        }
    }
}

async fn remove(context: &Context, pod: &Pod, cause: Cause) -> Result<(), kube::Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    info!(ns = namespace, name, ?cause, "collecting pod");
    if !is_terminal(pod) {
        // Nobody is left to say so: the pod has failed.
        let mut status = serde_json::json!({ "phase": "Failed" });
        if cause == Cause::Orphaned {
            status["conditions"] = serde_json::json!([{
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": api_client::api_time(clock::now()),
            }]);
        }
        let patch =
            serde_json::json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
        match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(error) if !api_client::is_not_found(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    let how = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(kube::api::Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(name, &how).await {
        Err(error) if !api_client::is_not_found(&error) && !api_client::is_conflict(&error) => {
            Err(error)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_go_and_the_oldest_finished_pods_over_the_threshold() {
        let world = World::new();
        let pods = serde_json::json!([
            {"metadata": {"name": "orphan", "namespace": "n"}, "spec": {"containers": [], "nodeName": "gone"}},
            {"metadata": {"name": "fine", "namespace": "n"}, "spec": {"containers": [], "nodeName": "here"}},
            {"metadata": {"name": "never", "namespace": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": []}},
            {"metadata": {"name": "old", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Succeeded"}},
            {"metadata": {"name": "new", "namespace": "n", "creationTimestamp": "2026-01-02T00:00:00Z"}, "status": {"phase": "Failed"}},
        ]);
        for pod in serde_json::from_value::<Vec<Pod>>(pods).unwrap() {
            world.pods.put(Arc::new(pod));
        }
        let gone = ["gone".to_owned()].into();
        let doomed: Vec<_> = reconcile(&world, &gone, 1)
            .into_iter()
            .map(|(pod, cause)| (pod.metadata.name.clone().unwrap(), cause))
            .collect();
        assert_eq!(
            doomed,
            [
                ("never".to_owned(), Cause::NeverScheduled),
                ("orphan".to_owned(), Cause::Orphaned),
                ("old".to_owned(), Cause::Finished),
            ]
        );
        assert_eq!(reconcile(&world, &HashSet::new(), 0).len(), 1, "0 keeps all finished pods");
    }
}
