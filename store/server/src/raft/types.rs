//! The types that openraft is instantiated with; nothing outside `raft/` names openraft itself.

use std::fmt;

use bytes::Bytes;
use openraft::{OptionalSend, RaftTypeConfig, raft::responder::Responder};
use serde::{Deserialize, Serialize};

/// The openraft type configuration of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig {}

impl RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = ();
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Payload, u64, Peer>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// One log entry's content: an encoded batch of operations. Cloning it copies a pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What the membership entry says about one member: where its peers reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// The member's advertised peer URLs.
    pub(crate) urls: Vec<String>,
}

/// Calls back when a proposal is decided. Success is told by the apply thread instead, so that a
/// follower's waiters are answered the same way as a leader's.
pub(crate) struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    /// Wraps the function to call with the outcome.
    pub(crate) fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(call))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// A position in the raft log.
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// One raft log entry.
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
/// A vote: the term, the candidate, and whether a quorum granted it.
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
/// The leader part of a log id.
pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
/// Before every leader.
pub(crate) const NOBODY: LeaderId = LeaderId { term: 0, node_id: 0 };
/// The voters and learners.
pub(crate) type Membership = openraft::Membership<u64, Peer>;
/// The membership together with the log id that set it.
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// A snapshot's position and membership.
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
