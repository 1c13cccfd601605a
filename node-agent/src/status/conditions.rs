//! The conditions of a pod: this node's own, and those of others as they stand in the API.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Facts, is_sidecar};

/// The conditions that a node sets.
const OWN: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Whether a node sets this condition.
pub(crate) fn is_own(type_: &str) -> bool {
    OWN.contains(&type_)
}

/// The conditions that others set, as the API has them.
pub(crate) fn of_others(pod: &Pod) -> impl Iterator<Item = &PodCondition> {
    let all = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.filter(|condition| !is_own(&condition.type_))
}

/// Whether the API says otherwise than this node does about what is the node's to say: somebody
/// wrote over it, as the controller of nodes does while it thinks the node lost.
pub(crate) fn contradicts(seen: &PodStatus, own: &PodStatus) -> bool {
    let mut told = own.conditions.iter().flatten().filter(|condition| is_own(&condition.type_));
    told.any(|told| {
        let all = seen.conditions.iter().flatten();
        all.into_iter().any(|known| known.type_ == told.type_ && known.status != told.status)
    })
}

/// Type, whether it holds, reason, message.
type Verdict = (&'static str, bool, Option<&'static str>, Option<String>);

/// All conditions: those of others first.
pub(super) fn all(
    pod: &Pod,
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
    facts: &Facts<'_>,
) -> Vec<PodCondition> {
    let has_network = facts
        .view
        .ready_sandbox()
        .is_some_and(|sandbox| !sandbox.ips.is_empty() || spec.host_network == Some(true));
    let before =
        |type_: &str| facts.previous.conditions.iter().flatten().find(|known| known.type_ == type_);
    let (ready, contents) = readiness(spec, phase, init, containers);
    let was_initialized = before("Initialized").is_some_and(|known| known.status == "True");
    let initialized = initialized(spec, phase, init, containers, was_initialized);
    let gates_closed = gates_closed(pod, spec);
    let pod_ready = if ready.1 && !gates_closed.is_empty() {
        ("Ready", false, Some("ReadinessGatesNotReady"), Some(gates_closed))
    } else {
        ready
    };
    let verdicts: [Verdict; 5] = [
        ("PodReadyToStartContainers", has_network, None, None),
        initialized,
        pod_ready,
        contents,
        ("PodScheduled", true, None, None),
    ];
    let own = verdicts.into_iter().map(|(type_, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let since = before(type_).filter(|known| known.status == status);
        PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: since
                .and_then(|known| known.last_transition_time.clone())
                .or(Some(Time(facts.now))),
            last_probe_time: None,
            observed_generation: pod.metadata.generation,
        }
    });
    of_others(pod).cloned().chain(own).collect()
}

/// What keeps a pod from being ready although its containers are: conditions that others set.
fn gates_closed(pod: &Pod, spec: &PodSpec) -> String {
    let said = spec.readiness_gates.iter().flatten().filter_map(|gate| {
        let wanted = &gate.condition_type;
        match of_others(pod).find(|known| known.type_ == *wanted) {
            None => Some(format!(
                "corresponding condition of pod readiness gate {wanted:?} does not exist."
            )),
            Some(known) if known.status != "True" => Some(format!(
                "the status of pod readiness gate {wanted:?} is not \"True\", but {}",
                known.status
            )),
            Some(_) => None,
        }
    });
    said.collect::<Vec<_>>().join(", ")
}

/// `Ready` (without gates) and `ContainersReady`.
fn readiness(
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
) -> (Verdict, Verdict) {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .zip(init)
        .filter_map(|(c, status)| is_sidecar(c).then_some(status));
    let unready = names(sidecars.chain(containers).filter(|c| !c.ready));
    let (holds, reason, message) = match phase {
        "Succeeded" => (false, Some("PodCompleted"), None),
        "Failed" => (false, Some("PodFailed"), None),
        _ if unready.is_empty() => (true, None, None),
        _ => {
            let message = format!("containers with unready status: [{unready}]");
            (false, Some("ContainersNotReady"), Some(message))
        }
    };
    (("Ready", holds, reason, message.clone()), ("ContainersReady", holds, reason, message))
}

fn initialized(
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
    was_initialized: bool,
) -> Verdict {
    // Once initialized, always initialized: also while its containers run anew.
    let was_initialized = was_initialized
        || containers.iter().any(|c| {
            let state = c.state.as_ref();
            state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
                || c.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
        });
    let open = spec.init_containers.iter().flatten().zip(init).filter_map(|(c, status)| {
        let is_done = if is_sidecar(c) { status.started == Some(true) } else { status.ready };
        (!is_done).then_some(status)
    });
    let open = names(open);
    if phase == "Succeeded" {
        ("Initialized", true, Some("PodCompleted"), None)
    } else if open.is_empty() || was_initialized {
        ("Initialized", true, None, None)
    } else {
        let message = format!("containers with incomplete status: [{open}]");
        ("Initialized", false, Some("ContainersNotInitialized"), Some(message))
    }
}

fn names<'a>(statuses: impl Iterator<Item = &'a ContainerStatus>) -> String {
    statuses.map(|c| c.name.as_str()).collect::<Vec<_>>().join(" ")
}
