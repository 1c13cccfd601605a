//! Stops every pod of a runtime at once, as `orlop up` does when it ends.

use futures::StreamExt;

use crate::labels;
use crate::limits::{STOP_CONTAINERS_PARALLEL, STOP_SANDBOXES_PARALLEL};
use crate::runtime::{Cri, Labels, Runtime, RuntimeError, cri};

/// Stops and removes every pod of the runtime at `endpoint` (`unix://…` or a path), and answers
/// how many there were. A container gets its pod's grace, but at most `grace_seconds`.
///
/// # Errors
/// When the runtime cannot be asked, or a pod could not be stopped or removed; the others are.
pub async fn stop_all_pods(endpoint: &str, grace_seconds: i64) -> anyhow::Result<usize> {
    let runtime = Cri::new(endpoint.strip_prefix("unix://").unwrap_or(endpoint).as_ref());
    let containers = runtime.list_containers(Labels::new()).await?;
    let stops = containers
        .iter()
        .filter(|c| c.state() != cri::ContainerState::ContainerExited)
        .map(|c| runtime.stop_container(&c.id, grace(c, grace_seconds)));
    // Each has its own grace: one after another they would add up.
    let stops = futures::stream::iter(stops).buffer_unordered(STOP_CONTAINERS_PARALLEL);
    let mut failed: Vec<RuntimeError> = stops.filter_map(|r| async { r.err() }).collect().await;

    let sandboxes = runtime.list_sandboxes(Labels::new()).await?;
    let removals = sandboxes.iter().map(|sandbox| async {
        runtime.stop_sandbox(&sandbox.id).await?;
        runtime.remove_sandbox(&sandbox.id).await
    });
    let removals = futures::stream::iter(removals).buffer_unordered(STOP_SANDBOXES_PARALLEL);
    failed.extend(removals.filter_map(|r| async { r.err() }).collect::<Vec<_>>().await);
    let uids: Vec<String> =
        sandboxes.iter().filter_map(|s| s.labels.get(labels::POD_UID).cloned()).collect();
    let removed = move || uids.iter().for_each(|uid| crate::node::cgroup::remove_of_uid(uid));
    tokio::task::spawn_blocking(removed).await?;
    match failed.first() {
        None => Ok(sandboxes.len()),
        Some(first) => anyhow::bail!("{} stops of {endpoint} failed: {first}", failed.len()),
    }
}

/// The grace that the container's pod asked for, cut to `most`.
fn grace(container: &cri::Container, most: i64) -> i64 {
    let own = container.annotations.get(labels::POD_GRACE).and_then(|text| text.parse().ok());
    own.unwrap_or(most).clamp(0, most.max(0))
}
