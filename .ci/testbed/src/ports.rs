//! Ports for servers that a test starts a moment later.
#![expect(clippy::panic, reason = "a failed helper is a failed test")]

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the kernel hands out to outgoing connections, one of which would take the port
/// before its server does.
const FIRST: u16 = 10_000;
/// Each process has a block of its own: tests that run at the same time are seldom 1,250 processes apart.
const BLOCKS: u16 = 1_250;
const BLOCK: u16 = 16;

/// A port of 127.0.0.1 that nobody listens on, and that is not given twice.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let block = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or_default();
    for _ in 0..BLOCKS {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let place = (block * BLOCK).wrapping_add(call) % (BLOCKS * BLOCK);
        if TcpListener::bind(("127.0.0.1", FIRST + place)).is_ok() {
            return FIRST + place;
        }
    }
    panic!("no free port from {FIRST} on")
}

/// A URL of one.
#[must_use]
pub fn free_url() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_is_given_once_and_can_be_listened_on() {
        let ports: Vec<u16> = (0..40).map(|_| free_port()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        let listeners: Vec<_> =
            ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port))).collect();
        assert!(listeners.iter().all(Result::is_ok), "{listeners:?}");
    }
}
