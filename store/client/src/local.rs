//! A store in this process, in the place of members that are reached over a network.

use proto::etcdserverpb::{
    CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest,
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRevokeResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, StatusResponse,
    TxnRequest, TxnResponse,
};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::limits::WATCH_QUEUE;
use crate::watch::{Batch, Watch, WatchOptions};

/// What such a store answers: the calls of [`crate::Client`] by the same names, at once and for sure.
pub trait Local: Send + Sync + std::fmt::Debug {
    /// Reads a range.
    ///
    /// # Errors
    /// As a member refuses it.
    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error>;

    /// Writes one key.
    ///
    /// # Errors
    /// As a member refuses it.
    fn put(&self, request: PutRequest) -> Result<PutResponse, Error>;

    /// Deletes a range.
    ///
    /// # Errors
    /// As a member refuses it.
    fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Error>;

    /// Carries out a transaction.
    ///
    /// # Errors
    /// As a member refuses it.
    fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error>;

    /// Forgets history below `revision`.
    ///
    /// # Errors
    /// As a member refuses it.
    fn compact(&self, revision: i64) -> Result<CompactionResponse, Error>;

    /// What it is.
    fn status(&self) -> StatusResponse;

    /// Grants a lease; without an id the store picks one.
    ///
    /// # Errors
    /// As a member refuses it.
    fn lease_grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Error>;

    /// Revokes a lease and deletes its keys.
    ///
    /// # Errors
    /// As a member refuses it.
    fn lease_revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Error>;

    /// Renews a lease; `ttl` is 0 when it does not exist.
    fn lease_keep_alive_once(&self, id: i64) -> LeaseKeepAliveResponse;

    /// What is left of a lease; `ttl` is -1 when it does not exist.
    fn lease_time_to_live(&self, request: &LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse;

    /// The ids of all leases.
    fn leases(&self) -> Vec<i64>;

    /// Starts a watch, which a [`WatchSource`] feeds.
    fn watch(&self, options: WatchOptions) -> Watch;
}

/// The other side of a [`Watch`]: where its batches come from.
#[derive(Debug)]
pub struct WatchSource {
    batches: mpsc::Sender<Result<Batch, Error>>,
    progress_wanted: mpsc::Receiver<()>,
}

impl WatchSource {
    /// A watch, and what feeds it.
    #[must_use]
    pub fn new() -> (Self, Watch) {
        let (sender, batches) = mpsc::channel(WATCH_QUEUE);
        let (progress, progress_wanted) = mpsc::channel(1);
        (Self { batches: sender, progress_wanted }, Watch { batches, progress })
    }

    /// Delivers a batch, or the error that ends the watch. False when nobody reads any more.
    pub async fn send(&self, batch: Result<Batch, Error>) -> bool {
        self.batches.send(batch).await.is_ok()
    }

    /// Waits until the reader asks how far it is: true; or is gone: false.
    pub async fn asked(&mut self) -> bool {
        tokio::select! {
            () = self.batches.closed() => false,
            Some(()) = self.progress_wanted.recv() => true,
        }
    }
}
