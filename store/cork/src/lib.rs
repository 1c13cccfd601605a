//! Lets what a connection says in one moment share TLS records and writes to the socket.
//!
//! HTTP/2 writes each frame by itself: a record and a `writev` for each, with the kernel's whole TCP
//! behind it, is 40 % of the time that a small read takes, and an event that a thousand watchers hear
//! of costs more in the kernel than in this program. Here a connection is corked while it is polled:
//! small writes are put together, and go out when it has nothing more to say. Before it is polled it
//! lets the other tasks that are ready run first, once, so that what they say joins. Go's gRPC does
//! the same before it flushes.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | C1 | What was accepted is written in order, before anything later. |
//! | C2 | Nothing stays in the buffer after a poll, unless the socket takes no more: then the task is woken when it does. |
//! | C3 | The buffer is bounded: a full one is written before more is accepted. |
//! | C4 | A connection ends when what it said cannot be written, whatever it waits for itself. |

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of what a connection says is put together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that wait for one write.
    pub bytes_max: usize,
    /// The largest piece that is copied to join others.
    pub piece_bytes_max: usize,
    /// What a connection keeps of the buffer while it says nothing.
    pub idle_bytes: usize,
}

/// The stream, and what waits to be written to it.
#[derive(Debug)]
struct Bottle<S> {
    stream: S,
    limits: Limits,
    waiting: Vec<u8>,
    /// How much of `waiting` is written already.
    written: usize,
    is_corked: bool,
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
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pour(context))?;
        // A connection that had much to say once may say little for days.
        self.waiting.shrink_to(self.limits.idle_bytes);
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// C1, C3: takes small pieces into the buffer, and writes the buffer before a large one.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let joins = self.is_corked && bytes <= self.limits.piece_bytes_max;
        if !joins || self.waiting.len() + bytes > self.limits.bytes_max {
            ready!(self.poll_pour(context))?;
        }
        if joins {
            pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
            return Poll::Ready(Ok(bytes));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}

/// A stream whose small writes may wait while its connection is polled.
#[derive(Debug)]
pub struct Corked<S>(Arc<Mutex<Bottle<S>>>);

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
        if bottle.is_corked { Poll::Ready(Ok(())) } else { bottle.poll_flush(context) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bottle = self.0.lock();
        ready!(bottle.poll_flush(context))?;
        Pin::new(&mut bottle.stream).poll_shutdown(context)
    }
}

/// A stream to build a connection on, and the hand that corks it while the connection is polled.
pub fn cork<S>(stream: S, limits: Limits) -> (Corked<S>, Hand<S>) {
    let bottle = Bottle { stream, limits, waiting: Vec::new(), written: 0, is_corked: false };
    let bottle = Arc::new(Mutex::new(bottle));
    (Corked(bottle.clone()), Hand(bottle))
}

/// Corks and uncorks one stream.
#[derive(Debug)]
pub struct Hand<S>(Arc<Mutex<Bottle<S>>>);

impl<S> Hand<S> {
    /// The connection, corked while it is polled; an error when it cannot write (C4).
    pub fn drive<F: Future>(&self, connection: F) -> Drive<'_, S, F> {
        Drive { hand: self, connection, has_yielded: false }
    }
}

/// See [`Hand::drive`].
#[derive(Debug)]
#[must_use = "a connection is served while this is polled"]
pub struct Drive<'a, S, F> {
    hand: &'a Hand<S>,
    connection: F,
    /// Whether the others had their turn since this was woken.
    has_yielded: bool,
}

impl<S, F> Future for Drive<'_, S, F>
where
    S: AsyncWrite + Unpin,
    F: Future + Unpin,
{
    type Output = io::Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.has_yielded = !self.has_yielded;
        if self.has_yielded {
            // Not by waking itself: tokio would wake another worker for it, although nothing else is to be
            // done, and a process that has little to do would be woken twice for everything.
            let others: Poll<()> = pin!(tokio::task::yield_now()).poll(context);
            debug_assert!(others.is_pending(), "the task is woken when they had their turn");
            return Poll::Pending;
        }
        self.hand.0.lock().is_corked = true;
        let polled = Pin::new(&mut self.connection).poll(context);
        let mut bottle = self.hand.0.lock();
        bottle.is_corked = false;
        let poured = bottle.poll_flush(context);
        match (polled, poured) {
            // It has shut the stream down, or left it to a web socket, which pours what is left first.
            (Poll::Ready(output), _) => Poll::Ready(Ok(output)),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Pending, Poll::Ready(Ok(())) | Poll::Pending) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod cork_test;
