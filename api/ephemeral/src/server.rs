//! A server on threads of its own, from its start to its end.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api_server::{Config, Running, TokenUser};
use clock::Clock;
use jiff::Timestamp;
use kube::Client;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::certificates::{Authority, Pair};
use crate::identity::{self, Identity};
use crate::limits::{START_MAX, STOP_MAX, THREADS};
use crate::options::Options;
use crate::{controllers, manifests};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const MASTERS: &str = "system:masters";

/// A running server. It stops when this is dropped.
pub struct Server {
    identity: Identity,
    kubeconfig: String,
    clock: Clock,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and tokens must never reach a log.
        f.debug_struct("Server").field("url", &self.identity.url).finish_non_exhaustive()
    }
}

/// What is made before the server runs.
struct Plan {
    config: Config,
    controllers: Option<api_controllers::Config>,
    objects: Vec<kube::api::DynamicObject>,
    /// The token of the controllers.
    inner_token: String,
}

impl Server {
    /// Starts a server and returns when it is ready. Call it on any runtime: it has its own.
    ///
    /// # Errors
    /// When an option cannot be used, a port is taken or an object is refused.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let (clock, shutdown) = (Clock::new(), CancellationToken::new());
        let (said, says) = oneshot::channel();
        let inner = (clock.clone(), shutdown.clone());
        let thread = std::thread::Builder::new()
            .name("ephemeral".to_owned())
            .spawn(move || live(options, inner, said))
            .context("cannot start a thread")?;
        // Dropped with this future, too, the server stops.
        let stop = shutdown.clone().drop_guard();
        let started = tokio::time::timeout(START_MAX, says).await;
        let started = started.context("the server does not start in time")?;
        let identity = started.context("the server's thread has ended")??;
        stop.disarm();
        let kubeconfig = identity.kubeconfig();
        Ok(Self { identity, kubeconfig, clock, shutdown, thread: Some(thread) })
    }

    /// Where it is: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.identity.url
    }

    /// The text of a kubeconfig of an administrator, with everything in it.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// The CA of its serving certificate, PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.identity.ca
    }

    /// A bearer token of an administrator.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.identity.token
    }

    /// A client certificate of an administrator and its key, PEM.
    #[must_use]
    pub fn client_certificate(&self) -> (&str, &str) {
        (&self.identity.client.certificate, &self.identity.client.key)
    }

    /// Moves its time forward: tokens, events, finished jobs, leases and the like end when they would.
    /// What ends by a controller's hand is gone a moment after this returns.
    ///
    /// # Errors
    /// When it would be more than 50 years ahead.
    pub fn advance(&self, by: Duration) -> Result<Timestamp, clock::TooFar> {
        self.clock.advance(by)
    }

    /// What time it is there.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stops it, and waits until its port is free.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // It ends by itself: see `live`.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// H1: the whole life of a server, on a thread of its own with a runtime of its own.
fn live(
    options: Options,
    (clock, shutdown): (Clock, CancellationToken),
    said: oneshot::Sender<anyhow::Result<Identity>>,
) {
    clock.enter();
    let runtime = match runtime(clock) {
        Ok(runtime) => runtime,
        Err(error) => {
            // Who asked may have gone.
            let _ = said.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        match begin(options, &shutdown).await {
            Ok((identity, running)) => {
                let _ = said.send(Ok(identity));
                shutdown.cancelled().await;
                if tokio::time::timeout(STOP_MAX, running.stopped()).await.is_err() {
                    tracing::warn!("the server does not stop in time, it is ended");
                }
            }
            Err(error) => {
                shutdown.cancel();
                let _ = said.send(Err(error));
            }
        }
    });
    runtime.shutdown_background();
}

fn runtime(clock: Clock) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("ephemeral")
        .on_thread_start(move || clock.enter())
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

async fn begin(
    options: Options,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Identity, Running)> {
    let began = Instant::now();
    let authority = Authority::new()?;
    let client = authority.client("admin", MASTERS)?;
    let token = identity::token();
    let plan = plan(options, &authority, &token)?;
    let address = plan.config.listen.ip();
    let planned = Instant::now();
    let store = store_memory::Memory::start()?;
    let running = api_server::start_on(plan.config, store.client(), shutdown.clone()).await?;
    let listens = Instant::now();
    running.ready().await?;
    let ready = Instant::now();
    let inner = controllers::client(&running, &plan.inner_token).await?;
    prepare(inner, plan.controllers, plan.objects, shutdown).await?;
    // What is looked at when a start takes long.
    tracing::info!(
        keys = ?(planned - began),
        server = ?(listens - planned),
        api = ?(ready - listens),
        controllers_and_objects = ?ready.elapsed(),
        "ready"
    );
    let reached = SocketAddr::new(reached(address), running.address.port());
    let url = format!("https://{reached}");
    Ok((Identity { url, ca: authority.certificate, client, token }, running))
}

/// Starts the controllers, and makes what is to be there. H3
async fn prepare(
    client: Client,
    wanted: Option<api_controllers::Config>,
    objects: Vec<kube::api::DynamicObject>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(config) = wanted {
        let names = config.controllers.clone();
        tokio::spawn(api_controllers::run_with(client.clone(), config, shutdown.clone()));
        controllers::made(&client, &names).await?;
    }
    manifests::install(&client, objects).await
}

fn plan(options: Options, authority: &Authority, token: &str) -> anyhow::Result<Plan> {
    let Options { mut flags, controllers, definitions, manifests } = options;
    let address = flags.bind_address;
    let Pair { certificate, key } = authority.serving(names(address, flags.advertise_address))?;
    flags.serving =
        Some(api_server::Identity { certificate: certificate.into_bytes(), key: key.into_bytes() });
    // It is not reached: the store is given.
    flags.etcd_servers = vec!["memory:".to_owned()];
    if flags.service_account_issuer.is_empty() {
        flags.service_account_issuer.push(ISSUER.to_owned());
    }
    let mut config = flags.into_config()?;
    config.client_ca = Some(authority.certificate.clone().into_bytes());
    if config.service_accounts.signing_key.is_none() {
        let key = rcgen::KeyPair::generate().context("cannot make a private key")?;
        config.service_accounts.signing_key = Some(key.serialize_pem().into_bytes());
    }
    let inner_token = identity::token();
    let user = |name: &str| TokenUser {
        name: name.to_owned(),
        uid: String::new(),
        groups: vec![MASTERS.to_owned()],
    };
    config.tokens.insert(token.to_owned(), user("admin"));
    config.tokens.insert(inner_token.clone(), user("system:kube-controller-manager"));
    let none = controllers.iter().all(|name| name.is_empty());
    let controllers = match none {
        true => None,
        false => Some(controllers::config(&controllers, &authority.certificate)?),
    };
    let mut objects = manifests::read(&definitions)?;
    objects.extend(manifests::read(&manifests)?);
    Ok(Plan { config, controllers, objects, inner_token })
}

/// Everything that a client on this machine or a pod may call the server.
fn names(address: IpAddr, advertised: Option<IpAddr>) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned));
    for one in [Some(address), advertised].into_iter().flatten() {
        if !one.is_unspecified() && !names.contains(&one.to_string()) {
            names.push(one.to_string());
        }
    }
    names
}

/// Where a server that listens on `address` is reached from this machine.
fn reached(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(one) if one.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(one) if one.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}
