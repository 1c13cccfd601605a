//! What a restored state must know of the log: where it stands in it, and who votes.

use std::{collections::BTreeMap, io};

use super::{
    codec,
    types::{LeaderId, LogId, Membership, Peer, StoredMembership},
};

/// Term and index where a restored state stands.
pub(crate) const BEGINNING: (u64, u64) = (0, 1);

/// The position and the membership, in their stored forms, of a state that begins a new cluster with
/// these voters. Nobody ever wrote the entry at this position: it is older than any that a leader of
/// the new cluster can write, and every member is given the same one.
pub(crate) fn beginning(voters: &BTreeMap<u64, Vec<String>>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (term, index) = BEGINNING;
    let position = LogId::new(LeaderId { term, node_id: 0 }, index);
    let nodes: BTreeMap<u64, Peer> =
        voters.iter().map(|(id, urls)| (*id, Peer { urls: urls.clone() })).collect();
    let membership =
        Membership::new(vec![voters.keys().copied().collect()], nodes).map_err(io::Error::other)?;
    let stored = StoredMembership::new(Some(position), membership);
    Ok((codec::encode_log_id(&position).to_vec(), codec::encode_stored_membership(&stored)?))
}

/// Term and index of a stored position.
pub(crate) fn term_and_index(position: &[u8]) -> io::Result<(u64, u64)> {
    let position = codec::decode_log_id(position)?;
    Ok((position.leader_id.term, position.index))
}
