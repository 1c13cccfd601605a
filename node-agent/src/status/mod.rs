//! The status of a pod, from what the runtime has: container states, phase and conditions.

mod conditions;
mod containers;

pub(crate) use conditions::{contradicts, is_own, of_others};

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::plan::Health;
use crate::restart::Policy;
use crate::spec::resources::qos;
use crate::spec::totals::totals;
use crate::view::{PodView, Run};

/// Why a container is not running although it should: the API's reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What the status is made from, beside the pod.
pub(crate) struct Facts<'a> {
    pub(crate) view: &'a PodView,
    pub(crate) waiting: &'a HashMap<String, Waiting>,
    pub(crate) health: &'a dyn Fn(&str) -> Health,
    /// The status written last: transition times that still hold come from it.
    pub(crate) previous: &'a PodStatus,
    pub(crate) node_ip: &'a str,
    pub(crate) runtime_name: &'a str,
    pub(crate) now: Timestamp,
    /// The pod is being deleted or has been evicted: what does not run will not run again.
    pub(crate) is_ending: bool,
    /// Why this node ends the pod, although nobody deleted it.
    pub(crate) evicted: Option<Eviction>,
}

/// Why a node ends a pod: the API's reason and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Eviction {
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
}

/// A pod was active for longer than its definition allows.
pub(crate) const DEADLINE_EXCEEDED: Eviction = Eviction {
    reason: "DeadlineExceeded",
    message: "Pod was active on the node longer than the specified deadline",
};

/// Whether a phase is the last one.
pub(crate) fn is_final(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// The whole status.
pub(crate) fn status(pod: &Pod, facts: &Facts<'_>) -> PodStatus {
    let Some(spec) = &pod.spec else { return PodStatus::default() };
    let mut containers: Vec<ContainerStatus> =
        spec.containers.iter().map(|c| containers::status(pod, spec, c, facts, false)).collect();
    let mut init: Vec<ContainerStatus> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|c| containers::status(pod, spec, c, facts, true))
        .collect();
    let is_initialized = has_active_container(spec, facts.view);
    let alive = phase(spec, &init, &containers, facts.is_ending, is_initialized);
    if facts.is_ending {
        containers::end(spec, &mut init, &mut containers);
    }
    containers::cut_messages(&mut init, &mut containers);
    let ended = facts.previous.phase.clone().filter(|_| is_final(facts.previous));
    let evicted = facts.evicted.filter(|_| ended.is_none());
    // A pod that has ended stays ended, whatever is found out later.
    let phase = ended
        .unwrap_or_else(|| if evicted.is_some() { "Failed".to_owned() } else { alive.to_owned() });
    // Why it is in its phase is known only as long as it stays there.
    let kept = Some(facts.previous).filter(|old| old.phase.as_ref() == Some(&phase));
    let (reason, message) = match (evicted, kept) {
        (Some(why), _) => (Some(why.reason.to_owned()), Some(why.message.to_owned())),
        (None, Some(old)) => (old.reason.clone(), old.message.clone()),
        (None, None) => (None, None),
    };
    let host_network = spec.host_network.unwrap_or(false);
    let ips = match facts.view.sandboxes.first() {
        Some(_) if host_network => vec![facts.node_ip.to_owned()],
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        _ => facts.previous.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    };
    let conditions = conditions::all(pod, spec, &phase, &init, &containers, facts);
    let totals = totals(spec);
    // The API's order, whatever the definition's is.
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    PodStatus {
        conditions: Some(conditions),
        phase: Some(phase),
        allocated_resources: totals.as_ref().and_then(|t| t.requests.clone()),
        resources: totals,
        container_statuses: Some(containers),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ip: Some(facts.node_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: facts.node_ip.to_owned() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: Some(qos(spec).name().to_owned()),
        start_time: Some(facts.previous.start_time.clone().unwrap_or(Time(facts.now))),
        observed_generation: pod.metadata.generation,
        reason,
        message,
        ..Default::default()
    }
}

/// Whether one of the pod's own containers ran in the sandbox that it has now.
fn has_active_container(spec: &PodSpec, view: &PodView) -> bool {
    let Some(sandbox) = view.sandboxes.first() else { return false };
    view.containers.iter().any(|run| {
        run.sandbox == sandbox.id
            && matches!(run.run, Run::Running | Run::Exited)
            && spec.containers.iter().any(|c| c.name == run.name)
    })
}

/// How a container ended: now, or the last time before it waits again.
fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let state = status.state.as_ref();
    let now = state.and_then(|s| s.terminated.as_ref());
    let is_waiting = state.is_none_or(|s| s.running.is_none());
    let before = status.last_state.as_ref().and_then(|l| l.terminated.as_ref());
    now.or(before.filter(|_| is_waiting))
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The phase of a pod from the states of its containers.
pub(crate) fn phase(
    spec: &PodSpec,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
    is_ending: bool,
    is_initialized: bool,
) -> &'static str {
    let (mut is_initializing, mut has_new_sidecar) = (false, false);
    let (mut running, mut waiting, mut stopped) = (0, 0, 0);
    for (container, status) in spec.init_containers.iter().flatten().zip(init) {
        if is_sidecar(container) {
            running += usize::from(is_running(status));
            let is_new = !is_running(status) && ended(status).is_none();
            waiting += usize::from(is_new);
            has_new_sidecar |= is_new || (is_running(status) && status.started != Some(true));
            continue;
        }
        match ended(status) {
            Some(end) if end.exit_code == 0 => {}
            Some(end) => {
                if !Policy::of_container(spec, container, true).restarts(end.exit_code) {
                    return "Failed";
                }
            }
            None => is_initializing = true,
        }
    }
    let (mut succeeded, mut for_good) = (0, 0);
    for (container, status) in spec.containers.iter().zip(containers) {
        if is_running(status) {
            running += 1;
        } else if let Some(end) = ended(status) {
            stopped += 1;
            let policy = Policy::of_container(spec, container, false);
            for_good += usize::from(!policy.restarts(end.exit_code));
            let is_over = status.state.as_ref().is_some_and(|s| s.terminated.is_some());
            succeeded += usize::from(is_over && end.exit_code == 0);
        } else {
            waiting += 1;
        }
    }
    let all_succeeded = stopped > 0 && stopped == succeeded;
    if is_ending && running == 0 {
        // What never started cannot succeed any more.
        return if all_succeeded && waiting == 0 { "Succeeded" } else { "Failed" };
    }
    if is_initializing || (has_new_sidecar && !is_initialized) || waiting > 0 {
        "Pending"
    } else if running > 0 || stopped != for_good {
        "Running"
    } else if all_succeeded {
        "Succeeded"
    } else if stopped > 0 {
        "Failed"
    } else {
        "Pending"
    }
}

#[cfg(test)]
#[path = "status_test.rs"]
mod tests;
