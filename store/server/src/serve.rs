//! Listeners: HTTP/1 and HTTP/2 on one port, with or without TLS.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer as _;

use crate::{Config, auth::CommonName, limits, metrics::Metrics, tls};

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
    /// Counts bytes.
    metrics: Option<Arc<Metrics>>,
}

impl Settings {
    /// Peers ping for themselves.
    pub(crate) fn for_peers() -> Self {
        Self {
            streams: limits::STREAMS_PER_CONNECTION_MAX,
            keepalive: None,
            drain: limits::PEER_DRAIN_TIMEOUT,
            metrics: None,
        }
    }

    pub(crate) fn for_clients(config: &Config, metrics: &Arc<Metrics>) -> Self {
        Self {
            streams: config.max_concurrent_streams,
            keepalive: config.client_keepalive,
            drain: limits::DRAIN_TIMEOUT,
            metrics: Some(metrics.clone()),
        }
    }
}

/// Binds an address; `shared`: other processes may bind it as well.
pub(crate) fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A member that restarts gets its port back at once.
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(shared)?;
        socket.bind(address)?;
        socket.listen(limits::LISTEN_BACKLOG)
    };
    bound().map_err(|error| io::Error::new(error.kind(), format!("listen on {address}: {error}")))
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
    let io = TokioIo::new(Metered { stream, metrics: settings.metrics });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADER_TIMEOUT);
    let (every, answer) = settings.keepalive.unzip();
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(every)
        .keep_alive_timeout(answer.unwrap_or(limits::HEADER_TIMEOUT))
        .max_concurrent_streams(settings.streams)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .adaptive_window(false);
    let connection = builder.serve_connection_with_upgrades(io, TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}

/// A connection whose bytes are counted.
struct Metered<S> {
    stream: S,
    metrics: Option<Arc<Metrics>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(metrics) = &self.metrics {
            metrics.received.inc_by((buffer.filled().len() - before) as u64);
        }
        polled
    }
}

impl<S> Metered<S> {
    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        if let (Some(metrics), Poll::Ready(Ok(bytes))) = (&self.metrics, polled) {
            metrics.sent.inc_by(*bytes as u64);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
