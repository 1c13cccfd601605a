//! A thin client of one member: one endpoint, one attempt, one deadline, and an honest outcome.
//!
//! No retries anywhere: a client that retries writes hides, and makes, lost updates.

mod bulk;
mod calls;
mod message;
mod tokens;

pub use bulk::bulk;
pub use message::{WATCH_ID_ALL, event, watch, watch_cancel, watch_progress};
pub use tokens::{ROOT, Tokens};

use std::error::Error as _;
use std::io;

use anyhow::{Context as _, anyhow};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::v3lockpb::lock_client::LockClient;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::history::{Action, Outcome, Reply, Step};
use crate::limits;
use tokens::NotLoggedIn;

/// What a member says about itself.
#[derive(Clone, Copy, Debug)]
pub struct MemberStatus {
    /// The member's own id.
    pub member_id: u64,
    /// The id of the leader that it follows; zero when it knows none.
    pub leader_id: u64,
    /// Its raft term.
    pub term: u64,
    /// Its revision.
    pub revision: i64,
    /// etcd's version that it stands for; `None` when it is no version.
    pub version: Option<(u64, u64, u64)>,
}

impl MemberStatus {
    /// Whether an answer to a progress request can be relied on: etcd's own can since 3.5.13 (and
    /// 3.4.31), and a Kubernetes API server asks for progress from these versions on.
    pub fn has_reliable_progress(&self) -> bool {
        self.version.is_some_and(|version| {
            version >= (3, 5, 13) || ((3, 4, 31)..(3, 5, 0)).contains(&version)
        })
    }
}

/// Three numbers at the start of a version; what follows them is no matter here.
fn version_numbers(text: &str) -> Option<(u64, u64, u64)> {
    let core = text.split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// A connection to one member. Connects when it is first used, and again after a loss.
#[derive(Clone, Debug)]
pub struct MemberClient {
    kv: KvClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    watch: WatchClient<Channel>,
    lease: LeaseClient<Channel>,
    lock: LockClient<Channel>,
    auth: AuthClient<Channel>,
    tokens: Tokens,
}

impl MemberClient {
    /// A client of the member at `url` ("http://127.0.0.1:2379").
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self::over(channel(url)?))
    }

    /// A client of the member that `channel` leads to.
    pub fn over(channel: Channel) -> Self {
        let bytes_max = limits::RESPONSE_BYTES_MAX;
        Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(bytes_max),
            maintenance: MaintenanceClient::new(channel.clone()),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(bytes_max),
            lease: LeaseClient::new(channel.clone()),
            lock: LockClient::new(channel.clone()),
            auth: AuthClient::new(channel),
            tokens: Tokens::default(),
        }
    }

    /// The same, with tokens that others have, too.
    pub fn sharing(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }

    /// A request of an operator's: in the name of root, once the store wants to know.
    ///
    /// # Errors
    /// If root cannot log in.
    pub async fn signed<T>(&mut self, message: T) -> anyhow::Result<tonic::Request<T>> {
        let ready = self.tokens.prepare(ROOT, &mut self.auth).await;
        ready.map_err(|NotLoggedIn(why)| anyhow!(why))?;
        Ok(self.tokens.sign(ROOT, message))
    }

    /// A request of an operator's was refused; whether it was for want of a token, and is worth another try.
    pub fn learn(&self, refusal: &Status) -> bool {
        self.tokens.learn(ROOT, refusal)
    }

    /// A watch was cancelled for want of rights: root has all, so its token is no longer good.
    pub fn forget_token(&self) {
        self.tokens.forget(ROOT);
    }

    /// Carries out one action once.
    pub async fn execute(&mut self, action: &Action) -> Outcome {
        let user = match action {
            Action::As { user, .. } => user.as_str(),
            _ => ROOT,
        };
        let deadline = Instant::now() + limits::OPERATION_DEADLINE;
        // To log in nothing of the action is sent, only the name of the user (H4).
        match timeout_at(deadline, self.tokens.prepare(user, &mut self.auth)).await {
            Ok(Ok(())) => {}
            Ok(Err(NotLoggedIn(why))) => return Outcome::Refused(why),
            Err(_) => return Outcome::Refused("not logged in within the deadline".to_owned()),
        }
        match timeout_at(deadline, self.send(user, action)).await {
            Ok(Ok(reply)) => Outcome::Ok(reply),
            Ok(Err(status)) => {
                self.tokens.learn(user, &status);
                outcome_of(&status)
            }
            Err(_) => Outcome::Unknown("no answer within the deadline".to_owned()),
        }
    }

    async fn send(&mut self, user: &str, action: &Action) -> Result<Reply, Status> {
        match action {
            Action::Txn { guards, then, otherwise } => {
                let request = message::txn(guards, then, otherwise);
                let request = self.tokens.sign(user, request);
                message::txn_reply(self.kv.txn(request).await?.into_inner())
            }
            Action::Single { step, serializable } => self.step(user, step, *serializable).await,
            Action::As { step, .. } => self.step(user, step, false).await,
            Action::Page(page) => {
                let request = self.tokens.sign(user, message::page(page));
                message::page_reply(self.kv.range(request).await?.into_inner())
            }
            Action::Compact { revision } => {
                let request = pb::CompactionRequest { revision: *revision, physical: false };
                let request = self.tokens.sign(user, request);
                message::nothing(self.kv.compact(request).await?.into_inner().header)
            }
            Action::Lease(call) => self.lease_call(*call).await,
            Action::Lock(call) => self.lock_call(call).await,
            Action::Admin(call) => self.admin_call(call).await,
        }
    }

    async fn step(&mut self, user: &str, step: &Step, local: bool) -> Result<Reply, Status> {
        match step {
            Step::Put { key, value } => self.put(user, message::put(key, value, 0)).await,
            Step::PutLeased { key, value, lease } => {
                self.put(user, message::put(key, value, *lease)).await
            }
            Step::Delete { key } => {
                let request = self.tokens.sign(user, message::delete(key));
                message::delete_reply(self.kv.delete_range(request).await?.into_inner())
            }
            Step::Get { key } => self.read(user, message::get(key), local).await,
            Step::List { prefix } => self.read(user, message::list(prefix), local).await,
        }
    }

    async fn put(&mut self, user: &str, put: pb::PutRequest) -> Result<Reply, Status> {
        let request = self.tokens.sign(user, put);
        message::put_reply(self.kv.put(request).await?.into_inner())
    }

    async fn read(
        &mut self,
        user: &str,
        range: pb::RangeRequest,
        serializable: bool,
    ) -> Result<Reply, Status> {
        let request = self.tokens.sign(user, pb::RangeRequest { serializable, ..range });
        message::read_reply(self.kv.range(request).await?.into_inner())
    }

    /// What the member says about itself.
    pub async fn status(&mut self) -> anyhow::Result<MemberStatus> {
        let mut asked = self.ask_status().await;
        if let Err(refused) = &asked
            && self.tokens.learn(ROOT, refused)
        {
            asked = self.ask_status().await;
        }
        let answer = asked?;
        let header = answer.header.context("a status has no header")?;
        Ok(MemberStatus {
            member_id: header.member_id,
            leader_id: answer.leader,
            term: answer.raft_term.max(header.raft_term),
            revision: header.revision,
            version: version_numbers(&answer.version),
        })
    }

    async fn ask_status(&mut self) -> Result<pb::StatusResponse, Status> {
        let asking = async {
            let _not_logged_in = self.tokens.prepare(ROOT, &mut self.auth).await;
            let request = self.tokens.sign(ROOT, pb::StatusRequest::default());
            self.maintenance.status(request).await
        };
        let answer = tokio::time::timeout(limits::OPERATION_DEADLINE, asking).await;
        let late = |_| Status::deadline_exceeded("no status within the deadline");
        Ok(answer.map_err(late)??.into_inner())
    }

    /// Hash of all keys and their history at a revision; `None` when the member offers none.
    pub async fn hash_at(&mut self, revision: i64) -> anyhow::Result<Option<u32>> {
        let request = self.tokens.sign(ROOT, pb::HashKvRequest { revision });
        let answer =
            tokio::time::timeout(limits::OPERATION_DEADLINE, self.maintenance.hash_kv(request));
        match answer.await.context("no hash within the deadline")? {
            Ok(answer) => Ok(Some(answer.into_inner().hash)),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// Opens a watch stream that is fed by `requests`.
    pub async fn open_watch(
        &mut self,
        requests: tokio_stream::wrappers::ReceiverStream<pb::WatchRequest>,
    ) -> anyhow::Result<tonic::Streaming<pb::WatchResponse>> {
        let opening = async {
            let _not_logged_in = self.tokens.prepare(ROOT, &mut self.auth).await;
            let request = self.tokens.sign(ROOT, requests);
            self.watch.watch(request).await
        };
        let opened = tokio::time::timeout(limits::OPERATION_DEADLINE, opening).await;
        let opened = opened.context("no stream within the deadline")?;
        if let Err(refused) = &opened {
            self.tokens.learn(ROOT, refused);
        }
        Ok(opened?.into_inner())
    }
}

/// A connection to the member at `url`, made when it is first used, and again after a loss.
pub fn channel(url: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .with_context(|| format!("{url} is not an endpoint"))?;
    // A stream on which nothing needs to come must not wait for a host that is gone.
    let endpoint = endpoint
        .http2_keep_alive_interval(limits::KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits::OPERATION_DEADLINE);
    Ok(endpoint.connect_timeout(limits::CONNECT_DEADLINE).tcp_nodelay(true).connect_lazy())
}

/// Refused only when the server itself said that it did not even try, or nobody listened (H4).
fn outcome_of(status: &Status) -> Outcome {
    let reason = format!("{:?}: {}", status.code(), status.message());
    let by_server = status.message().starts_with("etcdserver:")
        && matches!(
            status.code(),
            Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::NotFound
                | Code::ResourceExhausted
                | Code::PermissionDenied
                | Code::Unauthenticated
        );
    if by_server || never_connected(status) {
        Outcome::Refused(reason)
    } else {
        Outcome::Unknown(reason)
    }
}

fn never_connected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}
