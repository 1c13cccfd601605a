//! Answers share writes, and arrive as they were said.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::{Corked, cork};
use crate::limits;

/// What a socket saw, and how many bytes it takes at each of the next writes: at 0 it takes none for
/// now, after the last it takes all.
#[derive(Default)]
struct Seen {
    writes: Vec<Vec<u8>>,
    takes: VecDeque<usize>,
}

#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Seen>>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut seen = self.0.lock();
        let count = seen.takes.pop_front().unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        seen.writes.push(bytes.iter().take(count).copied().collect());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const POLLS: usize = 500;

/// A connection that says these pieces, flushes after each, and then waits for ever.
async fn says(mut stream: Corked<Socket>, pieces: Vec<Vec<u8>>) {
    for piece in pieces {
        stream.write_all(&piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    std::future::pending().await
}

/// Polls more often than any of these sockets says that it takes nothing for now.
fn drive(socket: &Socket, pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let (stream, hand) = cork(socket.clone());
    let connection = pin!(says(stream, pieces));
    let mut driven = pin!(hand.drive(connection));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS {
        assert!(driven.as_mut().poll(&mut context).is_pending());
    }
    socket.0.lock().writes.clone()
}

#[test]
fn answers_of_one_moment_are_one_write() {
    let pieces = vec![b"one ".to_vec(), b"two ".to_vec(), b"three".to_vec()];
    assert_eq!(drive(&Socket::default(), pieces), [b"one two three"]);
}

#[test]
fn a_large_answer_follows_what_waited_and_is_not_copied() {
    let large = vec![7; limits::CORK_PIECE_BYTES_MAX + 1];
    let pieces = vec![b"small".to_vec(), large.clone(), b"end".to_vec()];
    assert_eq!(drive(&Socket::default(), pieces), [b"small".to_vec(), large, b"end".to_vec()]);
}

#[test]
fn the_buffer_is_bounded() {
    let pieces = vec![vec![1; limits::CORK_PIECE_BYTES_MAX]; 40];
    let writes = drive(&Socket::default(), pieces);
    assert_eq!(writes.iter().map(Vec::len).sum::<usize>(), 40 * limits::CORK_PIECE_BYTES_MAX);
    assert!(writes.iter().all(|write| write.len() <= limits::CORK_BYTES_MAX));
    assert_eq!(writes.len(), 3);
}

/// The others have their turn before the connection is polled: what they say joins.
#[test]
fn a_connection_lets_the_others_run_first() {
    let (_stream, hand) = cork(Socket::default());
    let polls = std::cell::Cell::new(0);
    let connection = pin!(poll_fn(|_| {
        polls.set(polls.get() + 1);
        Poll::<()>::Pending
    }));
    let mut driven = pin!(hand.drive(connection));
    let mut context = Context::from_waker(Waker::noop());
    assert!(driven.as_mut().poll(&mut context).is_pending());
    assert_eq!(polls.get(), 0);
    assert!(driven.as_mut().poll(&mut context).is_pending());
    assert_eq!(polls.get(), 1);
}

/// A web socket goes on with the stream after its connection has ended.
#[test]
fn a_stream_that_outlives_its_connection_writes_at_once() {
    let socket = Socket::default();
    let (mut stream, hand) = cork(socket.clone());
    let mut context = Context::from_waker(Waker::noop());
    {
        let connection = pin!(stream.write_all(b"101 "));
        let mut driven = pin!(hand.drive(connection));
        assert!(driven.as_mut().poll(&mut context).is_pending());
        assert!(driven.as_mut().poll(&mut context).is_ready());
    }
    drop(hand);
    assert!(Pin::new(&mut stream).poll_write(&mut context, b"frame").is_ready());
    assert_eq!(socket.0.lock().writes, [b"101 ".to_vec(), b"frame".to_vec()]);
}

proptest! {
    #[test]
    fn all_bytes_arrive_in_order_whatever_the_socket_takes(
        sizes in prop::collection::vec(0_usize..9_000, 0..40),
        takes in prop::collection::vec(prop_oneof![Just(0), 1_usize..20_000], 0..60),
    ) {
        let pieces: Vec<Vec<u8>> =
            sizes.iter().zip(0_u8..).map(|(size, letter)| vec![letter; *size]).collect();
        let said: Vec<u8> = pieces.concat();
        let socket = Socket::default();
        socket.0.lock().takes = takes.into();
        prop_assert_eq!(drive(&socket, pieces).concat(), said);
    }
}
