//! Service `kubernetes` in `default`: the servers' own, with the endpoints of those that live.
//!
//! Every server holds a lease and, again and again, writes down who holds one: a server that dies
//! is gone from the endpoints when its lease has ended, one that stops takes itself out at once.
//! The Service itself is corrected once, at start: its address stays, its port leads to where this
//! server listens now.

mod leases;
mod shape;

use std::time::Duration;

use api_machinery::strategy::{Creation, prepare_for_create, prepare_for_update};
use api_machinery::{Object, ResourceInfo, Status, kinds, time};
use serde_json::json;

use self::leases::Leases;
use self::shape::NAME;
use crate::handlers::Subresource;
use crate::limits::{ENDPOINTS_GIVE_BACK_TIMEOUT, UPDATE_TRIES_MAX};
use crate::registry::{self, By, Retry};
use crate::state::Server;
use crate::storage::{Outcome, Write};

const NAMESPACE: &str = "default";
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// How the servers of a cluster know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointTimes {
    /// A server that has not been heard of for this long is gone (upstream's 15 s).
    pub ttl: Duration,
    /// The endpoints are looked at this often (upstream's 10 s).
    pub interval: Duration,
}

impl Default for EndpointTimes {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(15), interval: Duration::from_secs(10) }
    }
}

/// Runs until the server stops, and takes it out of the endpoints then.
pub(crate) async fn run(server: &Server) {
    let times = server.config.endpoint_times;
    let port = server.address.rsplit(':').next().and_then(|port| port.parse().ok());
    let mut this = Reconciler {
        server,
        port: port.unwrap_or(6443),
        leases: Leases::new(server.storage.clone(), server.config.advertise, times.ttl),
    };
    let (mut is_first, mut backoff) = (true, BACKOFF_MIN);
    loop {
        let wait = match this.reconcile(is_first).await {
            Ok(()) => {
                (is_first, backoff) = (false, BACKOFF_MIN);
                times.interval
            }
            Err(error) => {
                tracing::warn!(%error, "unable to sync kubernetes service");
                backoff = (backoff * 2).min(times.interval);
                backoff
            }
        };
        tokio::select! {
            () = server.shutdown.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    let given_back = tokio::time::timeout(ENDPOINTS_GIVE_BACK_TIMEOUT, this.give_back()).await;
    match given_back {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "endpoints stay until the lease ends"),
        Err(_) => tracing::warn!("endpoints stay until the lease ends: the store is too slow"),
    }
}

struct Reconciler<'a> {
    server: &'a Server,
    port: u16,
    leases: Leases,
}

impl Reconciler<'_> {
    async fn reconcile(&mut self, is_first: bool) -> Result<(), Status> {
        self.service(is_first).await?;
        self.leases.refresh().await?;
        let addresses = self.leases.list().await?;
        // Our own was written just now: without it the list is not to be trusted.
        if addresses.is_empty() {
            return Err(Status::internal("no API server addresses are listed in the store"));
        }
        self.endpoints(&addresses, is_first).await
    }

    async fn give_back(&mut self) -> Result<(), Status> {
        self.leases.give_back().await?;
        let addresses = self.leases.list().await?;
        self.endpoints(&addresses, false).await
    }

    async fn service(&self, is_first: bool) -> Result<(), Status> {
        let info = info("", "services")?;
        let found = self.server.storage.get(info, NAMESPACE, NAME).await?;
        let ports = shape::service_ports(self.port);
        let Some(found) = found else {
            let tree = json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": NAME,
                    "namespace": NAMESPACE,
                    "labels": {"component": "apiserver", "provider": "kubernetes"},
                },
                "spec": {
                    "type": "ClusterIP",
                    "clusterIP": self.server.config.service_range.first().to_string(),
                    "ipFamilyPolicy": "SingleStack",
                    "sessionAffinity": "None",
                    "ports": ports,
                },
            });
            let service = Object::from_value(tree).unwrap_or_default();
            return match registry::create(
                self.server,
                &registry::Create { kind: info, by: By::the_server() },
                service,
            )
            .await
            {
                Err(status) if status.reason != "AlreadyExists" => Err(status),
                Ok(_) | Err(_) => Ok(()),
            };
        };
        let is_right = found.object.at(&["spec", "ports"]) == Some(&ports)
            && found.object.text(&["spec", "type"]) == "ClusterIP";
        if is_right || !is_first {
            return Ok(());
        }
        let request = registry::Update {
            kind: info,
            namespace: NAMESPACE,
            name: NAME,
            subresource: Subresource::None,
            by: By::the_server(),
            retry: Retry::Always,
        };
        let change = |current: &Object| {
            let mut next = current.clone();
            next.set(&["spec", "ports"], ports.clone());
            next.set(&["spec", "type"], "ClusterIP".into());
            Ok(next)
        };
        tracing::info!(port = self.port, "service kubernetes leads here now");
        registry::update(self.server, &request, change).await.map(|_| ())
    }

    async fn endpoints(&self, addresses: &[String], with_ports: bool) -> Result<(), Status> {
        let (endpoints, slices) =
            (info("", "endpoints")?, info("discovery.k8s.io", "endpointslices")?);
        let port = self.port;
        let written = self
            .ensure(endpoints, |current| shape::endpoints(current, addresses, port, with_ports));
        let Some(written) = written.await? else { return Ok(()) };
        self.ensure(slices, |current| shape::slice(current, &written)).await?;
        Ok(())
    }

    /// Writes what `next` wants, if it wants anything, and returns what is there then. These are
    /// the server's own objects, which may hold what nobody else may write: loopback addresses.
    async fn ensure(
        &self,
        info: &'static ResourceInfo,
        next: impl Fn(Option<&Object>) -> Option<Object>,
    ) -> Result<Option<Object>, Status> {
        let storage = &self.server.storage;
        for _ in 0..UPDATE_TRIES_MAX {
            let found = storage.get(info, NAMESPACE, NAME).await?;
            let current = found.as_ref().map(|found| &found.object);
            let Some(mut wanted) = next(current) else { return Ok(found.map(|one| one.object)) };
            let expected = match &found {
                Some(found) if wanted.uid() == found.object.uid() => {
                    prepare_for_update(info, &mut wanted, &found.object);
                    found.revision
                }
                Some(found) => {
                    let key = storage.key(info, NAMESPACE, NAME);
                    storage.commit(&key, found.revision, Write::Delete).await?;
                    continue;
                }
                None => {
                    let now = time::seconds(clock::now());
                    let uid = uuid::Uuid::new_v4().to_string();
                    prepare_for_create(info, &mut wanted, Creation { uid: &uid, now: &now });
                    0
                }
            };
            match storage.put(info, &mut wanted, expected).await? {
                Outcome::Done(_) => return Ok(Some(wanted)),
                // Another server was faster, perhaps with the same.
                Outcome::Conflict(_) => {}
            }
        }
        Err(Status::conflict(&info.group_resource(), NAME, Status::MODIFIED))
    }
}

fn info(group: &str, plural: &str) -> Result<&'static ResourceInfo, Status> {
    kinds::find(group, "v1", plural).ok_or_else(Status::no_such_path)
}
