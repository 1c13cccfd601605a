//! The worker of one pod: looks, plans, carries out, reports; until the pod has ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
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
use crate::logs;
use crate::node::cgroup;
use crate::plan::{Health, Step, World, back_off_key, is_over, plan};
use crate::restart::{BackOff, Policy, human};
use crate::runtime::{Outcome, Runtime, RuntimeError};
use crate::serve::logs::tail_text;
use crate::spec::env::Identity;
use crate::spec::make::{self, Machine, container_hash};
use crate::spec::resources::pod_resources;
use crate::spec::{described, dns};
use crate::status::{DEADLINE_EXCEEDED, Eviction, Facts, Waiting, is_final, status};
use crate::view::{PodView, Run, time};
use crate::volume;

/// The exit code of a container that was killed.
const KILLED_CODE: i32 = 137;

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
    /// The API has another status than this node wrote: it has to be written again.
    pub(crate) is_contradicted: bool,
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
    let known = desired.pod.status.clone().unwrap_or_default();
    // The API has what it gave; of a static pod it only has a mirror.
    let written = desired.api_uid.clone().filter(|_| !desired.is_static);
    let written = written.map(|uid| (uid, known.clone()));
    let status = Arc::new(Mutex::new(known));
    let desired = Arc::new(Mutex::new(desired));
    let news = Arc::new(Notify::new());
    let worker = Worker {
        prober: Prober::new(shared.runtime.clone(), news.clone()),
        shared,
        desired: desired.clone(),
        news: news.clone(),
        published: status.clone(),
        written,
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
            // What could not even be started has written no log.
            let falls_back =
                run.message_from_log && run.exit_code != 0 && run.reason != "ContainerCannotRun";
            let log = PathBuf::from(&run.log_path);
            let text = tokio::task::spawn_blocking(move || {
                let text =
                    logs::tail_bytes(&path, TERMINATION_MESSAGE_BYTES_MAX).unwrap_or_default();
                let text = if text.is_empty() && falls_back {
                    tail_text(&log, TERMINATION_LOG_LINES_MAX, TERMINATION_LOG_BYTES_MAX)
                } else {
                    text
                };
                String::from_utf8_lossy(&text).into_owned()
            });
            let text = text.await.map_err(other)?;
            if !text.is_empty() && !run.message.is_empty() {
                run.message.push_str(": ");
            }
            run.message.push_str(&text);
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
        let mut next = POD_RESYNC;
        for _ in 0..POD_STEPS_MAX {
            let view = self.view(pod).await?;
            self.attend(pod, spec, &view);
            if pod.status.as_ref().is_some_and(is_final) && !view.is_alive() {
                return Ok(POD_RESYNC);
            }
            let now = self.status_now(pod, &view, false);
            if is_final(&now) {
                return self.wind_up(pod, &view).await;
            }
            // What the runtime forgot is noted before anything takes its place.
            *self.published.lock() = now;
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
                return Ok(next.min(self.time_left(spec).unwrap_or(POD_RESYNC)));
            }
        }
        Err(RuntimeError::Other("the pod does not settle: too many steps at once".to_owned()))
    }

    /// How long the pod may still be active; `None` when it has no limit or did not begin.
    fn time_left(&self, spec: &PodSpec) -> Option<Duration> {
        let limit = SignedDuration::from_secs(spec.active_deadline_seconds?);
        let began = self.published.lock().start_time.as_ref()?.0;
        let left = limit - Timestamp::now().duration_since(began);
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Stops what is left of a pod that has ended by itself, failed, or is out of time.
    async fn wind_up(&mut self, pod: &Arc<Pod>, view: &PodView) -> Outcome<Duration> {
        if view.is_alive() {
            let late = pod.spec.as_ref().and_then(|spec| self.time_left(spec));
            if late == Some(Duration::ZERO) {
                let Eviction { reason, message } = DEADLINE_EXCEEDED;
                self.shared.api.event(pod, false, reason, message.to_owned());
            }
            self.stop_all(pod, view, grace_of(pod)).await;
            for sandbox in view.sandboxes.iter().filter(|sandbox| sandbox.is_ready) {
                self.shared.runtime.stop_sandbox(&sandbox.id).await?;
            }
        }
        let view = self.view(pod).await?;
        self.prober.attend(&[], None);
        // The last phase is told when nothing runs any more.
        if view.is_alive() {
            return Ok(POD_RETRY);
        }
        Ok(self.report(pod, &view, true).await)
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
                Some(Running::new(container, run, &published))
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
            Step::RunSandbox { attempt } => self.run_sandbox(pod, spec, view, *attempt).await,
            Step::Kill { id, name, why } => {
                let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
                let container = all.find(|c| c.name == *name);
                let comes_back = *why == "definition changed"
                    || container
                        .is_none_or(|c| Policy::of_container(spec, c, false).restarts(KILLED_CODE));
                let then = if comes_back { ", will be restarted" } else { "" };
                let message = format!("Container {name} {why}{then}");
                self.shared.api.event(pod, false, "Killing", message);
                if let Some(run) = view.containers.iter().find(|run| run.id == *id) {
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
                let restarts = match view.newest(name) {
                    Some(last) => {
                        let failed = time(last.finished_ns).unwrap_or_else(Timestamp::now);
                        self.back_off.tried(&back_off_key(last), failed, Timestamp::now());
                        *restarts
                    }
                    None => self.runs_before(pod, name).await,
                };
                match self.start_container(pod, spec, container, &sandbox.id, restarts).await {
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

    /// Makes the pod's sandbox, and before it what it needs.
    async fn run_sandbox(
        &mut self,
        pod: &Arc<Pod>,
        spec: &PodSpec,
        view: &PodView,
        attempt: u32,
    ) -> Outcome<Option<Duration>> {
        let api = self.shared.api.clone();
        for old in &view.sandboxes {
            // One that broke by itself still holds its address.
            self.shared.runtime.stop_sandbox(&old.id).await?;
        }
        if let Err(why) = self.make_cgroup(pod, spec).await {
            let text = format!("unable to ensure pod container exists: {why}");
            api.event(pod, true, "FailedCreatePodContainer", text);
            return Ok(Some(POD_RETRY));
        }
        if let Err(error) = self.prepare_volumes(pod, Vec::new()).await {
            api.event(pod, true, "FailedMount", error.to_string());
            return Ok(Some(POD_RETRY));
        }
        let failed = |why: &dyn std::fmt::Display| {
            let text = format!("Failed to create pod sandbox: {why}");
            api.event(pod, true, "FailedCreatePodSandBox", text);
        };
        let (config, left_out) = match self.sandbox_config(pod, spec, attempt).await {
            Ok(made) => made,
            Err(error) => {
                failed(&error);
                return Ok(Some(POD_RETRY));
            }
        };
        for text in left_out {
            api.event(pod, true, "DNSConfigForming", text);
        }
        let resolves = !self.shared.runtime.is_simulated();
        if resolves && dns::lacks_cluster_dns(spec, &self.shared.machine.cluster) {
            let text = format!(
                "pod: {:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.",
                described(pod)
            );
            api.event(pod, true, "MissingClusterDNS", text);
        }
        tokio::fs::create_dir_all(self.log_dir(pod)).await.map_err(other)?;
        if let Err(error) = self.shared.runtime.run_sandbox(config).await {
            failed(&error);
            return Err(error);
        }
        Ok(None)
    }

    /// Makes the cgroup of the whole pod with its limits.
    async fn make_cgroup(&self, pod: &Pod, spec: &PodSpec) -> Result<(), String> {
        if self.shared.runtime.is_simulated() {
            return Ok(());
        }
        let path = make::cgroup_of(pod, &self.shared.machine);
        let limits = pod_resources(spec);
        let made = tokio::task::spawn_blocking(move || cgroup::make(&path, limits));
        made.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    pub(super) fn log_dir(&self, pod: &Pod) -> PathBuf {
        log_dir(&self.shared, pod)
    }

    /// The status that the pod has now.
    fn status_now(&self, pod: &Pod, view: &PodView, is_ending: bool) -> PodStatus {
        let spec = pod.spec.clone().unwrap_or_default();
        let previous = self.published.lock().clone();
        let health = |name: &str| self.health(&spec, view, name);
        let is_late = self.time_left(&spec) == Some(Duration::ZERO);
        let facts = Facts {
            view,
            waiting: &self.waiting,
            health: &health,
            previous: &previous,
            node_ip: &self.shared.identity.node_ip,
            runtime_name: &self.shared.runtime_name,
            now: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default(),
            is_ending: is_ending || (is_over(&spec, view) && !view.is_alive()),
            evicted: is_late.then_some(DEADLINE_EXCEEDED),
        };
        status(pod, &facts)
    }

    /// Writes the status when it changed. Answers when to try again.
    pub(super) async fn report(
        &mut self,
        pod: &Arc<Pod>,
        view: &PodView,
        is_ending: bool,
    ) -> Duration {
        if pod.spec.is_none() {
            return POD_RESYNC;
        }
        let new = self.status_now(pod, view, is_ending);
        let previous = std::mem::replace(&mut *self.published.lock(), new.clone());
        let (uid, is_contradicted) = {
            let mut desired = self.desired.lock();
            (desired.api_uid.clone(), std::mem::take(&mut desired.is_contradicted))
        };
        let Some(uid) = uid else { return POD_RESYNC };
        let is_known = self.written.as_ref().is_some_and(|(to, old)| *to == uid && *old == new);
        if is_known && !is_contradicted {
            return POD_RESYNC;
        }
        let old = self.written.as_ref().map_or(&previous, |(_, old)| old);
        match self.shared.api.write_status(pod, &uid, old, &new).await {
            Written::Yes => self.written = Some((uid, new)),
            Written::Gone => {}
            Written::No => {
                self.desired.lock().is_contradicted |= is_contradicted;
                return API_RETRY;
            }
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
                let log = PathBuf::from(&run.log_path);
                let removed = tokio::task::spawn_blocking(move || {
                    logs::with_rotated(&log).iter().for_each(|file| {
                        let _ = std::fs::remove_file(file);
                    });
                });
                let _ = removed.await;
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
