//! What locks and elections are made of: queues of keys below a name, the oldest of which holds.
//!
//! Everything here calls the services' own router on behalf of the client, with its metadata, so
//! that it may do no more than it could itself.

use axum::Router;
use bytes::Bytes;
use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RangeResponse,
        RequestOp, ResponseHeader, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest,
        WatchResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        kv_client::KvClient,
        lease_client::LeaseClient,
        range_request::{SortOrder, SortTarget},
        request_op, response_op,
        watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::{KeyValue, event::EventType},
};
use tonic::{Request, Status, Streaming};

use crate::limits;

/// The services, called from inside.
#[derive(Clone)]
pub(crate) struct Inside {
    kv: KvClient<Router>,
    watch: WatchClient<Router>,
    lease: LeaseClient<Router>,
}

impl Inside {
    pub(crate) fn new(router: Router) -> Self {
        Self {
            kv: KvClient::new(router.clone()).max_decoding_message_size(usize::MAX),
            watch: WatchClient::new(router.clone()).max_decoding_message_size(usize::MAX),
            lease: LeaseClient::new(router),
        }
    }

    /// The calls that `request`'s client may make.
    pub(super) fn for_client<T>(&self, request: Request<T>) -> (Client, T) {
        let (metadata, extensions, message) = request.into_parts();
        (Client { inside: self.clone(), metadata, extensions }, message)
    }
}

/// Calls on behalf of one client.
#[derive(Clone)]
pub(super) struct Client {
    inside: Inside,
    metadata: tonic::metadata::MetadataMap,
    extensions: tonic::Extensions,
}

/// A request that fails inside a lock or an election: etcd tells it as an unknown error, with the
/// text of the cause, by which clients know it.
fn failed(status: Status) -> Status {
    Status::unknown(status.message())
}

fn lost(what: &str) -> Status {
    Status::unknown(format!("{what}: the answer does not belong to the request"))
}

/// The end of the range of all keys that begin with `prefix`, which is not empty.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// The key of a waiter: its lease, as etcd writes it, below the name.
pub(super) fn waiter_key(prefix: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [prefix, format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}

/// The key of a waiter for `name`, and the range of all of them.
pub(crate) fn waiter(name: &[u8], lease: i64) -> (Bytes, RangeRequest) {
    let prefix = [name, b"/"].concat();
    (waiter_key(&prefix, lease), by_age(&prefix, SortOrder::Ascend))
}

/// "The key was made at this revision" (0: "there is no such key").
fn made_at(key: Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key,
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

pub(super) fn put(key: Bytes, value: Bytes, lease: i64) -> RequestOp {
    let put = PutRequest { key, value, lease, ..PutRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

pub(super) fn get(range: RangeRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestRange(range)) }
}

pub(super) fn one(key: Bytes) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

/// The oldest key below `prefix`, or the newest.
pub(super) fn by_age(prefix: &[u8], order: SortOrder) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(prefix),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: order.into(),
        sort_target: SortTarget::Create.into(),
        ..RangeRequest::default()
    }
}

/// The key-values that the `number`th operation of a transaction found.
pub(super) fn found(txn: &TxnResponse, number: usize) -> Option<&[KeyValue]> {
    match txn.responses.get(number)?.response.as_ref()? {
        response_op::Response::ResponseRange(range) => Some(&range.kvs),
        _ => None,
    }
}

/// A place in the queue.
pub(super) struct Place {
    pub(super) key: Bytes,
    /// The revision that made the key.
    pub(super) revision: i64,
    pub(super) txn: TxnResponse,
}

impl Client {
    fn request<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), self.extensions.clone(), message)
    }

    /// The client's lease, or a new one of the time that etcd's sessions have.
    pub(super) async fn session(&self, lease: i64) -> Result<i64, Status> {
        if lease != 0 {
            return Ok(lease);
        }
        let grant = LeaseGrantRequest { ttl: limits::SESSION_TTL, id: 0 };
        let granted = self.inside.lease.clone().lease_grant(self.request(grant)).await;
        Ok(granted.map_err(failed)?.into_inner().id)
    }

    pub(super) async fn range(&self, range: RangeRequest) -> Result<RangeResponse, Status> {
        let answer = self.inside.kv.clone().range(self.request(range)).await;
        Ok(answer.map_err(failed)?.into_inner())
    }

    pub(super) async fn delete(&self, key: Bytes) -> Result<Option<ResponseHeader>, Status> {
        let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        let answer = self.inside.kv.clone().delete_range(self.request(delete)).await;
        Ok(answer.map_err(failed)?.into_inner().header)
    }

    async fn txn(&self, txn: TxnRequest) -> Result<TxnResponse, Status> {
        let answer = self.inside.kv.clone().txn(self.request(txn)).await;
        Ok(answer.map_err(failed)?.into_inner())
    }

    /// Puts `key` into its queue, unless it is there already; then asks `also`.
    pub(super) async fn queue(
        &self,
        key: Bytes,
        value: Bytes,
        lease: i64,
        also: Option<RangeRequest>,
    ) -> Result<Place, Status> {
        let also = also.map(get);
        let branch = |first: RequestOp| std::iter::once(first).chain(also.clone()).collect();
        let txn = TxnRequest {
            compare: vec![made_at(key.clone(), 0)],
            success: branch(put(key.clone(), value, lease)),
            failure: branch(get(one(key.clone()))),
        };
        let txn = self.txn(txn).await?;
        let revision = if txn.succeeded {
            txn.header.as_ref().map_or(0, |header| header.revision)
        } else {
            let own = found(&txn, 0).and_then(<[KeyValue]>::first);
            own.ok_or_else(|| lost("transaction"))?.create_revision
        };
        Ok(Place { key, revision, txn })
    }

    /// Carries out `op` if the key is still the one made at `revision`.
    pub(super) async fn if_made_at(
        &self,
        key: Bytes,
        revision: i64,
        op: RequestOp,
    ) -> Result<TxnResponse, Status> {
        let compare = vec![made_at(key, revision)];
        self.txn(TxnRequest { compare, success: vec![op], failure: Vec::new() }).await
    }

    /// Gives up a place, if it is still the one made at its revision.
    pub(super) async fn resign(&self, key: Bytes, revision: i64) -> Result<TxnResponse, Status> {
        let delete = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
        let op = RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) };
        self.if_made_at(key, revision, op).await
    }

    /// Waits until no key below `prefix` is older than `revision`.
    pub(super) async fn wait_for_turn(&self, prefix: &[u8], revision: i64) -> Result<(), Status> {
        loop {
            let before = RangeRequest {
                max_create_revision: revision - 1,
                ..by_age(prefix, SortOrder::Descend)
            };
            let answer = self.range(before).await?;
            let Some(ahead) = answer.kvs.into_iter().next() else { return Ok(()) };
            let now = answer.header.map_or(0, |header| header.revision);
            let mut events = self.watch(ahead.key, Bytes::new(), now).await?;
            while !events
                .next()
                .await?
                .events
                .iter()
                .any(|event| event.r#type() == EventType::Delete)
            {}
        }
    }

    /// What happens to a key or range from `revision` on.
    pub(super) async fn watch(
        &self,
        key: Bytes,
        range_end: Bytes,
        revision: i64,
    ) -> Result<Events, Status> {
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: revision,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // The watch lasts as long as its requests may go on.
        let requests =
            tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
        let answer = self.inside.watch.clone().watch(self.request(requests)).await;
        Ok(Events { frames: answer.map_err(failed)?.into_inner() })
    }

    /// As [`Self::watch`], for all keys below `prefix`.
    pub(super) async fn watch_all(&self, prefix: &[u8], revision: i64) -> Result<Events, Status> {
        self.watch(Bytes::copy_from_slice(prefix), prefix_end(prefix), revision).await
    }
}

/// The answers of one watch.
pub(super) struct Events {
    frames: Streaming<WatchResponse>,
}

impl Events {
    /// The next events.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Status> {
        loop {
            let frame = self.frames.message().await.map_err(failed)?;
            let frame = frame.ok_or_else(|| Status::unknown("lost watcher waiting for delete"))?;
            if frame.canceled {
                let compacted = "etcdserver: mvcc: required revision has been compacted";
                let reason =
                    if frame.compact_revision != 0 { compacted } else { &frame.cancel_reason };
                return Err(Status::unknown(reason));
            }
            if !frame.events.is_empty() {
                return Ok(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_etcd_makes_them() {
        assert_eq!(waiter_key(b"n/", 0x32a).as_ref(), b"n/32a");
        assert_eq!(waiter_key(b"n/", -255).as_ref(), b"n/-ff");
        assert_eq!(prefix_end(b"n/").as_ref(), b"n0");
        assert_eq!(prefix_end(b"a\xff\xff").as_ref(), b"b");
        assert_eq!(prefix_end(b"\xff").as_ref(), b"\0");
    }
}
