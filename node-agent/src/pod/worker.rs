//! The worker of one pod: looks, plans, carries out, reports; until the pod has ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, PodSpec, PodStatus};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::api::{PodApi, Written};
use super::probe::Prober;
use crate::limits::{
    API_RETRY, DEAD_CONTAINERS_KEPT, GRACE_DEFAULT_SECONDS, GRACE_MIN_SECONDS, POD_RESYNC,
    POD_RETRY, POD_STEPS_MAX, TERMINATION_LOG_BYTES_MAX, TERMINATION_LOG_LINES_MAX,
    TERMINATION_MESSAGE_BYTES_MAX,
};
use crate::plan::{Health, Step, World, back_off_key, is_over, plan};
use crate::restart::{BackOff, human};
use crate::runtime::{Outcome, Runtime, RuntimeError, cri};
use crate::spec::SpecError;
use crate::spec::env::{Identity, environment};
use crate::spec::make::{self, Machine, container_hash};
use crate::status::{Facts, Waiting, status};
use crate::view::{Instance, PodView, Run, time};
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

/// One pod's worker.
struct Worker {
    shared: Arc<Shared>,
    desired: Arc<Mutex<Desired>>,
    news: Arc<Notify>,
    published: Arc<Mutex<PodStatus>>,
    written: Option<(String, PodStatus)>,
    prober: Prober,
    back_off: BackOff,
    pull_back_off: BackOff,
    waiting: HashMap<String, Waiting>,
    pull_failed: HashMap<String, (Timestamp, String)>,
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
    };
    Handle { desired, news, status, log_dir, task: tokio::spawn(worker.run()) }
}

fn other(error: impl std::fmt::Display) -> RuntimeError {
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

    async fn view(&self, pod: &Pod) -> Outcome<PodView> {
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

    fn message_file(&self, uid: &str, name: &str, restarts: i32) -> PathBuf {
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
                return Ok(next);
            }
        }
        Err(RuntimeError::Other("the pod does not settle: too many steps at once".to_owned()))
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
        let running: Vec<(&Container, String)> = all
            .filter_map(|c| {
                view.newest(&c.name).filter(|r| r.run == Run::Running).map(|r| (c, r.id.clone()))
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
                self.stop_containers(pod, view, grace_of(pod)).await;
                self.shared.runtime.stop_sandbox(id).await?;
                Ok(None)
            }
            Step::RunSandbox { attempt } => {
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
                self.shared.runtime.stop_container(id, grace_of(pod)).await?;
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

    fn log_dir(&self, pod: &Pod) -> PathBuf {
        log_dir(&self.shared, pod)
    }

    async fn prepare_volumes(&self, pod: &Arc<Pod>, pod_ips: Vec<String>) -> Result<(), SpecError> {
        let sources = self.shared.api.sources(pod).await?;
        let tokens = self.shared.api.tokens(pod).await;
        let identity = Identity { pod_ips, ..self.shared.identity.clone() };
        let (root, pod) = (self.shared.root.clone(), pod.clone());
        let made = tokio::task::spawn_blocking(move || {
            let inputs = volume::Inputs { sources: &sources, identity: &identity, tokens: &tokens };
            volume::set_up(&root, &pod, &inputs)
        });
        made.await.map_err(|error| SpecError::Config(error.to_string()))?
    }

    /// The image's id, or the API's reason and message why it is not there.
    async fn image(
        &mut self,
        pod: &Arc<Pod>,
        container: &Container,
    ) -> Result<String, (&'static str, String)> {
        let name = container.image.clone().unwrap_or_default();
        let runtime = self.shared.runtime.clone();
        let found = runtime.image(&name).await.map_err(|e| ("ImageInspectError", e.to_string()))?;
        let latest = name.ends_with(":latest")
            || !name.rsplit('/').next().unwrap_or_default().contains([':', '@']);
        let policy = container.image_pull_policy.as_deref().unwrap_or(if latest {
            "Always"
        } else {
            "IfNotPresent"
        });
        if let (Some(image), true) = (&found, policy != "Always") {
            let text = format!(
                "Container image \"{name}\" already present on machine and can be accessed by the pod"
            );
            self.shared.api.event(pod, false, "Pulled", text);
            return Ok(image.id.clone());
        }
        if policy == "Never" {
            let text =
                format!("Container image \"{name}\" is not present with pull policy of Never");
            self.shared.api.event(pod, true, "ErrImageNeverPull", text.clone());
            return Err(("ErrImageNeverPull", text));
        }
        let now = Timestamp::now();
        if let Some((failed, why)) = self.pull_failed.get(&name)
            && self.pull_back_off.until(&name, *failed, now).is_some()
        {
            let text = format!("Back-off pulling image \"{name}\"");
            self.shared.api.event(pod, false, "BackOff", text.clone());
            return Err(("ImagePullBackOff", format!("{text}: ErrImagePull: {why}")));
        }
        self.shared.api.event(pod, false, "Pulling", format!("Pulling image \"{name}\""));
        match runtime.pull_image(&name).await {
            Ok(id) => {
                self.pull_failed.remove(&name);
                self.pull_back_off.forget(&name);
                self.shared.api.event(
                    pod,
                    false,
                    "Pulled",
                    format!("Successfully pulled image \"{name}\""),
                );
                Ok(id)
            }
            Err(error) => {
                let why = error.to_string();
                self.shared.api.event(
                    pod,
                    true,
                    "Failed",
                    format!("Failed to pull image \"{name}\": {why}"),
                );
                self.pull_back_off.tried(&name, now, now);
                self.pull_failed.insert(name, (Timestamp::now(), why.clone()));
                Err(("ErrImagePull", why))
            }
        }
    }

    async fn start_container(
        &mut self,
        pod: &Arc<Pod>,
        spec: &PodSpec,
        container: &Container,
        sandbox: &str,
        restarts: i32,
    ) -> Result<(), (&'static str, String)> {
        let runtime = self.shared.runtime.clone();
        let image_id = self.image(pod, container).await?;
        let config_error = |error: SpecError| ("CreateContainerConfigError", error.to_string());
        let sandbox_now = runtime
            .sandbox_status(sandbox)
            .await
            .map_err(|e| ("CreateContainerError", e.to_string()))?;
        let pod_ips = if spec.host_network == Some(true) {
            vec![self.shared.identity.node_ip.clone()]
        } else {
            sandbox_now.network.map(|n| n.ip).into_iter().filter(|ip| !ip.is_empty()).collect()
        };
        self.prepare_volumes(pod, pod_ips.clone()).await.map_err(config_error)?;
        let sources = self.shared.api.sources(pod).await.map_err(config_error)?;
        let identity = Identity { pod_ips, ..self.shared.identity.clone() };
        let env = environment(pod, container, &sources, &identity, &[]).map_err(config_error)?;
        let message_file = self.message_file(
            pod.metadata.uid.as_deref().unwrap_or_default(),
            &container.name,
            restarts,
        );
        let mounts = {
            let (root, pod, container, env, ips) = (
                self.shared.root.clone(),
                pod.clone(),
                container.clone(),
                env.clone(),
                identity.pod_ips.clone(),
            );
            let simulated = runtime.is_simulated();
            tokio::task::spawn_blocking(move || -> Result<Vec<cri::Mount>, SpecError> {
                let mut mounts = volume::mounts(&root, &pod, &container, &env)?;
                if !simulated {
                    own_files(&root, &pod, &container, &ips, &message_file, &mut mounts)
                        .map_err(|e| SpecError::Config(e.to_string()))?;
                }
                Ok(mounts)
            })
        };
        let mounts = mounts
            .await
            .map_err(|e| ("CreateContainerError", e.to_string()))?
            .map_err(config_error)?;
        let parts = make::Parts { restarts, image_id, env, mounts, machine: &self.shared.machine };
        let config = make::container(pod, spec, container, parts);
        let sandbox_config = make::sandbox(
            pod,
            spec,
            sandbox_now.metadata.map_or(0, |m| m.attempt),
            &self.log_dir(pod),
            &self.shared.machine,
        );
        let id = runtime
            .create_container(sandbox, config, sandbox_config)
            .await
            .map_err(|e| ("CreateContainerError", e.to_string()))?;
        self.shared.api.event(pod, false, "Created", "Container created".to_owned());
        runtime.start_container(&id).await.map_err(|e| ("RunContainerError", e.to_string()))?;
        self.shared.api.event(pod, false, "Started", "Container started".to_owned());
        if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref())
            && let Err(why) =
                self.hook(hook, &id, &identity.pod_ips, Duration::from_secs(120)).await
        {
            self.shared.api.event(
                pod,
                true,
                "FailedPostStartHook",
                format!("PostStartHook failed: {why}"),
            );
            let _ = runtime.stop_container(&id, GRACE_MIN_SECONDS).await;
            return Err(("PostStartHookError", why));
        }
        Ok(())
    }

    async fn hook(
        &self,
        hook: &LifecycleHandler,
        id: &str,
        ips: &[String],
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            let done =
                self.shared.runtime.exec(id, command, limit).await.map_err(|e| e.to_string())?;
            return if done.exit_code == 0 {
                Ok(())
            } else {
                Err(format!("exit code {}", done.exit_code))
            };
        }
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs()).min(limit))
                .await;
            return Ok(());
        }
        let http = hook.http_get.as_ref().ok_or("this kind of hook is not supported")?;
        let host = http.host.as_deref().or(ips.first().map(String::as_str)).unwrap_or("127.0.0.1");
        let k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(port) = http.port else {
            return Err("a named port in a hook is not supported".to_owned());
        };
        let port = u16::try_from(port).map_err(|e| e.to_string())?;
        let asked = super::probe::http_get(host, port, http.path.as_deref().unwrap_or("/"), "");
        tokio::time::timeout(limit, asked).await.map_err(|e| e.to_string())?
    }

    /// Stops every container at once, each after its hook; the hook's time counts as grace.
    async fn stop_containers(&self, pod: &Arc<Pod>, view: &PodView, grace: i64) {
        let alive = view.containers.iter().filter(|r| matches!(r.run, Run::Running | Run::Unknown));
        futures::future::join_all(alive.map(|run| self.stop_one(pod, view, run, grace))).await;
    }

    async fn stop_one(&self, pod: &Arc<Pod>, view: &PodView, run: &Instance, grace: i64) {
        self.shared.api.event(pod, false, "Killing", format!("Stopping container {}", run.name));
        let began = tokio::time::Instant::now();
        let spec = pod.spec.as_ref();
        let container = spec.and_then(|s| s.containers.iter().find(|c| c.name == run.name));
        let hook = container.and_then(|c| c.lifecycle.as_ref()?.pre_stop.as_ref());
        if let Some(hook) = hook.filter(|_| grace > 0) {
            let ips = view.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
            let limit = Duration::from_secs(grace.unsigned_abs());
            if let Err(why) = self.hook(hook, &run.id, &ips, limit).await {
                self.shared.api.event(
                    pod,
                    true,
                    "FailedPreStopHook",
                    format!("PreStopHook failed: {why}"),
                );
            }
        }
        let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(0);
        let left = if grace == 0 { 0 } else { (grace - used).max(GRACE_MIN_SECONDS.min(grace)) };
        if let Err(error) = self.shared.runtime.stop_container(&run.id, left).await {
            warn!(container = run.name, %error, "a container could not be stopped");
        }
    }

    /// Stops the pod for good; true when nothing of it is left here and in the API.
    async fn end(&mut self, pod: &Arc<Pod>) -> Outcome<(bool, Duration)> {
        let view = self.view(pod).await?;
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_else(|| grace_of(pod));
        self.stop_containers(pod, &view, grace.max(1)).await;
        for sandbox in view.sandboxes.iter().filter(|s| s.is_ready) {
            self.shared.runtime.stop_sandbox(&sandbox.id).await?;
        }
        let view = self.view(pod).await?;
        self.prober.attend(&[], None);
        if view.is_alive() {
            return Ok((false, POD_RETRY));
        }
        if self.report(pod, &view, true).await < POD_RESYNC {
            // The API has to know how the containers ended before they are removed.
            return Ok((false, API_RETRY));
        }
        for run in &view.containers {
            self.shared.runtime.remove_container(&run.id).await?;
        }
        for sandbox in &view.sandboxes {
            self.shared.runtime.remove_sandbox(&sandbox.id).await?;
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (root, logs, cgroup) = (
            self.shared.root.clone(),
            self.log_dir(pod),
            make::cgroup_of(pod, &self.shared.machine),
        );
        let cleaned = tokio::task::spawn_blocking(move || {
            let _ = std::fs::remove_dir_all(logs);
            crate::node::cgroup::remove(&cgroup);
            volume::tear_down(&root, &uid)
        });
        cleaned.await.map_err(other)?.map_err(other)?;
        let api_uid = self.desired.lock().api_uid.clone();
        if let Some(uid) = api_uid.filter(|_| pod.metadata.deletion_timestamp.is_some())
            && self.shared.api.delete(pod, &uid).await == Written::No
        {
            return Ok((false, API_RETRY));
        }
        info!(pod = pod.metadata.name, namespace = pod.metadata.namespace, "pod ended");
        Ok((true, Duration::ZERO))
    }

    /// Writes the status when it changed. Answers when to try again.
    async fn report(&mut self, pod: &Arc<Pod>, view: &PodView, is_ending: bool) -> Duration {
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

fn grace_of(pod: &Pod) -> i64 {
    pod.spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds)
        .unwrap_or(GRACE_DEFAULT_SECONDS)
}

/// `/etc/hosts` and the file of the termination message. Blocking.
fn own_files(
    root: &std::path::Path,
    pod: &Pod,
    container: &Container,
    ips: &[String],
    message_file: &std::path::Path,
    mounts: &mut Vec<cri::Mount>,
) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let spec = pod.spec.clone().unwrap_or_default();
    let folder = volume::pod_dir(root, pod.metadata.uid.as_deref().unwrap_or_default());
    std::fs::create_dir_all(&folder)?;
    let mut bind = |inside: &str, outside: &std::path::Path| {
        if !mounts.iter().any(|m| m.container_path == inside) {
            mounts.push(cri::Mount {
                container_path: inside.to_owned(),
                host_path: outside.to_string_lossy().into_owned(),
                ..Default::default()
            });
        }
    };
    let hosts = folder.join("etc-hosts");
    let mut text = if spec.host_network == Some(true) {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        let own: String = ips.iter().map(|ip| format!("{ip}\t{}\n", make::hostname(pod))).collect();
        format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{own}"
        )
    };
    for alias in spec.host_aliases.iter().flatten() {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        ));
    }
    std::fs::write(&hosts, text)?;
    bind("/etc/hosts", &hosts);
    if let Some(parent) = message_file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(message_file, [])?;
    std::fs::set_permissions(message_file, std::fs::Permissions::from_mode(0o666))?;
    bind(
        container.termination_message_path.as_deref().unwrap_or("/dev/termination-log"),
        message_file,
    );
    Ok(())
}
