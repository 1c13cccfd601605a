//! Reads, from any thread. A read takes a short lock to fix the revision, then works on a snapshot.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use proto::etcdserverpb::range_request::SortTarget;
use proto::etcdserverpb::{AlarmMember, Member, RangeRequest, RangeResponse};
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::{LeaseRecord, Record};
use store_engine::{Reading, Snapshot};
use store_planted::{self as planted, Bug};

use crate::auth::Auth;
use crate::codec;
use crate::digest::Digest;
use crate::disk::{Disk, LIVE, REV};
use crate::error::{Fault, ReadError, Refusal};
use crate::event::{Event, RevisionEvents};
use crate::index::Meta;
use crate::keys::{KeyRange, Revision};
use crate::machine::Shared;
use crate::range::{self, Plan};
use crate::registry::LeaseInfo;
use crate::{check, hash};

/// Bytes of the database; estimates of RocksDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Memory and files.
    pub total: u64,
    /// Without what the next compactions will drop.
    pub in_use: u64,
}

/// Equal on all members that have the same history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// CRC-32C in etcd's byte layout of `HashKV`.
    pub hash: u32,
    /// As of the answer; -1 when nothing was ever compacted.
    pub compact_revision: i64,
    /// Up to which revision the hash goes.
    pub hash_revision: i64,
}

/// A handle to read the state. Cheap to clone. Calls may read the disk: keep them off an async
/// runtime's threads when they can be long.
#[derive(Clone)]
pub struct View {
    pub(crate) shared: Arc<Shared>,
}

/// Tells when nobody reads or writes a state any more, without keeping it open.
pub struct Released {
    shared: Weak<Shared>,
}

impl Released {
    /// Whether the state is closed: another process may open its files.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.strong_count() == 0
    }
}

/// The database as of one moment.
pub(crate) struct Frozen<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) snapshot: Snapshot<'a>,
}

impl Frozen<'_> {
    pub(crate) fn record(&self, family: &str, key: &[u8]) -> Result<Option<Record>, Fault> {
        let stored = self.snapshot.get(self.disk.family(family), key)?;
        stored.map(|stored| codec::decode(&stored)).transpose()
    }

    fn record_at(&self, revision: Revision) -> Result<Option<Record>, Fault> {
        self.record(REV, &revision.to_key())
    }

    /// Calls `each` with the pairs of a family from `start` on, below `end`, until it says stop.
    pub(crate) fn scan(
        &self,
        family: &str,
        start: &[u8],
        end: Option<Vec<u8>>,
        mut each: impl FnMut(&[u8], Record) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let family = self.disk.family(family);
        let mut iterator = self.snapshot.cursor(family, Reading::below(end));
        iterator.seek(start);
        while let Some((key, value)) = iterator.item() {
            if !each(key, codec::decode(value)?)? {
                return Ok(());
            }
            iterator.next();
        }
        Ok(iterator.status()?)
    }
}

impl View {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Tells when this handle and all others are dropped.
    #[must_use]
    pub fn released(&self) -> Released {
        Released { shared: Arc::downgrade(&self.shared) }
    }

    /// The store's revision: of the last applied write.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.shared.state.read().revision
    }

    /// Reads below it are refused; zero when nothing was compacted.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.shared.state.read().compacted
    }

    /// Log id of the last applied entry, as bytes of the log's owner.
    #[must_use]
    pub fn applied(&self) -> Option<Bytes> {
        self.shared.state.read().applied.clone()
    }

    /// Keys that exist, and keys kept in the index (deleted ones stay until they are compacted).
    #[must_use]
    pub fn key_counts(&self) -> (usize, usize) {
        let state = self.shared.state.read();
        (state.index.count(&KeyRange::From(Bytes::new())), state.index.len())
    }

    /// Answers a range with all options of etcd; the header carries only the revision.
    ///
    /// # Errors
    /// A refusal for the client, or a fault of this member.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ReadError> {
        check::check_range(request)?;
        let keys = KeyRange::new(&request.key, &request.range_end);
        let plan = Plan::new(request);

        let state = self.shared.state.read();
        let revision = state.revision;
        let mut at = range::revision_of(request.revision, revision, state.compacted)?;
        if planted::is(Bug::PagesDrift) && request.limit > 0 {
            at = revision;
        }
        let known_count = (at == revision).then(|| state.index.count(&keys));
        if let Some(count) = known_count {
            if request.count_only || count == 0 {
                return Ok(plan.finish(request, Vec::new(), count, revision));
            }
            if request.keys_only && request.sort_target() != SortTarget::Value {
                let live = state.index.range(&keys).filter(|(_, meta)| meta.is_live());
                let bare = |(key, meta): (&[u8], &Meta)| KeyValue {
                    key: Bytes::copy_from_slice(key),
                    create_revision: meta.created,
                    mod_revision: meta.modified.main,
                    version: meta.version,
                    value: Bytes::new(),
                    lease: meta.lease,
                };
                let kvs = live.take(plan.take).map(bare).collect();
                return Ok(plan.finish(request, kvs, count, revision));
            }
        }
        // Taken under the lock: nothing that revision `at` needs is compacted away in between.
        let disk = Arc::clone(&state.disk);
        let frozen = Frozen { disk: &disk, snapshot: disk.db.snapshot() };
        drop(state);

        let (kvs, seen) = collect(&frozen, &keys, at, plan.take, known_count.is_some())?;
        Ok(plan.finish(request, kvs, known_count.unwrap_or(seen), revision))
    }

    /// Answers like [`View::range`], but only what is answered at once, from memory: counts, and one
    /// key at the current revision. None when the disk may be needed or the answer may be long; then
    /// `range` must be called, off an async runtime's threads.
    #[must_use]
    pub fn range_now(&self, request: &RangeRequest) -> Option<Result<RangeResponse, ReadError>> {
        if let Err(refusal) = check::check_range(request) {
            return Some(Err(refusal.into()));
        }
        let keys = KeyRange::new(&request.key, &request.range_end);
        let plan = Plan::new(request);
        // Held to the end: what is published cannot move on, and nothing is compacted meanwhile.
        let state = self.shared.state.read();
        let revision = state.revision;
        match range::revision_of(request.revision, revision, state.compacted) {
            Ok(at) if at == revision => {}
            Ok(_) => return None,
            Err(refusal) => return Some(Err(refusal.into())),
        }
        let count = state.index.count(&keys);
        if request.count_only || count == 0 {
            return Some(Ok(plan.finish(request, Vec::new(), count, revision)));
        }
        let KeyRange::One(key) = &keys else { return None };
        let record: Record = match state.disk.get_cached(LIVE, key)? {
            Ok(stored) => match codec::decode(&stored) {
                Ok(record) => record,
                Err(fault) => return Some(Err(fault.into())),
            },
            Err(fault) => return Some(Err(fault.into())),
        };
        // A newer one is written, but not published yet.
        let kv = record.kv.filter(|kv| kv.mod_revision <= revision && !record.deleted)?;
        Some(Ok(plan.finish(request, vec![kv], count, revision)))
    }

    /// Events of the revisions from `from` to `to`, both included, whole revisions only: at least one
    /// if there is any, then as many as fit in `limit` events. Ask again from after the last one.
    ///
    /// # Errors
    /// [`Refusal::Compacted`] when `from` is below the compacted revision, or a fault.
    pub fn events(
        &self,
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<RevisionEvents>, ReadError> {
        let state = self.shared.state.read();
        if from < state.compacted {
            return Err(Refusal::Compacted.into());
        }
        let to = to.min(state.revision);
        let disk = Arc::clone(&state.disk);
        let frozen = Frozen { disk: &disk, snapshot: disk.db.snapshot() };
        drop(state);

        let mut all: Vec<RevisionEvents> = Vec::new();
        let mut count = 0;
        let splits = planted::is(Bug::WatchSplitsRevision);
        let start = Revision::first_of(from.max(0)).to_key();
        let end = Revision::first_of(to.saturating_add(1)).to_key().to_vec();
        frozen.scan(REV, &start, Some(end), |_, record| {
            let revision = record.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let event = Arc::new(Event::new(record, revision));
            match all.last_mut() {
                Some(last) if last.revision == revision && !(splits && count >= limit) => {
                    last.events.push(event);
                }
                Some(_) if count >= limit => return Ok(false),
                Some(_) | None => all.push(RevisionEvents { revision, events: vec![event] }),
            }
            count += 1;
            Ok(true)
        })?;
        Ok(all)
    }

    /// What the key was at the revision before the event's; none when it did not exist, or when that
    /// revision is compacted. Read once for each event, then remembered in it.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn previous_kv(&self, event: &Event) -> Result<Option<KeyValue>, Fault> {
        let (disk, compacted) = {
            let state = self.shared.state.read();
            (Arc::clone(&state.disk), state.compacted)
        };
        // K4: as for any read, whether the bytes are still there or not.
        let compacted = event.revision.main <= compacted;
        // A key that is deleted and put by one transaction was not there before, to a watcher.
        let made = !event.deleted && event.kv.create_revision == event.revision.main;
        if compacted || made {
            return Ok(None);
        }
        if let Some(known) = event.previous_kv.get() {
            return Ok(known.clone());
        }
        let mut found = None;
        let mut place = event.previous;
        while let Some(previous) = place {
            let Some(stored) = disk.get(REV, &previous.to_key())? else { break };
            let record: Record = codec::decode(&stored)?;
            if previous.main < event.revision.main {
                found = record.kv.filter(|_| !record.deleted);
                break;
            }
            // A transaction can put a key and then delete it.
            let older = Revision { main: record.previous_main, sub: record.previous_sub };
            if older >= previous {
                return Err(Fault::damaged("a record replaces one that came after it"));
            }
            place = (older.main != 0).then_some(older);
        }
        Ok(event.previous_kv.get_or_init(|| found).clone())
    }

    /// All leases, by id.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseRecord> {
        self.shared.registry.read().leases.values().map(|lease| lease.record).collect()
    }

    /// One lease with its keys.
    #[must_use]
    pub fn lease(&self, id: i64) -> Option<LeaseInfo> {
        let registry = self.shared.registry.read();
        let lease = registry.leases.get(&id)?;
        let keys = lease.keys.iter().map(|key| Bytes::copy_from_slice(key)).collect();
        Some(LeaseInfo { record: lease.record, keys })
    }

    /// All members, by id.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.shared.registry.read().members.values().cloned().collect()
    }

    /// Whether a member with this id was removed for good.
    #[must_use]
    pub fn was_removed(&self, member_id: u64) -> bool {
        self.shared.registry.read().removed.contains(&member_id)
    }

    /// Whether users and roles count. One atomic load.
    #[must_use]
    pub fn auth_enabled(&self) -> bool {
        self.shared.auth.enabled()
    }

    /// Users and roles as they are now, or newer than any data read before the call.
    #[must_use]
    pub fn auth(&self) -> Arc<Auth> {
        self.shared.auth.get()
    }

    /// Raised alarms.
    #[must_use]
    pub fn alarms(&self) -> Vec<AlarmMember> {
        let registry = self.shared.registry.read();
        let to_wire =
            |(alarm, member_id): &(i32, u64)| AlarmMember { member_id: *member_id, alarm: *alarm };
        registry.alarms.iter().map(to_wire).collect()
    }

    /// Members whose data differ from those of a majority.
    #[must_use]
    pub fn fenced(&self) -> Vec<u64> {
        self.shared.registry.read().fenced.iter().copied().collect()
    }

    /// Log id of the last applied entry as [`View::applied`] has it, the revision there, and the
    /// compacted one, all of one moment.
    #[must_use]
    pub fn position(&self) -> (Option<Bytes>, i64, i64) {
        let state = self.shared.state.read();
        (state.applied.clone(), state.revision, state.compacted)
    }

    /// Of all that was applied since the digest began.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.shared.state.read().digest
    }

    /// Cluster id and level; zero and empty before they are set.
    #[must_use]
    pub fn cluster(&self) -> (u64, String) {
        let registry = self.shared.registry.read();
        (registry.cluster_id, registry.cluster_version.clone())
    }

    /// Estimated bytes.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn sizes(&self) -> Result<Sizes, Fault> {
        let disk = Arc::clone(&self.shared.state.read().disk);
        let (total, in_use) = disk.sizes()?;
        Ok(Sizes { total, in_use })
    }

    /// Where the state lies, and how often the engine failed in the background since it was opened: after
    /// the first time it writes nothing any more.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn background_errors(&self) -> Result<(std::path::PathBuf, u64), Fault> {
        let disk = Arc::clone(&self.shared.state.read().disk);
        Ok((disk.path().to_path_buf(), disk.background_errors()?))
    }

    /// Flushes all that was applied before the call; answers the log id up to which the log is no
    /// longer needed by this member. May be called from any thread while apply goes on.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn flush(&self) -> Result<Option<Bytes>, Fault> {
        let (disk, applied) = {
            let state = self.shared.state.read();
            (Arc::clone(&state.disk), state.applied.clone())
        };
        disk.flush()?;
        Ok(applied)
    }

    /// The hash of the history up to `revision` (zero: the current one). Reads all of it.
    ///
    /// # Errors
    /// A refusal for the client, or a fault of this member.
    pub fn hash_kv(&self, revision: i64) -> Result<Hash, ReadError> {
        let state = self.shared.state.read();
        let at = range::revision_of(revision, state.revision, state.compacted)?;
        let compacted = state.compacted;
        let disk = Arc::clone(&state.disk);
        let frozen = Frozen { disk: &disk, snapshot: disk.db.snapshot() };
        drop(state);
        let hash = hash::history(&frozen, at, compacted)?;
        // As etcd: never compacted is one below the lowest revision.
        let compact_revision = if compacted == 0 { -1 } else { compacted };
        Ok(Hash { hash, compact_revision, hash_revision: at })
    }
}

/// Key-values of the range as of `at`, at most `take`, and how many there are in all unless the
/// caller knows.
fn collect(
    frozen: &Frozen<'_>,
    keys: &KeyRange,
    at: i64,
    take: usize,
    count_known: bool,
) -> Result<(Vec<KeyValue>, usize), Fault> {
    let lookup = |revision| frozen.record_at(revision);
    if let KeyRange::One(key) = keys {
        let found = match frozen.record(LIVE, key)? {
            Some(record) => range::as_of(record, at, lookup)?,
            None => None,
        };
        let count = usize::from(found.is_some());
        return Ok((found.into_iter().take(take).collect(), count));
    }
    let mut kvs = Vec::new();
    let mut count = 0;
    if keys.end().is_some_and(|end| end.as_slice() <= keys.start()) {
        return Ok((kvs, count));
    }
    frozen.scan(LIVE, keys.start(), keys.end(), |_, record| {
        if let Some(kv) = range::as_of(record, at, lookup)? {
            count += 1;
            if kvs.len() < take {
                kvs.push(kv);
            }
        }
        Ok(!count_known || kvs.len() < take)
    })?;
    Ok((kvs, count))
}
