//! Transactions: the path is decided and checked on the state before, then carried out in order.

use std::cmp::Ordering;

use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::{
    Compare, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse, request_op::Request,
    response_op::Response,
};
use proto::mvccpb::KeyValue;
use store_planted::{self as planted, Bug};

use crate::check;
use crate::error::{Fault, ReadError};
use crate::keys::KeyRange;
use crate::range::{self, header};
use crate::staged::Staged;

/// Which branch was chosen, and the same for each nested transaction of that branch, in order.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

impl Staged<'_> {
    pub(crate) fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, ReadError> {
        check::check_txn(&request, usize::MAX)?;
        let path = self.decide(&request)?;
        let grows = self.validate(&request, &path)?;
        self.registry.allow(grows)?;
        let (succeeded, responses) = self.carry_out(request, path)?;
        Ok(TxnResponse { header: header(self.current()), succeeded, responses })
    }

    fn decide(&self, request: &TxnRequest) -> Result<Path, Fault> {
        let mut succeeded = true;
        for compare in &request.compare {
            succeeded = succeeded && self.holds(compare)?;
        }
        let chosen = if succeeded { &request.success } else { &request.failure };
        let mut nested = Vec::new();
        for op in chosen {
            if let Some(Request::RequestTxn(txn)) = &op.request {
                nested.push(self.decide(txn)?);
            }
        }
        Ok(Path { succeeded, nested })
    }

    /// K2: refuses before the first write. Answers whether there is a put on the path.
    fn validate(&self, request: &TxnRequest, path: &Path) -> Result<bool, ReadError> {
        let mut puts = false;
        let mut nested = path.nested.iter();
        let chosen = if path.succeeded { &request.success } else { &request.failure };
        for op in chosen {
            match &op.request {
                Some(Request::RequestRange(range)) => {
                    range::check_txn_revision(range.revision, self.revision, self.compacted)?;
                }
                Some(Request::RequestPut(put)) => {
                    puts = true;
                    self.has_old(put, self.live_meta(&put.key).as_ref())?;
                    self.has_lease(put)?;
                }
                Some(Request::RequestTxn(txn)) => {
                    let path = nested.next().expect("one path for each nested transaction");
                    puts |= self.validate(txn, path)?;
                }
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(puts)
    }

    /// Which branch was taken, and the answers of its operations.
    fn carry_out(
        &mut self,
        request: TxnRequest,
        path: Path,
    ) -> Result<(bool, Vec<ResponseOp>), ReadError> {
        let mut nested = path.nested.into_iter();
        let chosen = if path.succeeded { request.success } else { request.failure };
        let mut responses = Vec::with_capacity(chosen.len());
        for RequestOp { request } in chosen {
            let response = match request.expect("check_txn refuses an empty operation") {
                Request::RequestRange(range) => Response::ResponseRange(self.range(&range)?),
                Request::RequestPut(put) => Response::ResponsePut(self.put(put)?),
                Request::RequestDeleteRange(delete) => {
                    Response::ResponseDeleteRange(self.delete_range(&delete)?)
                }
                Request::RequestTxn(txn) => {
                    let path = nested.next().expect("one path for each nested transaction");
                    let (succeeded, responses) = self.carry_out(txn, path)?;
                    // As etcd: the header of a nested transaction has not even a revision.
                    let header = Some(ResponseHeader::default());
                    Response::ResponseTxn(TxnResponse { header, succeeded, responses })
                }
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok((path.succeeded, responses))
    }

    /// Whether a compare holds for every key that it means; for a missing key when there is none.
    fn holds(&self, compare: &Compare) -> Result<bool, Fault> {
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let needs_value = compare.target == i32::from(CompareTarget::Value);
        let mut found = false;
        let keys = if planted::is(Bug::GuardsOnOldState) {
            let old = self.base.index.range(&range);
            old.map(|(key, meta)| (key.into(), *meta)).collect()
        } else {
            self.keys_in(&range)
        };
        for (key, meta) in keys {
            if !meta.is_live() {
                continue;
            }
            found = true;
            let kv = if needs_value {
                self.live_record(&key, &meta)?
            } else {
                KeyValue {
                    create_revision: meta.created,
                    mod_revision: meta.modified.main,
                    version: meta.version,
                    lease: meta.lease,
                    ..KeyValue::default()
                }
            };
            if !matches(compare, &kv) {
                return Ok(false);
            }
        }
        // A missing key has no value to compare, but its numbers are zero.
        Ok(found || (!needs_value && matches(compare, &KeyValue::default())))
    }
}

fn matches(compare: &Compare, kv: &KeyValue) -> bool {
    // An absent operand is the zero of its kind, and so is one of another kind, as in etcd.
    let number = |is: i64, pick: fn(&TargetUnion) -> Option<i64>| {
        is.cmp(&compare.target_union.as_ref().and_then(pick).unwrap_or(0))
    };
    // Numbers that stand for nothing are read as etcd reads them: an unknown target compares as
    // equal, an unknown result always holds.
    let Ok(result) = CompareResult::try_from(compare.result) else { return true };
    let ordering = match CompareTarget::try_from(compare.target) {
        Err(_) => Ordering::Equal,
        Ok(CompareTarget::Version) => number(kv.version, |operand| match operand {
            TargetUnion::Version(version) => Some(*version),
            _ => None,
        }),
        Ok(CompareTarget::Create) => number(kv.create_revision, |operand| match operand {
            TargetUnion::CreateRevision(revision) => Some(*revision),
            _ => None,
        }),
        Ok(CompareTarget::Mod) => number(kv.mod_revision, |operand| match operand {
            TargetUnion::ModRevision(revision) => Some(*revision),
            _ => None,
        }),
        Ok(CompareTarget::Lease) => number(kv.lease, |operand| match operand {
            TargetUnion::Lease(lease) => Some(*lease),
            _ => None,
        }),
        Ok(CompareTarget::Value) => match &compare.target_union {
            Some(TargetUnion::Value(value)) => kv.value.cmp(value),
            _ => kv.value.as_ref().cmp(&[]),
        },
    };
    match result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
    }
}
