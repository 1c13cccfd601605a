//! The process: health port, election, informers, and the loop that takes a pod and finds it a node.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use api_client::{
    Health, Informer, Recorder, Store, events::Severity, is_not_found, key_of, leader_election,
    process, split_key,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    config::Config,
    limits,
    queue::Queue,
    schedule::{Decision, schedule},
    snapshot::{Share, Snapshot},
};

const COMPONENT: &str = "kube-scheduler";
/// The name by which pods ask for this scheduler.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// Runs until `shutdown` fires or the lease is lost; then stops and returns.
///
/// # Errors
/// When the set-up fails, or the lease is lost: then the process should be started again.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = process::connect(&config.kubeconfig).await?;
    let health = Health::new();
    let port = process::serve_health(
        COMPONENT,
        config.health_address,
        config.serving.clone(),
        Arc::clone(&health),
        shutdown.child_token(),
    );
    port.await?;
    // A stand-by is ready too: it can take over.
    health.set_ready();
    let leading = Arc::clone(&health.leading);
    let work = |term| lead(client.clone(), health, term);
    leader_election::lead(client.clone(), &config.election, leading, shutdown, work).await?;
    Ok(())
}

/// What the loop, the handlers and the bindings share.
struct Scheduler {
    client: Client,
    recorder: Recorder,
    pods: Arc<Store<Pod>>,
    snapshot: Mutex<Snapshot>,
    queue: Mutex<Queue>,
    changed: Notify,
    scheduled: AtomicU64,
    unschedulable: AtomicU64,
    failed: AtomicU64,
}

async fn lead(client: Client, health: Arc<Health>, term: CancellationToken) {
    let scheduler = Arc::new(Scheduler {
        recorder: Recorder::start(client.clone(), SCHEDULER_NAME),
        pods: Store::new(None),
        snapshot: Mutex::default(),
        queue: Mutex::default(),
        changed: Notify::new(),
        scheduled: AtomicU64::new(0),
        unschedulable: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        client: client.clone(),
    });
    let this = Arc::clone(&scheduler);
    health.add_metrics(move |out| this.write_metrics(out));

    let mut pods = Informer::new(Arc::clone(&scheduler.pods));
    let this = Arc::clone(&scheduler);
    pods.on_change(move |before, after| this.pod_changed(before, after));
    let nodes_store = Store::new(None);
    let mut nodes = Informer::new(Arc::clone(&nodes_store));
    let this = Arc::clone(&scheduler);
    nodes.on_change(move |before, after| this.node_changed(before, after));

    // Dropping the set ends the watches at once, also when the lease is lost.
    let mut watches = JoinSet::new();
    let live = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    watches.spawn(pods.run(Api::all(client.clone()), live, term.clone()));
    watches.spawn(nodes.run(Api::all(client), watcher::Config::default(), term.clone()));
    tokio::select! {
        () = term.cancelled() => return,
        () = async { tokio::join!(scheduler.pods.synced(), nodes_store.synced()); } => {}
    }
    info!(
        pods = scheduler.pods.len(),
        nodes = nodes_store.len(),
        "caches are filled, scheduling starts"
    );
    scheduler.run(term).await;
}

fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// True when the pod waits for this scheduler to give it a node.
#[must_use]
pub fn wants_node(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    node_name(pod).is_none()
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(phase(pod), "Succeeded" | "Failed")
        && spec.scheduler_name.as_deref().unwrap_or(SCHEDULER_NAME) == SCHEDULER_NAME
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
}

impl Scheduler {
    fn pod_changed(&self, before: Option<&Arc<Pod>>, after: Option<&Arc<Pod>>) {
        let now = Instant::now();
        match after {
            None => {
                let Some(pod) = before else { return };
                self.queue.lock().remove(&key_of(pod.as_ref()));
                if self.snapshot.lock().displace(uid(pod)) {
                    self.queue.lock().move_all(now);
                }
            }
            Some(pod) if wants_node(pod) => {
                // Our own note of failure must not wake the pod: only a changed spec or label does.
                let same = before.is_some_and(|old| {
                    old.spec == pod.spec && old.metadata.labels == pod.metadata.labels
                });
                if !same {
                    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
                    self.queue.lock().add(&key_of(pod.as_ref()), priority, now);
                }
            }
            Some(pod) => {
                self.queue.lock().remove(&key_of(pod.as_ref()));
                if matches!(phase(pod), "Succeeded" | "Failed") {
                    if self.snapshot.lock().displace(uid(pod)) {
                        self.queue.lock().move_all(now);
                    }
                } else if let Some(node) = node_name(pod) {
                    self.snapshot.lock().place(uid(pod), node, Share::of(pod));
                }
            }
        }
        self.changed.notify_one();
    }

    fn node_changed(&self, before: Option<&Arc<Node>>, after: Option<&Arc<Node>>) {
        match (before, after) {
            (_, Some(node)) => {
                self.snapshot.lock().put_node(node);
                let allocatable = |node: &Node| {
                    node.status.as_ref().and_then(|status| status.allocatable.clone())
                };
                // Heartbeats change neither of these.
                let same = before.is_some_and(|old| {
                    old.spec == node.spec
                        && old.metadata.labels == node.metadata.labels
                        && allocatable(old) == allocatable(node)
                });
                if !same {
                    self.queue.lock().move_all(Instant::now());
                    self.changed.notify_one();
                }
            }
            (Some(node), None) => self.snapshot.lock().remove_node(&key_of(node.as_ref())),
            (None, None) => {}
        }
    }

    async fn run(self: Arc<Self>, term: CancellationToken) {
        let slots = Arc::new(Semaphore::new(limits::BINDINGS_MAX));
        let mut bindings = JoinSet::new();
        loop {
            while bindings.try_join_next().is_some() {}
            let slot = tokio::select! {
                () = term.cancelled() => break,
                slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
            };
            let key = tokio::select! {
                () = term.cancelled() => break,
                key = self.next() => key,
            };
            let Some(pod) = self.pods.get(&key).filter(|pod| wants_node(pod)) else {
                self.queue.lock().remove(&key);
                continue;
            };
            let decision = self.decide(&pod);
            let this = Arc::clone(&self);
            bindings.spawn(async move {
                this.carry_out(&key, &pod, decision).await;
                drop(slot);
            });
        }
        // What was decided is still carried out, if that goes quickly.
        let rest = async { while bindings.join_next().await.is_some() {} };
        if tokio::time::timeout(api_client::limits::STOP_DEADLINE, rest).await.is_err() {
            bindings.abort_all();
        }
    }

    async fn next(&self) -> String {
        loop {
            let changed = self.changed.notified();
            let due = {
                let mut queue = self.queue.lock();
                if let Some(key) = queue.pop(Instant::now()) {
                    return key;
                }
                queue.next_due()
            };
            match due {
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Decides, and assumes the outcome at once: the next pod must see it.
    fn decide(&self, pod: &Pod) -> Decision {
        let mut snapshot = self.snapshot.lock();
        let decision = schedule(&snapshot, pod);
        if let Decision::Bind { node } = &decision {
            snapshot.place(uid(pod), node, Share::of(pod));
        }
        decision
    }

    async fn carry_out(&self, key: &str, pod: &Pod, decision: Decision) {
        match decision {
            Decision::Bind { node } => {
                let bind = tokio::time::timeout(limits::BINDING_DEADLINE, self.bind(pod, &node));
                let error = match bind.await {
                    Ok(Ok(())) => {
                        self.scheduled.fetch_add(1, Ordering::Relaxed);
                        self.queue.lock().remove(key);
                        let message = format!("Successfully assigned {key} to {node}");
                        self.recorder.note(pod, Severity::Normal, "Scheduled", message);
                        return;
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "the API server took too long".to_owned(),
                };
                self.binding_failed(key, pod, &error);
            }
            Decision::Unschedulable { message } => {
                self.unschedulable.fetch_add(1, Ordering::Relaxed);
                debug!(pod = key, message, "fits nowhere");
                self.queue.lock().failed(key, Instant::now());
                self.changed.notify_one();
                self.recorder.note(pod, Severity::Warning, "FailedScheduling", message.clone());
                if let Err(error) = self.say_unschedulable(pod, message).await {
                    debug!(pod = key, %error, "condition not written");
                }
            }
        }
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<(), kube::Error> {
        let key = key_of(pod);
        let (namespace, name) = split_key(&key);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                // The server refuses another pod of the same name.
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let answer: Result<serde_json::Value, _> =
            api.create_subresource("binding", name, &PostParams::default(), &binding).await;
        answer.map(drop)
    }

    fn binding_failed(&self, key: &str, pod: &Pod, error: &str) {
        let current = self.pods.get(key);
        let same = current.as_ref().is_some_and(|current| uid(current) == uid(pod));
        // The answer may have been lost, not the binding: then the cache shows the node, and that counts.
        if same && current.as_ref().is_some_and(|current| node_name(current).is_some()) {
            return;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        warn!(pod = key, error, "binding failed, will retry");
        self.snapshot.lock().displace(uid(pod));
        if same {
            self.queue.lock().retry(key, Instant::now());
            let message = format!("binding rejected: {error}");
            self.recorder.note(pod, Severity::Warning, "FailedScheduling", message);
        } else {
            self.queue.lock().remove(key);
        }
        self.queue.lock().move_all(Instant::now());
        self.changed.notify_one();
    }

    async fn say_unschedulable(&self, pod: &Pod, message: String) -> Result<(), kube::Error> {
        let mut conditions =
            pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let known = conditions.find(|condition| condition.type_ == "PodScheduled");
        if known.is_some_and(|c| c.status == "False" && c.message.as_ref() == Some(&message)) {
            return Ok(());
        }
        let since = known
            .filter(|condition| condition.status == "False")
            .and_then(|condition| condition.last_transition_time.clone())
            .unwrap_or_else(|| api_client::api_time(Timestamp::now()));
        let patch = serde_json::json!({
            "metadata": { "uid": pod.metadata.uid },
            "status": { "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message, "lastTransitionTime": since,
            }] },
        });
        let key = key_of(pod);
        let (namespace, name) = split_key(&key);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(error) if !is_not_found(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn write_metrics(&self, out: &mut String) {
        use std::fmt::Write as _;
        let depth = self.queue.lock().depth();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let attempts = "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result";
        writeln!(
            out,
            "{attempts}=\"scheduled\"}} {}\n{attempts}=\"unschedulable\"}} {}\n{attempts}=\"error\"}} {}\n\
             scheduler_pending_pods{{queue=\"active\"}} {}\nscheduler_pending_pods{{queue=\"backoff\"}} {}\n\
             scheduler_pending_pods{{queue=\"unschedulable\"}} {}",
            of(&self.scheduled), of(&self.unschedulable), of(&self.failed),
            depth.active, depth.backoff, depth.unschedulable,
        )
        .expect("writing to a String cannot fail");
    }
}
