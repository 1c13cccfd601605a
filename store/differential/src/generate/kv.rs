//! Single reads and writes.

use proto::etcdserverpb as pb;
use rand::Rng as _;

use super::Generator;
use crate::step::Step;

impl Generator {
    pub(super) fn range(&mut self) -> Step {
        Step::call("KV/Range", &self.range_request())
    }

    /// Several, which are sent at once: that tells as much of the state that they meet, in half the time.
    pub(super) fn ranges(&mut self) -> Step {
        for _ in 0..self.rng.random_range(0..10) {
            let range = self.range();
            self.waiting.push_back(range);
        }
        self.range()
    }

    pub(super) fn range_request(&mut self) -> pb::RangeRequest {
        let key = self.key();
        let mut range = pb::RangeRequest {
            range_end: self.range_end(&key),
            key,
            revision: self.revision(),
            serializable: self.chance(25),
            ..pb::RangeRequest::default()
        };
        if self.chance(35) {
            range.limit = match self.rng.random_range(0..12) {
                0 => -1,
                1 => i64::MAX,
                number => number - 1,
            };
        }
        if self.chance(30) {
            range.sort_order = self.rng.random_range(0..3);
            range.sort_target = self.rng.random_range(0..5);
        }
        if self.chance(15) {
            range.min_mod_revision = self.past();
        }
        if self.chance(10) {
            range.max_mod_revision = if self.chance(5) { -1 } else { self.past() };
        }
        if self.chance(10) {
            range.min_create_revision = self.past();
        }
        if self.chance(10) {
            range.max_create_revision = self.past();
        }
        range.keys_only = self.chance(12);
        range.count_only = self.chance(12);
        range
    }

    pub(super) fn put(&mut self) -> Step {
        Step::call("KV/Put", &self.put_request())
    }

    pub(super) fn put_request(&mut self) -> pb::PutRequest {
        let mut put = pb::PutRequest {
            key: self.key(),
            value: self.value(),
            lease: self.lease_id(),
            prev_kv: self.chance(40),
            ..pb::PutRequest::default()
        };
        if self.chance(12) {
            put.ignore_value = true;
            // Seldom, that is refused for giving both.
            if self.chance(85) {
                put.value.clear();
            }
        }
        if self.chance(12) {
            put.ignore_lease = true;
            if self.chance(85) {
                put.lease = 0;
            }
        }
        put
    }

    pub(super) fn delete(&mut self) -> Step {
        Step::call("KV/DeleteRange", &self.delete_request())
    }

    pub(super) fn delete_request(&mut self) -> pb::DeleteRangeRequest {
        let key = self.key();
        // Mostly single keys: what is deleted cannot be read.
        let range_end = if self.chance(60) { bytes::Bytes::new() } else { self.range_end(&key) };
        pb::DeleteRangeRequest { range_end, key, prev_kv: self.chance(50) }
    }

    pub(super) fn compact(&mut self) -> Step {
        let revision = match self.rng.random_range(0..20) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => self.now + 1,
            4 => self.compacted,
            5 => self.compacted - 1,
            6 => self.now,
            _ => (self.now - self.rng.random_range(0..25)).max(1),
        };
        let physical = self.chance(30);
        Step::call("KV/Compact", &pb::CompactionRequest { revision, physical })
    }

    pub(super) fn hash(&mut self) -> Step {
        let revision = match self.rng.random_range(0..10) {
            0..4 => 0,
            4 => self.now + 1,
            5 => self.compacted - 1,
            _ => self.past(),
        };
        Step::call("Maintenance/HashKV", &pb::HashKvRequest { revision })
    }
}
