//! Listens, lets connections in, and stops in order.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use hyper_util::server::graceful::GracefulShutdown;
use store_client::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::{self, Room};
use crate::limits::{ACCEPT_RETRY, DRAIN_TIMEOUT};
use crate::state::Server;
use crate::{admission, authz, bootstrap, custom, encryption, storage};
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
    let at_rest = watch_cache::rest(server.caches.clone());
    let stop = shutdown.clone();
    tasks.spawn(async move {
        let _ended = stop.run_until_cancelled(at_rest).await;
    });
    if let Some(config) = server.config.store.encryption.clone() {
        tasks.spawn(encryption::run(server.clone(), config));
    }
    let (storage, caches) = (server.storage.clone(), server.caches.clone());
    tasks.spawn(storage::compaction::run(storage, caches, shutdown.clone()));
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
    let mut room = Room::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = room.enter() else { continue };
                let from = (stream, address.ip());
                let served =
                    connection::serve(server.clone(), from, door.clone(), graceful.watcher());
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most often: others must close before it can go on.
                room.refused(&format!("accepting a connection failed: {error}"));
                tokio::time::sleep(ACCEPT_RETRY).await;
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
