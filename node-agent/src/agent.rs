//! The agent: pods of the API and of the manifest folder in, one worker each, orphans out.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::image_gc;
use crate::labels;
use crate::limits::{MANIFEST_RESCAN, PODS_MAX, RELIST_PERIOD};
use crate::logs::rotate;
use crate::manifests::{Manifests, Mirrors};
use crate::node::{cgroup, object};
use crate::pod::api::PodApi;
use crate::pod::worker::{self, Desired, Handle, Shared};
use crate::runtime::{Cri, Fake, Labels, Runtime};
use crate::serve;
use crate::serve::access::Access;
use crate::spec::dns;
use crate::spec::env::Identity;
use crate::spec::make::Machine;
use crate::spec::resources::{CgroupDriver, Qos, cpu_request, qos, shares};
use crate::status::{contradicts, of_others};

/// The pods of this node, by uid.
pub(crate) type Workers = Arc<Mutex<HashMap<String, Handle>>>;

/// Runs the agent until `shutdown` fires. Pods keep running after it.
///
/// # Errors
/// When the kubeconfig or a certificate cannot be used, or a port is taken.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let runtime: Arc<dyn Runtime> = if config.is_fake {
        let cidr = config.pod_cidr.as_deref().unwrap_or_default();
        Arc::new(Fake::new(cidr).ok_or_else(|| anyhow::anyhow!("{cidr:?} is no IPv4 range"))?)
    } else {
        Arc::new(Cri::new(&config.socket))
    };
    let client = match &config.kubeconfig {
        Some(path) => {
            let (path, here) = (path.clone(), tokio::runtime::Handle::current());
            // The client reads the files that the kubeconfig names, without a word about it.
            let read = move || {
                let file = kube::config::Kubeconfig::read_from(path)?;
                let options = kube::config::KubeConfigOptions::default();
                here.block_on(kube::Config::from_custom_kubeconfig(file, &options))
            };
            Some(Client::try_from(tokio::task::spawn_blocking(read).await??)?)
        }
        None => None,
    };
    tokio::fs::create_dir_all(&config.root).await?;
    let root = config.root.clone();
    let facts = tokio::task::spawn_blocking(move || object::Facts::read(&root)).await?;
    let version = runtime.version().await.unwrap_or_default();
    let default_name = if config.is_fake { "fake" } else { "containerd" };
    let shared = Arc::new(Shared {
        runtime_name: version.split_once("://").map_or(default_name, |(name, _)| name).to_owned(),
        runtime: runtime.clone(),
        api: PodApi::start(client.clone(), &config.node_name),
        machine: Machine {
            driver: config.driver,
            memory_capacity: facts.memory_bytes,
            seccomp_root: config.root.join("seccomp").to_string_lossy().into_owned(),
            cluster: dns::Cluster {
                servers: config.cluster_dns.clone(),
                domain: config.cluster_domain.clone(),
            },
            resolv_conf: config.resolv_conf.clone(),
            huge_pages: facts.huge_pages.clone(),
        },
        identity: Identity {
            pod_ips: Vec::new(),
            node_ip: config.node_ip.clone(),
            node_name: config.node_name.clone(),
            cpu_capacity: facts.cpus * 1000,
            memory_capacity: facts.memory_bytes,
            disk_capacity: i64::try_from(facts.disk_bytes).unwrap_or(i64::MAX),
        },
        root: config.root.clone(),
        log_dir: config.log_dir.clone(),
    });
    let workers = Workers::default();
    let agent = Agent::new(&config, shared, workers.clone(), client.clone());
    let server = serve::bind(&config).await?;
    let access = Access::new(client.clone(), &config.node_name);
    info!(address = %config.listen, node = config.node_name, "ready to serve node requests");

    let mut tasks = tokio::task::JoinSet::new();
    if !config.is_fake {
        let kept = keep_disk(runtime.clone(), &config);
        tasks.spawn(async {
            kept.await;
            anyhow::Ok(())
        });
    }
    if let Some(client) = client {
        tasks.spawn(async {
            object::keep(client, config, facts, runtime).await;
            anyhow::Ok(())
        });
    }
    tasks.spawn(agent.run());
    tasks.spawn(server.run(workers.clone(), access));
    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(ended) => ended.map_err(anyhow::Error::from).and_then(|inner| inner),
            None => Ok(()),
        },
    };
    tasks.shutdown().await;
    for handle in workers.lock().values() {
        handle.task.abort();
    }
    outcome
}

/// Keeps logs short and room for images, until it is dropped.
fn keep_disk(runtime: Arc<dyn Runtime>, config: &Config) -> impl Future<Output = ()> + use<> {
    let (logs, images) = (config.log_policy, config.image_policy.clone());
    async move {
        tokio::join!(rotate::keep(runtime.clone(), logs), image_gc::keep(runtime, images));
    }
}

/// Which sources of pods have told everything that they have at least once.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    api: bool,
    manifests: bool,
}

pub(crate) struct Agent {
    shared: Arc<Shared>,
    workers: Workers,
    client: Option<Client>,
    node_name: String,
    manifests: Option<Manifests>,
    mirrors: Mirrors,
    /// Only when all sources were seen is an unknown container an orphan.
    seen: Seen,
    /// What the runtime had of each pod at the last look.
    known: HashMap<String, u64>,
    /// The part of the CPU that burstable pods have together.
    burstable_shares: Option<i64>,
}

impl Agent {
    pub(crate) fn new(
        config: &Config,
        shared: Arc<Shared>,
        workers: Workers,
        client: Option<Client>,
    ) -> Self {
        Self {
            shared,
            workers,
            node_name: config.node_name.clone(),
            manifests: config.manifests.clone().map(|f| Manifests::new(f, &config.node_name)),
            mirrors: Mirrors::new(client.clone(), &config.node_name),
            seen: Seen { api: client.is_none(), manifests: config.manifests.is_none() },
            client,
            known: HashMap::new(),
            burstable_shares: None,
        }
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let pods = self.client.clone().map(|client| {
            let selector = format!("spec.nodeName={}", self.node_name);
            watcher(Api::<Pod>::all(client), watcher::Config::default().fields(&selector))
                .default_backoff()
                .boxed()
        });
        let mut pods = pods.unwrap_or_else(|| futures::stream::pending().boxed());
        let mut relist = tokio::time::interval(RELIST_PERIOD);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rescan = tokio::time::interval(MANIFEST_RESCAN);
        rescan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut listed = Vec::new();
        loop {
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(Event::Init)) => listed.clear(),
                    Some(Ok(Event::Apply(pod))) => self.apply(pod),
                    Some(Ok(Event::InitApply(pod))) => {
                        listed.extend(pod.metadata.uid.clone());
                        self.apply(pod);
                    }
                    Some(Ok(Event::InitDone)) => self.listed(&listed),
                    Some(Ok(Event::Delete(pod))) => self.removed(&pod),
                    Some(Err(error)) => warn!(%error, "the watch of pods failed; it goes on by itself"),
                    None => anyhow::bail!("the watch of pods ended"),
                },
                _ = relist.tick() => self.relist().await,
                _ = rescan.tick() => self.rescan().await,
            }
        }
    }

    fn apply(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(of) = self.mirrors.seen(&pod) {
            if let Some(handle) = self.workers.lock().get(&of) {
                let is_contradicted = is_contradicted(handle, &pod);
                let mut desired = handle.desired.lock();
                desired.api_uid = Some(uid);
                desired.is_contradicted |= is_contradicted;
                handle.news.notify_one();
            }
            return;
        }
        let desired = Desired {
            pod: Arc::new(pod),
            api_uid: Some(uid.clone()),
            is_removed: false,
            is_static: false,
            is_contradicted: false,
        };
        self.want(uid, desired);
    }

    fn want(&self, uid: String, new: Desired) {
        let mut workers = self.workers.lock();
        if let Some(handle) = workers.get(&uid).filter(|h| !h.task.is_finished()) {
            let is_contradicted = is_contradicted(handle, &new.pod);
            let mut desired = handle.desired.lock();
            desired.is_contradicted |= is_contradicted;
            let (old, new) = (&desired.pod, new.pod);
            // Our own status writes come back here: only a change of the rest is news.
            let is_news = is_contradicted
                || old.spec != new.spec
                || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
                || old.metadata.labels != new.metadata.labels
                || old.metadata.annotations != new.metadata.annotations
                || old.metadata.deletion_grace_period_seconds
                    != new.metadata.deletion_grace_period_seconds
                || of_others(old).ne(of_others(&new));
            desired.pod = new;
            if is_news {
                handle.news.notify_one();
            }
            return;
        }
        if workers.len() >= PODS_MAX {
            warn!(uid, "too many pods on this node; one is left alone");
            return;
        }
        workers.insert(uid, worker::start(self.shared.clone(), new));
    }

    fn removed(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.mirrors.gone(&uid);
        if let Some(handle) = self.workers.lock().get(&uid) {
            handle.remove();
        }
    }

    /// After a full list: pods of the API that it no longer has are removed.
    fn listed(&mut self, uids: &[String]) {
        self.seen.api = true;
        self.mirrors.keep_only(uids);
        for (uid, handle) in self.workers.lock().iter() {
            if !handle.desired.lock().is_static && !uids.contains(uid) {
                handle.remove();
            }
        }
    }

    /// Gives burstable pods together what they ask for, and the others what is left.
    async fn share_cpu(&mut self) {
        let is_ours = self.shared.machine.driver == CgroupDriver::Cgroupfs;
        if !is_ours || self.shared.runtime.is_simulated() {
            return;
        }
        let of_pod = |handle: &Handle| {
            let pod = handle.desired.lock().pod.clone();
            let spec = pod.spec.as_ref().filter(|spec| qos(spec) == Qos::Burstable);
            spec.map_or(0, cpu_request)
        };
        let asked: i64 = self.workers.lock().values().map(of_pod).sum();
        let wanted = shares(asked);
        if self.burstable_shares == Some(wanted) {
            return;
        }
        let set = tokio::task::spawn_blocking(move || {
            cgroup::share(Qos::BestEffort, shares(0))?;
            cgroup::share(Qos::Burstable, wanted)
        });
        match set.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the classes of pods cannot be given their CPU"),
            Err(error) => warn!(%error, "the classes of pods cannot be given their CPU"),
        }
        // What the kernel refused once it refuses again: the next change is soon enough.
        self.burstable_shares = Some(wanted);
    }

    /// Wakes the workers whose containers changed; stops what belongs to no pod.
    async fn relist(&mut self) {
        self.workers.lock().retain(|_, handle| !handle.task.is_finished());
        self.share_cpu().await;
        let runtime = &self.shared.runtime;
        let (Ok(sandboxes), Ok(containers)) = (
            runtime.list_sandboxes(Labels::new()).await,
            runtime.list_containers(Labels::new()).await,
        ) else {
            return;
        };
        let mut now: HashMap<String, (DefaultHasher, Option<Pod>)> = HashMap::new();
        for sandbox in &sandboxes {
            let Some(uid) = sandbox.labels.get(labels::POD_UID) else { continue };
            let entry = now.entry(uid.clone()).or_default();
            (&sandbox.id, sandbox.state).hash(&mut entry.0);
            let meta = sandbox.metadata.clone().unwrap_or_default();
            let mut pod = Pod { spec: Some(Default::default()), ..Default::default() };
            pod.metadata.name = Some(meta.name);
            pod.metadata.namespace = Some(meta.namespace);
            pod.metadata.uid = Some(uid.clone());
            entry.1 = Some(pod);
        }
        for container in &containers {
            let Some(uid) = container.labels.get(labels::POD_UID) else { continue };
            let entry = now.entry(uid.clone()).or_default();
            (&container.id, container.state).hash(&mut entry.0);
        }
        let now: HashMap<String, (u64, Option<Pod>)> =
            now.into_iter().map(|(uid, (hash, pod))| (uid, (hash.finish(), pod))).collect();
        for (uid, handle) in self.workers.lock().iter() {
            if self.known.get(uid) != now.get(uid).map(|(hash, _)| hash) {
                handle.news.notify_one();
            }
        }
        if self.seen.api && self.seen.manifests {
            self.stop_orphans(&now);
        }
        self.known = now.into_iter().map(|(uid, (hash, _))| (uid, hash)).collect();
    }

    fn stop_orphans(&self, now: &HashMap<String, (u64, Option<Pod>)>) {
        for (uid, (_, pod)) in now {
            let Some(pod) = pod else { continue };
            if self.workers.lock().contains_key(uid) {
                continue;
            }
            info!(uid, name = pod.metadata.name, "stopping a pod that is not wanted any more");
            let desired = Desired {
                pod: Arc::new(pod.clone()),
                api_uid: None,
                is_removed: true,
                is_static: false,
                is_contradicted: false,
            };
            let handle = worker::start(self.shared.clone(), desired);
            self.workers.lock().insert(uid.clone(), handle);
        }
    }

    /// Reads the manifest folder again and brings the static pods and their mirrors in line.
    async fn rescan(&mut self) {
        let Some(manifests) = self.manifests.take() else { return };
        let scanned = tokio::task::spawn_blocking(move || manifests.scan()).await;
        let Ok((manifests, read)) = scanned else { return };
        self.manifests = Some(manifests);
        let pods = match read {
            Ok(pods) => pods,
            Err(error) => {
                // What cannot be read is no reason to stop anything.
                warn!(%error, "cannot read the manifest folder");
                return;
            }
        };
        self.take_manifests(&pods);
        // A mirror of what is unknown may only be called stale once the API told all its pods.
        if self.seen.api {
            self.mirrors.bring_in_line(&self.shared.api, &pods).await;
        }
    }

    fn take_manifests(&mut self, pods: &[Pod]) {
        self.seen.manifests = true;
        for (uid, handle) in self.workers.lock().iter() {
            let is_static = handle.desired.lock().is_static;
            if is_static && !pods.iter().any(|p| p.metadata.uid.as_ref() == Some(uid)) {
                handle.remove();
            }
        }
        for pod in pods {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            // A changed manifest is another pod: the one before it stops first.
            if !self.workers.lock().values().any(|handle| handle.has_name_of(pod)) {
                let desired = Desired {
                    pod: Arc::new(pod.clone()),
                    api_uid: self.mirrors.of(&uid),
                    is_removed: false,
                    is_static: true,
                    is_contradicted: false,
                };
                self.want(uid, desired);
            }
        }
    }
}

fn is_contradicted(handle: &Handle, seen: &Pod) -> bool {
    let own = handle.status.lock();
    seen.status.as_ref().is_some_and(|seen| contradicts(seen, &own))
}

#[cfg(test)]
#[path = "agent_test.rs"]
mod tests;
