//! A body that is written while it is sent: chunks that wait for the connection, bounded in bytes.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | H1 | No more than `STREAM_BYTES_MAX` bytes wait, or one chunk. |
//! | H2 | A sender that gives up takes back what has not been sent, and the body ends as a broken one. |

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::{STREAM_BYTES_MAX, STREAM_CHUNKS_MAX};

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    reader: Option<Waker>,
    is_ended: bool,
    is_broken: bool,
    is_unread: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The reader has taken something, or is gone.
    changed: Notify,
    /// The reader is gone. Apart from the other, so that a chunk that is taken wakes nobody for it.
    gone: Notify,
}

/// The end that writes; dropping it ends the body.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// The end that the connection reads.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

/// Nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// The body was given up before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client takes nothing of what is sent to it")]
pub(crate) struct Broken;

pub(crate) fn channel() -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender(shared.clone()), Receiver(shared))
}

impl Sender {
    /// Waits until there is room for another chunk.
    pub(crate) async fn room(&self) -> Result<(), Closed> {
        loop {
            let changed = self.0.changed.notified();
            if let Some(room) = self.has_room() {
                return room;
            }
            changed.await;
        }
    }

    /// Whether there is room for another chunk now; `None` is no.
    pub(crate) fn has_room(&self) -> Option<Result<(), Closed>> {
        let state = self.0.state.lock();
        if state.is_unread {
            return Some(Err(Closed));
        }
        let has_room = state.bytes < STREAM_BYTES_MAX && state.chunks.len() < STREAM_CHUNKS_MAX;
        has_room.then_some(Ok(()))
    }

    /// Adds a chunk; whoever waited for [`Self::room`] has it.
    pub(crate) fn push(&self, chunk: Bytes) {
        let mut state = self.0.state.lock();
        if state.is_unread {
            return;
        }
        state.bytes += chunk.len();
        state.chunks.push_back(chunk);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Waits until nobody reads any more.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.0.clone();
        async move {
            loop {
                let gone = shared.gone.notified();
                if shared.state.lock().is_unread {
                    return;
                }
                gone.await;
            }
        }
    }

    /// Takes back what has not been sent. H2.
    pub(crate) fn give_up(self) {
        let mut state = self.0.state.lock();
        state.chunks = VecDeque::new();
        state.bytes = 0;
        state.is_broken = true;
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_ended = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

impl Receiver {
    /// The next chunk; `None` at the end.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut state = self.0.state.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.bytes -= chunk.len();
            drop(state);
            self.0.changed.notify_one();
            return Poll::Ready(Some(Ok(chunk)));
        }
        if std::mem::take(&mut state.is_broken) {
            return Poll::Ready(Some(Err(Broken)));
        }
        if state.is_ended {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_unread = true;
        state.chunks = VecDeque::new();
        drop(state);
        self.0.changed.notify_one();
        self.0.gone.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(receiver: &Receiver) -> Option<Result<Bytes, Broken>> {
        poll_fn(|context| receiver.poll(context)).await
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_is_taken_back() {
        let (sender, receiver) = channel();
        let chunk = Bytes::from(vec![7; STREAM_BYTES_MAX / 2]);
        for _ in 0..2 {
            sender.room().await.unwrap();
            sender.push(chunk.clone());
        }
        let moment = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(moment, sender.room()).await.is_err(), "H1");
        assert_eq!(next(&receiver).await, Some(Ok(chunk)));
        sender.room().await.unwrap();
        sender.give_up();
        assert_eq!(next(&receiver).await, Some(Err(Broken)), "H2");
        assert_eq!(next(&receiver).await, None);

        let (sender, receiver) = channel();
        drop(receiver);
        assert_eq!(sender.room().await, Err(Closed));
        sender.closed().await;

        let (sender, receiver) = channel();
        sender.push(Bytes::from_static(b"x"));
        drop(sender);
        assert_eq!(next(&receiver).await, Some(Ok(Bytes::from_static(b"x"))));
        assert_eq!(next(&receiver).await, None);
    }
}
