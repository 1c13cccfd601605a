//! The process: health port, election, informers, and one loop per controller.

use std::{future::Future, sync::Arc, time::Duration};

use api_client::{
    Accounts, Health, Informer, Outcome, Recorder, Store, WorkQueue, key_of, leader_election,
    process, queue::run_workers,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Namespace, Node, Pod},
};
use kube::{Api, Client, runtime::watcher};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::Config,
    context::Context,
    deployment, garbage_collector,
    identities::{self, Contexts},
    limits, namespace, node_lifecycle,
    object::{controller_of, forget_programs},
    pod_gc,
    protection::{claims, classes, volumes},
    replica_set, resource_quota, service_account, service_cidrs, ttl_after_finished, watches,
    world::World,
};

const COMPONENT: &str = "kube-controller-manager";
const REPLICA_SET: &str = "replicaset-controller";
const GARBAGE_COLLECTOR: &str = "garbage-collector-controller";

/// Runs until `shutdown` fires or the lease is lost; then stops every loop and returns.
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
    let election = config.election.clone();
    let leading = Arc::clone(&health.leading);
    let accounts = identities::accounts(&config, &client).await?;
    let work = |term| control((client.clone(), accounts), config, health, term);
    leader_election::lead(client.clone(), &election, leading, shutdown, work).await?;
    Ok(())
}

/// Runs with a client that there is, without an election and without a health port, until `shutdown`
/// fires: for a process that serves the API itself. Of the configuration the rest counts.
pub async fn run_with(client: Client, config: Config, shutdown: CancellationToken) {
    control((client, None), config, Health::new(), shutdown).await;
}

/// The queues that the informers' handlers fill.
pub(crate) struct Queues {
    deployment: Arc<WorkQueue<String>>,
    namespace: Arc<WorkQueue<String>>,
    service_account: Arc<WorkQueue<String>>,
    root_ca: Arc<WorkQueue<String>>,
    node: Arc<WorkQueue<String>>,
    eviction: Arc<WorkQueue<String>>,
    /// Namespaces.
    pub(crate) claims: Arc<WorkQueue<String>>,
    pub(crate) volumes: Arc<WorkQueue<String>>,
    pub(crate) volume_classes: Arc<WorkQueue<String>>,
    pub(crate) jobs: Arc<WorkQueue<String>>,
    pub(crate) quotas: Arc<resource_quota::Controller>,
    pub(crate) service_cidrs: Arc<WorkQueue<String>>,
}

async fn control(
    (client, accounts): (Client, Option<Accounts>),
    config: Config,
    health: Arc<Health>,
    term: CancellationToken,
) {
    let context = Arc::new(Context {
        recorder: Recorder::start(client.clone(), "controllermanager"),
        world: World::new(),
        client,
        config,
    });
    let contexts = Contexts::of(Arc::clone(&context), accounts.as_ref(), &term).await;
    let Some(contexts) = contexts else { return };
    let queues = Arc::new(Queues {
        deployment: WorkQueue::new("deployment"),
        namespace: WorkQueue::new("namespace"),
        service_account: WorkQueue::new("serviceaccount"),
        root_ca: WorkQueue::new("root_ca_cert_publisher"),
        node: WorkQueue::new("node_lifecycle_controller"),
        eviction: WorkQueue::new("taint_eviction_controller"),
        claims: WorkQueue::new("pvcprotection"),
        volumes: WorkQueue::new("pvprotection"),
        volume_classes: WorkQueue::new("vacprotection"),
        jobs: WorkQueue::new("ttl_jobs_to_delete"),
        quotas: resource_quota::Controller::new(),
        service_cidrs: WorkQueue::new("ipaddresses"),
    });
    let replica_sets = replica_set::Controller::new(Arc::clone(contexts.get(REPLICA_SET)));
    let collecting = contexts.get(GARBAGE_COLLECTOR).client.clone();
    let collector = garbage_collector::Controller::new(collecting);
    measure(&health, &queues, &replica_sets, &collector);

    // Dropping the set ends every loop at once, also when the lease is lost.
    let mut loops = JoinSet::new();
    watch_all(&mut loops, &context, &queues, &replica_sets, &term);
    watches::storage(&mut loops, &context, &queues, &term);
    watches::jobs(&mut loops, &context, &queues, &term);
    watches::quotas(&mut loops, &context, &queues, &term);
    watches::addresses(&mut loops, &context, &queues, &term);
    let (q, world) = (Arc::clone(&queues), context.world.clone());
    let heard = move |group: &str, resource: &str, namespace: &str| {
        q.quotas.heard(&world, group, resource, namespace);
    };
    collector.on_deletion(Box::new(heard));
    tokio::select! {
        () = term.cancelled() => return,
        () = context.world.synced() => {}
    }
    info!(controllers = ?context.config.controllers, "caches are filled, controllers start");
    start_all(&mut loops, &contexts, &queues, &replica_sets, &collector, &term);
    term.cancelled().await;
    let ended = async { while loops.join_next().await.is_some() {} };
    if tokio::time::timeout(api_client::limits::STOP_DEADLINE, ended).await.is_err() {
        loops.abort_all();
    }
}

fn measure(
    health: &Health,
    queues: &Arc<Queues>,
    replica_sets: &Arc<replica_set::Controller>,
    collector: &Arc<garbage_collector::Controller>,
) {
    let (queues, sets) = (Arc::clone(queues), Arc::clone(&replica_sets.queue));
    let collector = Arc::clone(collector);
    health.add_metrics(move |out| {
        let all = [
            &queues.deployment,
            &queues.namespace,
            &queues.service_account,
            &queues.root_ca,
            &queues.node,
            &queues.eviction,
            &queues.claims,
            &queues.volumes,
            &queues.volume_classes,
            &queues.jobs,
            &queues.quotas.queue,
            &queues.service_cidrs,
            &sets,
        ];
        for queue in all {
            queue.write_metrics(out);
        }
        collector.write_metrics(out);
    });
}

/// Fills the informer's store from the server.
pub(crate) fn watch<K>(
    loops: &mut JoinSet<()>,
    informer: Informer<K>,
    api: Api<K>,
    config: watcher::Config,
    term: &CancellationToken,
) where
    K: kube::Resource
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + serde::de::DeserializeOwned
        + 'static,
    K::DynamicType: Default + Eq + std::hash::Hash + Clone,
{
    loops.spawn(informer.run(api, config, term.clone()));
}

fn watch_all(
    loops: &mut JoinSet<()>,
    context: &Arc<Context>,
    queues: &Arc<Queues>,
    replica_sets: &Arc<replica_set::Controller>,
    term: &CancellationToken,
) {
    let (client, world) = (context.client.clone(), &context.world);
    let all = watcher::Config::default;

    let mut deployments = Informer::new(Arc::clone(&world.deployments));
    let q = Arc::clone(queues);
    deployments.on_change(move |before: Option<&Arc<Deployment>>, after| {
        q.deployment.add(key_of(after.or(before).expect("one of them is there").as_ref()));
    });
    watch(loops, deployments, Api::all(client.clone()), all(), term);

    let mut sets = Informer::new(Arc::clone(&world.replica_sets));
    let (q, controller, w) = (Arc::clone(queues), Arc::clone(replica_sets), world.clone());
    sets.on_change(move |before: Option<&Arc<ReplicaSet>>, after| {
        controller.queue.add(key_of(after.or(before).expect("one of them is there").as_ref()));
        for set in [before, after].into_iter().flatten() {
            enqueue_deployments(&q, &w, set);
        }
    });
    watch(loops, sets, Api::all(client.clone()), all(), term);

    let mut pods = Informer::new(Arc::clone(&world.pods));
    pods.forget(forget_programs);
    let (q, controller, w) = (Arc::clone(queues), Arc::clone(replica_sets), world.clone());
    pods.on_change(move |before: Option<&Arc<Pod>>, after| {
        controller.pod_changed(before, after);
        claims::pod_changed(&q.claims, before, after);
        if resource_quota::differs(resource_quota::of_pod, before, after) {
            watches::price_changed(&q, &w, "pods", before.or(after));
        }
        match (before, after) {
            (_, Some(pod)) => q.eviction.add(key_of(pod.as_ref())),
            // Recreate waits for the last old pod to go.
            (Some(pod), None) => {
                enqueue_deployment_of_pod(&q, &w, pod);
                enqueue_ending_namespace(&q, &w, pod);
            }
            (None, None) => {}
        }
    });
    watch(loops, pods, Api::all(client.clone()), all(), term);

    let mut nodes = Informer::new(Arc::clone(&world.nodes));
    let (q, w) = (Arc::clone(queues), world.clone());
    nodes.on_change(move |before: Option<&Arc<Node>>, after| {
        let Some(node) = after else { return };
        let taints = |node: &Arc<Node>| node.spec.as_ref().and_then(|spec| spec.taints.clone());
        q.node.add(key_of(node.as_ref()));
        if before.map(taints) != Some(taints(node)) {
            for pod in w.pods.by_index(&format!("node:{}", key_of(node.as_ref()))) {
                q.eviction.add(key_of(pod.as_ref()));
            }
        }
    });
    watch(loops, nodes, Api::all(client.clone()), all(), term);

    let mut namespaces = Informer::new(Arc::clone(&world.namespaces));
    let q = Arc::clone(queues);
    namespaces.on_change(move |_, after: Option<&Arc<Namespace>>| {
        if let Some(namespace) = after {
            let key = key_of(namespace.as_ref());
            q.namespace.add(key.clone());
            q.service_account.add(key.clone());
            q.root_ca.add(key);
        }
    });
    watch(loops, namespaces, Api::all(client.clone()), all(), term);

    let mut accounts = Informer::new(Arc::clone(&world.service_accounts));
    let q = Arc::clone(queues);
    accounts.on_change(move |before, after| requeue_namespace(&q.service_account, before, after));
    watch(loops, accounts, Api::all(client.clone()), all(), term);

    let mut maps = Informer::new(Arc::clone(&world.root_ca_maps));
    let q = Arc::clone(queues);
    maps.on_change(move |before, after| requeue_namespace(&q.root_ca, before, after));
    let named = all().fields(&format!("metadata.name={}", service_account::ROOT_CA));
    watch(loops, maps, Api::all(client.clone()), named, term);

    let leases = Informer::new(Arc::clone(&world.node_leases));
    watch(loops, leases, Api::namespaced(client, "kube-node-lease"), all(), term);
}

/// What was deleted or changed is looked at again in its namespace.
fn requeue_namespace<K: kube::Resource>(
    queue: &WorkQueue<String>,
    before: Option<&Arc<K>>,
    after: Option<&Arc<K>>,
) {
    if let Some(namespace) = before.or(after).and_then(|object| object.meta().namespace.clone()) {
        queue.add(namespace);
    }
}

fn enqueue_deployments(queues: &Queues, world: &World, set: &ReplicaSet) {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    match controller_of(&set.metadata) {
        Some(owner) if owner.kind == "Deployment" => {
            queues.deployment.add(format!("{namespace}/{}", owner.name));
        }
        Some(_) => {}
        None => {
            for deployment in world.deployments.in_namespace(namespace) {
                let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
                let labels = set.metadata.labels.as_ref();
                if selector.is_some_and(|selector| crate::object::selects(selector, labels)) {
                    queues.deployment.add(key_of(deployment.as_ref()));
                }
            }
        }
    }
}

/// The last pod of a namespace that is being deleted is gone: the rest can go, without waiting for a timer.
fn enqueue_ending_namespace(queues: &Queues, world: &World, pod: &Pod) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let ending = world.namespaces.get(namespace);
    let ending = ending.is_some_and(|object| object.metadata.deletion_timestamp.is_some());
    if ending && world.pods.in_namespace(namespace).is_empty() {
        queues.namespace.add(namespace.to_owned());
    }
}

fn enqueue_deployment_of_pod(queues: &Queues, world: &World, pod: &Pod) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
    if let Some(set) =
        owner.and_then(|o| world.replica_sets.get(&format!("{namespace}/{}", o.name)))
    {
        enqueue_deployments(queues, world, &set);
    }
}

fn start_all(
    loops: &mut JoinSet<()>,
    contexts: &Contexts,
    queues: &Queues,
    replica_sets: &Arc<replica_set::Controller>,
    collector: &Arc<garbage_collector::Controller>,
    term: &CancellationToken,
) {
    let shared = contexts.get("");
    let (workers, world) = (shared.config.workers, &shared.world);
    for name in &shared.config.controllers {
        let context = contexts.get(name);
        match *name {
            "deployment-controller" => {
                resync(loops, Arc::clone(&world.deployments), &queues.deployment, term);
                start(
                    loops,
                    context,
                    &queues.deployment,
                    workers.deployment,
                    term,
                    deployment::sync,
                );
            }
            REPLICA_SET => {
                resync(loops, Arc::clone(&world.replica_sets), &replica_sets.queue, term);
                let controller = Arc::clone(replica_sets);
                let sync = move |_, key| Arc::clone(&controller).sync(key);
                start(loops, context, &replica_sets.queue, workers.replica_set, term, sync);
            }
            "namespace-controller" => {
                resync(loops, Arc::clone(&world.namespaces), &queues.namespace, term);
                start(loops, context, &queues.namespace, workers.namespace, term, namespace::sync);
            }
            "serviceaccount-controller" => {
                let (queue, count) = (&queues.service_account, workers.service_account);
                resync(loops, Arc::clone(&world.namespaces), queue, term);
                start(loops, context, queue, count, term, service_account::sync);
            }
            "root-ca-certificate-publisher-controller" => {
                resync(loops, Arc::clone(&world.namespaces), &queues.root_ca, term);
                start(loops, context, &queues.root_ca, 2, term, service_account::sync_root_ca);
            }
            GARBAGE_COLLECTOR => {
                let count = workers.garbage_collector;
                loops.spawn(Arc::clone(collector).run(count, term.clone()));
            }
            "node-lifecycle-controller" => {
                loops.spawn(node_lifecycle::run(Arc::clone(context), term.clone()));
                start(loops, context, &queues.node, 2, term, node_lifecycle::sync_node);
            }
            "taint-eviction-controller" => {
                resync(loops, Arc::clone(&world.pods), &queues.eviction, term);
                start(loops, context, &queues.eviction, 8, term, node_lifecycle::sync_pod);
            }
            "pod-garbage-collector-controller" => {
                loops.spawn(pod_gc::run(Arc::clone(context), term.clone()));
            }
            other => start_more(loops, context, queues, other, term),
        }
    }
}

fn start_more(
    loops: &mut JoinSet<()>,
    context: &Arc<Context>,
    queues: &Queues,
    name: &str,
    term: &CancellationToken,
) {
    let (workers, world) = (context.config.workers, &context.world);
    match name {
        "persistentvolumeclaim-protection-controller" => {
            resync(loops, Arc::clone(&world.namespaces), &queues.claims, term);
            start(loops, context, &queues.claims, 1, term, claims::sync);
        }
        "persistentvolume-protection-controller" => {
            resync(loops, Arc::clone(&world.volumes), &queues.volumes, term);
            start(loops, context, &queues.volumes, 1, term, volumes::sync);
        }
        "volumeattributesclass-protection-controller" => {
            resync(loops, Arc::clone(&world.volume_classes), &queues.volume_classes, term);
            start(loops, context, &queues.volume_classes, 1, term, classes::sync);
        }
        "ttl-after-finished-controller" => {
            let count = workers.ttl_after_finished;
            resync(loops, Arc::clone(&world.jobs), &queues.jobs, term);
            start(loops, context, &queues.jobs, count, term, ttl_after_finished::sync);
        }
        "resourcequota-controller" => {
            let (queue, period) = (&queues.quotas.queue, context.config.resource_quota_sync_period);
            resync_every(loops, Arc::clone(&world.quotas), queue, period, term);
            let controller = Arc::clone(&queues.quotas);
            let sync = move |context, key| Arc::clone(&controller).sync(context, key);
            start(loops, context, queue, workers.resource_quota, term, sync);
        }
        "service-cidr-controller" => {
            resync(loops, Arc::clone(&world.service_cidrs), &queues.service_cidrs, term);
            start(loops, context, &queues.service_cidrs, 5, term, service_cidrs::sync);
        }
        other => unreachable!("{other} was checked against the list of controllers"),
    }
}

fn start<F, Fut>(
    loops: &mut JoinSet<()>,
    context: &Arc<Context>,
    queue: &Arc<WorkQueue<String>>,
    workers: usize,
    term: &CancellationToken,
    sync: F,
) where
    F: Fn(Arc<Context>, String) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, kube::Error>> + Send + 'static,
{
    let context = Arc::clone(context);
    let reconcile = move |key| {
        let work = sync(Arc::clone(&context), key);
        async move {
            match tokio::time::timeout(limits::RECONCILE_DEADLINE, work).await {
                Ok(result) => result,
                Err(_) => Ok(Outcome::Retry),
            }
        }
    };
    loops.spawn(run_workers(Arc::clone(queue), workers, term.clone(), reconcile));
}

/// Puts every key in the queue now and then: whatever an event should have caused happens at last.
fn resync<K: kube::Resource + Send + Sync + 'static>(
    loops: &mut JoinSet<()>,
    store: Arc<Store<K>>,
    queue: &Arc<WorkQueue<String>>,
    term: &CancellationToken,
) {
    resync_every(loops, store, queue, limits::RESYNC, term);
}

fn resync_every<K: kube::Resource + Send + Sync + 'static>(
    loops: &mut JoinSet<()>,
    store: Arc<Store<K>>,
    queue: &Arc<WorkQueue<String>>,
    period: Duration,
    term: &CancellationToken,
) {
    let (queue, term) = (Arc::clone(queue), term.clone());
    loops.spawn(async move {
        loop {
            tokio::select! {
                () = term.cancelled() => return,
                () = clock::sleep(period) => {}
            }
            for key in store.keys() {
                queue.add(key);
            }
        }
    });
}
