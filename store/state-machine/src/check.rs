//! What can be said of a request without the state: the server asks before it proposes, apply again.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};

use crate::error::Refusal;
use crate::keys::KeyRange;
use crate::limits;

/// A key, and a sort option that exists.
///
/// # Errors
/// What is wrong with the request.
pub fn check_range(request: &RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    let order = SortOrder::try_from(request.sort_order);
    let target = SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(Refusal::InvalidSortOption);
    }
    Ok(())
}

/// A key, and flags that agree with the rest.
///
/// # Errors
/// What is wrong with the request.
pub fn check_put(request: &PutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

/// A key.
///
/// # Errors
/// What is wrong with the request.
pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// Every operation of a transaction, its length (`ops_max` as etcd counts it: the longest list of a
/// level, nested transactions get what is left), and that no key is written twice.
///
/// # Errors
/// What is wrong with the request.
pub fn check_txn(request: &TxnRequest, ops_max: usize) -> Result<(), Refusal> {
    check_level(request, ops_max, limits::TXN_DEPTH_MAX)?;
    footprint(&request.success)?;
    footprint(&request.failure)?;
    Ok(())
}

/// Whether a transaction can be answered without the log: reads only, none nested.
#[must_use]
pub fn txn_is_read_only(request: &TxnRequest) -> bool {
    let is_range = |op: &RequestOp| matches!(op.request, Some(Request::RequestRange(_)));
    request.success.iter().chain(&request.failure).all(is_range)
}

fn check_level(request: &TxnRequest, ops_max: usize, depth: usize) -> Result<(), Refusal> {
    if depth == 0 {
        return Err(Refusal::TooManyOps);
    }
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops > ops_max {
        return Err(Refusal::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete_range(delete)?,
            Some(Request::RequestTxn(txn)) => check_level(txn, ops_max - ops, depth - 1)?,
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// What one branch would write.
#[derive(Default)]
struct Footprint {
    /// Whether the put needs what the key was before.
    puts: BTreeMap<Bytes, bool>,
    deletes: Vec<KeyRange>,
}

impl Footprint {
    /// Adds a put; an error if it meets another one, or a deletion.
    ///
    /// etcd does not see what a deletion of all keys from one on covers, and programs may rely on it.
    /// But a put that needs the old key, after such a deletion, kills every member of etcd.
    fn put(&mut self, key: &Bytes, needs_old: bool) -> Result<(), Refusal> {
        let meets = |range: &KeyRange| {
            range.contains(key) && (needs_old || !matches!(range, KeyRange::From(_)))
        };
        if self.deletes.iter().any(meets) || self.puts.insert(key.clone(), needs_old).is_some() {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

/// Refuses a put that meets another put or a deletion. The two branches of one nested transaction
/// may put the same key: only one of them is taken.
///
/// The order is etcd's: the deletions of this level, then the nested transactions one after the
/// other, then the puts of this level. So a deletion in a later nested transaction may meet a put of
/// an earlier one.
fn footprint(ops: &[RequestOp]) -> Result<Footprint, Refusal> {
    let mut all = Footprint::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            all.deletes.push(KeyRange::new(&delete.key, &delete.range_end));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(txn)) = &op.request else { continue };
        let (then, otherwise) = (footprint(&txn.success)?, footprint(&txn.failure)?);
        for (key, needs_old) in &then.puts {
            all.put(key, *needs_old)?;
        }
        for (key, needs_old) in &otherwise.puts {
            if then.puts.contains_key(key) {
                // The deletions still matter: this one may need the old key where the other did not.
                all.puts.remove(key);
            }
            all.put(key, *needs_old)?;
        }
        all.deletes.extend(then.deletes);
        all.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            all.put(&put.key, put.ignore_value || put.ignore_lease)?;
        }
    }
    Ok(all)
}
