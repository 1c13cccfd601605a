//! The only way to write: a command goes in, and comes back with its outcome.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | A command is sent again only if it surely did not enter any log. |
//! | P2 | An outcome is told after this member has applied it, so the client reads its own write. |
//! | P3 | What waits is bounded, by count and by bytes. |
//! | P4 | Few batches are under way at once; what arrives meanwhile makes the next one larger. |

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::ClientWriteError;
use prost::Message;
use proto::orlop::{
    peer::v1::{self as peer, forward_response},
    store::v1::{Batch, Caller, Command, command::Op},
};
use store_state_machine::Reply;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::Error,
    limits,
    pending::Pending,
    raft::{Callback, Network, Node, Payload, PeerClient},
};

/// The door for writes.
#[derive(Clone)]
pub(crate) struct Proposer {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Node,
    network: Network,
    pending: Arc<Pending>,
    queue: mpsc::Sender<Command>,
    /// P4: one permit for each batch under way.
    pipeline: Arc<Semaphore>,
    timeout: Duration,
    max_request_bytes: usize,
    leader: watch::Receiver<Option<u64>>,
}

impl Proposer {
    pub(crate) fn start(
        raft: Node,
        network: Network,
        pending: Arc<Pending>,
        leader: watch::Receiver<Option<u64>>,
        (timeout, max_request_bytes): (Duration, usize),
    ) -> Self {
        let (queue, commands) = mpsc::channel(limits::PROPOSALS_IN_FLIGHT_MAX);
        let pipeline = Arc::new(Semaphore::new(limits::BATCHES_IN_FLIGHT_MAX));
        let inner = Arc::new(Inner {
            raft,
            network,
            pending,
            queue,
            pipeline,
            timeout,
            max_request_bytes,
            leader,
        });
        tokio::spawn(pack(Arc::downgrade(&inner), commands));
        Self { inner }
    }

    /// Proposes `op`, and waits until this member has applied it. While auth is on, it is carried out
    /// if `caller` may do that: [`crate::auth::member`] for what a member does by itself.
    pub(crate) async fn propose(&self, caller: Option<Caller>, op: Op) -> Result<Reply, Error> {
        let inner = &self.inner;
        let mut command = Command { id: u64::MAX, caller, op: Some(op) };
        let bytes = command.encoded_len();
        if bytes > inner.max_request_bytes + 64 {
            return Err(Error::TooLarge);
        }
        let mut waiter = inner.pending.register(bytes)?;
        command.id = waiter.id;
        let deadline = Instant::now() + inner.timeout;
        inner.queue.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::TooManyRequests,
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })?;
        match timeout_at(deadline, &mut waiter.receive).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) if inner.leader.borrow().is_none() => Err(Error::TimeoutLeaderFailed),
            Err(_) => Err(Error::Timeout),
        }
    }

    /// How many commands wait for their outcome.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.pending.len()
    }

    /// Proposes a batch that a follower forwarded; answers when it is applied, or refused entry.
    pub(crate) async fn forwarded(&self, batch: Bytes) -> forward_response::Result {
        let (done, outcome) = tokio::sync::oneshot::channel();
        let callback = Callback::new(move |result| drop(done.send(result)));
        let payload = Payload(batch);
        let unknown = |why: String| forward_response::Result::Unknown(peer::Unknown { why });
        if let Err(fatal) = self.inner.raft.client_write_ff(payload, Some(callback)).await {
            return unknown(fatal.to_string());
        }
        match timeout(self.inner.timeout, outcome).await {
            Ok(Ok(Ok(response))) => forward_response::Result::Forwarded(peer::Forwarded {
                outcomes: Vec::new(),
                log_id: Some(crate::raft::convert::log_id_out(&response.log_id)),
            }),
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(to)))) => {
                let leader_id = to.leader_id.unwrap_or(0);
                forward_response::Result::NotLeader(peer::NotLeader { leader_id })
            }
            Ok(Ok(Err(error))) => unknown(error.to_string()),
            Ok(Err(_)) => unknown("the member stopped".to_owned()),
            Err(_) => unknown("no outcome in time".to_owned()),
        }
    }
}

/// A batch on its way, and its place in the pipeline.
struct Flight {
    batch: Batch,
    _place: OwnedSemaphorePermit,
}

/// Takes what has queued up, and makes as few log entries of it as the limits allow.
async fn pack(inner: std::sync::Weak<Inner>, mut commands: mpsc::Receiver<Command>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(command) => command,
            None => match commands.recv().await {
                Some(command) => command,
                None => return,
            },
        };
        let Some(inner) = inner.upgrade() else { return };
        let Ok(place) = inner.pipeline.clone().acquire_owned().await else { return };
        // Requests that were read from their sockets at the same time get a chance to join.
        tokio::task::yield_now().await;
        let mut bytes = first.encoded_len();
        let mut batch = Batch { commands: vec![first] };
        while batch.commands.len() < limits::BATCH_COMMANDS_MAX {
            let Ok(command) = commands.try_recv() else { break };
            bytes += command.encoded_len();
            if bytes > limits::BATCH_BYTES_MAX {
                next = Some(command);
                break;
            }
            batch.commands.push(command);
        }
        let flight = Flight { batch, _place: place };
        let own = Some(*inner.raft.node_id());
        if *inner.leader.borrow() == own {
            write(&inner, flight).await;
        } else {
            tokio::spawn(forward(inner.clone(), flight));
        }
    }
}

/// Proposes on this member, which leads as far as it knows.
async fn write(inner: &Arc<Inner>, flight: Flight) {
    let payload = Payload(Bytes::from(flight.batch.encode_to_vec()));
    let weak = Arc::downgrade(inner);
    let callback = Callback::new(move |result| {
        // P1: not led from here means that it is in no log; every other error may mean that it is.
        if let Err(ClientWriteError::ForwardToLeader(_)) = result
            && let Some(inner) = weak.upgrade()
        {
            let runtime = inner.network.runtime().clone();
            runtime.spawn(forward(inner, flight));
        }
    });
    if let Err(fatal) = inner.raft.client_write_ff(payload, Some(callback)).await {
        tracing::warn!(error = %fatal, "a proposal was not taken");
    }
}

/// Finds the leader, and hands it the batch; gives up when nobody waits any more.
fn forward(inner: Arc<Inner>, flight: Flight) -> BoxFuture<'static, ()> {
    // Boxed: this and `write` call each other.
    Box::pin(find_leader(inner, flight))
}

async fn find_leader(inner: Arc<Inner>, mut flight: Flight) {
    let mut leaders = inner.leader.clone();
    loop {
        flight.batch.commands.retain(|command| inner.pending.waits(command.id));
        if flight.batch.commands.is_empty() {
            return;
        }
        let leader = *leaders.borrow_and_update();
        let retry = match leader {
            Some(id) if id == *inner.raft.node_id() => {
                write(&inner, flight).await;
                return;
            }
            Some(id) => match client(&inner, id) {
                // Under another leader the outcome is unknown: the place is free for the next batch.
                Some(client) => tokio::select! {
                    retry = send(&inner, client, &flight.batch) => retry,
                    _ = leaders.changed() => false,
                },
                None => true,
            },
            None => true,
        };
        if !retry {
            return;
        }
        // The leader changes, or it is tried again after a pause.
        drop(timeout(Duration::from_millis(50), leaders.changed()).await);
    }
}

fn client(inner: &Inner, leader: u64) -> Option<PeerClient> {
    let metrics = inner.raft.metrics().borrow_watched().membership_config.clone();
    let peer = metrics.membership().get_node(&leader)?;
    inner.network.forward(leader, &peer.urls).ok()
}

/// True if the batch surely did not reach the leader's log.
async fn send(inner: &Inner, mut client: PeerClient, batch: &Batch) -> bool {
    let request = peer::ForwardRequest {
        batch: batch.encode_to_vec().into(),
        deadline_ms: u64::try_from(inner.timeout.as_millis()).unwrap_or(u64::MAX),
        cluster_id: inner.network.cluster_id(),
    };
    match timeout(inner.timeout, client.forward(request)).await {
        Ok(Ok(response)) => match response.into_inner().result {
            Some(forward_response::Result::NotLeader(_)) => true,
            Some(forward_response::Result::Overloaded(_)) => {
                for command in &batch.commands {
                    inner.pending.answer(command.id, || Err(Error::TooManyRequests));
                }
                false
            }
            // P2: the outcome comes from this member's own apply thread.
            Some(forward_response::Result::Forwarded(_) | forward_response::Result::Unknown(_))
            | None => false,
        },
        Ok(Err(status)) => Network::never_sent(&status),
        Err(_) => false,
    }
}
