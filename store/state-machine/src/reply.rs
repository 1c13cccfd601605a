//! What a command answers, and how an outcome travels between members.

use proto::etcdserverpb as etcd;
use proto::orlop::store::v1::{self as wire, outcome::Result as WireResult};

use crate::error::Refusal;

/// What a command answers. Headers carry only `revision`; the server adds the rest.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Of a put.
    Put(etcd::PutResponse),
    /// Of a range deletion.
    DeleteRange(etcd::DeleteRangeResponse),
    /// Of a transaction.
    Txn(etcd::TxnResponse),
    /// Of a compaction: the logical one is done, the physical one goes on.
    Compact(etcd::CompactionResponse),
    /// Of a lease grant.
    LeaseGrant(etcd::LeaseGrantResponse),
    /// Of a lease revocation.
    LeaseRevoke(etcd::LeaseRevokeResponse),
    /// Of a checkpoint of lease times.
    LeaseCheckpoint(etcd::LeaseCheckpointResponse),
    /// The alarms that were raised, cleared or asked for.
    Alarm(etcd::AlarmResponse),
    /// All members, by id, after a change of them.
    Members(Vec<etcd::Member>),
    /// Of a change of users and roles; the token is filled in by whoever makes tokens.
    Auth(wire::AuthChanged),
    /// Nothing to say.
    Done,
}

impl Reply {
    /// The form that travels between members.
    #[must_use]
    pub fn to_wire(outcome: Result<Self, Refusal>) -> wire::Outcome {
        let result = match outcome {
            Err(refusal) => WireResult::Refusal(refusal.to_wire().into()),
            Ok(Self::Put(reply)) => WireResult::Put(reply),
            Ok(Self::DeleteRange(reply)) => WireResult::DeleteRange(reply),
            Ok(Self::Txn(reply)) => WireResult::Txn(reply),
            Ok(Self::Compact(reply)) => WireResult::Compact(reply),
            Ok(Self::LeaseGrant(reply)) => WireResult::LeaseGrant(reply),
            Ok(Self::LeaseRevoke(reply)) => WireResult::LeaseRevoke(reply),
            Ok(Self::LeaseCheckpoint(reply)) => WireResult::LeaseCheckpoint(reply),
            Ok(Self::Alarm(reply)) => WireResult::Alarm(reply),
            Ok(Self::Members(members)) => WireResult::Members(wire::Members { members }),
            Ok(Self::Auth(reply)) => WireResult::Auth(reply),
            Ok(Self::Done) => WireResult::Done(wire::Done {}),
        };
        wire::Outcome { result: Some(result) }
    }

    /// None for an outcome that this version does not know.
    #[must_use]
    pub fn from_wire(outcome: wire::Outcome) -> Option<Result<Self, Refusal>> {
        Some(Ok(match outcome.result? {
            WireResult::Refusal(refusal) => {
                let refusal = wire::Refusal::try_from(refusal).ok()?;
                return Refusal::from_wire(refusal).map(Err);
            }
            WireResult::Put(reply) => Self::Put(reply),
            WireResult::DeleteRange(reply) => Self::DeleteRange(reply),
            WireResult::Txn(reply) => Self::Txn(reply),
            WireResult::Compact(reply) => Self::Compact(reply),
            WireResult::LeaseGrant(reply) => Self::LeaseGrant(reply),
            WireResult::LeaseRevoke(reply) => Self::LeaseRevoke(reply),
            WireResult::LeaseCheckpoint(reply) => Self::LeaseCheckpoint(reply),
            WireResult::Alarm(reply) => Self::Alarm(reply),
            WireResult::Members(members) => Self::Members(members.members),
            WireResult::Auth(reply) => Self::Auth(reply),
            WireResult::Done(_) => Self::Done,
        }))
    }
}
