//! Answers share writes, and arrive as they were said.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{Corked, Limits, cork};

const LIMITS: Limits =
    Limits { bytes_max: 64 * 1024, piece_bytes_max: 4 * 1024, idle_bytes: 4 * 1024 };

/// What a socket saw, and how many bytes it takes at each of the next writes: at 0 it takes none for
/// now, after the last it takes all.
#[derive(Default)]
struct Seen {
    writes: Vec<Vec<u8>>,
    takes: VecDeque<usize>,
    is_broken: bool,
}

#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Seen>>);

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut seen = self.0.lock();
        if seen.is_broken {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
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
    pending().await
}

/// Polls more often than any of these sockets says that it takes nothing for now.
fn drive(socket: &Socket, pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let (stream, hand) = cork(socket.clone(), LIMITS);
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
    let large = vec![7; LIMITS.piece_bytes_max + 1];
    let pieces = vec![b"small".to_vec(), large.clone(), b"end".to_vec()];
    assert_eq!(drive(&Socket::default(), pieces), [b"small".to_vec(), large, b"end".to_vec()]);
}

#[test]
fn the_buffer_is_bounded() {
    let pieces = vec![vec![1; LIMITS.piece_bytes_max]; 40];
    let writes = drive(&Socket::default(), pieces);
    assert_eq!(writes.iter().map(Vec::len).sum::<usize>(), 40 * LIMITS.piece_bytes_max);
    assert!(writes.iter().all(|write| write.len() <= LIMITS.bytes_max));
    assert_eq!(writes.len(), 3);
}

/// The others have their turn before the connection is polled: what they say joins.
#[test]
fn a_connection_lets_the_others_run_first() {
    let (_stream, hand) = cork(Socket::default(), LIMITS);
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
    let (mut stream, hand) = cork(socket.clone(), LIMITS);
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

#[test]
fn a_connection_that_waits_ends_when_what_it_said_cannot_be_written() {
    let socket = Socket::default();
    socket.0.lock().takes = vec![0].into();
    let (stream, hand) = cork(socket.clone(), LIMITS);
    let mut driven = pin!(hand.drive(Box::pin(says(stream, vec![b"lost".to_vec()]))));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert!(driven.as_mut().poll(&mut context).is_pending());
    }
    socket.0.lock().is_broken = true;
    assert!(driven.as_mut().poll(&mut context).is_pending());
    let Poll::Ready(Err(error)) = driven.as_mut().poll(&mut context) else {
        panic!("C4: the connection goes on");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// Buffers are given back: a connection that had much to say once may say little for days.
#[test]
fn a_connection_that_says_nothing_keeps_a_small_buffer() {
    let socket = Socket::default();
    let (stream, hand) = cork(socket, LIMITS);
    let pieces = vec![vec![1; LIMITS.piece_bytes_max]; 10];
    let mut driven = pin!(hand.drive(Box::pin(says(stream, pieces))));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert!(driven.as_mut().poll(&mut context).is_pending());
    }
    assert!(hand.0.lock().waiting.capacity() <= LIMITS.idle_bytes);
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
