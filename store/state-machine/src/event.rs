//! What a write did to one key, as watchers are told.

use std::sync::{Arc, OnceLock};

use proto::mvccpb::{Event as WireEvent, KeyValue, event::EventType};
use proto::orlop::store::v1::Record;

use crate::keys::Revision;

/// One write to one key.
#[derive(Debug)]
pub struct Event {
    /// The key-value as written; a deletion has only key and `mod_revision`.
    pub kv: KeyValue,
    /// Whether the key was deleted.
    pub deleted: bool,
    /// The place of this write.
    pub revision: Revision,
    /// The record that this one replaced, a deletion included; none for a key without history.
    pub previous: Option<Revision>,
    /// Filled by apply when it had the value at hand, else by [`crate::View::previous_kv`].
    pub(crate) previous_kv: OnceLock<Option<KeyValue>>,
}

/// All events of one revision: watchers get them together or not at all.
#[derive(Clone, Debug)]
pub struct RevisionEvents {
    /// The store's revision.
    pub revision: i64,
    /// In the order of the writes.
    pub events: Vec<Arc<Event>>,
}

impl Event {
    pub(crate) fn new(record: Record, main: i64) -> Self {
        let previous = Revision { main: record.previous_main, sub: record.previous_sub };
        Self {
            kv: record.kv.unwrap_or_default(),
            deleted: record.deleted,
            revision: Revision { main, sub: record.sub },
            previous: (previous.main != 0).then_some(previous),
            previous_kv: OnceLock::new(),
        }
    }

    /// Put or delete, as on the wire.
    #[must_use]
    pub fn kind(&self) -> EventType {
        if self.deleted { EventType::Delete } else { EventType::Put }
    }

    /// The event for a client. Byte fields are shared, not copied.
    #[must_use]
    pub fn to_wire(&self, prev_kv: Option<KeyValue>) -> WireEvent {
        WireEvent { r#type: self.kind().into(), kv: Some(self.kv.clone()), prev_kv }
    }
}
