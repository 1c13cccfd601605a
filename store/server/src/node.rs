//! A member: builds the parts in order, runs them, and stops them in reverse.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{FutureExt as _, future::BoxFuture};
use openraft::{
    Raft,
    errors::{InitializeError, RaftError},
    storage::RaftLogStorage as _,
};
use proto::orlop::peer::v1::peer_server::PeerServer;
use store_state_machine::{StateMachine, View};
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::interceptor::InterceptedService;

use crate::{
    Config, InitialState,
    auth::{Gate, Passwords, Tokens},
    bootstrap::{self, DataDir, Identity},
    checks,
    digests::Digests,
    header::Headers,
    http::Content,
    join,
    lessor::{self, Lessor},
    limits, log_place,
    members::{Members, Rules},
    metrics::{Metrics, peers::Peers},
    net::TcpListener,
    pending::Pending,
    propose::Proposer,
    raft::{self, Log, Machine, Network, Node, Peer, Promised},
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
    /// The ports that clients use, and everything else that runs.
    clients: TaskTracker,
    tasks: TaskTracker,
    /// Stops serving clients, then everything else.
    closing: CancellationToken,
    stop: CancellationToken,
    client_addresses: Vec<SocketAddr>,
    dir: DataDir,
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
    tokio::select! {
        () = shutdown.cancelled() => {}
        // As etcd, this is an orderly end: a supervisor must not start the member again.
        () = member.removed() => tracing::error!(
            "{}; the data-dir used by this member must be removed", limits::REMOVED
        ),
    }
    member.stop().await;
    Ok(())
}

/// Who a member is.
struct Own {
    identity: Identity,
    /// Whether this is its first start.
    fresh: bool,
}

async fn identify(
    config: &Config,
    dir: &DataDir,
    tls: &Arc<rustls::ClientConfig>,
) -> anyhow::Result<Own> {
    if let Some(identity) = dir.identity()? {
        return Ok(Own { identity, fresh: false });
    }
    if config.initial_cluster.len().is_multiple_of(2) {
        let members = config.initial_cluster.len();
        tracing::warn!(members, "an even number of members stands no more failures");
    }
    let network = Network::new(0, Some(tls.clone()), config.election, Peers::default());
    if config.initial_state == InitialState::Existing {
        return Ok(Own { identity: join::identify(config, &network).await?, fresh: true });
    }
    let members = bootstrap::initial_members(config);
    let ids: Vec<u64> = members.iter().map(|(id, ..)| *id).collect();
    let own = members.iter().find(|(_, name, _)| *name == config.name);
    let (own, ..) = own.context("--initial-cluster does not name this member")?;
    let identity = Identity::new(bootstrap::cluster_id(&ids), *own);
    join::check_founder(config, &network, &identity).await?;
    Ok(Own { identity, fresh: true })
}

/// A bound socket, whether it is served over TLS, and what it serves.
type Socket = (TcpListener, bool, Content);

struct Ports {
    client: Vec<Socket>,
    peer: Vec<Socket>,
}

async fn bind(config: &Config) -> anyhow::Result<Ports> {
    let mut ports = Ports { client: Vec::new(), peer: Vec::new() };
    let split = !config.listen_client_http.is_empty();
    let main = if split { Content::Grpc } else { Content::All };
    for (urls, content) in [
        (&config.listen_client, main),
        (&config.listen_client_http, Content::Http),
        (&config.listen_metrics, Content::Metrics),
    ] {
        for url in urls {
            let listener = serve::bind(url.address, config.reuse_port)?;
            ports.client.push((listener, url.secure, content));
        }
    }
    for url in &config.listen_peer {
        let listener = serve::bind(url.address, config.reuse_port)?;
        ports.peer.push((listener, url.secure, Content::Grpc));
    }
    Ok(ports)
}

/// Makes the certificates that were asked for, and says what was asked for in vain.
fn prepare(mut config: Config) -> anyhow::Result<Config> {
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let folder = config.data_dir.join("fixtures");
    let clients = [&config.listen_client[..], &config.listen_client_http].concat();
    config.client_tls = tls::complete(&config.client_tls, &folder.join("client"), &clients)
        .context("--auto-tls")?;
    config.peer_tls = tls::complete(&config.peer_tls, &folder.join("peer"), &config.listen_peer)
        .context("--peer-auto-tls")?;
    Ok(config)
}

impl Member {
    /// Starts a member, and returns when it serves (it may still be looking for a leader).
    ///
    /// # Errors
    /// If the data directory, the certificates or the ports cannot be used.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let dir = DataDir::open(&config.data_dir)?;
        let config = Arc::new(prepare(config)?);
        let peer_tls = tls::client(&config.peer_tls).context("peer certificates")?.into();
        let Own { identity, fresh } = identify(&config, &dir, &peer_tls).await?;
        let ports = bind(&config).await?;
        let metrics = Arc::new(Metrics::new());
        let network = network(&identity, &config, peer_tls, &metrics.peers);

        clear(dir.scratch()).await;
        let log_path = log_place::find(&dir, config.wal_dir.as_deref(), fresh)?;
        let (log, machine) = open(log_path, dir.state(), fresh, &metrics).await?;
        if fresh {
            dir.set_identity(&identity)?;
        }
        let view = machine.view();
        checks::compare::at_start(&view, &network, &config, identity.member_id).await?;
        know(&metrics.peers, &view, &config, identity.member_id);
        let hub = Arc::new(Hub::new(view.revision()));
        let pending = Arc::new(Pending::new(identity.member_id));
        let lessor = Lessor::new(config.lease_checkpoint_every, &metrics.store);
        // What was applied before the stop is not applied again: readers must not wait for that.
        let applied_index = checks::compare::applied_index(&view);
        let (applied, applied_seen) = watch::channel(applied_index);
        let digests = Arc::new(Digests::new(applied_index, view.digest()));
        let (reign, reign_seen) = watch::channel(raft::NOBODY);
        let (compacted, compacted_seen) = watch::channel(0);
        let last_index = log.clone().get_log_state().await?.last_log_id.map_or(0, |id| id.index);
        let tokens: Arc<_> =
            Tokens::load(&config.auth_token, last_index).context("--auth-token")?.into();
        let (leader, leader_seen) = watch::channel(None);
        let state = State::new(view, compacted_seen);
        let listeners = raft::machine::Listeners {
            hub: hub.clone(),
            pending: pending.clone(),
            lessor: lessor.clone(),
            applied,
            reign,
            compacted,
            tokens: tokens.clone(),
            digests: digests.clone(),
            metrics: metrics.clone(),
        };
        let (machine, apply) = Machine::start(machine, listeners, dir.scratch())?;
        let settings = raft::settings(&config).context("raft settings")?;
        let raft =
            Raft::new(identity.member_id, settings, network.clone(), log.clone(), machine).await?;
        found(&raft, &config, &identity).await?;

        let headers = Headers::new(identity.cluster_id, identity.member_id);
        let seen = Seen { leader: leader_seen.clone(), reign: reign_seen, applied: applied_seen };
        let (proposer, reader) =
            doors((&raft, log.promised()), &network, pending, seen, &config, &metrics);
        let (closing, stop) = (CancellationToken::new(), CancellationToken::new());
        let members = Members {
            raft: raft.clone(),
            network,
            state: state.clone(),
            proposer: proposer.clone(),
            token: config.initial_token.clone(),
            changing: Arc::default(),
            joins_as_learner: identity.joins_as_learner,
            metrics: metrics.clone(),
            rules: Rules::of(&config),
        };
        let gate = gate(&config, state.clone(), reader.clone(), tokens);
        let disk = checks::disk::Health::new(log.clone(), config.election);
        let fence = checks::fence::Fence::new(&closing, &state, identity.member_id);
        let services = Services {
            clock: raft::Clock::new(config.heartbeat, config.election),
            candidacy: raft::Candidacy::new(raft.clone()),
            config,
            raft: raft.clone(),
            proposer,
            reader,
            gate,
            state,
            hub,
            headers,
            lessor,
            members,
            leader: leader_seen,
            metrics,
            disk,
            digests,
            fence,
            stopping: closing.clone(),
        };
        let mut member = Self {
            services,
            raft,
            log,
            apply,
            clients: TaskTracker::new(),
            tasks: TaskTracker::new(),
            closing,
            stop,
            client_addresses: Vec::new(),
            dir,
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
        let seen = services.metrics.peers.clone();
        let peers = PeerServer::new(peers)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        let peers = InterceptedService::new(peers, move |call| Ok(raft::peers::name(call, &seen)));
        let peers = tonic::service::Routes::new(peers).into_axum_router();
        for (listener, secure, _) in ports.peer {
            let tls = secure.then(|| tls::Server::new(&config.peer_tls, &[b"h2"])).transpose()?;
            let port = Port {
                listener,
                tls: tls.map(Arc::new),
                router: peers.clone(),
                settings: serve::Settings::for_peers(),
            };
            self.tasks.spawn(serve::run(port, self.stop.clone()));
        }
        services.metrics.calls().set(config.extensive_metrics, config.slow_request);
        let grpc = rpc::router(services.clone());
        for (listener, secure, content) in ports.client {
            let address = listener.local_addr()?;
            let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
            let tls = secure.then(|| tls::Server::new(&config.client_tls, alpn)).transpose()?;
            let router = crate::http::routes(services.clone(), &grpc, content, secure);
            let settings = serve::Settings::for_clients(&config, &services.metrics);
            let port = Port { listener, tls: tls.map(Arc::new), router, settings };
            self.clients.spawn(serve::run(port, self.closing.clone()));
            if content == Content::Metrics {
                tracing::info!(%address, secure, "serving metrics");
                continue;
            }
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
        // What these wait for may never come without a quorum: a stop ends them where they are.
        let ends = |task: BoxFuture<'static, ()>| {
            let stop = stop.clone();
            async move {
                let _ended = stop.run_until_cancelled(task).await;
            }
        };
        let clock = services.clock.clone().run(self.raft.clone());
        self.tasks.spawn(ends(clock.boxed()));
        let network = services.members.network.clone();
        let attend = raft::attend::run(self.raft.clone(), network, services.candidacy.clone());
        self.tasks.spawn(ends(attend.boxed()));
        let shorten = raft::shorten::run(self.raft.clone(), self.log.clone());
        self.tasks.spawn(ends(shorten.boxed()));
        self.tasks.spawn(ends(upkeep::publish(services.clone(), stop.clone()).boxed()));
        self.tasks.spawn(ends(checks::disk::watch(services.clone(), stop.clone()).boxed()));
        let fence = checks::fence::watch(services.clone(), self.log.clone(), self.dir.scratch());
        self.tasks.spawn(ends(fence.boxed()));
        self.tasks.spawn(ends(upkeep::probe(services.clone()).boxed()));
        self.tasks.spawn(ends(checks::compare::run(services.clone()).boxed()));
        self.tasks.spawn(ends(checks::digest::run(services.clone()).boxed()));
        self.tasks.spawn(ends(upkeep::tend(services.clone(), stop.clone()).boxed()));
        let lessor = lessor::run(
            services.lessor.clone(),
            (services.state.clone(), services.proposer.clone(), services.reader.clone()),
            services.leader.clone(),
            config.election,
            stop.clone(),
        );
        self.tasks.spawn(ends(lessor.boxed()));
        self.clients.close();
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

    /// How many members vote, as far as this member knows.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.raft.voter_ids().count()
    }

    /// This member's state at this instant.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn glance(&self) -> crate::simulated::Glance {
        let view = self.services.state.view();
        let digest = view.digest();
        crate::simulated::Glance {
            leader: self.leader(),
            applied_index: checks::compare::applied_index(&view),
            revision: view.revision(),
            compact_revision: view.compact_revision(),
            digest: (digest.entries, digest.value),
        }
    }

    /// Returns when this member was removed from the cluster for good.
    pub async fn removed(&self) {
        self.services.members.network.removed().cancelled().await;
    }

    /// Stops in order: clients, leadership, raft, the apply thread, the log.
    pub async fn stop(self) {
        if self.leader() == Some(self.id()) {
            let members = &self.services.members;
            let heir = members.heir(self.services.config.election);
            if let Some(heir) = heir {
                let moved = members.move_leader(heir);
                if !matches!(timeout(limits::HAND_OVER_TIMEOUT, moved).await, Ok(Ok(()))) {
                    tracing::info!("leadership was not handed over; the others will elect");
                }
            }
        }
        // Open requests need the peers, and these need nothing once the requests have ended.
        self.closing.cancel();
        let drained = limits::DRAIN_TIMEOUT + Duration::from_secs(1);
        if timeout(drained, self.clients.wait()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        self.stop.cancel();
        if timeout(limits::PEER_DRAIN_TIMEOUT * 10, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft ended badly");
        }
        let name = self.services.config.name.clone();
        let released = self.services.state.view().released();
        let log_users = self.log.users();
        let (apply, log) = (self.apply, self.log);
        drop((self.services, self.raft));
        apply.stop().await;
        log.closed().await;
        drop(log);
        // Requests that are being dropped, and a flush under way, may hold the files for a moment.
        let closed = || released.is_closed() && log_users.strong_count() == 0;
        let deadline = tokio::time::Instant::now() + limits::DRAIN_TIMEOUT;
        while !closed() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !closed() {
            tracing::warn!("the state or the log is still being read; its files stay open");
        }
        tracing::info!(name, "stopped");
    }
}

fn network(
    identity: &Identity,
    config: &Config,
    tls: Arc<rustls::ClientConfig>,
    metrics: &Peers,
) -> Network {
    metrics.set_own(identity.member_id, config.heartbeat);
    Network::new(identity.cluster_id, Some(tls), config.election, metrics.clone())
}

/// What the doors are told.
struct Seen {
    leader: watch::Receiver<Option<u64>>,
    reign: watch::Receiver<raft::LeaderId>,
    applied: watch::Receiver<u64>,
}

/// The doors for writes and for reads.
fn doors(
    (raft, promised): (&Node, Promised),
    network: &Network,
    pending: Arc<Pending>,
    seen: Seen,
    config: &Config,
    metrics: &Metrics,
) -> (Proposer, Reader) {
    let waits = config.request_timeout();
    let proposer = Proposer::start(
        raft.clone(),
        network.clone(),
        pending,
        (seen.leader.clone(), seen.reign),
        (waits, config.max_request_bytes),
        metrics.raft.proposals_failed.clone(),
    );
    let reader = Reader::start(
        (raft.clone(), promised),
        network.clone(),
        (seen.leader, seen.applied),
        waits,
        metrics.raft.reads.clone(),
    );
    (proposer, reader)
}

fn gate(config: &Config, state: State, reader: Reader, tokens: Arc<Tokens>) -> Gate {
    Gate {
        state,
        reader,
        tokens,
        passwords: Arc::new(Passwords::new(config.bcrypt_cost)),
        by_certificate: config.client_tls.require_client_cert,
    }
}

/// Removes what is left of snapshots that were under way; there may be nothing, or much.
async fn clear(scratch: PathBuf) {
    let _cleared = crate::exec::blocking(|| std::fs::remove_dir_all(scratch)).await;
}

/// What comes from another member is counted as its from the first byte.
fn know(peers: &Peers, view: &View, config: &Config, own: u64) {
    let listed = view.members().into_iter().map(|member| member.id);
    let initial = bootstrap::initial_members(config).into_iter().map(|(id, ..)| id);
    let initial = initial.filter(|_| config.initial_state == InitialState::New);
    for id in listed.chain(initial).filter(|id| *id != own) {
        peers.of(id);
    }
}

async fn open(
    log_path: PathBuf,
    state_path: PathBuf,
    fresh: bool,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Log, StateMachine)> {
    let metrics = metrics.clone();
    let open = move || checks::start::open(&log_path, &state_path, fresh, metrics);
    crate::exec::blocking(open).await?
}

/// Begins the cluster, if this is one of its first members and that was not done: a crash may have come
/// between this and the identity. Every initial member writes the same first membership, so none needs to
/// be asked first; who joins later is told by the leader.
async fn found(raft: &Node, config: &Config, identity: &Identity) -> anyhow::Result<()> {
    let initial = bootstrap::initial_members(config);
    let ids: Vec<u64> = initial.iter().map(|(id, ..)| *id).collect();
    let is_founder = config.initial_state == InitialState::New
        && bootstrap::cluster_id(&ids) == identity.cluster_id
        && ids.contains(&identity.member_id);
    if raft.is_initialized().await? {
        return Ok(());
    }
    if !is_founder {
        tracing::info!("this member founds no cluster: it waits for a leader that knows it");
        return Ok(());
    }
    let members: BTreeMap<u64, Peer> =
        initial.into_iter().map(|(id, _, urls)| (id, Peer { urls })).collect();
    match raft.initialize(members).await {
        // It has already heard from a leader.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(anyhow::anyhow!("cannot start the cluster: {error}")),
    }
}

#[cfg(test)]
#[path = "checks/stuck_disk_test.rs"]
mod stuck_disk_test;

#[cfg(test)]
#[path = "first_start_test.rs"]
mod first_start_test;
