//! Goes through all of a snapshot and says whether a store can be made from it, and what it holds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use proto::mvccpb::KeyValue;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::etcd::{Place, Record, State};
use crate::limits::REVISION_MAX;
use crate::snapshot::Snapshot;

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The store's revision.
    pub revision: i64,
    /// Reads below it are refused.
    pub compact_revision: i64,
    /// As the RPC `HashKV` answers it at this revision.
    pub hash_kv: u32,
    /// Keys that exist.
    pub keys: u64,
    /// Records: writes and deletions that are still there.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// Keys whose lease is not there.
    pub keys_without_their_lease: u64,
    /// Users.
    pub users: u64,
}

/// The newest record of a key.
#[derive(Clone, Copy)]
struct Newest {
    place: Place,
    created: i64,
    /// Zero for a deletion.
    version: i64,
    lease: i64,
}

/// Reads everything twice. Memory grows with the number of keys, as a member's own index does.
///
/// # Errors
/// The first page, pair or record that cannot be.
pub fn examine(snapshot: &Snapshot) -> Result<(State, Summary), Error> {
    let state = snapshot.state()?;
    let changes = i64::try_from(state.auth.revision).unwrap_or(i64::MAX);
    if state.compacted.max(changes) > REVISION_MAX {
        let (compacted, auth) = (state.compacted, state.auth.revision);
        let problem = format!("compacted up to {compacted}, auth revision {auth}: too high");
        return Err(Error::Bucket { bucket: "meta".to_owned(), problem });
    }
    let mut history = History { compacted: state.compacted, ..History::default() };
    snapshot.records::<Error>(&mut |record| history.add(record))?;

    let any_live = history.newest.values().any(|newest| newest.version != 0);
    let mut hash = crc32c::crc32c(b"key");
    snapshot.records::<Error>(&mut |record| {
        if !history.is_gone(&record, any_live) {
            let mut key = record.place.to_key().to_vec();
            key.extend(record.deleted.then_some(b't'));
            hash = crc32c::crc32c_append(hash, &key);
            hash = crc32c::crc32c_append(hash, record.kv);
        }
        Ok(())
    })?;

    let leases: BTreeSet<i64> = state.leases.iter().map(|lease| lease.id).collect();
    let live = || history.newest.values().filter(|newest| newest.version != 0);
    let orphans = live().filter(|kept| kept.lease != 0 && !leases.contains(&kept.lease)).count();
    let summary = Summary {
        // A new store is at revision 1; compaction may have taken the last record.
        revision: history.last.main.max(state.compacted).max(1),
        compact_revision: state.compacted,
        hash_kv: hash,
        keys: live().count() as u64,
        records: history.records,
        leases: leases.len() as u64,
        keys_without_their_lease: orphans as u64,
        users: state.auth.users.len() as u64,
    };
    Ok((state, summary))
}

#[derive(Default)]
struct History {
    compacted: i64,
    /// Keys of their own: a slice of a record would keep all of it.
    newest: BTreeMap<Box<[u8]>, Newest>,
    /// Records up to the compacted revision that a later one replaced, and whether that was up to the
    /// compacted revision too.
    replaced: BTreeMap<Place, bool>,
    last: Place,
    records: u64,
}

impl History {
    fn add(&mut self, record: Record<'_>) -> Result<(), Error> {
        let Place { main, sub } = record.place;
        let bad = |problem: String| Error::Bucket {
            bucket: "key".to_owned(),
            problem: format!("revision {main}.{sub}: {problem}"),
        };
        let kv = KeyValue::decode(Bytes::copy_from_slice(record.kv))
            .map_err(|error| bad(error.to_string()))?;
        if record.place <= self.last || main < 1 {
            return Err(bad("it comes out of order".to_owned()));
        }
        if main > REVISION_MAX || kv.version > REVISION_MAX || u32::try_from(sub).is_err() {
            return Err(bad(format!("it, or its version {}, is too high", kv.version)));
        }
        self.last = record.place;
        self.records += 1;
        if kv.key.is_empty() {
            // etcdutl marks a raised revision so.
            return if record.kv.is_empty() {
                Ok(())
            } else {
                Err(bad("it has no key".to_owned()))
            };
        }
        let before = self.newest.get(kv.key.as_ref()).copied();
        let version_before = before.map_or(0, |before| before.version);
        if !record.deleted {
            if kv.mod_revision != main {
                return Err(bad(format!("it says that it is of revision {}", kv.mod_revision)));
            }
            // Records before the compacted revision may be gone; after it none is.
            let whole = main > self.compacted;
            let version = version_before + 1;
            let created = before.filter(|_| version_before > 0).map_or(main, |one| one.created);
            let fits = (kv.version, kv.create_revision) == (version, created);
            let possible = kv.version >= 1 && (1..=main).contains(&kv.create_revision);
            if !possible || (whole && !fits) {
                return Err(bad(format!(
                    "key {:?} has version {} of creation {} where {version} of {created} must be",
                    String::from_utf8_lossy(&kv.key),
                    kv.version,
                    kv.create_revision
                )));
            }
        } else if main > self.compacted && version_before == 0 {
            let key = String::from_utf8_lossy(&kv.key);
            return Err(bad(format!("key {key:?} is deleted where there is none")));
        }
        if let Some(before) = before
            && before.place.main <= self.compacted
        {
            self.replaced.insert(before.place, main <= self.compacted);
        }
        let version = if record.deleted { 0 } else { kv.version };
        let newest =
            Newest { place: record.place, created: kv.create_revision, version, lease: kv.lease };
        self.newest.insert(kv.key.as_ref().into(), newest);
        Ok(())
    }

    /// What `HashKV` passes over: of the records up to the compacted revision all that are not what
    /// their key holds now, or, when no key is left, what the compaction removes.
    fn is_gone(&self, record: &Record<'_>, any_live: bool) -> bool {
        let replaced = self.replaced.get(&record.place);
        let replaced = replaced.is_some_and(|by_then| any_live || *by_then);
        record.place.main <= self.compacted && (record.deleted || replaced)
    }
}
