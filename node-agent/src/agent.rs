//! The agent: pods of the API and of the manifest folder in, one worker each, orphans out.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::labels;
use crate::limits::{API_CALL, MANIFEST_BYTES_MAX, MANIFEST_RESCAN, PODS_MAX, RELIST_PERIOD};
use crate::node::object;
use crate::pod::api::PodApi;
use crate::pod::worker::{self, Desired, Handle, Shared};
use crate::runtime::{Cri, Fake, Labels, Runtime};
use crate::serve;
use crate::spec::env::Identity;
use crate::spec::make::Machine;

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
            let file = kube::config::Kubeconfig::read_from(path)?;
            let options = kube::config::KubeConfigOptions::default();
            Some(Client::try_from(kube::Config::from_custom_kubeconfig(file, &options).await?)?)
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
            cluster_dns: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.clone(),
        },
        identity: Identity {
            pod_ips: Vec::new(),
            node_ip: config.node_ip.clone(),
            node_name: config.node_name.clone(),
            cpu_capacity: facts.cpus * 1000,
            memory_capacity: facts.memory_bytes,
        },
        root: config.root.clone(),
        log_dir: config.log_dir.clone(),
    });
    let workers = Workers::default();
    let agent = Agent {
        config: config.clone(),
        shared,
        workers: workers.clone(),
        client: client.clone(),
        is_synced: false,
    };
    let server = serve::bind(&config).await?;
    info!(address = %config.listen, node = config.node_name, "ready to serve node requests");

    let mut tasks = tokio::task::JoinSet::new();
    if let Some(client) = client {
        tasks.spawn(async {
            object::keep(client, config, facts, runtime).await;
            anyhow::Ok(())
        });
    }
    tasks.spawn(agent.run());
    tasks.spawn(server.run(workers.clone()));
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

struct Agent {
    config: Config,
    shared: Arc<Shared>,
    workers: Workers,
    client: Option<Client>,
    /// The API told all its pods once: only then an unknown container is an orphan.
    is_synced: bool,
}

/// A static pod of a file: its identity is the digest of its contents.
fn static_pod(text: &str, node: &str) -> Result<Pod, String> {
    let mut pod: Pod = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let digest = {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(format!("{node} {text}"));
        hash.iter().take(16).map(|b| format!("{b:02x}")).collect::<String>()
    };
    let name = pod.metadata.name.as_deref().ok_or("it has no name")?;
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    pod.metadata.uid = Some(digest.clone());
    let notes = pod.metadata.annotations.get_or_insert_default();
    notes.insert(labels::CONFIG_HASH.to_owned(), digest);
    notes.insert(labels::CONFIG_SOURCE.to_owned(), "file".to_owned());
    notes.insert(labels::CONFIG_SEEN.to_owned(), jiff::Timestamp::now().to_string());
    pod.spec.as_mut().ok_or("it has no spec")?.node_name = Some(node.to_owned());
    Ok(pod)
}

impl Agent {
    async fn run(mut self) -> anyhow::Result<()> {
        let pods = self.client.clone().map(|client| {
            let selector = format!("spec.nodeName={}", self.config.node_name);
            watcher(Api::<Pod>::all(client), watcher::Config::default().fields(&selector))
                .default_backoff()
                .boxed()
        });
        self.is_synced = pods.is_none();
        let mut pods = pods.unwrap_or_else(|| futures::stream::pending().boxed());
        let mut relist = tokio::time::interval(RELIST_PERIOD);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rescan = tokio::time::interval(MANIFEST_RESCAN);
        let (mut seen, mut known, mut mirrors) = (Vec::new(), HashMap::new(), BTreeMap::new());
        loop {
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(Event::Init)) => seen.clear(),
                    Some(Ok(Event::Apply(pod))) => self.apply(pod, &mut mirrors),
                    Some(Ok(Event::InitApply(pod))) => {
                        seen.extend(pod.metadata.uid.clone());
                        self.apply(pod, &mut mirrors);
                    }
                    Some(Ok(Event::InitDone)) => { self.is_synced = true; self.keep_only(&seen); }
                    Some(Ok(Event::Delete(pod))) => self.removed(&pod, &mut mirrors),
                    Some(Err(error)) => warn!(%error, "the watch of pods failed; it goes on by itself"),
                    None => anyhow::bail!("the watch of pods ended"),
                },
                _ = relist.tick() => self.relist(&mut known).await,
                _ = rescan.tick() => self.rescan(&mirrors).await,
            }
        }
    }

    fn apply(&self, pod: Pod, mirrors: &mut BTreeMap<String, String>) {
        let notes = pod.metadata.annotations.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(hash) = notes.get(labels::CONFIG_MIRROR) {
            mirrors.insert(hash.clone(), uid.clone());
            if let Some(handle) = self.workers.lock().get(hash) {
                handle.desired.lock().api_uid = Some(uid);
                handle.news.notify_one();
            }
            return;
        }
        self.want(uid.clone(), pod, Some(uid));
    }

    fn want(&self, uid: String, pod: Pod, api_uid: Option<String>) {
        let mut workers = self.workers.lock();
        if let Some(handle) = workers.get(&uid).filter(|h| !h.task.is_finished()) {
            let mut desired = handle.desired.lock();
            // Our own status writes come back here: only a change of the rest is news.
            let is_news = desired.pod.spec != pod.spec
                || desired.pod.metadata.deletion_timestamp != pod.metadata.deletion_timestamp
                || desired.pod.metadata.labels != pod.metadata.labels
                || desired.pod.metadata.annotations != pod.metadata.annotations
                || desired.pod.metadata.deletion_grace_period_seconds
                    != pod.metadata.deletion_grace_period_seconds;
            desired.pod = Arc::new(pod);
            if is_news {
                handle.news.notify_one();
            }
            return;
        }
        if workers.len() >= PODS_MAX {
            warn!(uid, "too many pods on this node; one is left alone");
            return;
        }
        let desired = Desired { pod: Arc::new(pod), api_uid, is_removed: false };
        workers.insert(uid, worker::start(self.shared.clone(), desired));
    }

    fn removed(&self, pod: &Pod, mirrors: &mut BTreeMap<String, String>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        mirrors.retain(|_, mirror| *mirror != uid);
        if let Some(handle) = self.workers.lock().get(&uid) {
            handle.desired.lock().is_removed = true;
            handle.news.notify_one();
        }
    }

    /// After a full list: pods of the API that it no longer has are removed.
    fn keep_only(&self, seen: &[String]) {
        for (uid, handle) in self.workers.lock().iter() {
            let mut desired = handle.desired.lock();
            let is_static = desired
                .pod
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|a| a.contains_key(labels::CONFIG_SOURCE));
            if !is_static && !seen.contains(uid) {
                desired.is_removed = true;
                handle.news.notify_one();
            }
        }
    }

    /// Wakes the workers whose containers changed; stops what belongs to no pod.
    async fn relist(&self, known: &mut HashMap<String, u64>) {
        self.workers.lock().retain(|_, handle| !handle.task.is_finished());
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
            if known.get(uid) != now.get(uid).map(|(hash, _)| hash) {
                handle.news.notify_one();
            }
        }
        for (uid, (_, pod)) in &now {
            if self.is_synced
                && !self.workers.lock().contains_key(uid)
                && let Some(pod) = pod
            {
                // Static pods are read at start, before anything is called an orphan.
                info!(uid, name = pod.metadata.name, "stopping a pod that is not wanted any more");
                let desired =
                    Desired { pod: Arc::new(pod.clone()), api_uid: None, is_removed: true };
                self.workers
                    .lock()
                    .insert(uid.clone(), worker::start(self.shared.clone(), desired));
            }
        }
        *known = now.into_iter().map(|(uid, (hash, _))| (uid, hash)).collect();
    }

    /// Reads the manifest folder again.
    async fn rescan(&self, mirrors: &BTreeMap<String, String>) {
        let Some(folder) = self.config.manifests.clone() else { return };
        let node = self.config.node_name.clone();
        let read = tokio::task::spawn_blocking(move || read_manifests(&folder, &node)).await;
        let Ok(Ok(pods)) = read else {
            warn!("cannot read the manifest folder");
            return;
        };
        for pod in &pods {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            if !self.workers.lock().contains_key(&uid) {
                self.want(uid.clone(), pod.clone(), mirrors.get(&uid).cloned());
            }
            if !mirrors.contains_key(&uid)
                && let Some(client) = self.client.clone()
            {
                self.mirror(client, pod).await;
            }
        }
        for (uid, handle) in self.workers.lock().iter() {
            let mut desired = handle.desired.lock();
            let is_static = desired
                .pod
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|a| a.contains_key(labels::CONFIG_SOURCE));
            if is_static
                && !desired.is_removed
                && !pods.iter().any(|p| p.metadata.uid.as_ref() == Some(uid))
            {
                desired.is_removed = true;
                handle.news.notify_one();
                if let (Some(mirror), api, pod) =
                    (desired.api_uid.clone(), self.shared.api.clone(), desired.pod.clone())
                {
                    tokio::spawn(async move { api.delete(&pod, &mirror).await });
                }
            }
        }
    }

    /// Shows a static pod in the API.
    async fn mirror(&self, client: Client, pod: &Pod) {
        let mut mirror = pod.clone();
        let hash = mirror.metadata.uid.take().unwrap_or_default();
        mirror
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(labels::CONFIG_MIRROR.to_owned(), hash);
        let api: Api<Pod> =
            Api::namespaced(client, mirror.metadata.namespace.as_deref().unwrap_or("default"));
        match tokio::time::timeout(API_CALL, api.create(&PostParams::default(), &mirror)).await {
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
            Ok(Err(error)) => warn!(%error, "cannot show a static pod in the API"),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

fn read_manifests(folder: &std::path::Path, node: &str) -> std::io::Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_file()
            || entry.file_name().to_string_lossy().starts_with('.')
            || entry.metadata()?.len() > MANIFEST_BYTES_MAX
        {
            continue;
        }
        match static_pod(&std::fs::read_to_string(entry.path())?, node) {
            Ok(pod) => pods.push(pod),
            Err(why) => warn!(file = %entry.path().display(), why, "a manifest cannot be used"),
        }
    }
    Ok(pods)
}

/// Stops every pod of a runtime at once with a short grace, as `orlop up` does when it ends.
///
/// # Errors
/// When the runtime at `endpoint` (`unix://…` or a path) cannot be asked.
pub async fn stop_all_pods(endpoint: &str, grace_seconds: i64) -> anyhow::Result<usize> {
    let runtime = Cri::new(endpoint.strip_prefix("unix://").unwrap_or(endpoint).as_ref());
    let containers = runtime.list_containers(Labels::new()).await?;
    futures::future::join_all(
        containers.iter().map(|c| runtime.stop_container(&c.id, grace_seconds)),
    )
    .await;
    let sandboxes = runtime.list_sandboxes(Labels::new()).await?;
    let stopped = futures::future::join_all(sandboxes.iter().map(|s| async {
        runtime.stop_sandbox(&s.id).await?;
        runtime.remove_sandbox(&s.id).await
    }))
    .await;
    Ok(stopped.into_iter().filter(Result::is_ok).count())
}
