//! The only way to write: a command goes in, and comes back with its outcome.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | A command is sent again only if it can come into effect no more: it entered no log, or an entry of a later leader has been applied here (P5). |
//! | P2 | An outcome is told after this member has applied it, so the client reads its own write. |
//! | P3 | What waits is bounded, by count and by bytes. |
//! | P4 | Few batches are under way at once; what arrives meanwhile makes the next one larger. |
//! | P5 | A batch is meant for one leader in one term, and no other proposes it. Along the log, leaders only follow one another: once an entry of a later one is applied, all that the earlier one's will ever do is done. |

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::ClientWriteError;
use prometheus_client::metrics::counter::Counter;
use prost::Message;
use proto::orlop::{
    peer::v1::{self as peer, forward_response},
    store::v1::{Batch, Caller, Command, command::Op},
};
use store_planted::{self as planted, Bug};
use store_state_machine::Reply;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    auth,
    error::Error,
    limits,
    pending::Pending,
    raft::{Callback, LeaderId, Network, Node, Payload, PeerClient, convert},
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
    /// Whose entries this member has applied last.
    reign: watch::Receiver<LeaderId>,
    /// Counts commands whose outcome was not known in time.
    failed: Counter,
}

impl Inner {
    /// The leader and its term, as far as this member knows.
    fn leader(&self) -> Option<LeaderId> {
        let id = (*self.leader.borrow())?;
        let vote = self.raft.metrics().borrow_watched().vote;
        (vote.committed && vote.leader_id.node_id == id).then_some(vote.leader_id)
    }
}

impl Proposer {
    pub(crate) fn start(
        raft: Node,
        network: Network,
        pending: Arc<Pending>,
        (leader, reign): (watch::Receiver<Option<u64>>, watch::Receiver<LeaderId>),
        (timeout, max_request_bytes): (Duration, usize),
        failed: Counter,
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
            reign,
            failed,
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
        let unknown = match timeout_at(deadline, &mut waiter.receive).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) if inner.leader.borrow().is_none() => Err(Error::TimeoutLeaderFailed),
            Err(_) => Err(Error::Timeout),
        };
        inner.failed.inc();
        unknown
    }

    /// This member and the term in which it leads, as far as it knows.
    pub(crate) fn leads(&self) -> Option<LeaderId> {
        self.inner.leader().filter(|leader| leader.node_id == *self.inner.raft.node_id())
    }

    /// Proposes what only this member may do while it leads in this term: it is in the log of this
    /// leader or in none, and nobody else's. Answers as [`Self::propose`], one outcome for each.
    pub(crate) async fn propose_as(
        &self,
        leader: LeaderId,
        ops: Vec<Op>,
    ) -> Result<Vec<Result<Reply, Error>>, Error> {
        let inner = &self.inner;
        let (mut commands, mut waiters) = (Vec::new(), Vec::new());
        for op in ops {
            let mut command = Command { id: u64::MAX, caller: auth::member(), op: Some(op) };
            let waiter = inner.pending.register(command.encoded_len())?;
            command.id = waiter.id;
            commands.push(command);
            waiters.push(waiter);
        }
        let payload = Payload(Bytes::from(Batch { commands }.encode_to_vec()));
        let (lost, mut is_lost) = tokio::sync::oneshot::channel();
        // Success is told by the apply thread: then this sender is only dropped.
        let callback = Callback::new(move |result: Result<_, ClientWriteError<_>>| {
            if result.is_err() {
                let _told = lost.send(());
            }
        });
        let write = inner.raft.write(payload).with_leader(leader).responder(callback);
        write.await.map_err(|_| Error::Stopped)?;
        let deadline = Instant::now() + inner.timeout;
        let mut outcomes = Vec::with_capacity(waiters.len());
        for mut waiter in waiters {
            outcomes.push(tokio::select! {
                biased;
                answer = timeout_at(deadline, &mut waiter.receive) => match answer {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) => Err(Error::Stopped),
                    Err(_) => Err(Error::Timeout),
                },
                Ok(()) = &mut is_lost => return Err(Error::LeaderChanged),
            });
        }
        Ok(outcomes)
    }

    /// Proposes what matters only while this member leads in this term: it is in the log at this place
    /// or never. Returns when it has its place among this member's proposals; nobody is told the
    /// outcome.
    pub(crate) async fn propose_here(&self, leader: LeaderId, op: Op) {
        let inner = &self.inner;
        let commands = vec![Command { id: 0, caller: auth::member(), op: Some(op) }];
        let payload = Payload(Bytes::from(Batch { commands }.encode_to_vec()));
        if let Err(fatal) = inner.raft.write(payload).with_leader(leader).await {
            tracing::warn!(error = %fatal, "a proposal was not taken");
        }
    }

    /// How many commands wait for their outcome.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.pending.len()
    }

    /// Proposes a batch that a follower forwarded to `leader`, which is this member in a certain term;
    /// answers when it is applied, or refused entry.
    pub(crate) async fn forwarded(
        &self,
        batch: Bytes,
        leader: LeaderId,
    ) -> forward_response::Result {
        let (done, outcome) = tokio::sync::oneshot::channel();
        let callback = Callback::new(move |result| drop(done.send(result)));
        let payload = Payload(batch);
        let unknown = |why: String| forward_response::Result::Unknown(peer::Unknown { why });
        let write = self.inner.raft.write(payload).with_leader(leader).responder(callback);
        if let Err(fatal) = write.await {
            return unknown(fatal.to_string());
        }
        match timeout(self.inner.timeout, outcome).await {
            Ok(Ok(Ok(response))) => forward_response::Result::Forwarded(peer::Forwarded {
                outcomes: Vec::new(),
                log_id: Some(convert::log_id_out(&response.log_id)),
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
        match inner.leader() {
            Some(leader) if leader.node_id == *inner.raft.node_id() => {
                write(&inner, flight, leader).await;
            }
            Some(_) | None => drop(tokio::spawn(forward(inner.clone(), flight))),
        }
    }
}

/// Proposes on this member, which leads as far as it knows.
async fn write(inner: &Arc<Inner>, flight: Flight, leader: LeaderId) {
    let payload = Payload(Bytes::from(flight.batch.encode_to_vec()));
    let weak = Arc::downgrade(inner);
    let callback = Callback::new(move |result| {
        let (Err(error), Some(inner)) = (result, weak.upgrade()) else { return };
        let runtime = inner.network.runtime().clone();
        // P1: not led from here means that it is in no log; every other error may mean that it is.
        if let ClientWriteError::ForwardToLeader(_) = error {
            runtime.spawn(refused(inner, flight, leader));
        } else {
            runtime.spawn(outlive(inner, flight.batch, leader));
        }
    });
    let write = inner.raft.write(payload).with_leader(leader).responder(callback);
    if let Err(fatal) = write.await {
        tracing::warn!(error = %fatal, "a proposal was not taken");
    }
}

/// Sends a batch again that this member's raft did not take. A leader that hands over, and does not hear
/// of the next one, says for long that it leads and takes nothing: it is not asked all the time.
async fn refused(inner: Arc<Inner>, flight: Flight, by: LeaderId) {
    let mut leaders = inner.leader.clone();
    leaders.mark_unchanged();
    if inner.leader() == Some(by)
        && let Ok(Err(_)) = timeout(limits::LEADER_LOOK_AGAIN, leaders.changed()).await
    {
        // Nobody tells any more: the member ends.
        return;
    }
    forward(inner, flight).await;
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
        leaders.mark_unchanged();
        if let Some(leader) = inner.leader() {
            if leader.node_id == *inner.raft.node_id() {
                write(&inner, flight, leader).await;
                return;
            }
            if let Some(client) = client(&inner, leader.node_id) {
                let sent = tokio::select! {
                    sent = send(&inner, client, &flight.batch, leader) => sent,
                    _ = leaders.changed() => Sent::Unknown,
                };
                match sent {
                    Sent::Never => {}
                    Sent::Unknown if planted::is(Bug::ForwardTwice) => {}
                    Sent::Whole => return,
                    Sent::Unknown => {
                        // Its place is free for the next batch.
                        tokio::spawn(outlive(inner, flight.batch, leader));
                        return;
                    }
                }
            }
        }
        // The leader changes, or it is tried again after a pause; or nobody tells any more: the member ends.
        if let Ok(Err(_)) = timeout(limits::LEADER_LOOK_AGAIN, leaders.changed()).await {
            return;
        }
    }
}

/// Waits until a batch that `leader` may have in its log is applied, or never will be: then it is
/// sent again, to the next leader.
async fn outlive(inner: Arc<Inner>, mut batch: Batch, leader: LeaderId) {
    let mut reign = inner.reign.clone();
    let deadline = Instant::now() + inner.timeout;
    // P5
    match timeout_at(deadline, reign.wait_for(|now| *now > leader)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return,
    }
    batch.commands.retain(|command| inner.pending.waits(command.id));
    if batch.commands.is_empty() {
        return;
    }
    tracing::info!(
        commands = batch.commands.len(),
        term = leader.term,
        "sent again: lost with the leader"
    );
    if let Ok(place) = inner.pipeline.clone().acquire_owned().await {
        forward(inner, Flight { batch, _place: place }).await;
    }
}

fn client(inner: &Inner, leader: u64) -> Option<PeerClient> {
    let metrics = inner.raft.metrics().borrow_watched().membership_config.clone();
    let peer = metrics.membership().get_node(&leader)?;
    inner.network.forward(leader, &peer.urls).ok()
}

/// What became of a batch that was sent.
enum Sent {
    /// It surely did not reach the leader's log.
    Never,
    /// The leader has answered for it.
    Whole,
    Unknown,
}

async fn send(inner: &Inner, mut client: PeerClient, batch: &Batch, leader: LeaderId) -> Sent {
    let request = peer::ForwardRequest {
        batch: batch.encode_to_vec().into(),
        deadline_ms: u64::try_from(inner.timeout.as_millis()).unwrap_or(u64::MAX),
        cluster_id: inner.network.cluster_id(),
        leader: Some(convert::leader_out(leader)),
    };
    match timeout(inner.timeout, client.forward(request)).await {
        Ok(Ok(response)) => match response.into_inner().result {
            Some(forward_response::Result::NotLeader(_)) => Sent::Never,
            Some(forward_response::Result::Overloaded(_)) => {
                for command in &batch.commands {
                    inner.pending.answer(command.id, || Err(Error::TooManyRequests));
                }
                Sent::Whole
            }
            // P2: the outcome comes from this member's own apply thread.
            Some(forward_response::Result::Forwarded(_)) => Sent::Whole,
            Some(forward_response::Result::Unknown(_)) | None => Sent::Unknown,
        },
        Ok(Err(status)) if Network::never_sent(&status) => Sent::Never,
        Ok(Err(_)) | Err(_) => Sent::Unknown,
    }
}
