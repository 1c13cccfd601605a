//! Lets the answers of one moment share one write to the socket.
//!
//! HTTP/2 writes an answer as soon as it has one: a `writev` for each, with the kernel's whole TCP
//! behind it, is 40 % of the time that a small read takes. Here a connection is corked while it is
//! polled: small writes are put together, and go out when it has nothing more to do. Before it is
//! polled it lets the other tasks that are ready run first, once, so that their answers join. Go's
//! gRPC does the same before it flushes. With TLS, records become fewer as well.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | C1 | What was accepted is written in order, before anything later. |
//! | C2 | Nothing stays in the buffer after a poll, unless the socket takes no more: then the task is woken when it does. |
//! | C3 | The buffer is bounded: a full one is written before more is accepted. |

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits;

/// The socket, and what waits to be written to it.
struct Bottle<S> {
    stream: S,
    waiting: Vec<u8>,
    /// How much of `waiting` is written already.
    written: usize,
    corked: bool,
}

impl<S: AsyncWrite + Unpin> Bottle<S> {
    /// Writes what waits.
    fn poll_pour(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.written = 0;
        self.waiting.clear();
        // A connection that had much to say once may say little for days.
        self.waiting.shrink_to(limits::CORK_IDLE_BYTES);
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pour(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// C1, C3: takes small pieces into the buffer, and writes the buffer before a large one.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let small = self.corked && bytes <= limits::CORK_PIECE_BYTES_MAX;
        if !small || self.waiting.len() + bytes > limits::CORK_BYTES_MAX {
            ready!(self.poll_pour(context))?;
        }
        if small {
            pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
            return Poll::Ready(Ok(bytes));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}

/// A stream whose small writes may wait while its connection is polled.
pub(crate) struct Corked<S>(Arc<Mutex<Bottle<S>>>);

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bottle = self.0.lock();
        // The poll that goes on will end with one.
        if bottle.corked { Poll::Ready(Ok(())) } else { bottle.poll_flush(context) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bottle = self.0.lock();
        ready!(bottle.poll_flush(context))?;
        Pin::new(&mut bottle.stream).poll_shutdown(context)
    }
}

/// A stream to build a connection on, and the hand that corks it while the connection is polled.
pub(crate) fn cork<S>(stream: S) -> (Corked<S>, Hand<S>) {
    let bottle = Bottle { stream, waiting: Vec::new(), written: 0, corked: false };
    let bottle = Arc::new(Mutex::new(bottle));
    (Corked(bottle.clone()), Hand(bottle))
}

/// Corks and uncorks one stream.
pub(crate) struct Hand<S>(Arc<Mutex<Bottle<S>>>);

impl<S> Hand<S> {
    /// The connection, corked while it is polled.
    pub(crate) fn drive<F: Future>(&self, connection: F) -> Drive<'_, S, F> {
        Drive { hand: self, connection, yielded: false }
    }
}

/// See [`Hand::drive`].
pub(crate) struct Drive<'a, S, F> {
    hand: &'a Hand<S>,
    connection: F,
    /// Whether the others had their turn since this was woken.
    yielded: bool,
}

impl<S, F> Future for Drive<'_, S, F>
where
    S: AsyncWrite + Unpin,
    F: Future + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.yielded = !self.yielded;
        if self.yielded {
            // Tokio puts a task that wakes itself at the end of its worker's queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.hand.0.lock().corked = true;
        let polled = Pin::new(&mut self.connection).poll(context);
        let mut bottle = self.hand.0.lock();
        bottle.corked = false;
        // C2: a socket that failed is found out by the connection, when it reads or writes next. One
        // that ended has shut it down, or left it to a web socket, which pours what is left first.
        let _: Poll<io::Result<()>> = bottle.poll_flush(context);
        polled
    }
}

#[cfg(test)]
#[path = "cork_test.rs"]
mod cork_test;
