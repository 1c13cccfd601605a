//! Listeners: HTTP/1 and HTTP/2 on one port, with or without TLS.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer as _;

use crate::{
    Config,
    auth::CommonName,
    limits,
    metrics::{Metered, Metrics, Traffic, peers::Caller},
    net::{self, TcpListener, TcpStream},
    tls,
};

/// One listening socket and what it serves.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Arc<tls::Server>>,
    pub(crate) router: Router,
    pub(crate) settings: Settings,
}

/// How connections are treated.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Streams that one connection may have open.
    streams: u32,
    /// Time without a sign of the other side before it is pinged, and the time that it has then.
    keepalive: Option<(Duration, Duration)>,
    /// The time that open requests have to end once the port is to close.
    drain: Duration,
    /// Counts the bytes of clients; those of a peer are counted once it has said who it is.
    clients: Option<Arc<Metrics>>,
}

impl Settings {
    /// Peers ping for themselves.
    pub(crate) fn for_peers() -> Self {
        Self {
            streams: limits::STREAMS_PER_CONNECTION_MAX,
            keepalive: None,
            drain: limits::PEER_DRAIN_TIMEOUT,
            clients: None,
        }
    }

    pub(crate) fn for_clients(config: &Config, metrics: &Arc<Metrics>) -> Self {
        Self {
            streams: config.max_concurrent_streams,
            keepalive: config.client_keepalive,
            drain: limits::DRAIN_TIMEOUT,
            clients: Some(metrics.clone()),
        }
    }
}

/// Binds an address; `shared`: other processes may bind it as well.
pub(crate) fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let bound = net::bind(address, shared);
    bound.map_err(|error| io::Error::new(error.kind(), format!("listen on {address}: {error}")))
}

/// Accepts connections until `stop` fires, then lets open requests end.
pub(crate) async fn run(port: Port, stop: CancellationToken) {
    // Fires when open requests had their time: what is left of the connections is dropped.
    let cut = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = port.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, from)) => (stream, from),
            Err(error) => {
                // Out of file descriptors, most likely: others may be closed soon.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (tls, router, stop) = (port.tls.clone(), port.router.clone(), stop.clone());
        let (cut, settings) = (cut.clone(), port.settings.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection(stream, tls, router, (settings, stop)) => {}
                () = cut.cancelled() => {}
            }
            drop(slot);
        });
    }
    connections.close();
    if timeout(port.settings.drain, connections.wait()).await.is_err() {
        tracing::info!(connections = connections.len(), "connections are cut");
        cut.cancel();
        connections.wait().await;
    }
}

async fn connection(
    (stream, from): (TcpStream, SocketAddr),
    tls: Option<Arc<tls::Server>>,
    router: Router,
    (settings, stop): (Settings, CancellationToken),
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    match tls {
        None => serve(stream, router, settings, stop).await,
        Some(tls) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
            match timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    if let Err(why) = tls.check_address(certificates, from).await {
                        tracing::warn!(%from, why, "a connection was refused");
                        return;
                    }
                    let name = certificates.and_then(|chain| CommonName::of(chain.first()?));
                    match name {
                        Some(name) => {
                            serve(stream, Extension(name).layer(router), settings, stop).await;
                        }
                        None => serve(stream, router, settings, stop).await,
                    }
                }
                // A port scanner or a health check that closes at once is nothing to tell of.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    tracing::debug!(%from, %error, "TLS handshake failed");
                }
                Ok(Err(error)) => tracing::warn!(%from, %error, "a connection was refused"),
                Err(_) => tracing::debug!("TLS handshake timed out"),
            }
        }
    }
}

/// Serves a connection, and counts its bytes: a client's, or those of a peer that will say its name.
async fn serve<I, S>(stream: I, service: S, settings: Settings, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<http::Request<hyper::body::Incoming>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S: tower::Service<http::Request<hyper::body::Incoming>, Response = axum::response::Response>,
    S::Future: Send + 'static,
{
    if let Some(metrics) = settings.clients.clone() {
        let stream = Metered::new(stream, Some(Traffic::Client(metrics)));
        return speak(stream, service, settings, stop).await;
    }
    let caller = Arc::new(Caller::default());
    let stream = Metered::new(stream, Some(Traffic::Caller(caller.clone())));
    speak(stream, Extension(caller).layer(service), settings, stop).await;
}

async fn speak<I, S>(stream: I, service: S, settings: Settings, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<http::Request<hyper::body::Incoming>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S: tower::Service<http::Request<hyper::body::Incoming>, Response = axum::response::Response>,
    S::Future: Send + 'static,
{
    let (stream, hand) = cork::cork(stream, limits::CORK);
    let io = TokioIo::new(stream);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADER_TIMEOUT);
    let (every, answer) = settings.keepalive.unzip();
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(every)
        .keep_alive_timeout(answer.unwrap_or(limits::HEADER_TIMEOUT))
        .max_concurrent_streams(settings.streams)
        .max_pending_accept_reset_streams(limits::CALLS_GIVEN_UP_MAX)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .adaptive_window(false);
    let connection = builder.serve_connection_with_upgrades(io, TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = hand.drive(connection.as_mut()) => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            hand.drive(connection).await
        }
    };
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
        Err(error) => tracing::debug!(%error, "a connection ended: it cannot be written to"),
    }
}
