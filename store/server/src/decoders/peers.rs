//! What members say to each other.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use prost::Message as _;
use proto::orlop::peer::v1 as peer;

use crate::{
    Config,
    checks::{compare, digest},
    join, members,
    raft::{Receiver, convert, peers, received},
};

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A request to append entries, there and back.
///
/// # Errors
/// Why it is refused.
pub fn append(message: peer::AppendEntriesRequest) -> Result<peer::AppendEntriesRequest, String> {
    let cluster_id = message.cluster_id;
    let request = convert::append_in(message).map_err(text)?;
    Ok(convert::append_out(&request, cluster_id))
}

/// The answer to it, there and back.
///
/// # Errors
/// Why it is refused.
pub fn appended(
    message: &peer::AppendEntriesResponse,
) -> Result<peer::AppendEntriesResponse, String> {
    convert::appended_in(message).map(|result| convert::appended_out(&result)).map_err(text)
}

/// A request for a vote, there and back.
///
/// # Errors
/// Why it is refused.
pub fn vote(message: &peer::VoteRequest) -> Result<peer::VoteRequest, String> {
    let request = convert::vote_request_in(message).map_err(text)?;
    Ok(convert::vote_request_out(&request, message.cluster_id))
}

/// The answer to it, there and back.
///
/// # Errors
/// Why it is refused.
pub fn voted(message: &peer::VoteResponse) -> Result<peer::VoteResponse, String> {
    convert::vote_response_in(message)
        .map(|response| convert::vote_response_out(&response))
        .map_err(text)
}

/// A membership, there and back.
///
/// # Errors
/// Why it is refused.
pub fn membership(message: &peer::Membership) -> Result<peer::Membership, String> {
    convert::membership_in(message).map(|stored| convert::membership_out(&stored)).map_err(text)
}

/// The batch in a forwarded request, if this member would propose it.
///
/// # Errors
/// Why it is refused.
pub fn forwarded(message: &peer::ForwardRequest) -> Result<Bytes, String> {
    peers::check_forwarded(message).map(|_| message.batch.clone()).map_err(text)
}

/// Receives a snapshot into the new folder `dir`, as far as its messages go. Answers the files that
/// lie there when all of them arrived whole.
///
/// # Errors
/// Why it is refused; then there is nothing at `dir`.
pub fn snapshot(
    dir: &Path,
    messages: &[peer::InstallSnapshotRequest],
) -> Result<Vec<peer::SnapshotFile>, String> {
    use peer::install_snapshot_request::Part;
    let mut messages = messages.iter();
    let Some(Part::Manifest(manifest)) = messages.next().and_then(|one| one.part.as_ref()) else {
        return Err("a snapshot begins with its manifest".to_owned());
    };
    let mut receiver = Receiver::new(dir.to_path_buf(), manifest.files.clone()).map_err(text)?;
    for message in messages {
        let Some(Part::Chunk(chunk)) = &message.part else {
            return Err("a snapshot has one manifest".to_owned());
        };
        receiver.write(chunk).map_err(text)?;
    }
    let checkpoint = receiver.finish().map_err(text)?;
    received(checkpoint.path()).map_err(text)
}

/// What the leader makes of the hashes of the other voters: who differs from a majority.
#[must_use]
pub fn differ(
    (applied_index, revision, compact_revision): (u64, i64, i64),
    answers: &BTreeMap<u64, peer::HashKvResponse>,
) -> Vec<u64> {
    compare::differ((applied_index, revision, compact_revision), answers)
}

/// What the leader makes of the digests of the other voters: who differs from a majority.
#[must_use]
pub fn digests_differ(answers: &BTreeMap<u64, peer::DigestResponse>) -> Vec<u64> {
    digest::differ(answers)
}

/// Who this member is, as one of the cluster says.
///
/// # Errors
/// Why it cannot join.
pub fn joiner(answer: &peer::IdentifyResponse, config: &Config) -> Result<u64, String> {
    join::joiner(answer, config).map(|identity| identity.member_id).map_err(text)
}

/// Checks the peer URLs of a member that is to be added or changed.
///
/// # Errors
/// Why they are refused.
pub fn member_urls(urls: &[String]) -> Result<(), String> {
    members::check_urls(urls).map_err(|error| text(tonic::Status::from(error)))
}

/// The batch of a log entry, as the apply thread decodes it.
///
/// # Errors
/// Why it is refused.
pub fn batch(payload: &Bytes) -> Result<proto::orlop::store::v1::Batch, String> {
    proto::orlop::store::v1::Batch::decode(payload.clone()).map_err(text)
}
