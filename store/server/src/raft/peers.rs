//! What this member answers its peers.

use std::{path::PathBuf, sync::Arc, time::Instant};

use futures::{StreamExt, stream::BoxStream};
use openraft::raft::TransferLeaderRequest;
use prost::Message as _;
use proto::orlop::{
    peer::v1::{
        self as peer, change_membership_response, forward_response, install_snapshot_request::Part,
        lease_renew_response, lease_time_to_live_response, peer_server::Peer as Service,
    },
    store::v1::Batch,
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    convert,
    network::send_snapshot,
    snapshot::Receiver,
    types::{LeaderId, SnapshotMeta, TypeConfig, Vote},
    vouch::Voucher,
};
use crate::{
    metrics::peers::{Caller, Peers as Counts},
    rpc::Services,
};

/// The service of the peer port.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) services: Services,
    pub(crate) scratch: PathBuf,
}

impl Peers {
    fn check_cluster(&self, cluster_id: u64) -> Result<(), Status> {
        if cluster_id == self.services.headers.cluster_id() {
            Ok(())
        } else {
            Err(Status::failed_precondition("etcdserver: cluster ID mismatch"))
        }
    }

    /// A removed member may not know it, and asks for votes for ever: it is told.
    fn check_candidate(&self, vote: Option<&peer::VoteState>) -> Result<(), Status> {
        let view = self.services.state.view();
        match vote {
            Some(vote) if view.was_removed(vote.node_id) => {
                Err(Status::permission_denied(crate::limits::REMOVED))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn not_leader(&self) -> Option<peer::NotLeader> {
        let leader = *self.services.leader.borrow();
        let leads = leader == Some(self.services.headers.member_id());
        (!leads).then(|| peer::NotLeader { leader_id: leader.unwrap_or(0) })
    }
}

/// The leader that a forwarded batch is meant for. What would not be understood when it is applied
/// never enters the log: there it would stop every member, for good.
pub(crate) fn check_forwarded(message: &peer::ForwardRequest) -> Result<LeaderId, Status> {
    if message.batch.is_empty() {
        return Err(Status::invalid_argument("there is no batch"));
    }
    if let Err(error) = Batch::decode(message.batch.clone()) {
        return Err(Status::invalid_argument(format!("the batch cannot be read: {error}")));
    }
    let leader = message.leader.ok_or_else(|| Status::invalid_argument("for which leader?"))?;
    Ok(convert::leader_in(leader))
}

/// Counts what comes on a connection as from the member that says that it called.
pub(crate) fn name(call: Request<()>, peers: &Counts) -> Request<()> {
    if let Some(caller) = call.extensions().get::<Arc<Caller>>()
        && caller.peer().is_none()
        && let Some(id) = id(&call)
        && let Some(peer) = peers.find(id)
    {
        caller.is(peer);
    }
    call
}

/// The member that says that it called.
fn id(call: &Request<()>) -> Option<u64> {
    let agent = call.metadata().get("user-agent")?.to_str().ok()?;
    let id = agent.strip_prefix(super::network::CALLER)?.split(' ').next()?;
    u64::from_str_radix(id, 16).ok()
}

fn broken(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

type Answers = BoxStream<'static, Result<peer::AppendEntriesResponse, Status>>;

#[tonic::async_trait]
impl Service for Peers {
    async fn identify(
        &self,
        _request: Request<peer::IdentifyRequest>,
    ) -> Result<Response<peer::IdentifyResponse>, Status> {
        Ok(Response::new(peer::IdentifyResponse {
            cluster_id: self.services.headers.cluster_id(),
            member_id: self.services.headers.member_id(),
            name: self.services.config.name.clone(),
            version: crate::VERSION.to_owned(),
            members: self.services.members.list(),
        }))
    }

    async fn append_entries(
        &self,
        request: Request<peer::AppendEntriesRequest>,
    ) -> Result<Response<peer::AppendEntriesResponse>, Status> {
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        let request = convert::append_in(message)?;
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let answer = self.services.raft.append_entries(request).await.map_err(broken)?;
        let result = match answer {
            openraft::raft::AppendEntriesResponse::Conflict if prev.is_none() => {
                return Err(Status::internal("a conflict before the first entry"));
            }
            other => other.into_stream_result(prev, last),
        };
        Ok(Response::new(convert::appended_out(&result)))
    }

    type StreamAppendStream = Answers;

    async fn stream_append(
        &self,
        request: Request<Streaming<peer::AppendEntriesRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let this = self.clone();
        let caller = request.extensions().get::<Arc<Caller>>().cloned();
        // A bad message ends the stream: the leader begins a new one.
        let requests = request
            .into_inner()
            .map(move |message| {
                let message = message.ok()?;
                let read = this.check_cluster(message.cluster_id);
                let read = read.and_then(|()| convert::append_in(message));
                if let (Err(_), Some(peer)) = (&read, caller.as_ref().and_then(|one| one.peer())) {
                    peer.received_failures.inc();
                }
                read.ok()
            })
            .take_while(|request| std::future::ready(request.is_some()))
            .filter_map(std::future::ready);
        let answers = self.services.raft.stream_append(requests).map(|answer| match answer {
            Ok(result) => Ok(convert::appended_out(&result)),
            Err(fatal) => Err(broken(fatal)),
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn vote(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<Response<peer::VoteResponse>, Status> {
        self.check_cluster(request.get_ref().cluster_id)?;
        self.check_candidate(request.get_ref().vote.as_ref())?;
        let request = convert::vote_request_in(request.get_ref())?;
        let answer = self.services.raft.vote(request).await.map_err(broken)?;
        Ok(Response::new(convert::vote_response_out(&answer)))
    }

    async fn pre_vote(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<Response<peer::VoteResponse>, Status> {
        self.check_cluster(request.get_ref().cluster_id)?;
        self.check_candidate(request.get_ref().vote.as_ref())?;
        let request = convert::vote_request_in(request.get_ref())?;
        let answer = self.services.raft.pre_vote(request).await.map_err(broken)?;
        Ok(Response::new(convert::vote_response_out(&answer)))
    }

    async fn transfer_leader(
        &self,
        request: Request<peer::TransferLeaderRequest>,
    ) -> Result<Response<peer::TransferLeaderResponse>, Status> {
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        let request = TransferLeaderRequest::<TypeConfig>::new(
            convert::vote_in(message.from_leader.as_ref())?,
            message.to_node_id,
            message.last_log_id.as_ref().map(convert::log_id_in),
        );
        let answer = self.services.raft.handle_transfer_leader(request).await.map_err(broken)?;
        let refused = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(peer::TransferLeaderResponse { refused }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<peer::InstallSnapshotRequest>>,
    ) -> Result<Response<peer::InstallSnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let Some(peer::InstallSnapshotRequest { part: Some(Part::Manifest(manifest)) }) =
            parts.message().await?
        else {
            return Err(Status::invalid_argument("a snapshot begins with its manifest"));
        };
        self.check_cluster(manifest.cluster_id)?;
        let metrics = &self.services.metrics;
        let from = manifest.vote.and_then(|vote| metrics.peers.find(vote.node_id));
        let transfer = from.as_ref().map(|peer| peer.receiving());
        let began = Instant::now();
        if manifest.format != 1 {
            return Err(Status::failed_precondition("the snapshot's format is unknown"));
        }
        let dir = self.scratch.join(format!("received-{:016x}", rand::random::<u64>()));
        let mut receiver = Receiver::new(dir, manifest.files).map_err(broken)?;
        receiver.fsyncs = Some(metrics.disk.received_fsyncs.clone());
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else {
                return Err(Status::invalid_argument("a snapshot has one manifest"));
            };
            let write = move || receiver.write(&chunk).map(|()| receiver);
            receiver = crate::exec::blocking(write).await.map_err(broken)?.map_err(broken)?;
        }
        let finish = crate::exec::blocking(move || receiver.finish()).await;
        let checkpoint = finish.map_err(broken)?.map_err(broken)?;
        metrics.disk.received.observe(began.elapsed());
        if let Some(transfer) = transfer {
            transfer.end();
        }
        let membership = manifest.membership.unwrap_or_default();
        let meta = SnapshotMeta {
            last_log_id: manifest.last_log_id.as_ref().map(convert::log_id_in),
            last_membership: convert::membership_in(&membership)?,
        };
        let vote = convert::vote_in(manifest.vote.as_ref())?;
        let snapshot = openraft::Snapshot { meta, snapshot: Arc::new(checkpoint) };
        let installed = self.services.raft.install_full_snapshot(vote, snapshot).await;
        let vote = Some(convert::vote_out(&installed.map_err(broken)?.vote));
        Ok(Response::new(peer::InstallSnapshotResponse { vote }))
    }

    async fn forward(
        &self,
        request: Request<peer::ForwardRequest>,
    ) -> Result<Response<peer::ForwardResponse>, Status> {
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        let leader = check_forwarded(&message)?;
        let result = match self.not_leader() {
            Some(not_leader) => forward_response::Result::NotLeader(not_leader),
            None => self.services.proposer.forwarded(message.batch, leader).await,
        };
        Ok(Response::new(peer::ForwardResponse { result: Some(result) }))
    }

    async fn read_index(
        &self,
        request: Request<peer::ReadIndexRequest>,
    ) -> Result<Response<peer::ReadIndexResponse>, Status> {
        let peer::ReadIndexRequest { cluster_id, member_id, voted } = request.into_inner();
        self.check_cluster(cluster_id)?;
        let voucher = voted.map(|voted| Voucher { member_id, voted: convert::leader_in(voted) });
        let result = Some(self.services.reader.as_leader(voucher).await);
        Ok(Response::new(peer::ReadIndexResponse { result }))
    }

    async fn lease_renew(
        &self,
        request: Request<peer::LeaseRenewRequest>,
    ) -> Result<Response<peer::LeaseRenewResponse>, Status> {
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        let services = &self.services;
        let doors = (&services.proposer, &services.reader);
        let renewed = services.lessor.renew(message.lease_id, doors);
        // One that ran out is waited for until its revocation is applied.
        let renewed = tokio::time::timeout(services.config.request_timeout(), renewed).await;
        let result = match renewed.map_err(|_| crate::error::Error::Timeout)?? {
            Some(ttl) => lease_renew_response::Result::Ttl(ttl),
            None => lease_renew_response::Result::NotLeader(self.not_leader().unwrap_or_default()),
        };
        Ok(Response::new(peer::LeaseRenewResponse { result: Some(result) }))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<peer::LeaseTimeToLiveRequest>,
    ) -> Result<Response<peer::LeaseTimeToLiveResponse>, Status> {
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        let request = message.request.unwrap_or_default();
        self.services.reader.linearizable().await?;
        let result = match self.services.time_to_live(&request) {
            Some(response) => lease_time_to_live_response::Result::Response(response),
            None => lease_time_to_live_response::Result::NotLeader(
                self.not_leader().unwrap_or_default(),
            ),
        };
        Ok(Response::new(peer::LeaseTimeToLiveResponse { result: Some(result) }))
    }

    async fn hash_kv(
        &self,
        request: Request<peer::HashKvRequest>,
    ) -> Result<Response<peer::HashKvResponse>, Status> {
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        Ok(Response::new(crate::checks::compare::answer(&self.services, &message).await?))
    }

    async fn digest(
        &self,
        request: Request<peer::DigestRequest>,
    ) -> Result<Response<peer::DigestResponse>, Status> {
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        let answer = crate::checks::digest::answer(&self.services, message.applied_index).await;
        Ok(Response::new(answer))
    }

    type FetchStateStream = BoxStream<'static, Result<peer::InstallSnapshotRequest, Status>>;

    async fn fetch_state(
        &self,
        request: Request<peer::FetchStateRequest>,
    ) -> Result<Response<Self::FetchStateStream>, Status> {
        self.check_cluster(request.get_ref().cluster_id)?;
        self.services.fence.check()?;
        if self.not_leader().is_some() {
            return Err(crate::error::Error::NotLeader.into());
        }
        let snapshot = self.services.raft.get_snapshot().await.map_err(broken)?;
        let snapshot = snapshot.ok_or_else(|| Status::unavailable("there is no state yet"))?;
        let cluster_id = self.services.headers.cluster_id();
        let (send, parts) = crate::exec::queue(4);
        crate::exec::blocking(move || {
            // The receiver has the list of the files, and sees if their end is missing.
            if let Err(error) = send_snapshot(&Vote::new(0, 0), &snapshot, cluster_id, &send) {
                tracing::warn!(%error, "the state was not sent to its end");
            }
        });
        let parts = tokio_stream::wrappers::ReceiverStream::new(parts);
        Ok(Response::new(parts.map(Ok).boxed()))
    }

    type AttendStream = BoxStream<'static, Result<peer::AttendResponse, Status>>;

    async fn attend(
        &self,
        request: Request<peer::AttendRequest>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        self.check_cluster(request.get_ref().cluster_id)?;
        let stopping = self.services.stopping.clone();
        let silence = futures::stream::pending().take_until(stopping.cancelled_owned());
        Ok(Response::new(silence.boxed()))
    }

    async fn change_membership(
        &self,
        request: Request<peer::ChangeMembershipRequest>,
    ) -> Result<Response<peer::ChangeMembershipResponse>, Status> {
        use change_membership_response::Result as Answer;
        let message = request.into_inner();
        self.check_cluster(message.cluster_id)?;
        let change =
            message.change.ok_or_else(|| Status::invalid_argument("there is no change"))?;
        let result = match self.not_leader() {
            Some(not_leader) => Answer::NotLeader(not_leader),
            None => match self.services.members.change(change).await {
                Ok(changed) => Answer::Changed(changed),
                Err(error) => {
                    let status = Status::from(error);
                    Answer::Refused(peer::ClientError {
                        code: status.code().into(),
                        message: status.message().to_owned(),
                    })
                }
            },
        };
        Ok(Response::new(peer::ChangeMembershipResponse { result: Some(result) }))
    }
}
