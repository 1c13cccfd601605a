//! The decision about one pod: what is wanted and what there is, to the next steps.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | Without a ready sandbox nothing is started but a sandbox. |
//! | P2 | Init containers run one at a time, in order; the others wait for all of them. |
//! | P3 | A container that may not run again is never started, not even in a new sandbox. |
//! | P4 | A container that waits for its back-off is not started before its time. |

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::restart::{BackOff, Policy};
use crate::view::{Instance, PodView, Run, time};

/// One thing to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Stop what is left of a sandbox that cannot be used any more.
    StopSandbox { id: String },
    /// Make the sandbox; `attempt` tells it from the ones before.
    RunSandbox { attempt: u32 },
    /// Start this container; the runtime knows of `restarts` earlier runs.
    Start { name: String, restarts: i32 },
    /// Stop a running container; the next plan decides about a new one.
    Kill { id: String, name: String, why: &'static str },
    /// Nothing before this time.
    Wait { name: String, until: Timestamp },
}

/// What the probes say about a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    /// Its startup probe succeeded, or it has none.
    pub(crate) is_started: bool,
    /// Its readiness probe succeeds, or it has none.
    pub(crate) is_ready: bool,
    /// Its liveness or startup probe failed for good: why it must go.
    pub(crate) must_die: Option<&'static str>,
}

impl Health {
    /// A container that nobody asks about.
    pub(crate) const FINE: Self = Self { is_started: true, is_ready: true, must_die: None };
}

/// What the plan needs to know beside the pod and the view.
pub(crate) struct World<'a> {
    pub(crate) now: Timestamp,
    pub(crate) back_off: &'a BackOff,
    pub(crate) health: &'a dyn Fn(&str) -> Health,
    pub(crate) hash: &'a dyn Fn(&Container) -> String,
}

/// The next steps towards the pod; empty when there is nothing to do but wait for news.
pub(crate) fn plan(pod: &Pod, view: &PodView, world: &World<'_>) -> Vec<Step> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let wanted = wanted(spec, view, world);
    let Some(sandbox) = view.ready_sandbox() else { return sandbox_steps(&wanted, view) };
    // Old sandboxes that never went away would keep their addresses.
    let mut steps: Vec<Step> = view.sandboxes[1..]
        .iter()
        .filter(|old| old.is_ready)
        .map(|old| Step::StopSandbox { id: old.id.clone() })
        .collect();
    if wanted.is_empty() && is_over(spec, view) {
        // Everything ended for good: the sandbox has no further use.
        steps.push(Step::StopSandbox { id: sandbox.id.clone() });
    }
    steps.extend(wanted);
    steps
}

/// P1: a new sandbox only when something is to run in it.
fn sandbox_steps(wanted: &[Step], view: &PodView) -> Vec<Step> {
    if !wanted.iter().any(|step| matches!(step, Step::Start { .. } | Step::Kill { .. })) {
        return wanted.to_vec();
    }
    let alive = view.containers.iter().any(|c| matches!(c.run, Run::Running | Run::Created));
    if let (Some(old), true) = (view.sandboxes.first(), alive) {
        return vec![Step::StopSandbox { id: old.id.clone() }];
    }
    vec![Step::RunSandbox { attempt: view.sandboxes.first().map_or(0, |s| s.attempt + 1) }]
}

/// Starts, kills and waits, as if a sandbox were there.
fn wanted(spec: &PodSpec, view: &PodView, world: &World<'_>) -> Vec<Step> {
    // P3, for sidecars too: they end with the pod's own containers.
    if is_over(spec, view) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let sandbox = view.ready_sandbox().map(|s| s.id.as_str());
    // A container of the second kind in this sandbox proves that P2 was kept. Another sandbox
    // begins anew: what an init container did there is gone with it.
    let is_initialized = spec
        .containers
        .iter()
        .any(|c| view.newest(&c.name).is_some_and(|run| Some(&*run.sandbox) == sandbox));
    for container in init {
        let is_sidecar = container.restart_policy.as_deref() == Some("Always");
        let here = view.newest(&container.name).filter(|run| Some(&*run.sandbox) == sandbox);
        if is_sidecar {
            steps.extend(step_for(spec, container, view, world, true));
            let health = (world.health)(&container.name);
            let is_up = here.is_some_and(|run| run.run == Run::Running) && health.is_started;
            if !is_up && !is_initialized {
                return steps;
            }
            continue;
        }
        if is_initialized {
            continue;
        }
        let is_done = here.is_some_and(|run| run.run == Run::Exited && run.exit_code == 0);
        if !is_done {
            steps.extend(step_for_init(spec, container, view, world, sandbox));
            return steps;
        }
    }
    for container in &spec.containers {
        steps.extend(step_for(spec, container, view, world, false));
    }
    steps
}

/// An init container that succeeded in a sandbox that is gone runs again in the new one.
fn step_for_init(
    spec: &PodSpec,
    container: &Container,
    view: &PodView,
    world: &World<'_>,
    sandbox: Option<&str>,
) -> Option<Step> {
    match view.newest(&container.name) {
        Some(run)
            if run.run == Run::Exited && run.exit_code == 0 && Some(&*run.sandbox) != sandbox =>
        {
            Some(Step::Start { name: container.name.clone(), restarts: run.restarts + 1 })
        }
        _ => step_for(spec, container, view, world, true),
    }
}

/// The step for one container whose turn it is.
fn step_for(
    spec: &PodSpec,
    container: &Container,
    view: &PodView,
    world: &World<'_>,
    init: bool,
) -> Option<Step> {
    let name = container.name.clone();
    let Some(run) = view.newest(&container.name) else {
        return Some(Step::Start { name, restarts: 0 });
    };
    match run.run {
        Run::Running => kill_reason(container, run, view, world).map(|why| Step::Kill {
            id: run.id.clone(),
            name,
            why,
        }),
        // What was made but never started, or lost its keeper, is replaced.
        Run::Unknown => {
            Some(Step::Kill { id: run.id.clone(), name, why: "is in an unknown state" })
        }
        Run::Created => Some(Step::Start { name, restarts: run.restarts + 1 }),
        Run::Exited => {
            // P3
            if !Policy::of_container(spec, container, init).restarts(run.exit_code) {
                return None;
            }
            let failed = time(run.finished_ns).unwrap_or(world.now);
            // P4
            match world.back_off.until(&back_off_key(run), failed, world.now) {
                Some(until) => Some(Step::Wait { name, until }),
                None => Some(Step::Start { name, restarts: run.restarts + 1 }),
            }
        }
    }
}

fn kill_reason(
    container: &Container,
    run: &Instance,
    view: &PodView,
    world: &World<'_>,
) -> Option<&'static str> {
    if view.ready_sandbox().is_some_and(|s| s.id != run.sandbox) {
        return Some("runs in an old sandbox");
    }
    if run.hash != (world.hash)(container) {
        return Some("definition changed");
    }
    (world.health)(&container.name).must_die
}

/// Whether no container of the pod runs or will ever run again.
pub(crate) fn is_over(spec: &PodSpec, view: &PodView) -> bool {
    let ended = |container: &Container, init: bool| {
        view.newest(&container.name).is_some_and(|run| {
            run.run == Run::Exited
                && !Policy::of_container(spec, container, init).restarts(run.exit_code)
        })
    };
    let init_failed = spec
        .init_containers
        .iter()
        .flatten()
        .any(|c| ended(c, true) && view.newest(&c.name).is_some_and(|run| run.exit_code != 0));
    init_failed || spec.containers.iter().all(|c| ended(c, false))
}

/// Crashes are counted for each version of a container.
pub(crate) fn back_off_key(run: &Instance) -> String {
    format!("{}_{}", run.name, run.hash)
}
