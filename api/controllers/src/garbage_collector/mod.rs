//! Deletes what has lost its owners, and carries out foreground and orphan deletion, for every kind there is.

mod graph;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use api_client::{Outcome, WorkQueue, is_conflict, is_not_found};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api, Client,
    api::{
        DeleteParams, DynamicObject, PartialObjectMeta, Patch, PatchParams, Preconditions,
        PropagationPolicy,
    },
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    discovery::{self, Kind},
    limits,
};
use graph::{FOREGROUND, Graph, Node, ORPHAN, OwnerState, Verdict, Work, judge};

/// What hears of objects that went: group and plural of the kind, and the namespace.
pub type Listener = Box<dyn Fn(&str, &str, &str) + Send + Sync>;

struct Monitor {
    stop: CancellationToken,
    synced: watch::Receiver<bool>,
}

/// The collector: one graph, one watch per kind, one queue.
pub struct Controller {
    client: Client,
    graph: Mutex<Graph>,
    kinds: RwLock<HashMap<String, Kind>>,
    monitors: Mutex<HashMap<String, Monitor>>,
    absent: Mutex<HashSet<String>>,
    queue: Arc<WorkQueue<Work>>,
    listener: OnceLock<Listener>,
}

fn kind_key(kind: &Kind) -> String {
    format!("{}/{}", kind.resource.api_version, kind.resource.kind)
}

/// Events own nothing, are owned by nothing, and are many.
fn is_ignored(kind: &Kind) -> bool {
    kind.resource.plural == "events" && matches!(kind.resource.group.as_str(), "" | "events.k8s.io")
}

impl Controller {
    /// A collector that knows nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            graph: Mutex::default(),
            kinds: RwLock::default(),
            monitors: Mutex::default(),
            absent: Mutex::default(),
            queue: WorkQueue::new("garbage_collector"),
            listener: OnceLock::new(),
        })
    }

    /// Sets who hears of objects that go. Only the first call counts.
    pub fn on_deletion(&self, listener: Listener) {
        if self.listener.set(listener).is_err() {
            debug!("the garbage collector has a listener already");
        }
    }

    fn tell(&self, kind: &Kind, meta: &ObjectMeta) {
        if let (Some(listener), Some(namespace)) = (self.listener.get(), &meta.namespace) {
            listener(&kind.resource.group, &kind.resource.plural, namespace);
        }
    }

    /// Writes the metrics of its queue.
    pub fn write_metrics(&self, out: &mut String) {
        self.queue.write_metrics(out);
    }

    /// Keeps the watches in step with the kinds, and works on the queue, until `stop` fires.
    pub async fn run(self: Arc<Self>, workers: usize, stop: CancellationToken) {
        let mut working = None;
        loop {
            match discovery::discover(&self.client).await {
                Ok(found) => {
                    for failure in &found.failures {
                        warn!(failure, "discovery failed for a group, its kinds stay as they were");
                    }
                    self.keep_monitors(found, &stop);
                }
                Err(error) => warn!(%error, "discovery failed, will retry"),
            }
            if working.is_none() && self.synced(&stop).await {
                info!(objects = self.graph.lock().len(), "garbage collector is in step");
                let this = Arc::clone(&self);
                let reconcile = move |work| Arc::clone(&this).sync(work);
                let queue = Arc::clone(&self.queue);
                let run = api_client::queue::run_workers(queue, workers, stop.clone(), reconcile);
                working = Some(tokio::spawn(run));
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(limits::DISCOVERY_PERIOD) => {}
            }
        }
        if let Some(working) = working {
            // The workers end by the same token.
            if let Err(error) = working.await {
                warn!(%error, "garbage collector workers failed");
            }
        }
    }

    /// True once every watch has delivered its first list; false when that takes a discovery period.
    async fn synced(&self, stop: &CancellationToken) -> bool {
        let waits: Vec<_> = self.monitors.lock().values().map(|m| m.synced.clone()).collect();
        if waits.is_empty() {
            return false;
        }
        let all = async {
            for mut synced in waits {
                // A closed channel means that the kind went away: nothing to wait for.
                let _gone = synced.wait_for(|done| *done).await.is_err();
            }
        };
        tokio::select! {
            () = stop.cancelled() => false,
            done = tokio::time::timeout(limits::DISCOVERY_PERIOD, all) => done.is_ok(),
        }
    }

    fn keep_monitors(self: &Arc<Self>, found: discovery::Found, stop: &CancellationToken) {
        let wanted: HashMap<String, Kind> = found
            .kinds
            .into_iter()
            .filter(|kind| kind.can(&["list", "watch", "delete"]) && !is_ignored(kind))
            .map(|kind| (kind_key(&kind), kind))
            .collect();
        let mut monitors = self.monitors.lock();
        for (key, kind) in &wanted {
            if monitors.contains_key(key) {
                continue;
            }
            let (sender, synced) = watch::channel(false);
            let token = stop.child_token();
            monitors.insert(key.clone(), Monitor { stop: token.clone(), synced });
            tokio::spawn(Arc::clone(self).monitor(kind.clone(), sender, token));
        }
        // With a failing group, absence proves nothing.
        if found.failures.is_empty() {
            monitors.retain(|key, monitor| {
                let stays = wanted.contains_key(key);
                if !stays {
                    monitor.stop.cancel();
                    let gone = self.graph.lock().of_kind(key);
                    for uid in gone {
                        let work = self.graph.lock().remove(&uid);
                        self.enqueue(work);
                    }
                }
                stays
            });
        }
        self.kinds.write().extend(wanted);
    }

    fn enqueue(&self, work: Vec<Work>) {
        for item in work {
            self.queue.add(item);
        }
    }

    async fn monitor(
        self: Arc<Self>,
        kind: Kind,
        synced: watch::Sender<bool>,
        stop: CancellationToken,
    ) {
        let key = kind_key(&kind);
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::all_with(self.client.clone(), &kind.resource);
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut listed: HashSet<String> = HashSet::new();
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(watcher::Event::Init)) => listed.clear(),
                Some(Ok(watcher::Event::InitApply(object))) => {
                    listed.extend(object.metadata.uid.clone());
                    self.upsert(&key, &object.metadata);
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    let known = self.graph.lock().of_kind(&key);
                    for uid in known.into_iter().filter(|uid| !listed.contains(uid)) {
                        self.remove(&uid);
                    }
                    synced.send_replace(true);
                }
                Some(Ok(watcher::Event::Apply(object))) => self.upsert(&key, &object.metadata),
                Some(Ok(watcher::Event::Delete(object))) => {
                    if let Some(uid) = &object.metadata.uid {
                        self.remove(uid);
                    }
                    self.tell(&kind, &object.metadata);
                }
                Some(Err(error)) => debug!(kind = key, %error, "watch failed, will retry"),
                None => return,
            }
        }
    }

    fn upsert(&self, kind: &str, meta: &ObjectMeta) {
        let Some(uid) = &meta.uid else { return };
        let work = self.graph.lock().upsert(uid, Node::new(kind, meta));
        self.enqueue(work);
    }

    fn remove(&self, uid: &str) {
        {
            let mut absent = self.absent.lock();
            if absent.len() >= limits::ABSENT_OWNERS_MAX {
                absent.clear();
            }
            absent.insert(uid.to_owned());
        }
        let work = self.graph.lock().remove(uid);
        self.enqueue(work);
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        if kind.namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
        } else {
            Api::all_with(self.client.clone(), &kind.resource)
        }
    }

    async fn sync(self: Arc<Self>, work: Work) -> Result<Outcome, kube::Error> {
        match work {
            Work::Collect(uid) => self.collect(&uid).await,
            Work::Orphan(uid) => self.orphan(&uid).await,
        }
    }

    /// The object as the server has it now; none (and out of the graph) when it is another or gone.
    async fn fresh(
        &self,
        uid: &str,
    ) -> Result<Option<(Api<DynamicObject>, ObjectMeta, Node)>, kube::Error> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(None) };
        let Some(kind) = self.kinds.read().get(&node.kind).cloned() else { return Ok(None) };
        let api = self.api(&kind, &node.namespace);
        match api.get_metadata_opt(&node.name).await? {
            Some(object) if object.metadata.uid.as_deref() == Some(uid) => {
                let node = Node::new(&node.kind, &object.metadata);
                Ok(Some((api, object.metadata, node)))
            }
            Some(_) | None => {
                self.remove(uid);
                Ok(None)
            }
        }
    }

    async fn collect(&self, uid: &str) -> Result<Outcome, kube::Error> {
        // G1: what the graph says is only a hint.
        let Some((api, meta, node)) = self.fresh(uid).await? else { return Ok(Outcome::Done) };
        if node.waits_for_dependents() {
            return self.finish_foreground(uid, &api, &meta).await;
        }
        if node.deleting {
            return Ok(Outcome::Done);
        }
        let mut states = Vec::new();
        for owner in &node.owners {
            match self.owner_state(owner, &node.namespace).await? {
                Some(state) => states.push(state),
                // A kind that we cannot ask about: never guess.
                None => return Ok(Outcome::After(Duration::from_secs(30))),
            }
        }
        let dependents = self.graph.lock().dependents(uid);
        let policy = match judge(&node, &states, !dependents.is_empty()) {
            Verdict::Keep => return Ok(Outcome::Done),
            Verdict::DropOwners(lost) => {
                return self.drop_owners(&api, &meta, |owner| lost.contains(&owner.uid)).await;
            }
            Verdict::DeleteForeground => {
                let circle = {
                    let graph = self.graph.lock();
                    dependents.iter().any(|d| graph.get(d).is_some_and(Node::waits_for_dependents))
                };
                if circle {
                    self.unblock(&api, &meta).await?;
                }
                PropagationPolicy::Foreground
            }
            Verdict::Delete if node.orphan => PropagationPolicy::Orphan,
            Verdict::Delete if node.foreground => PropagationPolicy::Foreground,
            Verdict::Delete => PropagationPolicy::Background,
        };
        debug!(kind = node.kind, ns = node.namespace, name = node.name, ?policy, "collecting");
        let how = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                // An owner added since we looked must save it.
                resource_version: meta.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        match api.delete(&node.name, &how).await {
            Err(error) if is_not_found(&error) => Ok(Outcome::Done),
            Err(error) if is_conflict(&error) => Ok(Outcome::Retry),
            Err(error) => Err(error),
            Ok(_) => Ok(Outcome::Done),
        }
    }

    async fn owner_state(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<OwnerState>, kube::Error> {
        if self.absent.lock().contains(&owner.uid) {
            return Ok(Some(OwnerState::Gone));
        }
        let Some(kind) = self.owner_kind(owner) else {
            debug!(owner.kind, owner.api_version, "the kind of an owner is unknown");
            return Ok(None);
        };
        if kind.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot have a namespaced owner; upstream leaves it alone.
            return Ok(None);
        }
        let found = self.api(&kind, namespace).get_metadata_opt(&owner.name).await?;
        Ok(Some(match found {
            Some(object) if object.metadata.uid.as_ref() == Some(&owner.uid) => {
                if Node::new("", &object.metadata).waits_for_dependents() {
                    OwnerState::Waiting
                } else {
                    OwnerState::Solid
                }
            }
            Some(_) | None => OwnerState::Gone,
        }))
    }

    /// The kind that a reference names, in its own version or in the one we watch.
    fn owner_kind(&self, owner: &OwnerReference) -> Option<Kind> {
        let kinds = self.kinds.read();
        if let Some(kind) = kinds.get(&format!("{}/{}", owner.api_version, owner.kind)) {
            return Some(kind.clone());
        }
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let same = |kind: &&Kind| kind.resource.group == group && kind.resource.kind == owner.kind;
        kinds.values().find(same).cloned()
    }

    async fn drop_owners(
        &self,
        api: &Api<DynamicObject>,
        meta: &ObjectMeta,
        lost: impl Fn(&OwnerReference) -> bool,
    ) -> Result<Outcome, kube::Error> {
        let owners =
            meta.owner_references.iter().flatten().filter(|owner| !lost(owner)).collect::<Vec<_>>();
        let change = serde_json::json!({ "ownerReferences": owners });
        self.patch(api, meta, change).await
    }

    async fn unblock(
        &self,
        api: &Api<DynamicObject>,
        meta: &ObjectMeta,
    ) -> Result<(), kube::Error> {
        let mut owners = meta.owner_references.clone().unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        self.patch(api, meta, serde_json::json!({ "ownerReferences": owners })).await.map(drop)
    }

    async fn drop_finalizer(
        &self,
        api: &Api<DynamicObject>,
        meta: &ObjectMeta,
        finalizer: &str,
    ) -> Result<Outcome, kube::Error> {
        let left: Vec<_> = meta.finalizers.iter().flatten().filter(|f| *f != finalizer).collect();
        self.patch(api, meta, serde_json::json!({ "finalizers": left })).await
    }

    /// A merge patch of metadata that holds only for the version we read.
    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        meta: &ObjectMeta,
        mut change: serde_json::Value,
    ) -> Result<Outcome, kube::Error> {
        change["resourceVersion"] = serde_json::json!(meta.resource_version);
        change["uid"] = serde_json::json!(meta.uid);
        let patch = Patch::Merge(serde_json::json!({ "metadata": change }));
        let name = meta.name.as_deref().unwrap_or_default();
        match api.patch_metadata(name, &PatchParams::default(), &patch).await {
            Err(error) if is_not_found(&error) => Ok(Outcome::Done),
            Err(error) if is_conflict(&error) => Ok(Outcome::Retry),
            Err(error) => Err(error),
            Ok(_) => Ok(Outcome::Done),
        }
    }

    async fn finish_foreground(
        &self,
        uid: &str,
        api: &Api<DynamicObject>,
        meta: &ObjectMeta,
    ) -> Result<Outcome, kube::Error> {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.drop_finalizer(api, meta, FOREGROUND).await;
        }
        for dependent in blocking {
            let going = self.graph.lock().get(&dependent).is_some_and(|node| node.deleting);
            if !going {
                self.queue.add(Work::Collect(dependent));
            }
        }
        Ok(Outcome::Done)
    }

    async fn orphan(&self, uid: &str) -> Result<Outcome, kube::Error> {
        let Some((api, meta, node)) = self.fresh(uid).await? else { return Ok(Outcome::Done) };
        if !(node.deleting && node.orphan) {
            return Ok(Outcome::Done);
        }
        let dependents = self.graph.lock().dependents(uid);
        for dependent in dependents {
            let Some((api, meta, _)) = self.fresh(&dependent).await? else { continue };
            let done = self.drop_owners(&api, &meta, |owner| owner.uid == uid).await?;
            if done != Outcome::Done {
                return Ok(done);
            }
        }
        self.drop_finalizer(&api, &meta, ORPHAN).await
    }
}
