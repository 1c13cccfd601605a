//! A server in somebody else's process: on a store that is given to it, reached without a network.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use store_client::Client;
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::handlers;
use crate::limits::{IN_PROCESS_BUFFER_BYTES, IN_PROCESS_STREAMS_MAX, READY_LOOK, READY_WAIT_MAX};
use crate::pipeline::{self, Peer};
use crate::server::{self, Running};
use crate::state::Server;

/// Starts a server on `store`, whatever the configuration says of one; see [`crate::start`].
///
/// # Errors
/// As for [`crate::run`].
pub async fn start_on(
    config: Config,
    store: Client,
    shutdown: CancellationToken,
) -> anyhow::Result<Running> {
    server::start_with(config, store, shutdown).await
}

impl Running {
    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_WAIT_MAX;
        while !handlers::is_ready(&self.server).await {
            if Instant::now() > end || self.server.shutdown.is_cancelled() {
                bail!("the API server does not become ready");
            }
            tokio::time::sleep(READY_LOOK).await;
        }
        Ok(())
    }

    /// A connection to the server through memory, for HTTP/2 in clear text. What is asked on it is
    /// authenticated as on any other: by a token.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(IN_PROCESS_BUFFER_BYTES);
        tokio::spawn(serve(self.server.clone(), far));
        near
    }
}

async fn serve(server: Arc<Server>, stream: DuplexStream) {
    /// What is under way gets so long at the end.
    const GRACE: Duration = Duration::from_millis(100);

    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let peer = Arc::new(Peer { address, certificate: None, sockets: TaskTracker::new() });
    let shutdown: CancellationToken = server.shutdown.clone();
    let service = service_fn(move |request| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(pipeline::serve(server, peer, request).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(IN_PROCESS_STREAMS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the connection in this process ended");
    }
}
