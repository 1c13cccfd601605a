//! One connection of a client, from its handshake to its end.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L1 | A connection over which no request has come within `HEADER_READ_TIMEOUT` is closed. |
//! | L2 | A connection whose other end takes nothing for `WRITE_STALL_TIMEOUT` is closed, with all that waits for it. |
//! | L3 | Connections never take the last `FILES_RESERVED` files of the process: those above are closed at once. |

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::Watcher;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::limits::{
    CONNECTIONS_MIN, CORK, FILES_RESERVED, HEADER_LIST_BYTES_MAX, HEADER_READ_TIMEOUT, HEADERS_MAX,
    HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, HTTP2_SEND_BYTES_MAX, HTTP2_STREAMS_GIVEN_UP_MAX,
    HTTP2_STREAMS_MAX, REFUSALS_LOG_INTERVAL, TCP_KEEPALIVE_S, TLS_HANDSHAKE_TIMEOUT,
    WRITE_STALL_TIMEOUT,
};
use crate::state::Server;
use crate::{authn, pipeline, tls};

/// How long clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the headers of a request are there.
    pub asking: Duration,
    /// Until something of what is written for them is taken.
    pub taking: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { asking: HEADER_READ_TIMEOUT, taking: WRITE_STALL_TIMEOUT }
    }
}

/// Who may come in: as many as there are files for. L3.
#[derive(Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    files: u64,
    last_refusal: Option<Instant>,
}

impl Room {
    /// Takes as many files as the system gives.
    pub(crate) fn new() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        // As Go does for each of its programs.
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        let files = if raised { hard } else { soft };
        let count = files.saturating_sub(FILES_RESERVED).max(CONNECTIONS_MIN);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(count)), files, last_refusal: None }
    }

    /// A place for one connection, until it is dropped. A refusal is said in the log, now and then.
    pub(crate) fn enter(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Some(place);
        }
        self.refused("too many connections are open");
        None
    }

    /// Says that somebody was not let in.
    pub(crate) fn refused(&mut self, why: &str) {
        let is_new = self.last_refusal.is_none_or(|last| last.elapsed() > REFUSALS_LOG_INTERVAL);
        if is_new {
            self.last_refusal = Some(Instant::now());
            let files = self.files;
            tracing::error!(
                "{why}: new connections are closed; this process may have {files} files open, raise its limit (ulimit -n, LimitNOFILE)"
            );
        }
    }
}

/// Serves one connection.
pub(crate) async fn serve(
    server: Arc<Server>,
    (stream, address): (TcpStream, IpAddr),
    door: tls::Door,
    watcher: Watcher,
) {
    // Small frames of watches must not wait for more; a host that is gone is found out.
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(&stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(&stream, sockopt::TcpKeepIdle, &TCP_KEEPALIVE_S);
    let _ = setsockopt(&stream, sockopt::TcpKeepInterval, &TCP_KEEPALIVE_S);
    let patience = server.config.patience;
    let stream = Patient { inner: stream, limit: patience.taking, stalled: None };
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
    let certificate = authn::Certificate::of(chain, &door.verifiers);
    let peer = Arc::new(pipeline::Peer { address, certificate, sockets: TaskTracker::new() });
    let sockets = peer.sockets.clone();
    let was_asked = Arc::new(AtomicBool::new(false));
    let asked = was_asked.clone();
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(pipeline::serve(server, peer, request).await) }
    });
    let builder = builder(patience);
    let (stream, hand) = cork::cork(stream, CORK);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let served = hand.drive(Box::pin(watcher.watch(served.into_owned())));
    tokio::select! {
        ended = served => match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
            Err(error) => tracing::debug!(%error, "connection ended: it cannot be written to"),
        },
        () = nothing_asked(&was_asked, patience) => tracing::debug!("a connection without a request"),
    }
    // It has its place until the last of it is gone.
    sockets.close();
    sockets.wait().await;
}

fn builder(patience: Patience) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.asking)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(HTTP2_STREAMS_GIVEN_UP_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    builder
}

/// Ends when a connection should have asked something and has not. L1.
async fn nothing_asked(was_asked: &AtomicBool, patience: Patience) {
    tokio::time::sleep(patience.asking).await;
    if was_asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// A socket that waits only so long for its other end to take something. L2.
#[derive(Debug)]
struct Patient<S> {
    inner: S,
    limit: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        std::task::ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn whoever_takes_nothing_is_given_up_and_whoever_is_slow_is_not() {
        let limit = Duration::from_millis(200);
        let (near, mut far) = tokio::io::duplex(4);
        let mut patient = Patient { inner: near, limit, stalled: None };
        let writing = tokio::spawn(async move {
            let outcome = patient.write_all(&[7; 40]).await;
            outcome.map_err(|error| error.kind())
        });
        for _ in 0..9 {
            tokio::time::sleep(limit / 4).await;
            let mut taken = [0; 4];
            far.read_exact(&mut taken).await.unwrap();
        }
        assert_eq!(writing.await.unwrap(), Ok(()));

        let (near, _far) = tokio::io::duplex(4);
        let mut patient = Patient { inner: near, limit, stalled: None };
        let outcome = patient.write_all(&[7; 40]).await;
        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }

    #[test]
    fn connections_leave_files_for_the_rest() {
        let mut room = Room { free: Arc::new(Semaphore::new(1)), files: 7, last_refusal: None };
        let place = room.enter();
        assert!(place.is_some() && room.enter().is_none() && room.last_refusal.is_some());
        drop(place);
        assert!(room.enter().is_some());
    }
}
