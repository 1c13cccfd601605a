//! Watches: from now, from history, from below what is compacted, from the future.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use rand::Rng as _;

use super::{Generator, STREAMS};
use crate::step::Step;

impl Generator {
    pub(super) fn watch(&mut self) -> Step {
        let stream = self.rng.random_range(1..=STREAMS);
        match self.rng.random_range(0..40) {
            0..20 => self.create(stream),
            20..30 => {
                let (stream, watch_id) = match self.watches.len() {
                    0 => (stream, 0),
                    _ if self.chance(10) => (stream, 77),
                    count => self.watches[self.rng.random_range(0..count)],
                };
                let cancel = pb::WatchCancelRequest { watch_id };
                Step::watch(stream, RequestUnion::CancelRequest(cancel))
            }
            30..39 => {
                let progress = pb::WatchProgressRequest {};
                Step::watch(stream, RequestUnion::ProgressRequest(progress))
            }
            _ => {
                self.watches.retain(|(of, _)| *of != stream);
                Step::Close { stream }
            }
        }
    }

    fn create(&mut self, stream: u8) -> Step {
        let key = if self.chance(10) { Bytes::new() } else { self.key() };
        let start_revision = match self.rng.random_range(0..20) {
            0..12 => 0,
            // What is behind is looked after ten times a second only: it costs time.
            12..15 => self.past(),
            15 => self.compacted,
            16 => (self.compacted - 1).max(1),
            17 => self.now + 1,
            18 => self.now + self.rng.random_range(1..6),
            _ => self.now,
        };
        let watch_id = match self.rng.random_range(0..20) {
            0..14 => 0,
            14..17 => self.rng.random_range(1..6),
            17 => i64::MAX,
            18 => -7,
            // Likely there.
            _ => 1,
        };
        let filters = match self.rng.random_range(0..10) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            3 => vec![5],
            _ => Vec::new(),
        };
        let create = pb::WatchCreateRequest {
            range_end: self.range_end(&key),
            key,
            start_revision,
            progress_notify: self.chance(20),
            filters,
            prev_kv: self.chance(50),
            watch_id,
            fragment: self.chance(30),
        };
        Step::watch(stream, RequestUnion::CreateRequest(create))
    }
}
