//! Key-value calls, and what is asked of the cluster.

use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    MemberListRequest, MemberListResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    StatusRequest, StatusResponse, TxnRequest, TxnResponse,
};

use crate::channel::{Client, LOCAL, Safety};
use crate::error::Error;
use crate::limits::{READ_ATTEMPT_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::login::Authed;

fn kv(channel: Authed) -> KvClient<Authed> {
    KvClient::new(channel)
        .max_decoding_message_size(RESPONSE_BYTES_MAX)
        .max_encoding_message_size(REQUEST_BYTES_MAX)
}

impl Client {
    /// Reads a range. Retried on other members.
    ///
    /// # Errors
    /// [`Error::Compacted`] below the compacted revision; otherwise see [`Error`].
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        if let Some(local) = self.here() {
            return local.range(&request);
        }
        self.call(Safety::Read, |channel| {
            let request = request.clone();
            async move { kv(channel).range(request).await }
        })
        .await
    }

    /// Writes one key.
    ///
    /// # Errors
    /// See [`Error::happened`].
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, Error> {
        if let Some(local) = self.here() {
            return local.put(request);
        }
        self.call(Safety::Write, |channel| {
            let request = request.clone();
            async move { kv(channel).put(request).await }
        })
        .await
    }

    /// Deletes a range.
    ///
    /// # Errors
    /// See [`Error::happened`].
    pub async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Error> {
        if let Some(local) = self.here() {
            return local.delete_range(request);
        }
        self.call(Safety::Write, |channel| {
            let request = request.clone();
            async move { kv(channel).delete_range(request).await }
        })
        .await
    }

    /// Carries out a transaction.
    ///
    /// # Errors
    /// See [`Error::happened`].
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        if let Some(local) = self.here() {
            return local.txn(request);
        }
        self.call(Safety::Write, |channel| {
            let request = request.clone();
            async move { kv(channel).txn(request).await }
        })
        .await
    }

    /// Forgets history below `revision`.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that has been done already.
    pub async fn compact(&self, revision: i64) -> Result<CompactionResponse, Error> {
        if let Some(local) = self.here() {
            return local.compact(revision);
        }
        self.call(Safety::Write, |channel| async move {
            kv(channel).compact(CompactionRequest { revision, physical: false }).await
        })
        .await
    }

    /// The members of the cluster, by a linearizable read.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn member_list(&self) -> Result<MemberListResponse, Error> {
        self.call(Safety::Read, |channel| async move {
            ClusterClient::new(channel).member_list(MemberListRequest { linearizable: true }).await
        })
        .await
    }

    /// The status of the member behind `endpoint`, one of [`Client::endpoints`].
    ///
    /// # Errors
    /// [`Error::Config`] for an endpoint that is not ours; [`Error::Unavailable`] when it is down.
    pub async fn status(&self, endpoint: &str) -> Result<StatusResponse, Error> {
        if let Some(local) = self.here().filter(|_| endpoint == LOCAL) {
            return Ok(local.status());
        }
        let channel = self
            .channel_of(endpoint)
            .ok_or_else(|| Error::Config(format!("{endpoint:?} is not one of the endpoints")))?;
        let until = tokio::time::Instant::now() + READ_ATTEMPT_MAX;
        let channel = self.authed(channel, until).await?;
        let call = async move { MaintenanceClient::new(channel).status(StatusRequest {}).await };
        match tokio::time::timeout_at(until, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&status)),
            Err(_) => Err(Error::Unavailable { message: format!("{endpoint} does not answer") }),
        }
    }
}
