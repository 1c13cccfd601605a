//! etcd's services, one file each: they check, call one of the two doors, and fill in headers.

mod auth;
mod backup;
mod cluster;
mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub(crate) mod range_stream;
pub(crate) mod session;
mod snapshot;
mod watch;
mod wording;

use std::sync::Arc;

use tokio::sync::watch as channel;
use tonic::{Request, Status};

use crate::{
    auth::Gate,
    config::Config,
    digests::Digests,
    error::Error,
    header::Headers,
    lessor::Lessor,
    members::Members,
    metrics::{Counting, Metrics},
    propose::Proposer,
    raft::Node,
    read::Reader,
    state::State,
    watch::{Context, Hub},
};

/// What the services share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) config: Arc<Config>,
    pub(crate) raft: Node,
    pub(crate) proposer: Proposer,
    pub(crate) reader: Reader,
    pub(crate) gate: Gate,
    pub(crate) state: State,
    pub(crate) hub: Arc<Hub>,
    pub(crate) headers: Headers,
    pub(crate) lessor: Lessor,
    pub(crate) members: Members,
    pub(crate) leader: channel::Receiver<Option<u64>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) disk: crate::checks::disk::Health,
    pub(crate) clock: crate::raft::Clock,
    pub(crate) candidacy: crate::raft::Candidacy,
    pub(crate) digests: Arc<Digests>,
    pub(crate) fence: crate::checks::fence::Fence,
    pub(crate) stopping: tokio_util::sync::CancellationToken,
}

/// True if the client wants an error rather than wait for a leader.
fn needs_leader<T>(request: &Request<T>) -> bool {
    request.metadata().get("hasleader").is_some_and(|value| value == "true")
}

impl Services {
    /// Fails on a fenced member, on a learner, and if the client demands a leader and there is none.
    fn check_leader<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if self.members.is_learner() {
            return Err(Error::NotSupportedForLearner.into());
        }
        self.check_has_leader(request)
    }

    fn check_has_leader<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.fence.check()?;
        if needs_leader(request) && self.leader.borrow().is_none() {
            return Err(Error::NoLeader.into());
        }
        Ok(())
    }

    pub(crate) fn watch_context(&self) -> Context {
        Context {
            hub: self.hub.clone(),
            state: self.state.clone(),
            headers: self.headers.clone(),
            leader: self.leader.clone(),
            progress_every: self.config.watch_progress_interval,
            election: self.config.election,
            fragment_bytes: self.config.max_request_bytes + crate::limits::REQUEST_ENVELOPE_BYTES,
            stopping: self.fence.serving(),
            metrics: self.metrics.watches.clone(),
        }
    }
}

/// All services as one router of the client port.
pub(crate) fn router(services: Services) -> axum::Router {
    use proto::{
        etcdserverpb::{
            auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
            lease_server::LeaseServer, maintenance_server::MaintenanceServer,
            watch_server::WatchServer,
        },
        grpc::health::v1::health_server::HealthServer,
        orlop::backup::v1::backup_server::BackupServer,
        v3electionpb::election_server::ElectionServer,
        v3lockpb::lock_server::LockServer,
    };
    let limit = services.config.max_request_bytes + crate::limits::REQUEST_ENVELOPE_BYTES;
    let kv = KvServer::new(services.clone())
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX);
    let watch = WatchServer::new(services.clone())
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX);
    let (stopping, fence) = (services.stopping.clone(), services.fence.clone());
    let health = health::Healths { stopping, fence };
    let metrics = services.metrics.clone();
    let core = tonic::service::Routes::new(kv)
        .add_service(watch)
        .add_service(LeaseServer::new(services.clone()).max_encoding_message_size(usize::MAX))
        .add_service(ClusterServer::new(services.clone()))
        .add_service(AuthServer::new(services.clone()))
        .add_service(BackupServer::new(services.clone()))
        .add_service(MaintenanceServer::new(services))
        .add_service(HealthServer::new(health));
    // Locks and elections call the services above, as a client would.
    let inside = session::Inside::new(core.clone().into_axum_router());
    core.add_service(LockServer::new(lock::Locks { inside: inside.clone() }))
        .add_service(ElectionServer::new(election::Elections { inside }))
        .into_axum_router()
        .layer(axum::middleware::map_response(wording::as_etcd))
        .layer(Counting::new(metrics.calls()))
}
