//! The worker of one pod: looks, plans, carries out, reports; until the pod has ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::api::{PodApi, Written};
use super::probe::{Prober, Running};
use super::stop::{Manner, grace_of, grace_of_kill};
use crate::limits::{
    API_RETRY, DEAD_CONTAINERS_KEPT, POD_RESYNC, POD_RETRY, POD_STEPS_MAX,
    TERMINATION_LOG_BYTES_MAX, TERMINATION_LOG_LINES_MAX, TERMINATION_MESSAGE_BYTES_MAX,
};
use crate::plan::{Health, Step, World, back_off_key, is_over, plan};
use crate::restart::{BackOff, human};
use crate::runtime::{Outcome, Runtime, RuntimeError};
use crate::spec::env::Identity;
use crate::spec::make::{self, Machine, container_hash};
use crate::status::{Facts, Waiting, status};
use crate::view::{PodView, Run, time};
use crate::volume;

/// What all workers of a node share.
pub(crate) struct Shared {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) runtime_name: String,
    pub(crate) api: PodApi,
    pub(crate) machine: Machine,
    pub(crate) identity: Identity,
    pub(crate) root: PathBuf,
    pub(crate) log_dir: PathBuf,
}

/// What is wanted of a pod: set by the agent, read by the worker.
pub(crate) struct Desired {
    pub(crate) pod: Arc<Pod>,
    /// The uid of the object in the API; a static pod's mirror has its own. `None`: not there.
    pub(crate) api_uid: Option<String>,
    /// It is no longer wanted, whether or not the API still shows it.
    pub(crate) is_removed: bool,
    /// It comes from a manifest of this node; the API only has a mirror of it.
    pub(crate) is_static: bool,
}

/// The agent's end of a worker.
pub(crate) struct Handle {
    pub(crate) desired: Arc<Mutex<Desired>>,
    pub(crate) news: Arc<Notify>,
    pub(crate) status: Arc<Mutex<PodStatus>>,
    /// The folder of the pod's logs.
    pub(crate) log_dir: PathBuf,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Handle {
    /// The pod is not wanted any more.
    pub(crate) fn remove(&self) {
        self.desired.lock().is_removed = true;
        self.news.notify_one();
    }

    /// Whether this is the worker of a static pod with the same name, and not done yet.
    pub(crate) fn has_name_of(&self, pod: &Pod) -> bool {
        let desired = self.desired.lock();
        let (own, other) = (&desired.pod.metadata, &pod.metadata);
        desired.is_static
            && !self.task.is_finished()
            && (&own.namespace, &own.name) == (&other.namespace, &other.name)
    }
}

/// One pod's worker.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) desired: Arc<Mutex<Desired>>,
    pub(super) news: Arc<Notify>,
    published: Arc<Mutex<PodStatus>>,
    written: Option<(String, PodStatus)>,
    pub(super) prober: Prober,
    back_off: BackOff,
    pub(super) pull_back_off: BackOff,
    waiting: HashMap<String, Waiting>,
    pub(super) pull_failed: HashMap<String, (Timestamp, String)>,
    /// When the files of the volumes were last compared with their sources.
    refreshed: Instant,
}

/// Starts the worker of a pod.
pub(crate) fn start(shared: Arc<Shared>, desired: Desired) -> Handle {
    let log_dir = log_dir(&shared, &desired.pod);
    let status = Arc::new(Mutex::new(desired.pod.status.clone().unwrap_or_default()));
    let desired = Arc::new(Mutex::new(desired));
    let news = Arc::new(Notify::new());
    let worker = Worker {
        prober: Prober::new(shared.runtime.clone(), news.clone()),
        shared,
        desired: desired.clone(),
        news: news.clone(),
        published: status.clone(),
        written: None,
        back_off: BackOff::default(),
        pull_back_off: BackOff::default(),
        waiting: HashMap::new(),
        pull_failed: HashMap::new(),
        refreshed: Instant::now(),
    };
    Handle { desired, news, status, log_dir, task: tokio::spawn(worker.run()) }
}

pub(super) fn other(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Other(error.to_string())
}

impl Worker {
    async fn run(mut self) {
        loop {
            let (pod, is_removed) = {
                let desired = self.desired.lock();
                (desired.pod.clone(), desired.is_removed)
            };
            let is_ending = is_removed || pod.metadata.deletion_timestamp.is_some();
            let done = if is_ending {
                self.end(&pod).await
            } else {
                self.sync(&pod).await.map(|next| (false, next))
            };
            let next = match done {
                Ok((true, _)) => return,
                Ok((false, next)) => next,
                Err(error) => {
                    warn!(pod = pod.metadata.name, %error, "a pod could not be synced");
                    POD_RETRY
                }
            };
            let _ = tokio::time::timeout(next, self.news.notified()).await;
        }
    }

    pub(super) async fn view(&self, pod: &Pod) -> Outcome<PodView> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let mut view = PodView::read(&*self.shared.runtime, uid).await?;
        for run in view.containers.iter_mut().filter(|run| run.run == Run::Exited) {
            let path = self.message_file(uid, &run.name, run.restarts);
            let (from_log, log, failed) =
                (run.message_from_log, run.log_path.clone(), run.exit_code != 0);
            let text = tokio::task::spawn_blocking(move || {
                let mut text = std::fs::read(&path).unwrap_or_default();
                if text.is_empty() && from_log && failed {
                    text = crate::serve::logs::tail_text(
                        log.as_ref(),
                        TERMINATION_LOG_LINES_MAX,
                        TERMINATION_LOG_BYTES_MAX,
                    );
                }
                text.truncate(TERMINATION_MESSAGE_BYTES_MAX);
                String::from_utf8_lossy(&text).into_owned()
            });
            let text = text.await.map_err(other)?;
            if !text.is_empty() {
                run.message = text;
            }
        }
        Ok(view)
    }

    pub(super) fn message_file(&self, uid: &str, name: &str, restarts: i32) -> PathBuf {
        volume::pod_dir(&self.shared.root, uid)
            .join("containers")
            .join(name)
            .join(restarts.to_string())
    }

    /// Brings the pod nearer to what is wanted. Answers when to look again.
    async fn sync(&mut self, pod: &Arc<Pod>) -> Outcome<Duration> {
        let Some(spec) = &pod.spec else { return Ok(POD_RESYNC) };
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        let mut next = POD_RESYNC;
        for _ in 0..POD_STEPS_MAX {
            let view = self.view(pod).await?;
            self.attend(pod, spec, &view);
            if matches!(phase, Some("Succeeded" | "Failed")) && !view.is_alive() {
                return Ok(POD_RESYNC);
            }
            let steps = {
                let health = |name: &str| self.health(spec, &view, name);
                let hash = |c: &Container| container_hash(c);
                let world = World {
                    now: Timestamp::now(),
                    back_off: &self.back_off,
                    health: &health,
                    hash: &hash,
                };
                plan(pod, &view, &world)
            };
            let mut acted = false;
            self.waiting.retain(|_, waiting| waiting.reason != "CrashLoopBackOff");
            for step in steps {
                match self.carry_out(pod, spec, &view, &step).await {
                    Ok(None) => acted = true,
                    Ok(Some(wait)) => next = next.min(wait),
                    Err(error) => {
                        warn!(pod = pod.metadata.name, ?step, %error, "a step failed");
                        next = next.min(POD_RETRY);
                    }
                }
            }
            let view = self.view(pod).await?;
            self.attend(pod, spec, &view);
            next = next.min(self.report(pod, &view, false).await);
            if !acted {
                self.forget_dead(&view).await;
                self.refresh_volumes(pod, spec, &view).await;
                return Ok(next);
            }
        }
        Err(RuntimeError::Other("the pod does not settle: too many steps at once".to_owned()))
    }

    /// Brings files from configMaps, secrets and tokens up to date while containers run.
    async fn refresh_volumes(&mut self, pod: &Arc<Pod>, spec: &PodSpec, view: &PodView) {
        let is_made_of_files = spec.volumes.iter().flatten().any(volume::is_made_of_files);
        if !is_made_of_files || !view.is_alive() || self.refreshed.elapsed() < POD_RESYNC {
            return;
        }
        self.refreshed = Instant::now();
        let ips = view.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        if let Err(error) = self.prepare_volumes(pod, ips).await {
            self.shared.api.event(pod, true, "FailedMount", error.to_string());
        }
    }

    fn health(&self, spec: &PodSpec, view: &PodView, name: &str) -> Health {
        let container = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .find(|c| c.name == name);
        match (container, view.newest(name)) {
            (Some(container), Some(run)) => self.prober.health(container, &run.id),
            _ => Health::FINE,
        }
    }

    fn attend(&mut self, pod: &Arc<Pod>, spec: &PodSpec, view: &PodView) {
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let published = self.published.lock().clone();
        let running: Vec<Running<'_>> = all
            .filter_map(|container| {
                let run = view.newest(&container.name).filter(|r| r.run == Run::Running)?;
                Some(Running::new(container, &run.id, &published))
            })
            .collect();
        let ip = if spec.host_network == Some(true) {
            Some(self.shared.identity.node_ip.as_str())
        } else {
            view.ready_sandbox().and_then(|s| s.ips.first()).map(String::as_str)
        };
        self.prober.attend(&running, ip);
        for complaint in self.prober.complaints() {
            self.shared.api.event(pod, true, "Unhealthy", complaint);
        }
    }

    /// `Ok(None)`: done, look again. `Ok(Some(wait))`: nothing to do before that.
    async fn carry_out(
        &mut self,
        pod: &Arc<Pod>,
        spec: &PodSpec,
        view: &PodView,
        step: &Step,
    ) -> Outcome<Option<Duration>> {
        match step {
            Step::StopSandbox { id } => {
                self.stop_all(pod, view, grace_of(pod)).await;
                self.shared.runtime.stop_sandbox(id).await?;
                Ok(None)
            }
            Step::RunSandbox { attempt } => {
                for old in &view.sandboxes {
                    // One that broke by itself still holds its address.
                    self.shared.runtime.stop_sandbox(&old.id).await?;
                }
                if let Err(error) = self.prepare_volumes(pod, Vec::new()).await {
                    self.shared.api.event(pod, true, "FailedMount", error.to_string());
                    return Ok(Some(POD_RETRY));
                }
                let config =
                    make::sandbox(pod, spec, *attempt, &self.log_dir(pod), &self.shared.machine);
                tokio::fs::create_dir_all(self.log_dir(pod)).await.map_err(other)?;
                if let Err(error) = self.shared.runtime.run_sandbox(config).await {
                    self.shared.api.event(
                        pod,
                        true,
                        "FailedCreatePodSandBox",
                        format!("Failed to create pod sandbox: {error}"),
                    );
                    return Err(error);
                }
                Ok(None)
            }
            Step::Kill { id, name, why } => {
                let message = format!("Container {name} {why}, will be restarted");
                self.shared.api.event(pod, false, "Killing", message);
                if let Some(run) = view.containers.iter().find(|run| run.id == *id) {
                    let mut all =
                        spec.containers.iter().chain(spec.init_containers.iter().flatten());
                    let container = all.find(|c| c.name == *name);
                    let manner = Manner::graceful(grace_of_kill(pod, container, why));
                    self.stop_one(pod, view, run, manner).await;
                }
                Ok(None)
            }
            Step::Wait { name, until } => {
                let Some(run) = view.newest(name) else { return Ok(None) };
                let key = back_off_key(run);
                let wait = human(self.back_off.wait(&key));
                let meta = &pod.metadata;
                let message = format!(
                    "back-off {wait} restarting failed container={name} pod={}_{}({})",
                    meta.name.as_deref().unwrap_or_default(),
                    meta.namespace.as_deref().unwrap_or_default(),
                    meta.uid.as_deref().unwrap_or_default()
                );
                let reason = "CrashLoopBackOff".to_owned();
                let new = Waiting { reason, message };
                if self.waiting.insert(name.clone(), new.clone()) != Some(new) {
                    let text = format!(
                        "Back-off restarting failed container {name} in pod {}",
                        meta.name.as_deref().unwrap_or_default()
                    );
                    self.shared.api.event(pod, true, "BackOff", text);
                }
                let left = until.duration_since(Timestamp::now());
                Ok(Some(
                    Duration::try_from(left).unwrap_or_default().max(Duration::from_millis(50)),
                ))
            }
            Step::Start { name, restarts } => {
                let all = spec.init_containers.iter().flatten().chain(&spec.containers);
                let Some(container) = all.into_iter().find(|c| &c.name == name) else {
                    return Ok(Some(POD_RESYNC));
                };
                let Some(sandbox) = view.ready_sandbox() else { return Ok(None) };
                if let Some(last) = view.newest(name) {
                    let failed = time(last.finished_ns).unwrap_or_else(Timestamp::now);
                    self.back_off.tried(&back_off_key(last), failed, Timestamp::now());
                }
                match self.start_container(pod, spec, container, &sandbox.id, *restarts).await {
                    Ok(()) => {
                        self.waiting.remove(name);
                        Ok(None)
                    }
                    Err((reason, message)) => {
                        if !reason.ends_with("BackOff") {
                            self.shared.api.event(
                                pod,
                                true,
                                "Failed",
                                format!("Error: {reason}: {message}"),
                            );
                        }
                        self.waiting
                            .insert(name.clone(), Waiting { reason: reason.to_owned(), message });
                        Ok(Some(POD_RETRY))
                    }
                }
            }
        }
    }

    pub(super) fn log_dir(&self, pod: &Pod) -> PathBuf {
        log_dir(&self.shared, pod)
    }

    /// Writes the status when it changed. Answers when to try again.
    pub(super) async fn report(
        &mut self,
        pod: &Arc<Pod>,
        view: &PodView,
        is_ending: bool,
    ) -> Duration {
        let Some(spec) = &pod.spec else { return POD_RESYNC };
        let previous = self.published.lock().clone();
        let new = {
            let health = |name: &str| self.health(spec, view, name);
            let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
            let facts = Facts {
                view,
                waiting: &self.waiting,
                health: &health,
                previous: &previous,
                node_ip: &self.shared.identity.node_ip,
                runtime_name: &self.shared.runtime_name,
                now,
                is_ending: is_ending || (is_over(spec, view) && !view.is_alive()),
            };
            status(pod, &facts)
        };
        *self.published.lock() = new.clone();
        let Some(uid) = self.desired.lock().api_uid.clone() else { return POD_RESYNC };
        if self.written.as_ref().is_some_and(|(to, old)| *to == uid && *old == new) {
            return POD_RESYNC;
        }
        let old = self.written.as_ref().map_or(&previous, |(_, old)| old);
        match self.shared.api.write_status(pod, &uid, old, &new).await {
            Written::Yes => self.written = Some((uid, new)),
            Written::Gone => {}
            Written::No => return API_RETRY,
        }
        POD_RESYNC
    }

    /// Keeps the newest dead run of each container beside the current one.
    async fn forget_dead(&self, view: &PodView) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for run in &view.containers {
            let older = seen.entry(&run.name).or_default();
            *older += 1;
            if *older > 1 + DEAD_CONTAINERS_KEPT && run.run == Run::Exited {
                let _ = self.shared.runtime.remove_container(&run.id).await;
                let _ = tokio::fs::remove_file(&run.log_path).await;
            }
        }
    }
}

fn log_dir(shared: &Shared, pod: &Pod) -> PathBuf {
    let meta = &pod.metadata;
    shared.log_dir.join(format!(
        "{}_{}_{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    ))
}
