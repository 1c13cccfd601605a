//! What a watch must have been told, given everything that happened.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::mvccpb::{Event, event::EventType};

use crate::stream::Frame;

impl Frame for pb::WatchResponse {
    fn decode(bytes: Bytes) -> Result<Self, String> {
        prost::Message::decode(bytes).map_err(|error| error.to_string())
    }
}

impl Frame for pb::LeaseKeepAliveResponse {
    fn decode(bytes: Bytes) -> Result<Self, String> {
        prost::Message::decode(bytes).map_err(|error| error.to_string())
    }
}

/// A watch that was created, with the server's own revisions.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    pub(crate) id: i64,
    key: Bytes,
    range_end: Bytes,
    /// The first revision that it wants.
    pub(crate) start: i64,
    /// Zero when the client left the start to the server.
    pub(crate) asked: i64,
    prev_kv: bool,
    pub(crate) fragment: bool,
    no_put: bool,
    no_delete: bool,
    /// The server's revision, and the compacted one, when the watch was created.
    created_at: i64,
    compacted: i64,
    /// Frames of the stream before this one are not about it.
    pub(crate) first_frame: usize,
}

/// The revision of an event.
pub(crate) fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

fn is_delete(event: &Event) -> bool {
    event.r#type == i32::from(EventType::Delete)
}

impl Watcher {
    pub(crate) fn new(
        request: &pb::WatchCreateRequest,
        created: &pb::WatchResponse,
        compacted: i64,
        first_frame: usize,
    ) -> Self {
        let now = created.header.as_ref().map_or(0, |header| header.revision);
        let filter = |kind: FilterType| request.filters.contains(&i32::from(kind));
        let smallest = Bytes::from_static(b"\0");
        let asked = request.start_revision;
        Self {
            id: created.watch_id,
            key: if request.key.is_empty() { smallest } else { request.key.clone() },
            range_end: request.range_end.clone(),
            start: if asked == 0 { now + 1 } else { asked },
            asked,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            no_put: filter(FilterType::Noput),
            no_delete: filter(FilterType::Nodelete),
            created_at: now,
            compacted,
            first_frame,
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let key = event.kv.as_ref().map(|kv| kv.key.as_ref()).unwrap_or_default();
        let in_range = match self.range_end.as_ref() {
            [] => key == self.key.as_ref(),
            [0] => key >= self.key.as_ref(),
            end => self.key.as_ref() <= key && key < end,
        };
        let filtered = if is_delete(event) { self.no_delete } else { self.no_put };
        revision(event) >= self.start && in_range && !filtered
    }

    /// A deletion at the compacted revision: etcd has kept it for watches only since 3.5.16.
    pub(crate) fn may_be_gone(&self, event: &Event) -> bool {
        is_delete(event) && revision(event) == self.compacted && self.start <= self.created_at
    }

    /// What it must be told of everything that happened.
    pub(crate) fn expected(&self, history: &[Event]) -> Vec<Event> {
        let wanted = history.iter().filter(|event| self.wants(event));
        let told = wanted.map(|event| {
            let mut event = event.clone();
            // The value before is read at the revision before, which may be compacted by then.
            let compacted =
                revision(&event) <= self.created_at && revision(&event) - 1 < self.compacted;
            if !self.prev_kv || compacted {
                event.prev_kv = None;
            }
            event
        });
        told.collect()
    }

    /// What it was told so far.
    pub(crate) fn received(&self, frames: &[pb::WatchResponse]) -> Vec<Event> {
        let mine = frames.iter().skip(self.first_frame).filter(|frame| frame.watch_id == self.id);
        mine.flat_map(|frame| frame.events.iter().cloned()).collect()
    }

    /// Whether every revision came in one piece, in order, under a header that covers it.
    pub(crate) fn check_frames(&self, frames: &[pb::WatchResponse]) -> Result<(), String> {
        let mut last = 0;
        let mut in_pieces = false;
        for frame in frames.iter().skip(self.first_frame).filter(|frame| frame.watch_id == self.id)
        {
            let Some(first) = frame.events.first().map(revision) else { continue };
            if first < last || (first == last && !in_pieces) {
                return Err(format!("watch {}: revision {first} came after {last}", self.id));
            }
            last = frame.events.last().map_or(last, revision);
            let header = frame.header.as_ref().map_or(0, |header| header.revision);
            if header < last {
                return Err(format!(
                    "watch {}: a frame of revision {header} has an event of {last}",
                    self.id
                ));
            }
            if frame.fragment && !self.fragment {
                return Err(format!("watch {}: a fragment that nobody asked for", self.id));
            }
            in_pieces = frame.fragment;
        }
        if in_pieces {
            Err(format!("watch {}: the last piece is missing", self.id))
        } else {
            Ok(())
        }
    }
}
