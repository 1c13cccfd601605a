//! The status of a pod, from what the runtime has: container states, phase and conditions.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::plan::Health;
use crate::restart::Policy;
use crate::spec::resources::qos;
use crate::spec::totals::totals;
use crate::view::{Instance, PodView, Run, time};

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
}

/// The whole status.
pub(crate) fn status(pod: &Pod, facts: &Facts<'_>) -> PodStatus {
    let Some(spec) = &pod.spec else { return PodStatus::default() };
    let mut containers: Vec<ContainerStatus> =
        spec.containers.iter().map(|c| container_status(spec, c, facts, false)).collect();
    let init: Vec<ContainerStatus> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|c| container_status(spec, c, facts, true))
        .collect();

    let previous_phase = facts.previous.phase.as_deref();
    // A pod that has ended stays ended, whatever is found out later.
    let phase = match previous_phase {
        Some(ended @ ("Succeeded" | "Failed")) => ended.to_owned(),
        _ => phase(spec, &init, &containers, facts.is_ending).to_owned(),
    };
    let host_network = spec.host_network.unwrap_or(false);
    let ips = match facts.view.sandboxes.first() {
        Some(_) if host_network => vec![facts.node_ip.to_owned()],
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        _ => facts.previous.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    };
    let conditions = conditions(pod, spec, &phase, &init, &containers, facts);
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
        reason: facts.previous.reason.clone(),
        message: facts.previous.message.clone(),
        ..Default::default()
    }
}

/// One container's status from its newest two runs.
fn container_status(
    spec: &PodSpec,
    container: &Container,
    facts: &Facts<'_>,
    init: bool,
) -> ContainerStatus {
    let mut runs = facts.view.runs(&container.name);
    let newest = runs.next();
    let before = runs.find(|run| run.run == Run::Exited);
    let health = (facts.health)(&container.name);
    let mut last_state = before.map(|run| ended_state(run, facts.runtime_name));
    let old = old_status(facts.previous, &container.name, init);
    let mut state = match newest {
        None => waiting_state(spec, container, facts),
        Some(run) if run.run == Run::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(run.started_ns).map(Time) }),
            ..Default::default()
        },
        Some(run) if run.run == Run::Exited => ended_state(run, facts.runtime_name),
        Some(_) => waiting_state(spec, container, facts),
    };
    // Nothing is left in the runtime of what ended before: the API knows how it ended.
    if newest.is_none()
        && let Some(old) = old
        && facts.waiting.get(&container.name).is_none()
        && let Some(ended) = old.state.as_ref().and_then(|s| s.terminated.clone())
    {
        state = ContainerState { terminated: Some(ended), ..Default::default() };
        last_state.clone_from(&old.last_state);
    } else if state.terminated.is_some()
        && let Some(waiting) = facts.waiting.get(&container.name)
        && !facts.is_ending
    {
        last_state = Some(state);
        state = waiting_of(waiting);
    }

    let is_running = state.running.is_some();
    let ended_well = state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    let is_sidecar = container.restart_policy.as_deref() == Some("Always");
    let is_started = is_running && health.is_started;
    let ready = if init && !is_sidecar {
        ended_well
    } else if init && container.readiness_probe.is_none() {
        is_started
    } else {
        is_started && health.is_ready
    };
    ContainerStatus {
        name: container.name.clone(),
        state: Some(state),
        last_state: Some(last_state.unwrap_or_default()),
        ready,
        started: Some(is_started),
        restart_count: newest.map_or_else(|| old.map_or(0, |o| o.restart_count), |r| r.restarts),
        image: newest
            .map(|r| r.image.clone())
            .filter(|image| !image.is_empty() && !image.starts_with("sha256:"))
            .or_else(|| container.image.clone())
            .unwrap_or_default(),
        image_id: newest
            .map(|r| r.image_ref.clone())
            .or_else(|| old.map(|o| o.image_id.clone()))
            .unwrap_or_default(),
        container_id: newest
            .map(|r| format!("{}://{}", facts.runtime_name, r.id))
            .or_else(|| old.and_then(|o| o.container_id.clone())),
        resources: Some(container.resources.clone().unwrap_or_default()),
        allocated_resources: container.resources.as_ref().and_then(|r| r.requests.clone()),
        volume_mounts: mounts(container),
        ..Default::default()
    }
}

fn old_status<'a>(previous: &'a PodStatus, name: &str, init: bool) -> Option<&'a ContainerStatus> {
    let list = if init { &previous.init_container_statuses } else { &previous.container_statuses };
    list.iter().flatten().find(|old| old.name == name)
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref()?.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".to_owned()),
        ..Default::default()
    });
    Some(mounts.collect())
}

fn waiting_of(waiting: &Waiting) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(waiting.reason.clone()),
            message: (!waiting.message.is_empty()).then(|| waiting.message.clone()),
        }),
        ..Default::default()
    }
}

/// Why a container that never ran does not run yet.
fn waiting_state(spec: &PodSpec, container: &Container, facts: &Facts<'_>) -> ContainerState {
    if let Some(waiting) = facts.waiting.get(&container.name) {
        return waiting_of(waiting);
    }
    let has_init = spec.init_containers.as_ref().is_some_and(|init| !init.is_empty());
    let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    waiting_of(&Waiting { reason: reason.to_owned(), message: String::new() })
}

fn ended_state(run: &Instance, runtime_name: &str) -> ContainerState {
    let reason = if !run.reason.is_empty() {
        run.reason.clone()
    } else if run.exit_code == 0 {
        "Completed".to_owned()
    } else {
        "Error".to_owned()
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: run.exit_code,
            reason: Some(reason),
            message: (!run.message.is_empty()).then(|| run.message.clone()),
            started_at: time(run.started_ns).or_else(|| time(run.created_ns)).map(Time),
            finished_at: time(run.finished_ns).map(Time),
            container_id: Some(format!("{runtime_name}://{}", run.id)),
            signal: None,
        }),
        ..Default::default()
    }
}

/// The phase of a pod from the states of its containers.
pub(crate) fn phase(
    spec: &PodSpec,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
    is_ending: bool,
) -> &'static str {
    let policy = Policy::of_pod(spec);
    let mut is_initializing = false;
    for (container, status) in spec.init_containers.iter().flatten().zip(init) {
        let state = status.state.clone().unwrap_or_default();
        let ended = state.terminated.or_else(|| {
            let last = status.last_state.as_ref();
            state.waiting.and_then(|_| last.and_then(|l| l.terminated.clone()))
        });
        if container.restart_policy.as_deref() == Some("Always") {
            is_initializing |= status.started != Some(true) && ended.is_none();
            continue;
        }
        match ended {
            Some(ended) if ended.exit_code == 0 => {}
            Some(_) if policy == Policy::Never => return "Failed",
            Some(_) | None => is_initializing = true,
        }
    }

    let (mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for status in containers {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.as_ref().and_then(|l| l.terminated.as_ref());
        if state.running.is_some() {
            running += 1;
        } else if let Some(ended) = &state.terminated {
            stopped += 1;
            succeeded += usize::from(ended.exit_code == 0);
        } else if last.is_some() {
            stopped += 1;
        } else {
            waiting += 1;
        }
    }
    let all_succeeded = stopped > 0 && stopped == succeeded;
    if is_ending && running == 0 {
        // What never started cannot succeed any more.
        return if all_succeeded && waiting == 0 { "Succeeded" } else { "Failed" };
    }
    let was_initialized = running + stopped > 0;
    if (is_initializing && !was_initialized) || waiting > 0 {
        return "Pending";
    }
    if running > 0 {
        return "Running";
    }
    match policy {
        Policy::Always => "Running",
        Policy::OnFailure | Policy::Never if all_succeeded => "Succeeded",
        Policy::OnFailure => "Running",
        Policy::Never => "Failed",
    }
}

/// Type, whether it holds, reason, message.
type Verdict = (&'static str, bool, Option<&'static str>, Option<String>);

fn conditions(
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
    let (ready, contents) = readiness(spec, phase, init, containers);
    let initialized = initialized(spec, phase, init, containers);
    let gates_closed = gates_closed(spec, facts.previous);
    let pod_ready = if ready.1 && !gates_closed.is_empty() {
        let message = format!("corresponding condition of pod readiness gate {gates_closed}");
        ("Ready", false, Some("ReadinessGatesNotReady"), Some(message))
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
    verdicts
        .into_iter()
        .map(|(type_, holds, reason, message)| {
            let status = if holds { "True" } else { "False" };
            let old = facts.previous.conditions.iter().flatten().find(|c| c.type_ == type_);
            let since = old.filter(|old| old.status == status);
            PodCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.map(str::to_owned),
                message,
                last_transition_time: since
                    .and_then(|old| old.last_transition_time.clone())
                    .or(Some(Time(facts.now))),
                last_probe_time: None,
                observed_generation: pod.metadata.generation,
            }
        })
        .collect()
}

fn gates_closed(spec: &PodSpec, previous: &PodStatus) -> String {
    let closed = spec.readiness_gates.iter().flatten().filter(|gate| {
        !previous
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == gate.condition_type && c.status == "True")
    });
    closed.map(|gate| format!("{:?}", gate.condition_type)).collect::<Vec<_>>().join(", ")
}

/// `Ready` (without gates) and `ContainersReady`.
fn readiness(
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
) -> (Verdict, Verdict) {
    let sidecars = spec.init_containers.iter().flatten().zip(init).filter_map(|(c, status)| {
        (c.restart_policy.as_deref() == Some("Always")).then_some(status)
    });
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
) -> Verdict {
    let was_initialized = containers.iter().any(|c| {
        let state = c.state.as_ref();
        state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
            || c.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    });
    let open = spec.init_containers.iter().flatten().zip(init).filter_map(|(c, status)| {
        let is_sidecar = c.restart_policy.as_deref() == Some("Always");
        let is_done = if is_sidecar { status.started == Some(true) } else { status.ready };
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
