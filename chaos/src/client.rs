//! A thin client of one member: one endpoint, one attempt, one deadline, and an honest outcome.
//!
//! No retries anywhere: a client that retries writes hides, and makes, lost updates.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::mvccpb;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::history::{Action, Event, EventKind, Guard, KeyValue, Outcome, Reply, Step, StepReply};
use crate::limits;

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
}

impl MemberClient {
    /// A client of the member at `url` ("http://127.0.0.1:2379").
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("{url} is not an endpoint"))?
            .connect_timeout(limits::CONNECT_DEADLINE)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            maintenance: MaintenanceClient::new(channel.clone()),
            watch: WatchClient::new(channel).max_decoding_message_size(64 << 20),
        })
    }

    /// Carries out one action once.
    pub async fn execute(&mut self, action: &Action) -> Outcome {
        let answer = tokio::time::timeout(limits::OPERATION_DEADLINE, self.send(action)).await;
        match answer {
            Ok(Ok(reply)) => Outcome::Ok(reply),
            Ok(Err(status)) => outcome_of(&status),
            Err(_) => Outcome::Unknown("no answer within the deadline".to_owned()),
        }
    }

    async fn send(&mut self, action: &Action) -> Result<Reply, Status> {
        match action {
            Action::Txn { guards, then, otherwise } => {
                let request = pb::TxnRequest {
                    compare: guards.iter().map(compare).collect(),
                    success: then.iter().map(request_op).collect(),
                    failure: otherwise.iter().map(request_op).collect(),
                };
                let answer = self.kv.txn(request).await?.into_inner();
                let steps =
                    answer.responses.into_iter().map(step_reply).collect::<Result<_, _>>()?;
                let revision = revision(answer.header)?;
                Ok(Reply { revision, succeeded: answer.succeeded, steps })
            }
            Action::Single { step: Step::Put { key, value }, .. } => {
                let answer = self.kv.put(put_request(key, value)).await?.into_inner();
                let previous = answer.prev_kv.map(key_value);
                single(answer.header, StepReply::Put { previous })
            }
            Action::Single { step: Step::Delete { key }, .. } => {
                let answer = self.kv.delete_range(delete_request(key)).await?.into_inner();
                let previous = answer.prev_kvs.into_iter().map(key_value).collect();
                single(answer.header, StepReply::Delete { previous })
            }
            Action::Single { step: Step::Get { key }, serializable } => {
                self.read(pb::RangeRequest { serializable: *serializable, ..get_request(key) })
                    .await
            }
            Action::Single { step: Step::List { prefix }, serializable } => {
                let request = list_request(prefix);
                self.read(pb::RangeRequest { serializable: *serializable, ..request }).await
            }
        }
    }

    async fn read(&mut self, request: pb::RangeRequest) -> Result<Reply, Status> {
        let answer = self.kv.range(request).await?.into_inner();
        let found = answer.kvs.into_iter().map(key_value).collect();
        single(answer.header, StepReply::Read { found })
    }

    /// What the member says about itself.
    pub async fn status(&mut self) -> anyhow::Result<MemberStatus> {
        let answer = timely(
            limits::OPERATION_DEADLINE,
            self.maintenance.status(pb::StatusRequest::default()),
        )
        .await?;
        let header = answer.header.context("a status has no header")?;
        Ok(MemberStatus {
            member_id: header.member_id,
            leader_id: answer.leader,
            term: answer.raft_term.max(header.raft_term),
            revision: header.revision,
            version: version_numbers(&answer.version),
        })
    }

    /// Hash of all keys and their history at a revision; `None` when the member offers none.
    pub async fn hash_at(&mut self, revision: i64) -> anyhow::Result<Option<u32>> {
        let request = pb::HashKvRequest { revision };
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
        timely(limits::OPERATION_DEADLINE, self.watch.watch(requests)).await
    }
}

async fn timely<T>(
    deadline: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(deadline, call).await.context("no answer in time")??;
    Ok(answer.into_inner())
}

/// A request for every event on every key from a revision on, previous values included.
pub fn watch_everything(start_revision: i64) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision,
        prev_kv: true,
        ..pb::WatchCreateRequest::default()
    };
    pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
}

/// A request for the watch's progress.
pub fn watch_progress() -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::ProgressRequest(
            pb::WatchProgressRequest {},
        )),
    }
}

/// An event as the history keeps it.
pub fn event(event: mvccpb::Event) -> Event {
    let kind = if event.r#type == i32::from(mvccpb::event::EventType::Delete) {
        EventKind::Delete
    } else {
        EventKind::Put
    };
    Event {
        kind,
        kv: event.kv.map(key_value).unwrap_or_default(),
        previous: event.prev_kv.map(key_value),
    }
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

fn revision(header: Option<pb::ResponseHeader>) -> Result<i64, Status> {
    header.map(|header| header.revision).ok_or_else(|| Status::internal("the answer has no header"))
}

fn single(header: Option<pb::ResponseHeader>, step: StepReply) -> Result<Reply, Status> {
    Ok(Reply { revision: revision(header)?, succeeded: true, steps: vec![step] })
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: text(&kv.key),
        value: text(&kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
    }
}

fn put_request(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into_bytes().into(),
        value: value.to_owned().into_bytes().into(),
        prev_kv: true,
        ..pb::PutRequest::default()
    }
}

fn delete_request(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into_bytes().into(),
        prev_kv: true,
        ..pb::DeleteRangeRequest::default()
    }
}

fn get_request(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into_bytes().into(), ..pb::RangeRequest::default() }
}

/// All keys with a prefix; the empty prefix is every key.
fn list_request(prefix: &str) -> pb::RangeRequest {
    let mut key = prefix.to_owned().into_bytes();
    let mut end = key.clone();
    match end.last_mut() {
        // Prefixes are ASCII, so the last byte can be raised.
        Some(last) => *last += 1,
        None => {
            key = vec![0];
            end = vec![0];
        }
    }
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..pb::RangeRequest::default() }
}

fn compare(guard: &Guard) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: guard.key.clone().into_bytes().into(),
        target_union: Some(TargetUnion::ModRevision(guard.mod_revision)),
        ..pb::Compare::default()
    }
}

fn request_op(step: &Step) -> pb::RequestOp {
    let request = match step {
        Step::Put { key, value } => Request::RequestPut(put_request(key, value)),
        Step::Delete { key } => Request::RequestDeleteRange(delete_request(key)),
        Step::Get { key } => Request::RequestRange(get_request(key)),
        Step::List { prefix } => Request::RequestRange(list_request(prefix)),
    };
    pb::RequestOp { request: Some(request) }
}

fn step_reply(op: pb::ResponseOp) -> Result<StepReply, Status> {
    match op.response {
        Some(Response::ResponsePut(put)) => {
            Ok(StepReply::Put { previous: put.prev_kv.map(key_value) })
        }
        Some(Response::ResponseDeleteRange(delete)) => {
            let previous = delete.prev_kvs.into_iter().map(key_value).collect();
            Ok(StepReply::Delete { previous })
        }
        Some(Response::ResponseRange(range)) => {
            Ok(StepReply::Read { found: range.kvs.into_iter().map(key_value).collect() })
        }
        Some(Response::ResponseTxn(_)) | None => {
            Err(Status::internal("an answer to a step is not of the step's kind"))
        }
    }
}
