//! Objects as JSON bytes in the store, under upstream's keys.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | T1 | A write says which revision of the key it replaces; the store refuses it otherwise. |
//! | T2 | A write whose answer was lost is sent again if T1 keeps it from happening twice: a creation |
//! |    | does not, as its key may be free again. Where something else stands there afterwards, |
//! |    | nobody knows whether it happened, and the caller is told just that. |
//! | T3 | An object's resourceVersion is the revision of its last write, and is not stored. |
//! | T4 | What is sealed is opened and sealed here only: values above are plain, or an error. |

pub(crate) mod compaction;
mod lease;
mod progress;
mod revision;

use std::sync::Arc;
use std::time::Instant;

use api_machinery::convert::{self, Kept};
use api_machinery::{Object, ResourceInfo, Status};
use bytes::Bytes;
use store_client::mvccpb::KeyValue;
use store_client::{Client, Error, compare, op, rpc};

use crate::config::StoreConfig;
use crate::encryption::{self, Encryption};
use crate::limits::UPDATE_TRIES_MAX;
use crate::metrics::{Call, Metrics, StoreMetrics};

pub(crate) use revision::Reader as RevisionReader;

/// The store, seen as objects.
#[derive(Debug)]
pub(crate) struct Storage {
    client: Client,
    prefix: String,
    event_lease: lease::Shared,
    revisions: RevisionReader,
    encryption: Arc<Encryption>,
    metrics: StoreMetrics,
}

/// An object as it is in the store; its `metadata.resourceVersion` is set.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) object: Object,
    pub(crate) revision: u64,
    /// What is stored is not what would be stored now.
    pub(crate) is_stale: bool,
}

/// What a conditional write came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It happened, at this revision.
    Done(u64),
    /// The key is at another revision: this value, or none.
    Conflict(Option<RawValue>),
}

/// A value of the store.
#[derive(Clone, Debug)]
pub(crate) struct RawValue {
    pub(crate) key: Bytes,
    pub(crate) revision: u64,
    /// As it was before it was sealed, or why it cannot be opened.
    opened: Result<encryption::Opened, String>,
}

impl RawValue {
    /// The value; upstream's 500 when it cannot be opened.
    pub(crate) fn value(&self) -> Result<&Bytes, Status> {
        let opened = self.opened.as_ref().map_err(|why| Status::internal(why))?;
        Ok(&opened.value)
    }

    /// The same for a list, which says what it stumbles over.
    pub(crate) fn check_listed(&self) -> Result<(), Status> {
        let key = String::from_utf8_lossy(&self.key);
        match &self.opened {
            Ok(_) => Ok(()),
            Err(why) => Err(Status::internal(&format!("unable to transform key {key:?}: {why}"))),
        }
    }

    /// Another key or provider would seal it now.
    pub(crate) fn is_stale(&self) -> bool {
        self.opened.as_ref().is_ok_and(|opened| opened.is_stale)
    }

    /// A value that was never sealed.
    #[cfg(test)]
    pub(crate) fn plain(key: impl Into<Bytes>, value: impl Into<Bytes>, revision: u64) -> Self {
        let opened = Ok(encryption::Opened { value: value.into(), is_stale: false });
        Self { key: key.into(), revision, opened }
    }

    /// A value that cannot be opened.
    #[cfg(test)]
    pub(crate) fn unreadable(key: impl Into<Bytes>, why: &str, revision: u64) -> Self {
        Self { key: key.into(), revision, opened: Err(why.to_owned()) }
    }
}

/// Some keys of a range, in order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) values: Vec<RawValue>,
    /// Keys of the range, those beyond the page included.
    pub(crate) count: u64,
    /// Revision that the page was read at.
    pub(crate) revision: u64,
}

/// What to write.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put { value: Bytes, lease: i64 },
    Delete,
}

/// Makes the client; connections are opened when they are needed.
pub(crate) fn connect(config: &StoreConfig) -> Result<Client, Error> {
    let mut client = store_client::Config::new(config.endpoints.iter().cloned());
    client.request_timeout = crate::limits::STORE_TIMEOUT;
    if config.ca.is_some() || config.identity.is_some() {
        client = client.with_tls(store_client::Tls {
            ca: config.ca.clone().unwrap_or_default(),
            identity: config
                .identity
                .as_ref()
                .map(|identity| (identity.certificate.clone(), identity.key.clone())),
        });
    }
    Client::new(&client)
}

impl Storage {
    /// The objects of a store.
    pub(crate) fn on(client: Client, config: &StoreConfig, metrics: &Metrics) -> Arc<Self> {
        let revisions = RevisionReader::start(client.clone(), format!("{}/health", config.prefix));
        let encrypted = config.encryption.as_ref();
        let root = format!("{}/", config.prefix);
        Arc::new(Self {
            encryption: Encryption::new(encrypted, root, metrics.encryption.clone()),
            metrics: metrics.store.clone(),
            client,
            prefix: config.prefix.clone(),
            event_lease: lease::Shared::default(),
            revisions,
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether values may be sealed.
    pub(crate) fn seals(&self) -> bool {
        self.encryption.has_rules()
    }

    pub(crate) fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// A value as the store has it, opened (T4).
    pub(crate) fn open(&self, kv: KeyValue) -> RawValue {
        let opened = self.encryption.open(&kv.key, kv.value);
        RawValue { key: kv.key, revision: unsigned(kv.mod_revision), opened }
    }

    /// `/registry/`.
    pub(crate) fn root(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// Prefix of all objects of a resource, in one namespace unless that is empty.
    pub(crate) fn prefix(&self, info: &ResourceInfo, namespace: &str) -> String {
        if namespace.is_empty() || !info.namespaced {
            format!("{}/{}/", self.prefix, info.storage_prefix)
        } else {
            format!("{}/{}/{namespace}/", self.prefix, info.storage_prefix)
        }
    }

    /// Key of one object.
    pub(crate) fn key(&self, info: &ResourceInfo, namespace: &str, name: &str) -> String {
        format!("{}{name}", self.prefix(info, namespace))
    }

    /// Key of something that is not an object of a served kind.
    pub(crate) fn raw_key(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }

    /// The store's revision now, by a linearizable read that callers share.
    pub(crate) async fn revision(&self) -> Result<u64, Status> {
        self.revisions.read().await
    }

    /// Reads one object, linearizably.
    pub(crate) async fn get(
        &self,
        info: &ResourceInfo,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Stored>, Status> {
        let raw = self.get_raw(&self.key(info, namespace, name)).await?;
        raw.map(|raw| stored(&raw)).transpose()
    }

    /// Reads one key, linearizably.
    pub(crate) async fn get_raw(&self, key: &str) -> Result<Option<RawValue>, Status> {
        Ok(self.get_sealed(key).await?.map(|kv| self.open(kv)))
    }

    async fn get_sealed(&self, key: &str) -> Result<Option<KeyValue>, Status> {
        let request = rpc::RangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..rpc::RangeRequest::default()
        };
        let answered = self.timed(Call::Get, key, self.client.range(request)).await;
        let response = answered.map_err(|error| status(&error))?;
        Ok(response.kvs.into_iter().next())
    }

    /// Reads up to `limit` keys of a prefix from `start` on; `revision` 0 is now.
    pub(crate) async fn page(
        &self,
        prefix: &str,
        start: &str,
        limit: i64,
        revision: u64,
    ) -> Result<Page, Error> {
        let first = if start.is_empty() { prefix } else { start };
        let request = rpc::RangeRequest {
            key: Bytes::copy_from_slice(first.as_bytes()),
            range_end: store_client::prefix_end(prefix.as_bytes()),
            limit,
            revision: signed(revision),
            ..rpc::RangeRequest::default()
        };
        let response = self.timed(Call::List, prefix, self.client.range(request)).await?;
        let now = response.header.as_ref().map_or(0, |header| unsigned(header.revision));
        Ok(Page {
            values: response.kvs.into_iter().map(|kv| self.open(kv)).collect(),
            count: unsigned(response.count),
            revision: if revision == 0 { now } else { revision },
        })
    }

    /// Writes a key if it is at `expected` (0: if it does not exist). T1, T2.
    pub(crate) async fn commit(
        &self,
        key: &str,
        expected: u64,
        write: Write,
    ) -> Result<Outcome, Status> {
        let write = self.sealed(key, write)?;
        let bytes = Bytes::copy_from_slice(key.as_bytes());
        let change = match &write {
            Write::Put { value, lease } => op::put(bytes.clone(), value.clone(), *lease),
            Write::Delete => op::delete(bytes.clone()),
        };
        let request = rpc::TxnRequest {
            compare: vec![compare::mod_revision_is(bytes.clone(), signed(expected))],
            success: vec![change],
            failure: vec![op::get(bytes)],
        };
        let call = match (&write, expected) {
            (Write::Delete, _) => Call::Delete,
            (Write::Put { .. }, 0) => Call::Create,
            (Write::Put { .. }, _) => Call::Update,
        };
        // How the answer was lost, in the store's words where it gave some.
        let mut lost = None;
        for _ in 0..UPDATE_TRIES_MAX {
            let response = match self.timed(call, key, self.client.txn(request.clone())).await {
                Ok(response) => response,
                Err(error) => {
                    // Whatever comes after the first loss, that is what became of the write.
                    if let Some(first) = lost {
                        return Err(first);
                    }
                    let unknown = status(&error);
                    if !matches!(error, Error::Unknown { .. }) {
                        return Err(unknown);
                    }
                    if expected == 0 {
                        let current = self.get_sealed(key).await.map_err(|_| unknown)?;
                        return resolved(&write, current.as_ref(), 0);
                    }
                    lost = Some(unknown);
                    continue;
                }
            };
            let revision = response.header.as_ref().map_or(0, |header| unsigned(header.revision));
            if response.succeeded {
                return Ok(Outcome::Done(revision));
            }
            let current = response.responses.into_iter().find_map(range_answer);
            if lost.is_some() {
                return resolved(&write, current.as_ref(), revision);
            }
            return Ok(Outcome::Conflict(current.map(|kv| self.open(kv))));
        }
        Err(Status::service_unavailable("the store does not confirm the write"))
    }

    /// A call that is counted, and its time.
    async fn timed<T>(
        &self,
        call: Call,
        key: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let answered = answer.await;
        let of = self.encryption.resource(key);
        let of = of.as_ref().map_or(("", ""), |of| (&*of.group, &*of.resource));
        self.metrics.ended(call, of, started.elapsed(), answered.is_ok());
        answered
    }

    /// T4: sealed once, so that T2 knows its own bytes again.
    fn sealed(&self, key: &str, write: Write) -> Result<Write, Status> {
        Ok(match write {
            Write::Put { value, lease } => {
                let sealed = self.encryption.seal(key.as_bytes(), value);
                Write::Put { value: sealed.map_err(|why| Status::internal(&why))?, lease }
            }
            Write::Delete => Write::Delete,
        })
    }

    /// Writes an object if its key is at `expected`; gives it its new resourceVersion.
    pub(crate) async fn put(
        &self,
        info: &ResourceInfo,
        object: &mut Object,
        expected: u64,
    ) -> Result<Outcome, Status> {
        Ok(self.put_json(info, object, expected).await?.0)
    }

    /// The same, with the JSON that was to be stored.
    pub(crate) async fn put_json(
        &self,
        info: &ResourceInfo,
        object: &mut Object,
        expected: u64,
    ) -> Result<(Outcome, Bytes), Status> {
        object.remove(&["metadata", "resourceVersion"]);
        let key = self.key(info, object.namespace(), object.name());
        let lease = if is_event(info) { self.event_lease.id(&self.client).await? } else { 0 };
        let json = Bytes::from(object.to_json());
        let write = Write::Put { value: json.clone(), lease };
        let outcome = self.commit(&key, expected, write).await?;
        if let Outcome::Done(revision) = outcome {
            object.set_resource_version(revision);
        }
        Ok((outcome, json))
    }
}

/// T2: what stands there tells of a write whose answer was lost. `revision` is now.
fn resolved(write: &Write, current: Option<&KeyValue>, revision: u64) -> Result<Outcome, Status> {
    match (write, current) {
        (Write::Put { value, .. }, Some(found)) if found.value == *value => {
            Ok(Outcome::Done(unsigned(found.mod_revision)))
        }
        (Write::Delete, None) => Ok(Outcome::Done(revision)),
        // Somebody wrote later. Whether on top of ours or instead of it cannot be seen: a conflict
        // would say that it did not happen, and make clients and patches do it a second time.
        (Write::Put { .. } | Write::Delete, _) => {
            Err(Status::timeout("the store's answer to the write was lost", 0))
        }
    }
}

/// Events go away by themselves.
fn is_event(info: &ResourceInfo) -> bool {
    info.kind == "Event"
}

fn range_answer(answer: rpc::ResponseOp) -> Option<KeyValue> {
    match answer.response? {
        rpc::response_op::Response::ResponseRange(range) => range.kvs.into_iter().next(),
        rpc::response_op::Response::ResponsePut(_)
        | rpc::response_op::Response::ResponseDeleteRange(_)
        | rpc::response_op::Response::ResponseTxn(_) => None,
    }
}

/// Decodes a stored value: JSON, or the protobuf that a kube-apiserver writes.
pub(crate) fn decode(value: &[u8]) -> Result<Object, Status> {
    convert::from_store(value).map(|kept| kept.object)
}

/// Reads JSON of ours as it is, in whatever version it is.
pub(crate) fn parse(json: &[u8]) -> Result<Object, Status> {
    serde_json::from_slice(json)
        .map_err(|error| Status::internal(&format!("stored object: {error}")))
}

/// Decodes a stored value and sets its resourceVersion.
pub(crate) fn stored(raw: &RawValue) -> Result<Stored, Status> {
    let Kept { mut object, is_older } = convert::from_store(raw.value()?)?;
    object.set_resource_version(raw.revision);
    Ok(Stored { object, revision: raw.revision, is_stale: is_older || raw.is_stale() })
}

/// Revisions are never negative; a negative one would be a broken server.
pub(crate) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// A store error as the API answers it.
pub(crate) fn status(error: &Error) -> Status {
    match error {
        Error::Unavailable { message } => Status::service_unavailable(message),
        Error::Unknown { message } => Status::timeout(message, 0),
        Error::Config(message) => Status::internal(message),
        Error::Refused { message, .. } => Status::internal(message),
        Error::Compacted { .. } => Status::expired(
            "The provided resource version is too old to display a consistent list result.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &'static str) -> Write {
        Write::Put { value: Bytes::from_static(value.as_bytes()), lease: 0 }
    }

    fn stands(value: &'static str) -> KeyValue {
        let value = Bytes::from_static(value.as_bytes());
        let key = Bytes::from_static(b"k");
        KeyValue { key, value, mod_revision: 7, ..KeyValue::default() }
    }

    #[test]
    fn a_lost_answer_is_no_conflict() {
        let ours = resolved(&put("ours"), Some(&stands("ours")), 9).unwrap();
        assert!(matches!(ours, Outcome::Done(7)), "{ours:?}");
        let gone = resolved(&Write::Delete, None, 9).unwrap();
        assert!(matches!(gone, Outcome::Done(9)), "{gone:?}");
        for (write, current) in [
            (put("ours"), Some(stands("theirs"))),
            (put("ours"), None),
            (Write::Delete, Some(stands("theirs"))),
        ] {
            let status = resolved(&write, current.as_ref(), 9).unwrap_err();
            assert_eq!(status.code, 504, "{write:?} over {current:?}");
        }
    }
}
