//! A member: builds the parts in order, runs them, and stops them in reverse.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use openraft::{
    Raft,
    errors::{InitializeError, RaftError},
};
use proto::orlop::peer::v1::peer_server::PeerServer;
use store_state_machine::StateMachine;
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, InitialState,
    bootstrap::{self, DataDir, Identity},
    header::Headers,
    lessor::{self, Lessor},
    limits,
    members::Members,
    metrics::Metrics,
    pending::Pending,
    propose::Proposer,
    raft::{self, Log, Machine, Network, Node, Peer},
    read::Reader,
    rpc::{self, Services},
    serve::{self, Port},
    state::State,
    tls, upkeep,
    watch::Hub,
};

/// A running member.
pub struct Member {
    services: Services,
    raft: Node,
    log: Log,
    apply: raft::machine::Handle,
    tasks: TaskTracker,
    /// Stops serving clients, then everything else.
    closing: CancellationToken,
    stop: CancellationToken,
    client_addresses: Vec<SocketAddr>,
    _dir: DataDir,
}

/// Runs a member until `shutdown` fires.
///
/// # Errors
/// If it cannot start; the message says what to change.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let member = tokio::select! {
        member = Member::start(config) => member?,
        () = shutdown.cancelled() => return Ok(()),
    };
    shutdown.cancelled().await;
    member.stop().await;
    Ok(())
}

fn identify(config: &Config, dir: &DataDir) -> anyhow::Result<(Identity, bool)> {
    if let Some(identity) = dir.identity()? {
        return Ok((identity, false));
    }
    let members = bootstrap::initial_members(config);
    let ids: Vec<u64> = members.iter().map(|(id, ..)| *id).collect();
    let own = members.iter().find(|(_, name, _)| *name == config.name);
    let (own, ..) = own.context("--initial-cluster does not name this member")?;
    Ok((Identity::new(bootstrap::cluster_id(&ids), *own), true))
}

struct Ports {
    client: Vec<(tokio::net::TcpListener, bool)>,
    peer: Vec<(tokio::net::TcpListener, bool)>,
}

async fn bind(config: &Config) -> anyhow::Result<Ports> {
    let mut ports = Ports { client: Vec::new(), peer: Vec::new() };
    for url in &config.listen_client {
        ports.client.push((serve::bind(url.address).await?, url.secure));
    }
    for url in &config.listen_peer {
        ports.peer.push((serve::bind(url.address).await?, url.secure));
    }
    Ok(ports)
}

impl Member {
    /// Starts a member, and returns when it serves (it may still be looking for a leader).
    ///
    /// # Errors
    /// If the data directory, the certificates or the ports cannot be used.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let dir = DataDir::open(&config.data_dir)?;
        let (identity, fresh) = identify(&config, &dir)?;
        if fresh && config.initial_state == InitialState::Existing {
            anyhow::bail!(
                "--initial-cluster-state=existing: joining a running cluster is not possible yet"
            );
        }
        if fresh && config.initial_cluster.len().is_multiple_of(2) {
            let members = config.initial_cluster.len();
            tracing::warn!(members, "an even number of members stands no more failures");
        }
        let ports = bind(&config).await?;
        let peer_tls = tls::client(&config.peer_tls).context("peer certificates")?;
        let network = Network::new(identity.cluster_id, Some(Arc::new(peer_tls)), config.election);
        let metrics = Arc::new(Metrics::new());

        drop(std::fs::remove_dir_all(dir.scratch()));
        let opened = open(&dir, &metrics).await?;
        if fresh {
            dir.set_identity(&identity)?;
        }
        let (log, machine) = opened;
        let view = machine.view();
        let hub = Arc::new(Hub::new(view.revision()));
        let pending = Arc::new(Pending::new(identity.member_id));
        let lessor = Lessor::default();
        let (applied, applied_seen) = watch::channel(0);
        let (compacted, compacted_seen) = watch::channel(0);
        let (leader, leader_seen) = watch::channel(None);
        let state = State::new(view, compacted_seen);
        let listeners = raft::machine::Listeners {
            hub: hub.clone(),
            pending: pending.clone(),
            lessor: lessor.clone(),
            applied,
            compacted,
            metrics: metrics.clone(),
        };
        let (machine, apply) = Machine::start(machine, listeners, dir.scratch())?;
        let settings = raft::settings(&config).context("raft settings")?;
        let raft =
            Raft::new(identity.member_id, settings, network.clone(), log.clone(), machine).await?;
        if fresh {
            initialize(&raft, &config).await?;
        }

        let headers = Headers::new(identity.cluster_id, identity.member_id);
        let waits = config.request_timeout();
        let proposer = Proposer::start(
            raft.clone(),
            network.clone(),
            pending,
            leader_seen.clone(),
            (waits, config.max_request_bytes),
        );
        let reader =
            Reader::start(raft.clone(), network.clone(), leader_seen.clone(), applied_seen, waits);
        let (closing, stop) = (CancellationToken::new(), CancellationToken::new());
        let members = Members {
            raft: raft.clone(),
            network,
            state: state.clone(),
            proposer: proposer.clone(),
            token: config.initial_token.clone(),
        };
        let services = Services {
            config,
            raft: raft.clone(),
            proposer,
            reader,
            state,
            hub,
            headers,
            lessor,
            members,
            leader: leader_seen,
            metrics,
            stopping: closing.clone(),
        };
        let mut member = Self {
            services,
            raft,
            log,
            apply,
            tasks: TaskTracker::new(),
            closing,
            stop,
            client_addresses: Vec::new(),
            _dir: dir,
        };
        member.spawn(ports, leader)?;
        Ok(member)
    }

    fn spawn(&mut self, ports: Ports, leader: watch::Sender<Option<u64>>) -> anyhow::Result<()> {
        let services = &self.services;
        let config = services.config.clone();
        let peers = raft::peers::Peers {
            services: services.clone(),
            scratch: config.data_dir.join("snapshots"),
        };
        let peers = PeerServer::new(peers)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        let peers = tonic::service::Routes::new(peers).into_axum_router();
        for (listener, secure) in ports.peer {
            let tls = secure.then(|| tls::Server::new(&config.peer_tls, &[b"h2"])).transpose()?;
            let port = Port { listener, tls: tls.map(Arc::new), router: peers.clone() };
            self.tasks.spawn(serve::run(port, self.stop.clone()));
        }
        let clients = crate::http::routes(services.clone(), rpc::router(services.clone()));
        for (listener, secure) in ports.client {
            let address = listener.local_addr()?;
            let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
            let tls = secure.then(|| tls::Server::new(&config.client_tls, alpn)).transpose()?;
            let port = Port { listener, tls: tls.map(Arc::new), router: clients.clone() };
            self.tasks.spawn(serve::run(port, self.closing.clone()));
            self.client_addresses.push(address);
            tracing::info!(%address, secure, name = config.name, "ready to serve client requests");
        }
        let stop = &self.stop;
        self.tasks.spawn(upkeep::follow(
            self.raft.clone(),
            leader,
            services.headers.clone(),
            services.metrics.clone(),
            stop.clone(),
        ));
        self.tasks.spawn(upkeep::publish(services.clone(), stop.clone()));
        self.tasks.spawn(upkeep::tend(services.clone(), stop.clone()));
        self.tasks.spawn(lessor::run(
            services.lessor.clone(),
            (services.state.clone(), services.proposer.clone(), services.reader.clone()),
            services.leader.clone(),
            (services.headers.member_id(), config.election),
            stop.clone(),
        ));
        self.tasks.close();
        Ok(())
    }

    /// Where clients are served.
    #[must_use]
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// This member's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.services.headers.member_id()
    }

    /// The leader, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        *self.services.leader.borrow()
    }

    /// Stops in order: clients, leadership, raft, the apply thread, the log.
    pub async fn stop(self) {
        if self.leader() == Some(self.id()) {
            let voters: Vec<u64> = self.raft.voter_ids().collect();
            let other = voters.into_iter().find(|voter| *voter != self.id());
            if let Some(other) = other {
                let moved = self.services.members.move_leader(other);
                if !matches!(timeout(limits::HAND_OVER_TIMEOUT, moved).await, Ok(Ok(()))) {
                    tracing::info!("leadership was not handed over; the others will elect");
                }
            }
        }
        self.closing.cancel();
        self.stop.cancel();
        if timeout(limits::DRAIN_TIMEOUT + Duration::from_secs(1), self.tasks.wait()).await.is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft ended badly");
        }
        let (mut apply, log) = (self.apply, self.log);
        let closed = tokio::task::spawn_blocking(move || {
            apply.stop();
            log.close();
        });
        if closed.await.is_err() {
            tracing::error!("closing the disk failed");
        }
        tracing::info!(name = self.services.config.name, "stopped");
    }
}

async fn open(dir: &DataDir, metrics: &Arc<Metrics>) -> anyhow::Result<(Log, StateMachine)> {
    let (log_path, state_path, metrics) = (dir.log(), dir.state(), metrics.clone());
    tokio::task::spawn_blocking(move || {
        let log = Log::open(&log_path, move |took| metrics.synced(took)).context("raft log")?;
        let options = store_state_machine::Options::default();
        let machine = StateMachine::open(&state_path, &options).context("state")?;
        Ok((log, machine))
    })
    .await?
}

/// Every initial member writes the same first membership, so none needs to be asked first.
async fn initialize(raft: &Node, config: &Config) -> anyhow::Result<()> {
    let members: BTreeMap<u64, Peer> = bootstrap::initial_members(config)
        .into_iter()
        .map(|(id, _, urls)| (id, Peer { urls }))
        .collect();
    match raft.initialize(members).await {
        // It has already heard from a leader.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(anyhow::anyhow!("cannot start the cluster: {error}")),
    }
}
