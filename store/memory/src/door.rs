//! The calls of the store's client, carried out here.

use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, StatusResponse, TxnRequest, TxnResponse,
};
use proto::orlop::store::v1::command::Op;
use store_client::{Error, Local, Watch, WatchOptions};
use store_state_machine::{Refusal, Reply, check_delete_range, check_put, check_txn};

use crate::{Memory, limits, mismatch, read_failed, refused, watch};

/// The level of etcd's interface that this store has.
const VERSION: &str = "3.6.0";

impl Memory {
    #[expect(clippy::unnecessary_wraps, reason = "the field of every response is optional")]
    fn header(&self) -> Option<ResponseHeader> {
        let revision = self.shared.view.revision();
        Some(ResponseHeader { revision, ..ResponseHeader::default() })
    }
}

impl Local for Memory {
    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.shared.view.range(request).map_err(read_failed)
    }

    fn put(&self, request: PutRequest) -> Result<PutResponse, Error> {
        check_put(&request).map_err(refused)?;
        match self.shared.apply(Op::Put(request))? {
            Reply::Put(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
        check_delete_range(&request).map_err(refused)?;
        match self.shared.apply(Op::DeleteRange(request))? {
            Reply::DeleteRange(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        check_txn(&request, limits::TXN_OPS_MAX).map_err(refused)?;
        match self.shared.apply(Op::Txn(request))? {
            Reply::Txn(response) => Ok(response),
            _ => Err(mismatch()),
        }
    }

    fn compact(&self, revision: i64) -> Result<CompactionResponse, Error> {
        let request = CompactionRequest { revision, physical: false };
        match self.shared.apply(Op::Compact(request))? {
            Reply::Compact(response) => {
                self.shared.clear()?;
                Ok(response)
            }
            _ => Err(mismatch()),
        }
    }

    fn status(&self) -> StatusResponse {
        StatusResponse {
            header: self.header(),
            version: VERSION.to_owned(),
            ..StatusResponse::default()
        }
    }

    fn lease_grant(&self, mut request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Error> {
        if request.ttl > limits::LEASE_TTL_MAX_S {
            return Err(refused(Refusal::LeaseTtlTooLarge));
        }
        request.ttl = request.ttl.max(1);
        while request.id == 0 {
            request.id = rand::random::<i64>() & i64::MAX;
        }
        let (id, ttl) = (request.id, request.ttl);
        match self.shared.apply(Op::LeaseGrant(request))? {
            Reply::LeaseGrant(response) => {
                self.shared.leases.granted(id, ttl);
                Ok(response)
            }
            _ => Err(mismatch()),
        }
    }

    fn lease_revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Error> {
        match self.shared.apply(Op::LeaseRevoke(LeaseRevokeRequest { id }))? {
            Reply::LeaseRevoke(response) => {
                self.shared.leases.revoked(id);
                Ok(response)
            }
            _ => Err(mismatch()),
        }
    }

    fn lease_keep_alive_once(&self, id: i64) -> LeaseKeepAliveResponse {
        let ttl = self.shared.leases.renewed(id);
        LeaseKeepAliveResponse { header: self.header(), id, ttl }
    }

    fn lease_time_to_live(&self, request: &LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse {
        let (header, id) = (self.header(), request.id);
        let Some((ttl, granted_ttl)) = self.shared.leases.left(id) else {
            return LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                ..LeaseTimeToLiveResponse::default()
            };
        };
        let keys = match self.shared.view.lease(id) {
            Some(lease) if request.keys => lease.keys,
            Some(_) | None => Vec::new(),
        };
        LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }
    }

    fn leases(&self) -> Vec<i64> {
        self.shared.leases.ids()
    }

    fn watch(&self, options: WatchOptions) -> Watch {
        watch::start(&self.shared, options)
    }
}
