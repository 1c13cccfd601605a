//! The only way to read what is surely current: wait until this member has applied the read index.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::WatchReceiver as _;
use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use proto::orlop::peer::v1::{self as peer, read_index_response};
use store_planted::{self as planted, Bug};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::Error,
    limits,
    metrics::Reads,
    raft::{
        Network, Node, Promised, convert,
        vouch::{self, Voucher},
    },
};

/// The time that the leader has to tell the read index, before it is asked again: etcd's.
const ROUND: Duration = Duration::from_millis(500);

/// The door for linearizable reads. Concurrent readers share one question to the leader.
#[derive(Clone)]
pub(crate) struct Reader {
    queue: mpsc::Sender<oneshot::Sender<Index>>,
    inner: Arc<Inner>,
}

/// What a majority has confirmed since somebody asked.
#[derive(Clone, Copy, Debug)]
struct Index {
    index: u64,
    /// Whether this member led then.
    is_own: bool,
}

struct Inner {
    raft: Node,
    network: Network,
    leader: watch::Receiver<Option<u64>>,
    applied: watch::Receiver<u64>,
    promised: Promised,
    timeout: Duration,
    metrics: Reads,
}

impl Reader {
    pub(crate) fn start(
        (raft, promised): (Node, Promised),
        network: Network,
        (leader, applied): (watch::Receiver<Option<u64>>, watch::Receiver<u64>),
        timeout: Duration,
        metrics: Reads,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(limits::READS_WAITING_MAX);
        let inner = Arc::new(Inner { raft, network, leader, applied, promised, timeout, metrics });
        tokio::spawn(ask_for_all(Arc::downgrade(&inner), waiting));
        Self { queue, inner }
    }

    /// Returns when everything that was committed before the call is applied on this member.
    pub(crate) async fn linearizable(&self) -> Result<(), Error> {
        let deadline = Instant::now() + self.inner.timeout;
        let (send, index) = oneshot::channel();
        self.queue.try_send(send).map_err(|_| Error::TooManyRequests)?;
        let late = || {
            self.inner.metrics.slow.inc();
            if self.inner.leader.borrow().is_none() {
                Error::TimeoutLeaderFailed
            } else {
                Error::Timeout
            }
        };
        let index = match timeout_at(deadline, index).await {
            Ok(Ok(Index { index, .. })) => index,
            Ok(Err(_)) => return Err(Error::LeaderChanged),
            Err(_) => return Err(late()),
        };
        if planted::is(Bug::ReadBeforeApplied) {
            return Ok(());
        }
        let mut applied = self.inner.applied.clone();
        match timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(late()),
        }
    }

    /// Whether this member leads for sure, at some moment since the call: not only as far as it knows.
    /// If it does, everything that was committed before that moment is applied here.
    ///
    /// # Errors
    /// If it leads, and does not apply all that in time.
    pub(crate) async fn leads_and_applied(&self) -> Result<bool, Error> {
        // A majority is asked each time, for all that want to know at once. Not the lease of this leader: a
        // follower that was told by mistake that its process is gone (a firewall that rejects) has given
        // that up for the rest of the term, and may have voted for another since.
        let (send, index) = oneshot::channel();
        self.queue.try_send(send).map_err(|_| Error::TooManyRequests)?;
        // One question may be under way that began before.
        let Ok(Ok(Index { index, is_own: true })) = timeout(ROUND * 2, index).await else {
            return Ok(false);
        };
        if self.reaches(index, self.inner.timeout).await { Ok(true) } else { Err(Error::Timeout) }
    }

    /// The index of the last log entry that this member is known to have applied.
    pub(crate) fn applied(&self) -> u64 {
        *self.inner.applied.borrow()
    }

    /// The same, for who waits until more is applied.
    pub(crate) fn applied_changes(&self) -> watch::Receiver<u64> {
        self.inner.applied.clone()
    }

    /// Waits until this member has applied an entry; false if that takes longer.
    pub(crate) async fn reaches(&self, index: u64, within: Duration) -> bool {
        let mut applied = self.inner.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= index);
        matches!(timeout(within, reached).await, Ok(Ok(_)))
    }

    /// The read index, if this member leads: what a follower asks for, who may vouch for it.
    pub(crate) async fn as_leader(&self, voucher: Option<Voucher>) -> read_index_response::Result {
        if let Some(voucher) = voucher
            && let Some(id) = vouch::read_index(&self.inner.raft, voucher).await
        {
            return read_index_response::Result::ReadLogId(convert::log_id_out(&id));
        }
        match local(&self.inner).await {
            Ok(id) => read_index_response::Result::ReadLogId(id),
            Err(Some(leader_id)) => {
                read_index_response::Result::NotLeader(peer::NotLeader { leader_id })
            }
            Err(None) => read_index_response::Result::Unknown(peer::Unknown {
                why: "no quorum answered".to_owned(),
            }),
        }
    }
}

/// The read index from this member's own raft; otherwise the leader's id, if that is the reason.
async fn local(inner: &Inner) -> Result<peer::LogId, Option<u64>> {
    match inner.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
        Ok((id, _)) => Ok(convert::log_id_out(id.log_id())),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
            Err(Some(to.leader_id.unwrap_or(0)))
        }
        Err(
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) | RaftError::Fatal(_),
        ) => Err(None),
    }
}

async fn ask_for_all(
    inner: std::sync::Weak<Inner>,
    mut waiting: mpsc::Receiver<oneshot::Sender<Index>>,
) {
    let mut readers = Vec::new();
    let mut earlier = None;
    while waiting.recv_many(&mut readers, limits::READS_WAITING_MAX).await > 0 {
        loop {
            let Some(inner) = inner.upgrade() else { return };
            let began = Instant::now();
            let mut answer = ask(&inner).await;
            if planted::is(Bug::ReadTokenReused) {
                answer = answer.or(earlier);
                earlier = answer;
            }
            if began.elapsed() >= ROUND {
                inner.metrics.slow.inc();
            }
            if let Some(index) = answer {
                for reader in readers.drain(..) {
                    // A reader that gave up has dropped its end.
                    let _: Result<(), Index> = reader.send(index);
                }
                break;
            }
            inner.metrics.failed.inc();
            readers.retain(|reader| !reader.is_closed());
            if readers.is_empty() {
                break;
            }
            let mut leader = inner.leader.clone();
            leader.mark_unchanged();
            // Nobody tells who leads any more: the member ends.
            if let Ok(Err(_)) = timeout(limits::LEADER_LOOK_AGAIN, leader.changed()).await {
                return;
            }
        }
    }
}

/// One question for the read index, wherever the leader is.
async fn ask(inner: &Inner) -> Option<Index> {
    let leader = (*inner.leader.borrow())?;
    let round = ROUND.min(inner.timeout);
    if leader == *inner.raft.node_id() {
        if planted::is(Bug::ReadUnconfirmed) {
            return Some(Index { index: *inner.applied.borrow(), is_own: true });
        }
        let id = timeout(round, local(inner)).await.ok()?.ok()?;
        return Some(Index { index: id.index, is_own: true });
    }
    let membership = inner.raft.metrics().borrow_watched().membership_config.clone();
    let urls = membership.membership().get_node(&leader)?.urls.clone();
    let mut client = inner.network.forward(leader, &urls).ok()?;
    let request = peer::ReadIndexRequest {
        cluster_id: inner.network.cluster_id(),
        member_id: *inner.raft.node_id(),
        // V1: the readers are there already.
        voted: inner.promised.leader().map(convert::leader_out),
    };
    match timeout(round, client.read_index(request)).await.ok()?.ok()?.into_inner().result? {
        read_index_response::Result::ReadLogId(id) => {
            Some(Index { index: id.index, is_own: false })
        }
        read_index_response::Result::NotLeader(_) | read_index_response::Result::Unknown(_) => None,
    }
}
