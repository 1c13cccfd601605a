//! Bytes of a log entry: a fixed header, then the batch as it was proposed.
//!
//! The same bytes are kept on disk and (without the index) never re-encoded.

use std::io;

use bytes::Bytes;
use openraft::{EntryPayload, entry::RaftEntry};

use super::types::{Entry, LeaderId, LogId, Membership, Payload, StoredMembership, Vote};

const VERSION: u8 = 1;
const HEADER_LEN: usize = 18;
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("raft log: {what}"))
}

fn read_u64(bytes: &[u8], at: usize) -> Result<u64, io::Error> {
    let part = bytes.get(at..at + 8).ok_or_else(|| bad("value is too short"))?;
    Ok(u64::from_be_bytes(part.try_into().expect("the slice is eight bytes long")))
}

/// Appends the stored form of `entry` to `out`.
pub(crate) fn encode_entry(entry: &Entry, out: &mut Vec<u8>) -> Result<(), io::Error> {
    let kind = match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(_) => NORMAL,
        EntryPayload::Membership(_) => MEMBERSHIP,
    };
    out.push(VERSION);
    out.push(kind);
    out.extend_from_slice(&entry.log_id.leader_id.term.to_be_bytes());
    out.extend_from_slice(&entry.log_id.leader_id.node_id.to_be_bytes());
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(payload) => out.extend_from_slice(&payload.0),
        EntryPayload::Membership(membership) => {
            out.extend_from_slice(&encode_membership(membership)?);
        }
    }
    Ok(())
}

/// The entry at `index` from its stored form.
pub(crate) fn decode_entry(index: u64, value: &Bytes) -> Result<Entry, io::Error> {
    if value.len() < HEADER_LEN || value[0] != VERSION {
        return Err(bad("entry of an unknown version"));
    }
    let log_id =
        LogId::new(LeaderId { term: read_u64(value, 2)?, node_id: read_u64(value, 10)? }, index);
    let body = value.slice(HEADER_LEN..);
    let payload = match value[1] {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Payload(body)),
        MEMBERSHIP => EntryPayload::Membership(decode_membership(&body)?),
        _ => return Err(bad("entry of an unknown kind")),
    };
    Ok(Entry::new(log_id, payload))
}

/// Memberships are rare and outlive versions of this program, so they are stored as JSON.
pub(crate) fn encode_membership(membership: &Membership) -> Result<Vec<u8>, io::Error> {
    serde_json::to_vec(membership).map_err(io::Error::other)
}

/// Reads what [`encode_membership`] wrote.
pub(crate) fn decode_membership(bytes: &[u8]) -> Result<Membership, io::Error> {
    serde_json::from_slice(bytes).map_err(|error| bad(&format!("membership: {error}")))
}

/// As [`encode_membership`], with the log id that set it.
pub(crate) fn encode_stored_membership(value: &StoredMembership) -> Result<Vec<u8>, io::Error> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

/// Reads what [`encode_stored_membership`] wrote; no bytes mean the empty membership.
pub(crate) fn decode_stored_membership(bytes: &[u8]) -> Result<StoredMembership, io::Error> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    serde_json::from_slice(bytes).map_err(|error| bad(&format!("membership: {error}")))
}

/// A log id as 24 bytes.
pub(crate) fn encode_log_id(id: &LogId) -> [u8; 24] {
    let mut out = [0; 24];
    out[..8].copy_from_slice(&id.leader_id.term.to_be_bytes());
    out[8..16].copy_from_slice(&id.leader_id.node_id.to_be_bytes());
    out[16..].copy_from_slice(&id.index.to_be_bytes());
    out
}

/// Reads what [`encode_log_id`] wrote.
pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, io::Error> {
    Ok(LogId::new(
        LeaderId { term: read_u64(bytes, 0)?, node_id: read_u64(bytes, 8)? },
        read_u64(bytes, 16)?,
    ))
}

/// A vote as 17 bytes.
pub(crate) fn encode_vote(vote: &Vote) -> [u8; 17] {
    let mut out = [0; 17];
    out[..8].copy_from_slice(&vote.leader_id.term.to_be_bytes());
    out[8..16].copy_from_slice(&vote.leader_id.node_id.to_be_bytes());
    out[16] = u8::from(vote.committed);
    out
}

/// Reads what [`encode_vote`] wrote.
pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, io::Error> {
    let committed = *bytes.get(16).ok_or_else(|| bad("vote is too short"))? == 1;
    let (term, node_id) = (read_u64(bytes, 0)?, read_u64(bytes, 8)?);
    Ok(if committed { Vote::new_committed(term, node_id) } else { Vote::new(term, node_id) })
}
