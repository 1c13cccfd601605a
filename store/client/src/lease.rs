//! Lease calls.

use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use tonic::Status;

use crate::channel::{Client, Safety};
use crate::error::Error;
use crate::limits::RESPONSE_BYTES_MAX;

impl Client {
    /// Grants a lease of `ttl_s` seconds; the store picks the id.
    ///
    /// # Errors
    /// See [`Error::happened`]; a lease granted unknown to us ends by itself.
    pub async fn lease_grant(&self, ttl_s: i64) -> Result<LeaseGrantResponse, Error> {
        if let Some(local) = self.here() {
            return local.lease_grant(LeaseGrantRequest { ttl: ttl_s, id: 0 });
        }
        self.call(Safety::Write, |channel| async move {
            LeaseClient::new(channel).lease_grant(LeaseGrantRequest { ttl: ttl_s, id: 0 }).await
        })
        .await
    }

    /// Grants a lease under an id of the caller's choice.
    ///
    /// # Errors
    /// [`Error::Refused`] with code `FailedPrecondition` when there is one already; see
    /// [`Error::happened`].
    pub async fn lease_grant_as(&self, id: i64, ttl_s: i64) -> Result<LeaseGrantResponse, Error> {
        if let Some(local) = self.here() {
            return local.lease_grant(LeaseGrantRequest { ttl: ttl_s, id });
        }
        self.call(Safety::Write, |channel| async move {
            LeaseClient::new(channel).lease_grant(LeaseGrantRequest { ttl: ttl_s, id }).await
        })
        .await
    }

    /// The ids of all leases.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn leases(&self) -> Result<Vec<i64>, Error> {
        if let Some(local) = self.here() {
            return Ok(local.leases());
        }
        let response = self
            .call(Safety::Read, |channel| async move {
                LeaseClient::new(channel)
                    .max_decoding_message_size(RESPONSE_BYTES_MAX)
                    .lease_leases(LeaseLeasesRequest {})
                    .await
            })
            .await?;
        Ok(response.leases.into_iter().map(|lease| lease.id).collect())
    }

    /// Revokes a lease and deletes its keys.
    ///
    /// # Errors
    /// [`Error::Refused`] with code `NotFound` for an unknown lease.
    pub async fn lease_revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Error> {
        if let Some(local) = self.here() {
            return local.lease_revoke(id);
        }
        self.call(Safety::Write, |channel| async move {
            LeaseClient::new(channel).lease_revoke(LeaseRevokeRequest { id }).await
        })
        .await
    }

    /// What is left of a lease; `ttl` is −1 when it does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lease_time_to_live(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<LeaseTimeToLiveResponse, Error> {
        if let Some(local) = self.here() {
            return Ok(local.lease_time_to_live(&LeaseTimeToLiveRequest { id, keys }));
        }
        self.call(Safety::Read, |channel| async move {
            LeaseClient::new(channel).lease_time_to_live(LeaseTimeToLiveRequest { id, keys }).await
        })
        .await
    }

    /// Renews a lease once; `ttl` is 0 when it does not exist any more.
    ///
    /// # Errors
    /// See [`Error`]; renewing twice is harmless, so lost answers are retried.
    pub async fn lease_keep_alive_once(&self, id: i64) -> Result<LeaseKeepAliveResponse, Error> {
        if let Some(local) = self.here() {
            return Ok(local.lease_keep_alive_once(id));
        }
        self.call(Safety::Read, |channel| async move {
            let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
            let mut answers =
                LeaseClient::new(channel).lease_keep_alive(requests).await?.into_inner();
            let answer = answers.message().await?;
            answer
                .map(tonic::Response::new)
                .ok_or_else(|| Status::unavailable("the keep-alive stream ended without an answer"))
        })
        .await
    }
}
