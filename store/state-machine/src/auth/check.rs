//! Whether a caller may do what it asks for.

use std::collections::BTreeMap;

use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};
use proto::orlop::store::v1::{Caller, auth_change::Change, command::Op};

use super::{Account, Auth};
use crate::error::Refusal;
use crate::registry::Lease;

/// What a request does to the keys that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It tells their values, or that they exist.
    Read,
    /// It changes or deletes them.
    Write,
}

type Leases = BTreeMap<i64, Lease>;

impl Auth {
    /// Whether `access` to the keys that `key` and `range_end` mean is permitted.
    ///
    /// # Errors
    /// Why it is not.
    pub fn permit(
        &self,
        caller: Option<&Caller>,
        access: Access,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), Refusal> {
        if !self.enabled {
            return Ok(());
        }
        let caller = caller.ok_or(Refusal::UserEmpty)?;
        if caller.member {
            return Ok(());
        }
        if caller.auth_revision < self.revision {
            return Err(Refusal::AuthOldRevision);
        }
        let account = self.users.get(caller.user.as_str()).ok_or(Refusal::PermissionDenied)?;
        let ranges = match access {
            Access::Read => &account.read,
            Access::Write => &account.write,
        };
        if account.is_root || ranges.cover(key, range_end) {
            return Ok(());
        }
        Err(Refusal::PermissionDenied)
    }

    /// Whether the caller said who it is.
    ///
    /// # Errors
    /// [`Refusal::UserEmpty`] when it must have, and did not.
    pub fn require_user(&self, caller: Option<&Caller>) -> Result<(), Refusal> {
        if self.enabled && caller.is_none() { Err(Refusal::UserEmpty) } else { Ok(()) }
    }

    /// Whether the caller has the role `root`.
    ///
    /// # Errors
    /// Why it may not do what only `root` may.
    pub fn require_root(&self, caller: Option<&Caller>) -> Result<(), Refusal> {
        if !self.enabled {
            return Ok(());
        }
        let caller = caller.ok_or(Refusal::UserEmpty)?;
        if caller.member {
            return Ok(());
        }
        if caller.user.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        let account: &Account =
            self.users.get(caller.user.as_str()).ok_or(Refusal::UserNotFound)?;
        if account.is_root { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }

    /// Whether every key of the lease may be touched.
    ///
    /// # Errors
    /// Why it may not.
    pub fn permit_keys<'a>(
        &self,
        caller: Option<&Caller>,
        access: Access,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Refusal> {
        if self.require_root(caller).is_ok() {
            return Ok(());
        }
        for key in keys {
            self.permit(caller, access, key, &[])?;
        }
        Ok(())
    }

    /// A transaction without puts. Both branches and all compares count, nested ones too, whichever
    /// would be taken: the answer alone tells which one it was.
    ///
    /// # Errors
    /// Why it is not permitted.
    pub fn permit_reads(&self, caller: Option<&Caller>, txn: &TxnRequest) -> Result<(), Refusal> {
        self.permit_txn(caller, txn, &Leases::new())
    }

    /// What stands in the log is judged when it is applied, by the users and roles of that place.
    pub(crate) fn permit_command(
        &self,
        caller: Option<&Caller>,
        op: &Op,
        leases: &Leases,
    ) -> Result<(), Refusal> {
        match op {
            Op::Put(put) => self.permit_put(caller, put, leases),
            Op::DeleteRange(delete) => {
                self.permit(caller, Access::Write, &delete.key, &delete.range_end)?;
                if delete.prev_kv {
                    self.permit(caller, Access::Read, &delete.key, &delete.range_end)?;
                }
                Ok(())
            }
            Op::Txn(txn) => self.permit_txn(caller, txn, leases),
            Op::LeaseGrant(_) => self.require_user(caller),
            Op::LeaseRevoke(revoke) => {
                self.require_user(caller)?;
                self.permit_lease(caller, revoke.id, leases)
            }
            Op::Compact(_) | Op::Alarm(_) => self.require_root(caller),
            Op::Auth(change) => match change.change {
                // The password is the proof.
                Some(Change::Authenticate(_)) => Ok(()),
                Some(_) | None => self.require_root(caller),
            },
            // Only members propose these, when the client was found to be root.
            Op::LeaseCheckpoint(_)
            | Op::MemberSet(_)
            | Op::MemberRemove(_)
            | Op::ClusterSet(_)
            | Op::Fence(_)
            | Op::DigestRestart(_) => Ok(()),
        }
    }

    fn permit_put(
        &self,
        caller: Option<&Caller>,
        put: &PutRequest,
        leases: &Leases,
    ) -> Result<(), Refusal> {
        self.permit(caller, Access::Write, &put.key, &[])?;
        // Who attaches a key to a lease decides when the others of it are deleted.
        self.permit_lease(caller, put.lease, leases)?;
        if put.prev_kv {
            self.permit(caller, Access::Read, &put.key, &[])?;
        }
        Ok(())
    }

    fn permit_lease(
        &self,
        caller: Option<&Caller>,
        id: i64,
        leases: &Leases,
    ) -> Result<(), Refusal> {
        let Some(lease) = leases.get(&id) else { return Ok(()) };
        self.permit_keys(caller, Access::Write, lease.keys.iter().map(AsRef::as_ref))
    }

    fn permit_txn(
        &self,
        caller: Option<&Caller>,
        txn: &TxnRequest,
        leases: &Leases,
    ) -> Result<(), Refusal> {
        for compare in &txn.compare {
            self.permit(caller, Access::Read, &compare.key, &compare.range_end)?;
        }
        for RequestOp { request } in txn.success.iter().chain(&txn.failure) {
            match request {
                Some(Request::RequestRange(range)) => {
                    self.permit(caller, Access::Read, &range.key, &range.range_end)?;
                }
                Some(Request::RequestPut(put)) => self.permit_put(caller, put, leases)?,
                Some(Request::RequestDeleteRange(delete)) => {
                    if delete.prev_kv {
                        self.permit(caller, Access::Read, &delete.key, &delete.range_end)?;
                    }
                    self.permit(caller, Access::Write, &delete.key, &delete.range_end)?;
                }
                Some(Request::RequestTxn(txn)) => self.permit_txn(caller, txn, leases)?,
                None => {}
            }
        }
        Ok(())
    }
}
