//! What can be said of a request without the state: the server asks before it proposes, apply again.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};

use crate::error::Refusal;
use crate::keys::KeyRange;

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
    check_level(request, ops_max)?;
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

fn check_level(request: &TxnRequest, ops_max: usize) -> Result<(), Refusal> {
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
            Some(Request::RequestTxn(txn)) => check_level(txn, ops_max - ops)?,
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// What one branch would write.
#[derive(Default)]
struct Footprint {
    puts: BTreeSet<Bytes>,
    deletes: Vec<KeyRange>,
}

impl Footprint {
    fn conflicts(&self, other: &Self) -> bool {
        let puts_twice = other.puts.iter().any(|key| self.puts.contains(key));
        puts_twice || self.deletes_puts_of(other) || other.deletes_puts_of(self)
    }

    fn deletes_puts_of(&self, other: &Self) -> bool {
        self.deletes.iter().any(|range| {
            let from = Bound::Included(range.start());
            let mut puts = other.puts.range::<[u8], _>((from, Bound::Unbounded));
            puts.next().is_some_and(|key| range.contains(key))
        })
    }

    fn add(&mut self, other: Self) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }
}

/// Refuses a put that meets another put or a deletion of another operation. The two branches of one
/// nested transaction may touch the same key: only one of them is taken.
fn footprint(ops: &[RequestOp]) -> Result<Footprint, Refusal> {
    let mut all = Footprint::default();
    for op in ops {
        let mut one = Footprint::default();
        match &op.request {
            Some(Request::RequestPut(put)) => {
                one.puts.insert(put.key.clone());
            }
            Some(Request::RequestDeleteRange(delete)) => {
                one.deletes.push(KeyRange::new(&delete.key, &delete.range_end));
            }
            Some(Request::RequestTxn(txn)) => {
                one = footprint(&txn.success)?;
                one.add(footprint(&txn.failure)?);
            }
            Some(Request::RequestRange(_)) | None => {}
        }
        if all.conflicts(&one) {
            return Err(Refusal::DuplicateKey);
        }
        all.add(one);
    }
    Ok(all)
}
