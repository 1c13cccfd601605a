//! A load balancer before all API servers: each connection goes to the next one that takes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::limits;

/// A running balancer; dropping it ends it and all its connections.
#[derive(Debug)]
pub(super) struct Balancer {
    _accepting: JoinSet<()>,
}

impl Balancer {
    /// Listens at `address` and passes each connection on to one of `servers`.
    pub(super) async fn start(
        address: SocketAddr,
        servers: Vec<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, servers.into()));
        Ok(Self { _accepting: accepting })
    }
}

async fn accept(listener: TcpListener, servers: Arc<[SocketAddr]>) {
    let turn = Arc::new(AtomicUsize::new(0));
    let room = Arc::new(Semaphore::new(limits::INFORMER_BALANCED_MAX));
    // Ends with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        // Both fail only when the listener or the process is at its end.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else { return };
        let (servers, turn) = (Arc::clone(&servers), Arc::clone(&turn));
        connections.spawn(async move {
            pass_on(client, &servers, &turn).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass_on(mut client: TcpStream, servers: &[SocketAddr], turn: &AtomicUsize) {
    let first = turn.fetch_add(1, Ordering::Relaxed);
    for offset in 0..servers.len() {
        let server = servers[(first + offset) % servers.len()];
        let connecting = TcpStream::connect(server);
        let connected = tokio::time::timeout(limits::CONNECT_DEADLINE, connecting).await;
        let Ok(Ok(mut server)) = connected else { continue };
        // Whoever breaks it off, the other end is closed with it.
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        return;
    }
}
