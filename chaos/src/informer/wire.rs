//! The way of an API server to one store member: it can be cut without either end noticing.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::limits;

/// Passes connections on; dropping it ends it and all of them.
#[derive(Debug)]
pub(super) struct Wire {
    _accepting: JoinSet<()>,
    is_cut: watch::Sender<bool>,
}

impl Wire {
    /// Listens at `address`; each connection goes to `target`.
    pub(super) async fn start(address: SocketAddr, target: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
        let is_cut = watch::Sender::new(false);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, is_cut.subscribe()));
        Ok(Self { _accepting: accepting, is_cut })
    }

    /// From now on no byte passes; what is sent waits, as in a network that drops all packets.
    pub(super) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// What waited passes, and so does all that follows.
    pub(super) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn accept(listener: TcpListener, target: String, is_cut: watch::Receiver<bool>) {
    // Ends with this task, and all connections with it.
    let mut connections = JoinSet::new();
    // Fails only when the process is at its end.
    while let Ok((near, _)) = listener.accept().await {
        let (target, is_cut) = (target.clone(), is_cut.clone());
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(&target).await else { return };
            let (from_near, to_near) = near.into_split();
            let (from_far, to_far) = far.into_split();
            // Either end closes both: a member that dies leaves no half of a connection behind.
            tokio::select! {
                () = pass(from_near, to_far, is_cut.clone()) => {}
                () = pass(from_far, to_near, is_cut) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; limits::INFORMER_WIRE_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // Its sender is gone only when all is.
        if is_cut.wait_for(|cut| !cut).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // The end too passes only when it can.
    drop(is_cut.wait_for(|cut| !cut).await);
}
