//! What is said in one moment shares writes, and arrives as it was said.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{Corked, cork};
use crate::limits::{CORK_BYTES_MAX, CORK_PIECE_BYTES_MAX};

/// What a socket saw, and how many bytes it takes at each of the next writes: at 0 it takes none for
/// now, after the last it takes all.
#[derive(Debug, Default)]
struct Seen {
    writes: Vec<Vec<u8>>,
    takes: VecDeque<usize>,
    is_broken: bool,
}

#[derive(Clone, Debug, Default)]
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
        seen.writes.push(bytes[..count].to_vec());
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
    let (stream, hand) = cork(socket.clone());
    let mut driven = pin!(hand.drive(Box::pin(says(stream, pieces))));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS {
        assert!(driven.as_mut().poll(&mut context).is_pending());
    }
    socket.0.lock().writes.clone()
}

#[test]
fn frames_of_one_moment_are_one_write() {
    let pieces = vec![b"one ".to_vec(), b"two ".to_vec(), b"three".to_vec()];
    assert_eq!(drive(&Socket::default(), pieces), [b"one two three"]);
    let large = vec![7; CORK_PIECE_BYTES_MAX + 1];
    let pieces = vec![b"small".to_vec(), large.clone(), b"end".to_vec()];
    assert_eq!(drive(&Socket::default(), pieces), [b"small".to_vec(), large, b"end".to_vec()]);
}

#[test]
fn the_buffer_is_bounded_and_all_arrives_in_order_whatever_the_socket_takes() {
    for takes in [vec![], vec![0], vec![0, 1, 0, 70_000, 0, 0, 3], vec![1; 100]] {
        let socket = Socket::default();
        socket.0.lock().takes = takes.into();
        let pieces: Vec<Vec<u8>> = (0..40)
            .map(|letter| vec![letter; CORK_PIECE_BYTES_MAX - usize::from(letter)])
            .collect();
        let said = pieces.concat();
        let writes = drive(&socket, pieces);
        assert!(writes.iter().all(|write| write.len() <= CORK_BYTES_MAX));
        assert_eq!(writes.concat(), said);
    }
}

#[test]
fn a_connection_that_waits_ends_when_what_it_said_cannot_be_written() {
    let socket = Socket::default();
    socket.0.lock().takes = vec![0].into();
    let (stream, hand) = cork(socket.clone());
    let mut driven = pin!(hand.drive(Box::pin(says(stream, vec![b"lost".to_vec()]))));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert!(driven.as_mut().poll(&mut context).is_pending());
    }
    socket.0.lock().is_broken = true;
    assert!(driven.as_mut().poll(&mut context).is_pending());
    let Poll::Ready(Err(error)) = driven.as_mut().poll(&mut context) else {
        panic!("K4: the connection goes on");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
