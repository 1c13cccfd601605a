//! Listens, shakes hands, serves connections, and stops in order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use store_client::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::limits::{DRAIN_TIMEOUT, HEADER_READ_TIMEOUT, HTTP2_STREAMS_MAX, TLS_HANDSHAKE_TIMEOUT};
use crate::state::Server;
use crate::{admission, authn, authz, bootstrap, custom, encryption, pipeline, storage};
use crate::{tls, watch_cache};

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    /// Where it listens; the port is the real one when 0 was asked for.
    pub address: SocketAddr,
    tasks: TaskTracker,
    pub(crate) server: Arc<Server>,
}

impl Running {
    /// Waits until everything has stopped after the shutdown token fired.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

/// Runs until `shutdown` fires; then takes no new connections and lets open ones finish.
///
/// # Errors
/// The certificates are unusable or the address cannot be listened on.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = start(config, shutdown).await?;
    running.stopped().await;
    Ok(())
}

/// Starts the server and returns when it listens; it is ready when `/readyz` says so.
///
/// # Errors
/// As for [`run`].
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Running> {
    let store = storage::connect(&config.store)?;
    start_with(config, store, shutdown).await
}

pub(crate) async fn start_with(
    config: Config,
    store: Client,
    shutdown: CancellationToken,
) -> anyhow::Result<Running> {
    let door = tls::server(&config)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let advertised = SocketAddr::new(config.advertise, address.port()).to_string();
    let server = Server::new(config, advertised, store, shutdown.clone())?;

    let tasks = TaskTracker::new();
    tasks.spawn(watch_cache::run(server.storage.clone(), server.caches.clone(), shutdown.clone()));
    if let Some(config) = server.config.store.encryption.clone() {
        tasks.spawn(encryption::run(server.clone(), config));
    }
    tasks.spawn(storage::compaction::run(server.storage.clone(), shutdown.clone()));
    tasks.spawn(admission::policy::run(server.clone(), shutdown.clone()));
    tasks.spawn(bootstrap::run(server.clone()));
    if server.config.authorization.contains(&authz::Mode::Node) {
        tasks.spawn(authz::follow_nodes(server.clone()));
    }
    tasks.spawn(custom::run(server.clone()));
    tasks.spawn(accept(server.clone(), listener, door, shutdown));
    tasks.close();
    tracing::info!(%address, "ready to serve API requests");
    Ok(Running { address, tasks, server })
}

async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    door: tls::Door,
    shutdown: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let watcher = graceful.watcher();
                let from = (stream, address.ip());
                tokio::spawn(connection(server.clone(), from, door.clone(), watcher));
            }
            Err(error) => {
                // Out of file descriptors, most often: others must close before it can go on.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::info!("connections were still open at the end of the drain time");
    }
    if let Some(audit) = &server.audit {
        audit.flush().await;
    }
}

async fn connection(
    server: Arc<Server>,
    (stream, address): (TcpStream, IpAddr),
    door: tls::Door,
    watcher: Watcher,
) {
    // Small frames of watches must not wait for more.
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(door.config).accept(stream);
    let stream = match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = authn::Certificate::of(chain, door.verifier.as_deref());
    let peer = Arc::new(pipeline::Peer { address, certificate });
    let service = service_fn(move |request| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(pipeline::serve(server, peer, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(HTTP2_STREAMS_MAX);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(served.into_owned()).await {
        tracing::debug!(%error, "connection ended");
    }
}
