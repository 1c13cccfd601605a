//! Connections whose bytes are counted.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Metrics,
    peers::{Caller, Peer},
};

/// Whose bytes they are.
#[derive(Clone)]
pub(crate) enum Traffic {
    /// A client's.
    Client(Arc<Metrics>),
    /// A peer's that was called.
    Peer(Arc<Peer>),
    /// A peer's that calls.
    Caller(Arc<Caller>),
}

impl Traffic {
    fn received(&self, bytes: usize) {
        let bytes = bytes as u64;
        match self {
            Self::Client(metrics) => drop(metrics.received.inc_by(bytes)),
            Self::Peer(peer) => drop(peer.received.inc_by(bytes)),
            Self::Caller(caller) => caller.received(bytes),
        }
    }

    fn sent(&self, bytes: usize) {
        let bytes = bytes as u64;
        match self {
            Self::Client(metrics) => drop(metrics.sent.inc_by(bytes)),
            Self::Peer(peer) => drop(peer.sent.inc_by(bytes)),
            Self::Caller(caller) => caller.sent(bytes),
        }
    }
}

/// A connection whose bytes are counted.
pub(crate) struct Metered<S> {
    stream: S,
    traffic: Option<Traffic>,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, traffic: Option<Traffic>) -> Self {
        Self { stream, traffic }
    }

    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        if let (Some(traffic), Poll::Ready(Ok(bytes))) = (&self.traffic, polled) {
            traffic.sent(*bytes);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let (Some(traffic), Poll::Ready(_)) = (&self.traffic, &polled) {
            traffic.received(buffer.filled().len() - before);
        }
        polled
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
