//! The changes of one `apply` call before they are written: reads see them, other threads do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse,
};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::Record;
use store_engine::Batch;
use store_planted::{self as planted, Bug};

use crate::check;
use crate::codec;
use crate::digest::Digest;
use crate::disk::{LIVE, META, REV};
use crate::error::{Fault, ReadError, Refusal};
use crate::event::{Event, RevisionEvents};
use crate::index::Meta;
use crate::keys::{self, KeyRange, Revision};
use crate::machine::State;
use crate::range::{self, Plan, header};
use crate::registry::Registry;

pub(crate) struct Staged<'a> {
    pub(crate) base: &'a State,
    pub(crate) registry: &'a mut Registry,
    pub(crate) overlay: BTreeMap<Box<[u8]>, Meta>,
    records: BTreeMap<Revision, Record>,
    pub(crate) batch: Batch,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// Writes of the command under way.
    events: Vec<Arc<Event>>,
    pub(crate) digest: Digest,
    /// Bytes of the batch that are in the digest, or in none: the batch begins with a count.
    pub(crate) digested_bytes: usize,
    /// What is digested beside the batch; kept for its memory.
    pub(crate) facts: Vec<u8>,
}

impl<'a> Staged<'a> {
    pub(crate) fn new(base: &'a State, registry: &'a mut Registry) -> Self {
        let batch = base.disk.batch();
        Self {
            base,
            registry,
            overlay: BTreeMap::new(),
            records: BTreeMap::new(),
            digested_bytes: batch.size_in_bytes(),
            batch,
            revision: base.revision,
            compacted: base.compacted,
            events: Vec::new(),
            digest: base.digest,
            facts: Vec::new(),
        }
    }

    /// Ends a command. K1: one that wrote has used up one revision.
    pub(crate) fn finish(&mut self) -> Option<RevisionEvents> {
        if self.events.is_empty() {
            return None;
        }
        self.revision += 1;
        Some(RevisionEvents { revision: self.revision, events: std::mem::take(&mut self.events) })
    }

    /// The revision as the command under way sees it.
    pub(crate) fn current(&self) -> i64 {
        self.revision + i64::from(!self.events.is_empty())
    }

    pub(crate) fn meta(&self, key: &[u8]) -> Option<Meta> {
        self.overlay.get(key).or_else(|| self.base.index.get(key)).copied()
    }

    pub(crate) fn live_meta(&self, key: &[u8]) -> Option<Meta> {
        self.meta(key).filter(Meta::is_live)
    }

    /// The newest record of a key that exists.
    pub(crate) fn live_record(&self, key: &[u8], meta: &Meta) -> Result<KeyValue, Fault> {
        let old = planted::is(Bug::PrevKvStale) && self.base.index.get(key).is_some();
        let record = match self.records.get(&meta.modified) {
            Some(record) if !old => record.clone(),
            _ => {
                let stored = self.base.disk.get(LIVE, key)?;
                let stored = stored.ok_or_else(|| Fault::damaged("indexed key without record"))?;
                codec::decode(&stored)?
            }
        };
        record.kv.ok_or_else(|| Fault::damaged("record without a key"))
    }

    fn record_at(&self, revision: Revision) -> Result<Option<Record>, Fault> {
        if let Some(record) = self.records.get(&revision) {
            return Ok(Some(record.clone()));
        }
        let stored = self.base.disk.get(REV, &revision.to_key())?;
        stored.map(|stored| codec::decode(&stored)).transpose()
    }

    /// Keys of the range with their newest records, deleted ones included, in key order.
    pub(crate) fn keys_in(&self, range: &KeyRange) -> Vec<(Box<[u8]>, Meta)> {
        if let KeyRange::One(key) = range {
            return self.meta(key).map(|meta| (key.as_ref().into(), meta)).into_iter().collect();
        }
        let mut found: BTreeMap<Box<[u8]>, Meta> =
            self.base.index.range(range).map(|(key, meta)| (key.into(), *meta)).collect();
        let staged = self.overlay.range::<[u8], _>((
            std::ops::Bound::Included(range.start()),
            std::ops::Bound::Unbounded,
        ));
        for (key, meta) in staged.take_while(|(key, _)| range.contains(key)) {
            found.insert(key.clone(), *meta);
        }
        found.into_iter().collect()
    }

    /// The one place that writes a record.
    fn write(&mut self, mut record: Record, meta: Meta, previous_kv: Option<Option<KeyValue>>) {
        let main = self.revision + 1;
        let kv = record.kv.as_ref().expect("callers fill it in");
        let old = self.meta(&kv.key);
        // D1: a deletion that no readable revision sees is gone on one member, and not yet on another.
        let known = |old: &Meta| old.is_live() || old.modified.main >= self.compacted;
        if let Some(old) = old.filter(known) {
            record.previous_main = old.modified.main;
            record.previous_sub = old.modified.sub;
        }
        let old_lease = old.map_or(0, |old| old.lease);
        let stays = planted::is(Bug::LeaseKeepsKey);
        self.registry.attach(&kv.key, if stays { 0 } else { old_lease }, meta.lease);

        let stored = codec::encode(&record);
        let disk = &self.base.disk;
        self.batch.put(disk.family(LIVE), &kv.key, &stored);
        self.batch.put(disk.family(REV), meta.modified.to_key(), &stored);
        self.overlay.insert(kv.key.as_ref().into(), meta);
        self.records.insert(meta.modified, record.clone());

        let event = Event::new(record, main);
        if old.is_some_and(|old| old.modified.main == main) {
            // What was before the event was before this revision: it is read when asked for.
        } else if let Some(previous_kv) = previous_kv {
            // A new cell takes its first value.
            let _ = event.previous_kv.set(previous_kv);
        } else if !old.is_some_and(|old| old.is_live()) {
            let _ = event.previous_kv.set(None);
        }
        self.events.push(Arc::new(event));
    }

    fn next_place(&self) -> Revision {
        let sub = u32::try_from(self.events.len()).expect("a command has fewer writes");
        Revision { main: self.revision + 1, sub }
    }

    pub(crate) fn put(&mut self, put: PutRequest) -> Result<PutResponse, ReadError> {
        check::check_put(&put)?;
        let old = self.live_meta(&put.key);
        // As etcd, which asks in another order within a transaction.
        self.has_lease(&put)?;
        self.has_old(&put, old.as_ref())?;

        let wants_old = put.prev_kv || put.ignore_value;
        let old_kv = match &old {
            Some(meta) if wants_old => Some(self.live_record(&put.key, meta)?),
            _ => None,
        };
        let modified = self.next_place();
        let lease = match &old {
            Some(old) if put.ignore_lease => old.lease,
            _ => put.lease,
        };
        let value = match &old_kv {
            Some(old) if put.ignore_value => old.value.clone(),
            _ => put.value,
        };
        let created = old.map_or(modified.main, |old| old.created);
        let version = old.map_or(0, |old| old.version) + 1;
        let kv = KeyValue {
            key: put.key,
            create_revision: created,
            mod_revision: modified.main,
            version,
            value,
            lease,
        };
        let record = Record { kv: Some(kv), sub: modified.sub, ..Record::default() };
        let meta = Meta { modified, created, version, lease };
        self.write(record, meta, old_kv.clone().map(Some));
        let prev_kv = old_kv.filter(|_| put.prev_kv);
        Ok(PutResponse { header: header(self.current()), prev_kv })
    }

    /// K2: what a put needs to find. Asked for every put of a transaction before the first one.
    pub(crate) fn has_old(&self, put: &PutRequest, old: Option<&Meta>) -> Result<(), Refusal> {
        if (put.ignore_value || put.ignore_lease) && old.is_none() {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    /// K2: as [`Self::has_old`].
    pub(crate) fn has_lease(&self, put: &PutRequest) -> Result<(), Refusal> {
        if put.lease != 0 && !self.registry.leases.contains_key(&put.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        Ok(())
    }

    pub(crate) fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, ReadError> {
        check::check_delete_range(request)?;
        let range = KeyRange::new(&request.key, &request.range_end);
        let mut deleted = 0;
        let mut prev_kvs = Vec::new();
        for (key, meta) in self.keys_in(&range) {
            if !meta.is_live() {
                continue;
            }
            let old = if request.prev_kv { Some(self.live_record(&key, &meta)?) } else { None };
            self.delete(&key, old.clone());
            prev_kvs.extend(old);
            deleted += 1;
        }
        Ok(DeleteRangeResponse { header: header(self.current()), deleted, prev_kvs })
    }

    pub(crate) fn delete(&mut self, key: &[u8], old: Option<KeyValue>) {
        let modified = self.next_place();
        let kv = KeyValue {
            key: Bytes::copy_from_slice(key),
            mod_revision: modified.main,
            ..KeyValue::default()
        };
        let record = Record { kv: Some(kv), sub: modified.sub, deleted: true, ..Record::default() };
        let meta = Meta { modified, created: 0, version: 0, lease: 0 };
        self.write(record, meta, old.map(Some));
    }

    /// A range inside a transaction: it sees the writes that stand before it.
    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ReadError> {
        let at = range::revision_of(request.revision, self.revision, self.compacted)?;
        let at = if request.revision <= 0 { self.current() } else { at };
        let plan = Plan::new(request);
        let mut kvs = Vec::new();
        let mut count = 0;
        for (key, meta) in self.keys_in(&KeyRange::new(&request.key, &request.range_end)) {
            if meta.modified.main <= at {
                if meta.is_live() {
                    count += 1;
                    if kvs.len() < plan.take {
                        kvs.push(self.live_record(&key, &meta)?);
                    }
                }
                continue;
            }
            let Some(newest) = self.record_at(meta.modified)? else { continue };
            if let Some(kv) = range::as_of(newest, at, |revision| self.record_at(revision))? {
                count += 1;
                if kvs.len() < plan.take {
                    kvs.push(kv);
                }
            }
        }
        Ok(plan.finish(request, kvs, count, self.current()))
    }

    /// Reads below the revision are refused from here on; the bytes go later, in steps.
    pub(crate) fn compact(
        &mut self,
        request: CompactionRequest,
    ) -> Result<CompactionResponse, ReadError> {
        self.registry.allow(false)?;
        if request.revision <= self.compacted {
            return Err(Refusal::Compacted.into());
        }
        if request.revision > self.revision {
            return Err(Refusal::FutureRevision.into());
        }
        self.compacted = request.revision;
        Ok(CompactionResponse { header: header(self.revision) })
    }

    /// Deletes the attached keys in one revision, then the lease.
    pub(crate) fn revoke(&mut self, id: i64) -> Result<(), ReadError> {
        self.registry.allow(false)?;
        let Some(lease) = self.registry.leases.remove(&id) else {
            return Err(Refusal::LeaseNotFound.into());
        };
        if !planted::is(Bug::LeaseRevives) {
            self.batch.delete(self.base.disk.family(META), keys::lease(id));
        }
        let half = if planted::is(Bug::LeaseHalfRevoked) { 1 } else { usize::MAX };
        for key in lease.keys.into_iter().take(half) {
            if self.live_meta(&key).is_some() {
                self.delete(&key, None);
            }
        }
        Ok(())
    }
}
