//! The status of one container: its newest two runs, and what was known of it before.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | C1 | A count of restarts never falls, whatever the runtime forgot. |
//! | C2 | A container that ran and cannot be found any more ended: exit code 137, of unknown cause. |

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, Pod, PodSpec, PodStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Facts, Waiting, is_sidecar};
use crate::limits::POD_MESSAGES_BYTES_MAX;
use crate::restart::Policy;
use crate::view::{Instance, Run, time};

/// The exit code of what ended without telling one.
const LOST_CODE: i32 = 137;

fn lost(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: LOST_CODE,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    }
}

fn terminated(end: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(end), ..Default::default() }
}

/// What the runtime, or else the past, tells about a container: its state, the one before it, and
/// how often it was restarted.
struct Story {
    state: ContainerState,
    last: ContainerState,
    restarts: i32,
}

/// One container's status.
pub(super) fn status(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    facts: &Facts<'_>,
    init: bool,
) -> ContainerStatus {
    let newest = facts.view.newest(&container.name);
    let old = old_status(facts.previous, &container.name, init);
    let mut story = match newest {
        Some(run) => found(run, old, facts),
        None => missing(pod, spec, old),
    };
    if newest.is_none() && init && !is_sidecar(container) {
        assume_initialized(spec, facts, &mut story.state);
    }
    let will_run = match (&story.state.terminated, newest) {
        (Some(end), Some(_)) => Policy::of_container(spec, container, init).restarts(end.exit_code),
        // What nobody remembers is made anew.
        (Some(_) | None, _) => story.state.running.is_none(),
    };
    if let Some(waiting) = facts.waiting.get(&container.name)
        && will_run
        && !facts.is_ending
    {
        let before = std::mem::replace(&mut story.state, waiting_of(waiting));
        if before.terminated.is_some() {
            story.last = before;
        }
    }

    let health = (facts.health)(&container.name);
    let ended_well = story.state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    let is_started = story.state.running.is_some() && health.is_started;
    let ready = if init && !is_sidecar(container) {
        ended_well
    } else if init && container.readiness_probe.is_none() {
        is_started
    } else {
        is_started && health.is_ready
    };
    ContainerStatus {
        name: container.name.clone(),
        state: Some(story.state),
        last_state: Some(story.last),
        ready,
        started: Some(is_started),
        restart_count: story.restarts,
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

/// The story of a container that the runtime has.
fn found(run: &Instance, old: Option<&ContainerStatus>, facts: &Facts<'_>) -> Story {
    let id = format!("{}://{}", facts.runtime_name, run.id);
    let was = old.and_then(|old| old.state.clone()).unwrap_or_default();
    // C1
    let mut restarts = run.restarts.max(old.map_or(0, |old| old.restart_count));
    // What ended before may be gone from the runtime, but not from memory.
    let known = old.and_then(|old| {
        let is_another = old.container_id.as_ref() != Some(&id);
        let end = was.terminated.clone().filter(|_| is_another);
        end.or_else(|| old.last_state.as_ref()?.terminated.clone())
    });
    let state = match run.run {
        Run::Running => {
            // It began anew although the runtime counts from zero.
            let is_behind = old.is_some_and(|old| old.restart_count >= run.restarts);
            restarts += i32::from(was.terminated.is_some() && is_behind);
            let started_at = time(run.started_ns).map(Time);
            let running = Some(ContainerStateRunning { started_at });
            ContainerState { running, ..Default::default() }
        }
        Run::Exited => ended_state(run, facts.runtime_name),
        Run::Unknown if was.running.is_some() => {
            restarts += 1;
            // C2
            terminated(lost("The container could not be located when the pod was terminated"))
        }
        Run::Created | Run::Unknown => {
            let waiting = Some(ContainerStateWaiting::default());
            ContainerState { waiting, ..Default::default() }
        }
    };
    let before = facts.view.runs(&run.name).nth(1).filter(|before| before.run == Run::Exited);
    let last = match (before, known) {
        (Some(before), _) => ended_state(before, facts.runtime_name),
        (None, Some(end)) => terminated(end),
        (None, None) => ContainerState::default(),
    };
    Story { state, last, restarts }
}

/// The story of a container that the runtime does not have: it never ran, or was forgotten.
fn missing(pod: &Pod, spec: &PodSpec, old: Option<&ContainerStatus>) -> Story {
    let mut last = old.and_then(|old| old.last_state.clone()).unwrap_or_default();
    let mut restarts = old.map_or(0, |old| old.restart_count);
    let was = old.and_then(|old| old.state.clone()).unwrap_or_default();
    if let Some(end) = was.terminated {
        return Story { state: terminated(end), last, restarts };
    }
    if was.running.is_some() && last.terminated.is_none() {
        // C2
        last.terminated = Some(lost(
            "The container could not be located when the pod was deleted.  The container used to be Running",
        ));
        restarts += i32::from(pod.metadata.deletion_timestamp.is_none());
    }
    let has_init = spec.init_containers.as_ref().is_some_and(|init| !init.is_empty());
    let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let state = waiting_of(&Waiting { reason: reason.to_owned(), message: String::new() });
    Story { state, last, restarts }
}

/// An init container that is gone, in a pod whose own containers are there, did its work.
fn assume_initialized(spec: &PodSpec, facts: &Facts<'_>, state: &mut ContainerState) {
    let is_there = |c: &Container| facts.view.newest(&c.name).is_some();
    if state.waiting.is_some() && spec.containers.iter().any(is_there) {
        *state = terminated(ContainerStateTerminated {
            exit_code: 0,
            reason: Some("Completed".to_owned()),
            message: Some("Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally".to_owned()),
            ..Default::default()
        });
    }
}

/// Of a pod that has ended every container that ever began has ended, too.
pub(super) fn end(
    spec: &PodSpec,
    init: &mut [ContainerStatus],
    containers: &mut [ContainerStatus],
) {
    let began = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|s| s.waiting.is_none())
            || status.last_state.as_ref().is_some_and(|l| l.terminated.is_some())
    };
    let last_is_done = init.last().zip(spec.init_containers.iter().flatten().last());
    let last_is_done = last_is_done.is_some_and(|(status, container)| {
        if is_sidecar(container) {
            status.started == Some(true)
        } else {
            super::ended(status).is_some_and(|end| end.exit_code == 0)
        }
    });
    let is_initialized = init.is_empty() || containers.iter().any(began) || last_is_done;
    // The first one is always told about.
    let first_unborn = init.iter().rposition(began).unwrap_or(0) + usize::from(!init.is_empty());
    let born = &mut init[..first_unborn];
    let all = if is_initialized { containers } else { &mut [] };
    for status in born.iter_mut().chain(all) {
        let is_over = status.state.as_ref().is_some_and(|s| s.terminated.is_some());
        if !is_over {
            // C2
            let why = "The container could not be located when the pod was terminated";
            status.state = Some(terminated(lost(why)));
        }
    }
}

/// Messages that are too long together are cut, each to the same length.
pub(super) fn cut_messages(init: &mut [ContainerStatus], containers: &mut [ContainerStatus]) {
    let share = POD_MESSAGES_BYTES_MAX / (init.len() + containers.len()).max(1);
    for status in init.iter_mut().chain(containers) {
        for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
            let end = state.terminated.as_mut();
            if let Some(text) = end.and_then(|end| end.message.as_mut()) {
                text.truncate(text.floor_char_boundary(share));
            }
        }
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
