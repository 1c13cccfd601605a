//! Makes a state offline: from records that come one by one, or by giving a copied one a new identity.
//!
//! No member runs on the folder meanwhile. What was not finished is no state: the caller makes its
//! folder anew.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proto::authpb::{Role, User};
use proto::etcdserverpb::Member;
use proto::mvccpb::KeyValue;
use proto::orlop::store::v1::{AuthRecord, LeaseRecord, Record, StateRecord};
use store_engine::Batch;

use crate::auth::check_record;
use crate::codec;
use crate::disk::{self, Disk, LIVE, META, Options, REV};
use crate::error::Fault;
use crate::index::{Index, Meta};
use crate::keys::{self, Revision};
use crate::limits;
use crate::machine::{self, State};

/// What a restored state is told about the cluster that it becomes part of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seed {
    /// Log id that counts as the last applied one, as bytes of the log's owner.
    pub applied: Bytes,
    /// The membership as the log's owner stores it.
    pub membership: Bytes,
    /// The new cluster's id.
    pub cluster_id: u64,
    /// Its members; all others are forgotten, as are alarms and removed ids.
    pub members: Vec<Member>,
    /// Added to the revision, so that no revision that was handed out comes twice. When it is not
    /// zero, all that lies below counts as compacted, so that watchers start over.
    pub bump_revision: i64,
}

/// What an imported state holds beside its records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// The source's revision; that of the last record when it is higher.
    pub revision: i64,
    /// Reads below it are refused.
    pub compacted: i64,
    /// All leases.
    pub leases: Vec<LeaseRecord>,
    /// Whether users and roles count, and how often they have changed; none when they never did.
    pub auth: Option<AuthRecord>,
    /// All users.
    pub users: Vec<User>,
    /// All roles.
    pub roles: Vec<Role>,
}

/// A state in the making.
pub struct Importer {
    disk: Disk,
    /// The newest record of each key, for the chains of revisions.
    newest: Index,
    batch: Batch,
    last: Revision,
}

impl Importer {
    /// Starts an empty state in `dir`.
    ///
    /// # Errors
    /// When `dir` holds something, or the disk fails.
    pub fn create(dir: &Path, options: &Options) -> Result<Self, Fault> {
        let holds_something =
            std::fs::read_dir(dir).is_ok_and(|mut listing| listing.next().is_some());
        if holds_something {
            return Err(Fault::damaged(format!("{} is not empty", dir.display())));
        }
        let disk = Disk::open(dir, options)?;
        let batch = disk.batch();
        Ok(Self { disk, newest: Index::default(), batch, last: Revision::default() })
    }

    /// Goes on with the state in `dir`, such as a copied checkpoint. Answers what it holds already:
    /// its leases and users stay without being named again.
    ///
    /// # Errors
    /// When `dir` is not a state of this version, or the disk fails.
    pub fn resume(dir: &Path, options: &Options) -> Result<(Self, Imported), Fault> {
        let (state, _) = machine::load(Disk::open(dir, options)?)?;
        let State { disk, index, revision, compacted, .. } = state;
        let disk = Arc::into_inner(disk).ok_or_else(|| Fault::damaged("the state is in use"))?;
        let imported = Imported { revision, compacted, ..Imported::default() };
        let last = Revision { main: revision, sub: u32::MAX };
        let batch = disk.batch();
        Ok((Self { disk, newest: index, batch, last }, imported))
    }

    /// Adds the next record. Of a deletion only the key counts.
    ///
    /// # Errors
    /// When records do not come in the order of their revisions, or the disk fails.
    pub fn record(&mut self, at: Revision, deleted: bool, kv: KeyValue) -> Result<(), Fault> {
        if at <= self.last {
            let text = format!("revision {}.{} comes out of order", at.main, at.sub);
            return Err(Fault::damaged(text));
        }
        let possible = deleted || (1..=limits::REVISION_MAX).contains(&kv.version);
        if at.main < 1 || at.main > limits::REVISION_MAX || kv.key.is_empty() || !possible {
            let (Revision { main, sub }, version) = (at, kv.version);
            let what = format!("revision {main}.{sub}: key {:?} of version {version}", kv.key);
            return Err(Fault::damaged(what));
        }
        self.last = at;
        let kv = if deleted { KeyValue { key: kv.key, ..KeyValue::default() } } else { kv };
        let kv = KeyValue { mod_revision: at.main, ..kv };
        let meta = Meta {
            modified: at,
            created: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
        };
        let previous = self.newest.get(&kv.key).map(|meta| meta.modified).unwrap_or_default();
        let key = kv.key.clone();
        let record = Record {
            kv: Some(kv),
            sub: at.sub,
            previous_main: previous.main,
            previous_sub: previous.sub,
            deleted,
        };
        let stored = codec::encode(&record);
        self.batch.put(self.disk.family(LIVE), &key, &stored);
        self.batch.put(self.disk.family(REV), at.to_key(), &stored);
        self.newest.insert(key.as_ref().into(), meta);
        if self.batch.size_in_bytes() >= BATCH_BYTES {
            let batch = std::mem::replace(&mut self.batch, self.disk.batch());
            self.disk.write(batch)?;
        }
        Ok(())
    }

    /// Adds what is not a record, gives the state its identity, and makes it durable.
    ///
    /// # Errors
    /// When a name is no text, or the disk fails.
    pub fn finish(mut self, imported: &Imported, seed: &Seed) -> Result<Restored, Fault> {
        let meta = self.disk.family(META);
        for lease in &imported.leases {
            self.batch.put(meta, keys::lease(lease.id), codec::encode(lease));
        }
        for user in &imported.users {
            self.batch.put(meta, keys::user(text(&user.name)?), codec::encode(user));
        }
        for role in &imported.roles {
            self.batch.put(meta, keys::role(text(&role.name)?), codec::encode(role));
        }
        if let Some(auth) = &imported.auth {
            check_record(auth)?;
            self.batch.put(meta, keys::AUTH, codec::encode(auth));
        }
        let record = StateRecord {
            format: codec::FORMAT,
            revision: imported.revision.max(self.last.main),
            compact_revision: imported.compacted,
            ..StateRecord::default()
        };
        self.batch.put(meta, keys::STATE, codec::encode(&record));
        self.disk.write(self.batch)?;
        give_identity(&self.disk, seed)
    }
}

fn text(name: &[u8]) -> Result<&str, Fault> {
    str::from_utf8(name).map_err(|error| Fault::damaged(format!("name of a user or role: {error}")))
}

/// How far a restored state goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The store's revision.
    pub revision: i64,
    /// Reads below it are refused.
    pub compacted: i64,
}

/// Gives the state in `dir`, a copy of another cluster's, the identity of a new cluster.
///
/// # Errors
/// When `dir` is not a state of this version, or the disk fails.
pub fn reseed(dir: &Path, options: &Options, seed: &Seed) -> Result<Restored, Fault> {
    give_identity(&Disk::open(dir, options)?, seed)
}

/// The revisions of the state in `dir`, such as a checkpoint, that nobody has open.
///
/// # Errors
/// When `dir` is not a readable state.
pub fn revisions(dir: &Path) -> Result<Restored, Fault> {
    let stored = disk::peek(dir, &[keys::STATE])?.into_iter().next().flatten();
    let stored = stored.ok_or_else(|| Fault::damaged("the state was never written to"))?;
    let record: StateRecord = codec::decode(&stored)?;
    Ok(Restored { revision: record.revision, compacted: record.compact_revision })
}

fn give_identity(disk: &Disk, seed: &Seed) -> Result<Restored, Fault> {
    let stored = disk.get(META, keys::STATE)?;
    let stored = stored.ok_or_else(|| Fault::damaged("the state was never written to"))?;
    let mut record: StateRecord = codec::decode(&stored)?;
    machine::check_state(&record)?;
    let bump = seed.bump_revision;
    let bumped = record.revision.checked_add(bump).filter(|_| bump >= 0);
    record.revision = bumped
        .filter(|revision| *revision <= limits::REVISION_MAX)
        .ok_or_else(|| Fault::damaged(format!("revision cannot be raised by {bump}")))?;
    if bump > 0 {
        record.compact_revision = record.revision;
    }
    record.cluster_id = seed.cluster_id;
    // The new cluster's members begin together.
    (record.digest, record.digested) = (0, 0);

    let mut batch = disk.batch();
    let meta = disk.family(META);
    for prefix in [keys::MEMBER_PREFIX, keys::REMOVED_PREFIX, keys::ALARM_PREFIX] {
        disk.scan(META, prefix, None, |key, _| {
            let inside = key.starts_with(prefix);
            if inside {
                batch.delete(meta, key);
            }
            Ok(inside)
        })?;
    }
    for member in &seed.members {
        batch.put(meta, keys::member(member.id), codec::encode(member));
    }
    batch.put(meta, keys::APPLIED, &seed.applied);
    batch.put(meta, keys::MEMBERSHIP, &seed.membership);
    batch.put(meta, keys::STATE, codec::encode(&record));
    disk.write(batch)?;
    disk.flush()?;
    Ok(Restored { revision: record.revision, compacted: record.compact_revision })
}

/// A write that costs less than its overhead, and is small in memory.
const BATCH_BYTES: usize = 1 << 20;
