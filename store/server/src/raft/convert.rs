//! Between openraft's types and the messages that members exchange.

use openraft::{
    EntryPayload,
    entry::RaftEntry,
    raft::{
        AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse,
    },
};
use proto::orlop::peer::v1 as peer;
use tonic::Status;

use super::types::{
    Entry, LeaderId, LogId, Membership, Payload, Peer, StoredMembership, TypeConfig, Vote,
};

pub(crate) fn log_id_out(id: &LogId) -> peer::LogId {
    peer::LogId { term: id.leader_id.term, node_id: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id_in(id: &peer::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.node_id }, id.index)
}

pub(crate) fn leader_out(leader: LeaderId) -> peer::Leader {
    peer::Leader { term: leader.term, node_id: leader.node_id }
}

pub(crate) fn leader_in(message: peer::Leader) -> LeaderId {
    LeaderId { term: message.term, node_id: message.node_id }
}

pub(crate) fn vote_out(vote: &Vote) -> peer::VoteState {
    let leader = vote.leader_id;
    peer::VoteState { term: leader.term, node_id: leader.node_id, committed: vote.committed }
}

pub(crate) fn vote_in(vote: Option<&peer::VoteState>) -> Result<Vote, Status> {
    let vote = vote.ok_or_else(|| Status::invalid_argument("the message has no vote"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.node_id)
    } else {
        Vote::new(vote.term, vote.node_id)
    })
}

pub(crate) fn membership_out(stored: &StoredMembership) -> peer::Membership {
    let mut out = plain_membership_out(stored.membership());
    out.log_id = stored.log_id().as_ref().map(log_id_out);
    out
}

fn plain_membership_out(membership: &Membership) -> peer::Membership {
    let set = |ids: &std::collections::BTreeSet<u64>| peer::VoterSet {
        node_ids: ids.iter().copied().collect(),
    };
    peer::Membership {
        configs: membership.get_joint_config().iter().map(set).collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| peer::Node { id: *id, peer_urls: node.urls.clone() })
            .collect(),
        log_id: None,
    }
}

pub(crate) fn membership_in(message: &peer::Membership) -> Result<StoredMembership, Status> {
    let log_id = message.log_id.as_ref().map(log_id_in);
    Ok(StoredMembership::new(log_id, plain_membership_in(message)?))
}

fn plain_membership_in(message: &peer::Membership) -> Result<Membership, Status> {
    if message.configs.is_empty() && message.nodes.is_empty() {
        return Ok(Membership::default());
    }
    let configs = message.configs.iter().map(|set| set.node_ids.iter().copied().collect());
    let nodes: std::collections::BTreeMap<u64, Peer> =
        message.nodes.iter().map(|node| (node.id, Peer { urls: node.peer_urls.clone() })).collect();
    Membership::new(configs.collect(), nodes)
        .map_err(|error| Status::invalid_argument(format!("membership: {error}")))
}

fn entry_out(entry: &Entry) -> peer::LogEntry {
    use peer::log_entry::Payload as Wire;
    peer::LogEntry {
        log_id: Some(log_id_out(&entry.log_id)),
        payload: match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(payload) => Some(Wire::Batch(payload.0.clone())),
            EntryPayload::Membership(membership) => {
                Some(Wire::Membership(plain_membership_out(membership)))
            }
        },
    }
}

fn entry_in(message: peer::LogEntry) -> Result<Entry, Status> {
    use peer::log_entry::Payload as Wire;
    let id = message.log_id.ok_or_else(|| Status::invalid_argument("an entry has no log id"))?;
    let payload = match message.payload {
        None => EntryPayload::Blank,
        Some(Wire::Batch(bytes)) => EntryPayload::Normal(Payload(bytes)),
        Some(Wire::Membership(membership)) => {
            EntryPayload::Membership(plain_membership_in(&membership)?)
        }
    };
    Ok(Entry::new(log_id_in(&id), payload))
}

pub(crate) fn append_out(
    request: &AppendEntriesRequest<TypeConfig>,
    cluster_id: u64,
) -> peer::AppendEntriesRequest {
    peer::AppendEntriesRequest {
        vote: Some(vote_out(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_out),
        entries: request.entries.iter().map(entry_out).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_out),
        cluster_id,
    }
}

pub(crate) fn append_in(
    message: peer::AppendEntriesRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    Ok(AppendEntriesRequest {
        vote: vote_in(message.vote.as_ref())?,
        prev_log_id: message.prev_log_id.as_ref().map(log_id_in),
        entries: message.entries.into_iter().map(entry_in).collect::<Result<_, _>>()?,
        leader_commit: message.leader_commit.as_ref().map(log_id_in),
    })
}

pub(crate) fn appended_out(result: &StreamAppendResult<TypeConfig>) -> peer::AppendEntriesResponse {
    use peer::append_entries_response::Result as Wire;
    let result = match result {
        Ok(matching) => {
            Wire::Success(peer::Appended { matching: matching.as_ref().map(log_id_out) })
        }
        Err(StreamAppendError::Conflict(id)) => {
            Wire::Conflict(peer::Conflict { log_id: Some(log_id_out(id)) })
        }
        Err(StreamAppendError::HigherVote(vote)) => Wire::HigherVote(vote_out(vote)),
    };
    peer::AppendEntriesResponse { result: Some(result) }
}

pub(crate) fn appended_in(
    message: &peer::AppendEntriesResponse,
) -> Result<StreamAppendResult<TypeConfig>, Status> {
    use peer::append_entries_response::Result as Wire;
    let missing = || Status::internal("the answer to an append has no result");
    Ok(match message.result.as_ref().ok_or_else(missing)? {
        Wire::Success(appended) | Wire::PartialSuccess(appended) => {
            Ok(appended.matching.as_ref().map(log_id_in))
        }
        Wire::Conflict(conflict) => {
            let id = conflict.log_id.as_ref().ok_or_else(missing)?;
            Err(StreamAppendError::Conflict(log_id_in(id)))
        }
        Wire::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_in(Some(vote))?)),
    })
}

pub(crate) fn vote_request_out(
    request: &VoteRequest<TypeConfig>,
    cluster_id: u64,
) -> peer::VoteRequest {
    peer::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
        cluster_id,
    }
}

pub(crate) fn vote_request_in(
    message: &peer::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Status> {
    let last = message.last_log_id.as_ref().map(log_id_in);
    let mut request = VoteRequest::new(vote_in(message.vote.as_ref())?, last);
    request.leadership_transfer = message.leadership_transfer;
    Ok(request)
}

pub(crate) fn vote_response_out(response: &VoteResponse<TypeConfig>) -> peer::VoteResponse {
    peer::VoteResponse {
        vote: Some(vote_out(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_out),
    }
}

pub(crate) fn vote_response_in(
    message: &peer::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, Status> {
    let last = message.last_log_id.as_ref().map(log_id_in);
    Ok(VoteResponse::new(vote_in(message.vote.as_ref())?, last, message.granted))
}
