//! Requests out of what a history says was asked, and what it says was answered out of answers.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb;
use tonic::Status;

use super::bulk;
use crate::history::{
    Asked, Event, EventKind, Guard, KeyValue, Keys, Page, Reply, Step, StepReply,
};

/// What a progress answer has instead of a watch's id: it is for all watches of its stream.
pub const WATCH_ID_ALL: i64 = -1;

/// A request for a watch with this id.
pub fn watch(asked: &Asked, watch_id: i64) -> pb::WatchRequest {
    let (key, range_end) = match &asked.keys {
        Keys::All => (vec![0], vec![0]),
        Keys::One(key) => (key.clone().into_bytes(), Vec::new()),
        Keys::Under(prefix) => (prefix.clone().into_bytes(), prefix_end(prefix)),
    };
    let mut filters = Vec::new();
    if asked.no_put {
        filters.push(FilterType::Noput.into());
    }
    if asked.no_delete {
        filters.push(FilterType::Nodelete.into());
    }
    let create = pb::WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        start_revision: asked.start_revision,
        progress_notify: asked.progress_notify,
        filters,
        prev_kv: asked.prev_kv,
        watch_id,
        fragment: asked.fragment,
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// A request for the end of a watch.
pub fn watch_cancel(watch_id: i64) -> pb::WatchRequest {
    let cancel = pb::WatchCancelRequest { watch_id };
    pb::WatchRequest { request_union: Some(RequestUnion::CancelRequest(cancel)) }
}

/// A request for the progress of all watches of a stream.
pub fn watch_progress() -> pb::WatchRequest {
    let progress = pb::WatchProgressRequest {};
    pb::WatchRequest { request_union: Some(RequestUnion::ProgressRequest(progress)) }
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

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: text(&kv.key),
        value: bulk::fold(text(&kv.value)),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn key_values(kvs: Vec<mvccpb::KeyValue>) -> Vec<KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

pub(super) fn put(key: &str, value: &str, lease: i64) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into_bytes().into(),
        value: bulk::unfold(value).into_bytes().into(),
        lease,
        prev_kv: true,
        ..pb::PutRequest::default()
    }
}

pub(super) fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into_bytes().into(),
        prev_kv: true,
        ..pb::DeleteRangeRequest::default()
    }
}

pub(super) fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into_bytes().into(), ..pb::RangeRequest::default() }
}

/// All keys with a prefix; the empty prefix is every key.
pub(super) fn list(prefix: &str) -> pb::RangeRequest {
    let key = if prefix.is_empty() { vec![0] } else { prefix.to_owned().into_bytes() };
    pb::RangeRequest {
        key: key.into(),
        range_end: prefix_end(prefix).into(),
        ..pb::RangeRequest::default()
    }
}

/// The end of all keys with a prefix.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.to_owned().into_bytes();
    match end.last_mut() {
        // Prefixes are ASCII, so the last byte can be raised.
        Some(last) => *last += 1,
        None => end.push(0),
    }
    end
}

pub(super) fn page(page: &Page) -> pb::RangeRequest {
    let all = list(&page.prefix);
    let key = if page.after.is_empty() {
        all.key.clone()
    } else {
        format!("{}\0", page.after).into_bytes().into()
    };
    pb::RangeRequest { key, limit: page.limit, revision: page.revision, ..all }
}

pub(super) fn txn(guards: &[Guard], then: &[Step], otherwise: &[Step]) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: guards.iter().map(compare).collect(),
        success: then.iter().map(request_op).collect(),
        failure: otherwise.iter().map(request_op).collect(),
    }
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
        Step::Put { key, value } => Request::RequestPut(put(key, value, 0)),
        Step::PutLeased { key, value, lease } => Request::RequestPut(put(key, value, *lease)),
        Step::Delete { key } => Request::RequestDeleteRange(delete(key)),
        Step::Get { key } => Request::RequestRange(get(key)),
        Step::List { prefix } => Request::RequestRange(list(prefix)),
    };
    pb::RequestOp { request: Some(request) }
}

fn revision(header: Option<pb::ResponseHeader>) -> Result<i64, Status> {
    header.map(|header| header.revision).ok_or_else(|| Status::internal("the answer has no header"))
}

/// An answer of one step.
pub(super) fn one(header: Option<pb::ResponseHeader>, step: StepReply) -> Result<Reply, Status> {
    Ok(Reply { revision: revision(header)?, succeeded: true, steps: vec![step] })
}

/// An answer that says nothing but that it was done.
pub(super) fn nothing(header: Option<pb::ResponseHeader>) -> Result<Reply, Status> {
    Ok(Reply { revision: revision(header)?, succeeded: true, steps: Vec::new() })
}

pub(super) fn put_reply(answer: pb::PutResponse) -> Result<Reply, Status> {
    one(answer.header, StepReply::Put { previous: answer.prev_kv.map(key_value) })
}

pub(super) fn delete_reply(answer: pb::DeleteRangeResponse) -> Result<Reply, Status> {
    one(answer.header, StepReply::Delete { previous: key_values(answer.prev_kvs) })
}

pub(super) fn read_reply(answer: pb::RangeResponse) -> Result<Reply, Status> {
    one(answer.header, StepReply::Read { found: key_values(answer.kvs) })
}

pub(super) fn page_reply(answer: pb::RangeResponse) -> Result<Reply, Status> {
    let (more, count) = (answer.more, answer.count);
    one(answer.header, StepReply::Page { found: key_values(answer.kvs), more, count })
}

pub(super) fn txn_reply(answer: pb::TxnResponse) -> Result<Reply, Status> {
    let steps = answer.responses.into_iter().map(step_reply).collect::<Result<_, _>>()?;
    Ok(Reply { revision: revision(answer.header)?, succeeded: answer.succeeded, steps })
}

fn step_reply(op: pb::ResponseOp) -> Result<StepReply, Status> {
    match op.response {
        Some(Response::ResponsePut(put)) => {
            Ok(StepReply::Put { previous: put.prev_kv.map(key_value) })
        }
        Some(Response::ResponseDeleteRange(delete)) => {
            Ok(StepReply::Delete { previous: key_values(delete.prev_kvs) })
        }
        Some(Response::ResponseRange(range)) => {
            Ok(StepReply::Read { found: key_values(range.kvs) })
        }
        Some(Response::ResponseTxn(_)) | None => {
            Err(Status::internal("an answer to a step is not of the step's kind"))
        }
    }
}
