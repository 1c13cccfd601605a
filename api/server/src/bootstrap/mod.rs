//! What must be there from the start: the system namespaces and priority classes, the default roles
//! and bindings, flow schemas and priority levels, then Service `kubernetes`.
//!
//! Every server of a cluster does this; what another one has made already is fine.

mod aggregation;
mod api_services;
mod config_maps;
mod looks;
mod policy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api_machinery::{Object, Status, kinds};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::admission::priority;
use crate::limits::BOOTSTRAP_CONCURRENT_MAX;
use crate::registry::By;
use crate::state::Server;
use crate::{flow_control, kubernetes_service, registry, service_addresses, service_cidrs};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What the loops of the server must have done once before it is healthy.
#[derive(Debug, Default)]
pub(crate) struct FirstRounds {
    /// The authorities of clients have been published.
    pub(crate) authorities: AtomicBool,
    /// The addresses and ports of Services have been looked through.
    pub(crate) addresses: AtomicBool,
    /// The default ServiceCIDR is there.
    pub(crate) service_cidr: AtomicBool,
    /// All APIServices say whether they are available.
    pub(crate) availability: AtomicBool,
}

/// Tries until it is done, then looks after Service `kubernetes` and the roles that are made of
/// others until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    if until_done(&server).await {
        server.is_bootstrapped.store(true, Ordering::Relaxed);
        tokio::join!(
            service_cidrs::run(&server),
            service_addresses::run(&server),
            kubernetes_service::run(&server),
            aggregation::run(&server),
            flow_control::run(&server),
            api_services::run(&server),
            config_maps::run(&server),
        );
    }
}

/// False when the server stops before.
async fn until_done(server: &Server) -> bool {
    let mut backoff = BACKOFF_MIN;
    loop {
        match all(server).await {
            Ok(()) => return true,
            // A store that starts along with us has no leader yet, most often.
            Err(error) if backoff == BACKOFF_MIN => {
                tracing::debug!(%error, "bootstrap is not done yet, will try again");
            }
            Err(error) => tracing::warn!(%error, "bootstrap is not done yet, will try again"),
        }
        tokio::select! {
            () = server.shutdown.cancelled() => return false,
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
        }
    }
}

/// Two steps, each of things that do not need one another.
async fn all(server: &Server) -> Result<(), Status> {
    let began = Instant::now();
    let namespaces = NAMESPACES.map(|name| {
        let tree = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(server, ("", "namespaces"), ("", name), tree)
    });
    let classes = priority::SYSTEM.map(|(name, value, description)| {
        let tree = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description});
        ensure(server, ("scheduling.k8s.io", "priorityclasses"), ("", name), tree)
    });
    tokio::try_join!(together(namespaces.into()), together(classes.into()))?;
    let namespaces = began.elapsed();
    // What is there already is read from the caches.
    server.caches.wait_until_fresh(&server.storage).await?;
    let caches = began.elapsed();
    let roles = policy::reconcile(server);
    let services = api_services::ensure(server);
    tokio::try_join!(roles, services, flow_control::ensure(server))?;
    tracing::debug!(?namespaces, ?caches, all = ?began.elapsed(), "bootstrap is done");
    Ok(())
}

/// Many at a time: what is under way together the store makes durable together.
pub(crate) async fn together<T>(work: Vec<T>) -> Result<(), Status>
where
    T: Future<Output = Result<(), Status>>,
{
    futures::stream::iter(work).buffer_unordered(BOOTSTRAP_CONCURRENT_MAX).try_collect::<()>().await
}

async fn ensure(
    server: &Server,
    (group, plural): (&str, &str),
    (namespace, name): (&str, &str),
    tree: Value,
) -> Result<(), Status> {
    let info = kinds::find(group, "v1", plural).ok_or_else(Status::no_such_path)?;
    if server.storage.get(info, namespace, name).await?.is_some() {
        return Ok(());
    }
    let object = Object::from_value(tree).ok_or_else(|| Status::internal("not an object"))?;
    match registry::create(server, &registry::Create { kind: info, by: By::the_server() }, object)
        .await
    {
        Ok(_) => {
            tracing::info!(resource = plural, ns = namespace, name, "created");
            Ok(())
        }
        Err(status) if status.reason == "AlreadyExists" => {
            tracing::debug!(resource = plural, ns = namespace, name, "another server made it");
            Ok(())
        }
        Err(status) => Err(status),
    }
}
