//! etcd's KV service.

use std::time::Instant;

use proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader, ResponseOp,
        TxnRequest, TxnResponse, kv_server::Kv, request_op, response_op,
    },
    orlop::store::v1::command::Op,
};
use store_planted::{self as planted, Bug};
use store_state_machine::{
    ReadError, Refusal, Reply, View, check_delete_range, check_put, check_range, check_txn,
    txn_is_read_only,
};
use tonic::{Request, Response, Status};

use super::{Services, range_stream};
use crate::{
    auth,
    error::{Error, read_failed},
};

fn refused(refusal: Refusal) -> Status {
    Error::Refused(refusal).into()
}

/// A reply of another kind than the command would be a bug of the state machine.
fn mismatch() -> Status {
    Status::internal("the outcome does not belong to the request")
}

fn all_serializable(txn: &TxnRequest) -> bool {
    let serializable = |op: &RequestOp| match &op.request {
        Some(request_op::Request::RequestRange(range)) => range.serializable,
        _ => false,
    };
    txn.success.iter().chain(&txn.failure).all(serializable)
}

/// Every range of a transaction without compares, all at the same revision.
fn read_only(view: &View, txn: TxnRequest) -> Result<TxnResponse, ReadError> {
    let revision = view.revision();
    let mut responses = Vec::with_capacity(txn.success.len());
    for op in txn.success {
        if let Some(request_op::Request::RequestRange(mut range)) = op.request {
            match range.revision {
                0 => range.revision = revision,
                // As etcd: within a transaction only zero means now.
                ..0 => return Err(Refusal::Compacted.into()),
                _ => {}
            }
            let mut response = view.range(&range)?;
            response.header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
            let response = Some(response_op::Response::ResponseRange(response));
            responses.push(ResponseOp { response });
        }
    }
    let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
    Ok(TxnResponse { header, succeeded: true, responses })
}

#[tonic::async_trait]
impl Kv for Services {
    type RangeStreamStream = range_stream::Pieces;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        if request.get_ref().serializable {
            self.check_has_leader(&request)?;
        } else {
            self.check_leader(&request)?;
        }
        let (sender, request) = auth::split(request);
        check_range(&request).map_err(refused)?;
        range_stream::check(&request)?;
        if !request.serializable {
            self.reader.linearizable().await?;
        }
        let pass = self.gate.pass(&sender).await?;
        pass.range(&request.key, &request.range_end)?;
        Ok(Response::new(range_stream::stream(self, request, pass)))
    }

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        if request.get_ref().serializable {
            self.check_has_leader(&request)?;
        } else {
            self.check_leader(&request)?;
        }
        let (sender, request) = auth::split(request);
        check_range(&request).map_err(refused)?;
        if !request.serializable {
            self.reader.linearizable().await?;
        }
        let pass = self.gate.pass(&sender).await?;
        pass.range(&request.key, &request.range_end)?;
        // Most reads are of one key that is in memory: those need no other thread.
        let began = Instant::now();
        let answer = match self.state.view().range_now(&request) {
            Some(answer) => answer,
            None => {
                let view = self.state.view();
                let read = crate::exec::blocking(move || view.range(&request));
                read.await.map_err(|error| Status::internal(error.to_string()))?
            }
        };
        self.metrics.store.ranged(began.elapsed(), answer.is_ok());
        let mut response = answer.map_err(read_failed)?;
        pass.still_good(&self.state)?;
        if planted::is(Bug::HeaderAhead) {
            response.header = Some(self.headers.at(self.state.view().revision()));
        }
        self.headers.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, request) = auth::split(request);
        check_put(&request).map_err(refused)?;
        let caller = self.gate.caller(&sender).await?;
        match self.proposer.propose(caller, Op::Put(request)).await? {
            Reply::Put(mut response) => {
                self.headers.complete(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(mismatch()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, request) = auth::split(request);
        check_delete_range(&request).map_err(refused)?;
        let caller = self.gate.caller(&sender).await?;
        match self.proposer.propose(caller, Op::DeleteRange(request)).await? {
            Reply::DeleteRange(mut response) => {
                self.headers.complete(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(mismatch()),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, request) = auth::split(request);
        check_txn(&request, self.config.max_txn_ops).map_err(refused)?;
        // One with compares goes through the log as well: it is decided there, and writes nothing.
        let mut response = if request.compare.is_empty() && txn_is_read_only(&request) {
            if !all_serializable(&request) {
                self.reader.linearizable().await?;
            }
            let pass = self.gate.pass(&sender).await?;
            pass.reads(&request)?;
            let view = self.state.view();
            let read = crate::exec::blocking(move || read_only(&view, request));
            let answer = read.await.map_err(|error| Status::internal(error.to_string()))?;
            let response = answer.map_err(read_failed)?;
            self.metrics.store.read(&response);
            pass.still_good(&self.state)?;
            response
        } else {
            let caller = self.gate.caller(&sender).await?;
            match self.proposer.propose(caller, Op::Txn(request)).await? {
                Reply::Txn(response) => response,
                _ => return Err(mismatch()),
            }
        };
        self.headers.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.check_leader(&request)?;
        let (sender, request) = auth::split(request);
        let (revision, physical) = (request.revision, request.physical);
        let pass = self.gate.pass(&sender).await?;
        pass.root()?;
        match self.proposer.propose(pass.into_caller(), Op::Compact(request)).await? {
            Reply::Compact(mut response) => {
                if physical {
                    self.state.compacted(revision).await;
                }
                self.headers.complete(&mut response.header);
                Ok(Response::new(response))
            }
            _ => Err(mismatch()),
        }
    }
}
