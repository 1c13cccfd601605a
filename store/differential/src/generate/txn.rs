//! Transactions: compares of every kind, nested ones, keys that are written twice, long ones.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use rand::Rng as _;

use super::Generator;
use crate::differences::deletes_from;
use crate::step::Step;

/// Transactions within transactions.
const DEPTH_MAX: usize = 3;
/// What etcd allows in one branch.
const OPS_MAX: usize = 128;

impl Generator {
    pub(super) fn txn(&mut self) -> Step {
        let txn = if self.chance(1) { self.long_txn() } else { self.txn_request(0) };
        Step::call("KV/Txn", &harmless(txn))
    }

    fn txn_request(&mut self, depth: usize) -> pb::TxnRequest {
        let compares = [0, 0, 1, 1, 1, 2, 3][self.rng.random_range(0..7)];
        let reads_only = depth == 0 && self.chance(15);
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.branch(depth, reads_only),
            failure: self.branch(depth, reads_only),
        }
    }

    fn branch(&mut self, depth: usize, reads_only: bool) -> Vec<pb::RequestOp> {
        let count = [0, 1, 1, 2, 2, 3, 4, 6][self.rng.random_range(0..8)];
        let mut ops: Vec<pb::RequestOp> = Vec::new();
        let mut put = Vec::new();
        for _ in 0..count {
            let request = match self.rng.random_range(0..20) {
                _ if reads_only => Request::RequestRange(self.range_request()),
                0..8 => {
                    let mut request = self.put_request();
                    // Most transactions are to be carried out, not refused for a key put twice.
                    for _ in 0..10 {
                        if !put.contains(&request.key) || self.chance(1) {
                            break;
                        }
                        request.key = self.key();
                    }
                    put.push(request.key.clone());
                    Request::RequestPut(request)
                }
                8..14 => Request::RequestRange(self.range_request()),
                14..17 => Request::RequestDeleteRange(self.delete_request()),
                17..19 if depth < DEPTH_MAX => Request::RequestTxn(self.txn_request(depth + 1)),
                _ if self.chance(3) => {
                    ops.push(pb::RequestOp { request: None });
                    continue;
                }
                _ => Request::RequestRange(self.range_request()),
            };
            ops.push(pb::RequestOp { request: Some(request) });
        }
        ops
    }

    fn compare(&mut self) -> pb::Compare {
        let key = if self.chance(1) { Bytes::new() } else { self.key() };
        let target = self.rng.random_range(0..5);
        let operand = if self.chance(95) { target } else { self.rng.random_range(0..6) };
        let small = self.rng.random_range(-1..4);
        let union = match CompareTarget::try_from(operand) {
            Ok(CompareTarget::Version) => Some(TargetUnion::Version(small)),
            Ok(CompareTarget::Create) => Some(TargetUnion::CreateRevision(self.revision())),
            Ok(CompareTarget::Mod) => Some(TargetUnion::ModRevision(self.revision())),
            Ok(CompareTarget::Value) => Some(TargetUnion::Value(self.value())),
            Ok(CompareTarget::Lease) => Some(TargetUnion::Lease(self.lease_id())),
            Err(_) => None,
        };
        // Numbers that no enum has are to be read as etcd reads them.
        let (result, target) = match self.rng.random_range(0..100) {
            0 => (9, target),
            1 => (self.rng.random_range(0..4), 77),
            _ => (self.rng.random_range(0..4), target),
        };
        // Ids that servers choose are compared with no others.
        let result = if target == 4 && self.server_names_leases { result / 3 * 3 } else { result };
        let range_end = if self.chance(25) { self.range_end(&key) } else { Bytes::new() };
        pb::Compare { result, target, range_end, key, target_union: union }
    }

    /// At the limit of operations, or one above it, flat or nested.
    fn long_txn(&mut self) -> pb::TxnRequest {
        let over = usize::from(self.chance(50));
        let nested = self.chance(40);
        let get = pb::RangeRequest { key: self.key(), ..pb::RangeRequest::default() };
        let op = |request| pb::RequestOp { request: Some(request) };
        let many = |count: usize| vec![op(Request::RequestRange(get.clone())); count];
        if !nested {
            return pb::TxnRequest { success: many(OPS_MAX + over), ..pb::TxnRequest::default() };
        }
        // What is nested may have what its parent leaves over.
        let inner =
            pb::TxnRequest { failure: many(OPS_MAX - 5 + over), ..pb::TxnRequest::default() };
        let mut success = many(4);
        success.push(op(Request::RequestTxn(inner)));
        pb::TxnRequest { success, ..pb::TxnRequest::default() }
    }
}

/// Takes away what would kill etcd, at once or after a compaction: a put and a deletion from a key on in
/// the same transaction. Such deletions are of one key then. What they do is in scripts of their own.
fn harmless(mut txn: pb::TxnRequest) -> pb::TxnRequest {
    if deletes_from(&txn) && puts(&txn) {
        delete_one(&mut txn);
    }
    txn
}

fn puts(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(txn)) => puts(txn),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}

fn delete_one(txn: &mut pb::TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestDeleteRange(delete)) if delete.range_end.as_ref() == [0] => {
                delete.range_end.clear();
            }
            Some(Request::RequestTxn(txn)) => delete_one(txn),
            Some(
                Request::RequestRange(_) | Request::RequestPut(_) | Request::RequestDeleteRange(_),
            )
            | None => {}
        }
    }
}
