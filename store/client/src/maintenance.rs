//! What an operator asks of one member: its status, the hash of its history, and all of its data.

use std::time::Duration;

use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    HashKvRequest, HashKvResponse, MemberListRequest, MemberListResponse, RangeRequest,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};
use proto::orlop::backup::v1::backup_client::BackupClient;
use proto::orlop::backup::v1::checkpoint_request::Part as Asked;
use proto::orlop::backup::v1::checkpoint_response::Part;
use proto::orlop::backup::v1::{
    CheckpointChunk, CheckpointList, CheckpointOpen, CheckpointRequest, CheckpointResponse,
    CheckpointWanted,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::channel::Client;
use crate::config::User;
use crate::error::Error;
use crate::limits::{HASH_MAX, READ_ATTEMPT_MAX, RESPONSE_BYTES_MAX, SNAPSHOT_STALL_MAX};
use crate::login::{self, Token};

/// One member, and who asks it. Nothing is tried on another member.
#[derive(Clone, Debug)]
pub struct Operator {
    endpoint: String,
    channel: Channel,
    token: Token,
}

/// A member's data on its way.
#[derive(Debug)]
pub struct SnapshotStream {
    endpoint: String,
    stream: Streaming<SnapshotResponse>,
}

/// The files of a member's state on their way.
#[derive(Debug)]
pub struct CheckpointStream {
    endpoint: String,
    ask: mpsc::Sender<CheckpointRequest>,
    stream: Streaming<CheckpointResponse>,
}

impl Client {
    /// The member behind `endpoint`, one of [`Client::endpoints`].
    ///
    /// # Errors
    /// [`Error::Config`] for an endpoint that is not ours.
    pub fn operator(&self, endpoint: &str) -> Result<Operator, Error> {
        let unknown = || Error::Config(format!("{endpoint:?} is not one of the endpoints"));
        let channel = self.channel_of(endpoint).ok_or_else(unknown)?;
        Ok(Operator { endpoint: endpoint.to_owned(), channel, token: Token::default() })
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
        self.token.on(message)
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// Logs in, where the store has users; without effect where authentication is switched off.
    ///
    /// # Errors
    /// [`Error::Refused`] for a wrong name or password.
    pub async fn authenticate(&mut self, user: &User) -> Result<(), Error> {
        self.token = login::authenticate(self.channel.clone(), user, READ_ATTEMPT_MAX).await?;
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

    /// The store's revision as of now, by a linearizable read: this member has at least that.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is down or has no leader.
    pub async fn revision(&self) -> Result<i64, Error> {
        let request = RangeRequest {
            key: b"\0".to_vec().into(),
            count_only: true,
            ..RangeRequest::default()
        };
        let mut client = KvClient::new(self.channel.clone());
        let response = self.answer(READ_ATTEMPT_MAX, client.range(self.request(request))).await?;
        Ok(response.header.map_or(0, |header| header.revision))
    }

    /// The list of the files of its state, with a way to get some of them; none of another store than
    /// ours, which has no such call.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not permitted.
    pub async fn checkpoint(&self) -> Result<Option<(CheckpointList, CheckpointStream)>, Error> {
        let (ask, asked) = mpsc::channel(2);
        let open = CheckpointRequest { part: Some(Asked::Open(CheckpointOpen {})) };
        // There is room: nothing was sent before.
        drop(ask.try_send(open));
        let mut client =
            BackupClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let request = self.request(ReceiverStream::new(asked));
        let answered = self.answer(SNAPSHOT_STALL_MAX, client.checkpoint(request)).await;
        let stream = match answered {
            Err(Error::Refused { code: Code::Unimplemented, .. }) => return Ok(None),
            answered => answered?,
        };
        let endpoint = self.endpoint.clone();
        let mut stream = CheckpointStream { endpoint, ask, stream };
        match stream.part().await? {
            Some(Part::List(list)) => Ok(Some((list, stream))),
            Some(Part::Chunk(_)) | None => {
                Err(Error::Unknown { message: format!("{} sent no list", self.endpoint) })
            }
        }
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

impl CheckpointStream {
    async fn part(&mut self) -> Result<Option<Part>, Error> {
        match timeout(SNAPSHOT_STALL_MAX, self.stream.message()).await {
            Ok(Ok(message)) => Ok(message.and_then(|message| message.part)),
            Ok(Err(status)) => Err(Error::from_status(&status)),
            Err(_) => {
                Err(Error::Unavailable { message: format!("{} stopped sending", self.endpoint) })
            }
        }
    }

    /// Names the files that are wanted, by their places in the list; to be called once.
    pub fn want(&self, files: Vec<u32>) {
        let part = Some(Asked::Wanted(CheckpointWanted { files }));
        // There is room: only the opening was sent before.
        drop(self.ask.try_send(CheckpointRequest { part }));
    }

    /// The next chunk; none after the last one.
    ///
    /// # Errors
    /// When the member fails, or sends nothing for too long.
    pub async fn next(&mut self) -> Result<Option<CheckpointChunk>, Error> {
        match self.part().await? {
            Some(Part::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Part::List(_)) | None => Ok(None),
        }
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
