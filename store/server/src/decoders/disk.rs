//! What lies in a data folder beside the state: the raft log and the member's identity.

use std::{io, path::Path};

use bytes::Bytes;

use crate::{
    bootstrap::Identity,
    raft::{codec, wal},
};

/// An entry of the raft log, from its stored bytes to what it means and back.
///
/// # Errors
/// `InvalidData` for bytes that are no entry.
pub fn entry(index: u64, stored: &Bytes) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    codec::encode_entry(&codec::decode_entry(index, stored)?, &mut out)?;
    Ok(out)
}

/// A vote, there and back.
///
/// # Errors
/// `InvalidData` for bytes that are no vote.
pub fn vote(stored: &[u8]) -> io::Result<Vec<u8>> {
    codec::decode_vote(stored).map(|vote| codec::encode_vote(&vote).to_vec())
}

/// A position in the log, there and back.
///
/// # Errors
/// `InvalidData` for bytes that are no position.
pub fn position(stored: &[u8]) -> io::Result<Vec<u8>> {
    codec::decode_log_id(stored).map(|id| codec::encode_log_id(&id).to_vec())
}

/// A membership as the log has it, there and back.
///
/// # Errors
/// `InvalidData` for bytes that are no membership.
pub fn membership(stored: &[u8]) -> io::Result<Vec<u8>> {
    codec::encode_membership(&codec::decode_membership(stored)?)
}

/// A membership as the state has it, there and back.
///
/// # Errors
/// `InvalidData` for bytes that are no membership.
pub fn stored_membership(stored: &[u8]) -> io::Result<Vec<u8>> {
    codec::encode_stored_membership(&codec::decode_stored_membership(stored)?)
}

/// A member's identity: the cluster's id and its own.
///
/// # Errors
/// What is wrong with it.
pub fn identity(text: &[u8]) -> Result<(u64, u64), String> {
    Identity::read(text).map(|identity| (identity.cluster_id, identity.member_id))
}

/// What a write-ahead file of the raft log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The sequence number after the last record's.
    pub next_sequence: u64,
    /// Where the last whole record ends.
    pub end: usize,
    /// What follows it.
    pub tail: Tail,
}

/// What follows the last whole record of a write-ahead file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing that counts.
    Clean,
    /// Bytes that mean nothing.
    Leftover,
    /// The beginning of a write that was never synced.
    Torn,
    /// What was synced, and can no longer be read.
    Damaged,
}

/// Looks at a write-ahead file. `number`: the lower half of the file's.
#[must_use]
pub fn log(file: &[u8], number: u32) -> Log {
    let wal::Scan { next_sequence, end, tail } = wal::scan(file, number);
    let tail = match tail {
        wal::Tail::Clean => Tail::Clean,
        wal::Tail::Leftover => Tail::Leftover,
        wal::Tail::Torn => Tail::Torn,
        wal::Tail::Damaged => Tail::Damaged,
    };
    Log { next_sequence, end, tail }
}

/// Makes the write-ahead files in `dir` fit to be opened, as the start of a member does.
///
/// # Errors
/// `InvalidData` for what was synced and cannot be read any more; else what the file system says.
pub fn prepare(dir: &Path) -> io::Result<u64> {
    wal::prepare(dir)
}
