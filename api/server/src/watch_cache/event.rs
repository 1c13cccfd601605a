//! Object versions and events, each with its encodings made at most once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use api_machinery::custom::CustomKind;
use api_machinery::header::{Header, with_resource_version};
use api_machinery::{Object, ResourceInfo, Status, View, convert, protobuf};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde::de::IgnoredAny;

use super::rest::{Json, Kept};
use crate::limits::MESSAGES_KEPT_BYTES_MAX;
use crate::storage;

/// Bytes of all messages that are kept.
static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A message that the next list need not make again. All of them together are bounded: otherwise
/// one list in protobuf would nearly double what the cache takes, for as long as the objects live.
#[derive(Debug)]
struct KeptMessage(Bytes);

impl KeptMessage {
    fn new(message: &Bytes) -> Option<Self> {
        let size = message.len();
        // Made first, so that its end gives back what is taken here.
        let kept = Self(message.clone());
        let others = KEPT_BYTES.fetch_add(size, Ordering::Relaxed);
        (others + size <= MESSAGES_KEPT_BYTES_MAX).then_some(kept)
    }
}

impl Drop for KeptMessage {
    fn drop(&mut self) {
        KEPT_BYTES.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Version {
    /// Key in the store.
    pub(crate) key: Arc<str>,
    /// What selectors look at.
    pub(crate) header: Header,
    /// The object's JSON with its resourceVersion.
    kept: Kept,
    message: RwLock<Option<KeptMessage>>,
}

impl Version {
    fn new(key: Arc<str>, header: Header, json: Json) -> Self {
        Self { key, header, kept: Kept::new(json), message: RwLock::new(None) }
    }

    /// Reads a stored value. JSON is checked and kept; no tree is made of it.
    pub(crate) fn of(info: &'static ResourceInfo, raw: &storage::RawValue) -> Result<Self, Status> {
        let key = Arc::from(String::from_utf8_lossy(&raw.key));
        let value = raw.value()?;
        let json = if value.starts_with(&protobuf::MAGIC) {
            Json::new(storage::stored(raw)?.object.to_json())
        } else {
            let refuse = |why: &str| Status::internal(&format!("stored object: {why}"));
            serde_json::from_slice::<IgnoredAny>(value)
                .map_err(|error| refuse(&error.to_string()))?;
            let view = View::new(value);
            if !view.is_object() {
                return Err(refuse("not a JSON object"));
            }
            if convert::is_other_version(info, &view.get("apiVersion").text()) {
                Json::new(storage::stored(raw)?.object.to_json())
            } else {
                Json::new(with_resource_version(value, raw.revision))
            }
        };
        Ok(Self::new(key, Header::of(info, View::new(&json)), json))
    }

    /// Reads a stored value of a custom kind: it is shown as its schemas are now.
    pub(crate) fn of_custom(kind: &CustomKind, raw: &storage::RawValue) -> Result<Self, Status> {
        let mut tree = storage::stored(raw)?.object.into_value();
        kind.read(&mut tree);
        let json = Json::new(tree.to_string().into_bytes());
        let header = Header::of(kind.row, View::new(&json));
        let key = Arc::from(String::from_utf8_lossy(&raw.key));
        Ok(Self::new(key, header, json))
    }

    /// The object's JSON with its resourceVersion.
    pub(crate) fn json(&self) -> Json {
        self.kept.json()
    }

    /// Bytes of the JSON, as it is written out.
    pub(crate) fn size(&self) -> usize {
        self.kept.size()
    }

    /// The end of a turn of [`super::rest`]: the JSON, if nobody asked for it and it can be packed.
    pub(super) fn idle(&self) -> Option<Json> {
        let (is_idle, json) = self.kept.idle();
        if is_idle {
            // Nobody lists it either.
            *self.message.write() = None;
        }
        json
    }

    /// What the bytes are kept in.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The object as a tree.
    pub(crate) fn object(&self) -> Result<Object, Status> {
        storage::parse(&self.json())
    }

    /// The object as a bare protobuf message.
    pub(crate) fn message(&self, info: &ResourceInfo) -> Result<Bytes, Status> {
        if let Some(kept) = &*self.message.read() {
            self.kept.ask();
            return Ok(kept.0.clone());
        }
        let tree = self.object()?.into_value();
        let message = protobuf::encode_message(info.type_id(), &tree)
            .map_err(|error| Status::internal(&error.to_string()))?;
        let message = Bytes::from(message);
        if let Some(kept) = KeptMessage::new(&message) {
            *self.message.write() = Some(kept);
        }
        Ok(message)
    }

    /// The same object in another version of its kind; as it is when it cannot be read.
    pub(crate) fn in_version(&self, info: &'static ResourceInfo) -> Self {
        let json = match self.object() {
            Ok(object) => Json::new(convert::to(info, object).to_json()),
            Err(_) => self.json(),
        };
        self.with_json(json)
    }

    /// The same object in other bytes.
    fn with_json(&self, json: Json) -> Self {
        let header = self.header.of_other_bytes(View::new(&json));
        Self::new(self.key.clone(), header, json)
    }

    /// The same object with another resourceVersion, as a deletion shows it.
    pub(crate) fn at(&self, revision: u64) -> Self {
        self.with_json(Json::new(with_resource_version(&self.json(), revision)))
    }
}

/// What a watcher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    /// The word on the wire.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Which bytes of an event are kept: one number per encoding, see [`crate::encoding`].
pub(crate) type Form = u8;

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    /// The object after it, unless it is gone.
    pub(crate) current: Option<Arc<Version>>,
    /// The object before it, unless it is new.
    pub(crate) previous: Option<Arc<Version>>,
    gone: OnceLock<Arc<Version>>,
    encoded: Mutex<Vec<(Form, Change, Bytes)>>,
}

impl Event {
    pub(crate) fn new(
        revision: u64,
        current: Option<Arc<Version>>,
        previous: Option<Arc<Version>>,
    ) -> Self {
        Self { revision, current, previous, gone: OnceLock::new(), encoded: Mutex::default() }
    }

    /// The object that goes with `change`: after it, or for a deletion as it was before.
    pub(crate) fn version(&self, change: Change) -> Option<&Arc<Version>> {
        match (change, &self.previous) {
            (Change::Deleted, Some(previous)) => {
                Some(self.gone.get_or_init(|| Arc::new(previous.at(self.revision))))
            }
            (Change::Deleted, None) => None,
            (Change::Added | Change::Modified, _) => self.current.as_ref(),
        }
    }

    /// The frame in one encoding, made by the first watcher that needs it (C5).
    pub(crate) fn encoded(
        &self,
        form: Form,
        change: Change,
        make: impl FnOnce() -> Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        let mut encoded = self.encoded.lock();
        let found = encoded.iter().find(|(kept, of, _)| *kept == form && *of == change);
        if let Some((_, _, bytes)) = found {
            return Ok(bytes.clone());
        }
        let bytes = make()?;
        encoded.push((form, change, bytes.clone()));
        Ok(bytes)
    }

    /// Rough size in memory.
    pub(crate) fn size(&self) -> usize {
        let bytes = |version: &Option<Arc<Version>>| version.as_ref().map_or(0, |v| v.size());
        bytes(&self.current) + bytes(&self.previous) + 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_kept_are_bounded_together() {
        let half = Bytes::from(vec![7; MESSAGES_KEPT_BYTES_MAX / 2]);
        let one = KeptMessage::new(&half).expect("there is room");
        let large = Bytes::from(vec![7; MESSAGES_KEPT_BYTES_MAX]);
        assert!(KeptMessage::new(&large).is_none());
        drop(one);
        assert!(KeptMessage::new(&half).is_some(), "what was refused or dropped takes no room");
    }
}
