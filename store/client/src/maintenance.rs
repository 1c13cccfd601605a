//! What an operator asks of one member: its status, the hash of its history, and all of its data.

use std::time::Duration;

use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    AuthenticateRequest, HashKvRequest, HashKvResponse, MemberListRequest, MemberListResponse,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use crate::channel::Client;
use crate::error::Error;
use crate::limits::{HASH_MAX, READ_ATTEMPT_MAX, RESPONSE_BYTES_MAX, SNAPSHOT_STALL_MAX};

/// One member, and who asks it. Nothing is tried on another member.
#[derive(Clone, Debug)]
pub struct Operator {
    endpoint: String,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// A member's data on its way.
#[derive(Debug)]
pub struct SnapshotStream {
    endpoint: String,
    stream: Streaming<SnapshotResponse>,
}

impl Client {
    /// The member behind `endpoint`, one of [`Client::endpoints`].
    ///
    /// # Errors
    /// [`Error::Config`] for an endpoint that is not ours.
    pub fn operator(&self, endpoint: &str) -> Result<Operator, Error> {
        let unknown = || Error::Config(format!("{endpoint:?} is not one of the endpoints"));
        let channel = self.channel_of(endpoint).ok_or_else(unknown)?;
        Ok(Operator { endpoint: endpoint.to_owned(), channel, token: None })
    }
}

impl Operator {
    /// Where the member is.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn answer<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        match timeout(deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(&status)),
            Err(_) => {
                Err(Error::Unavailable { message: format!("{} does not answer", self.endpoint) })
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// Logs in, where the store has users.
    ///
    /// # Errors
    /// [`Error::Refused`] for a wrong name or password.
    pub async fn authenticate(&mut self, name: &str, password: &str) -> Result<(), Error> {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let mut client = AuthClient::new(self.channel.clone());
        let response = self.answer(READ_ATTEMPT_MAX, client.authenticate(request)).await?;
        let token = response.token.parse();
        self.token = Some(token.map_err(|_| Error::Config("the token is no text".to_owned()))?);
        Ok(())
    }

    /// Its status.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is down.
    pub async fn status(&self) -> Result<StatusResponse, Error> {
        let request = self.request(StatusRequest {});
        self.answer(READ_ATTEMPT_MAX, self.maintenance().status(request)).await
    }

    /// The members, as it knows them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is down.
    pub async fn members(&self) -> Result<MemberListResponse, Error> {
        let request = self.request(MemberListRequest { linearizable: false });
        let mut client = ClusterClient::new(self.channel.clone());
        self.answer(READ_ATTEMPT_MAX, client.member_list(request)).await
    }

    /// The hash of its history up to `revision`; it reads all of it.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that revision is not readable any more.
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, Error> {
        let request = self.request(HashKvRequest { revision });
        self.answer(HASH_MAX, self.maintenance().hash_kv(request)).await
    }

    /// All of its data as of now, in etcd's file format.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not permitted.
    pub async fn snapshot(&self) -> Result<SnapshotStream, Error> {
        let request = self.request(SnapshotRequest {});
        let stream = self.answer(SNAPSHOT_STALL_MAX, self.maintenance().snapshot(request)).await?;
        Ok(SnapshotStream { endpoint: self.endpoint.clone(), stream })
    }
}

impl SnapshotStream {
    /// The next bytes, and how many come after them; none after the last ones.
    ///
    /// # Errors
    /// When the member fails, or sends nothing for too long: what came so far is no snapshot.
    pub async fn next(&mut self) -> Result<Option<SnapshotResponse>, Error> {
        match timeout(SNAPSHOT_STALL_MAX, self.stream.message()).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(status)) => Err(Error::from_status(&status)),
            Err(_) => {
                Err(Error::Unavailable { message: format!("{} stopped sending", self.endpoint) })
            }
        }
    }
}
