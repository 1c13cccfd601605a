//! The single writer: opens the state, applies log entries, installs snapshots.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{RwLock, RwLockUpgradableReadGuard};
use proto::etcdserverpb as etcd;
use proto::orlop::store::v1::{AuthChanged, Command, Record, StateRecord, command::Op};
use store_planted::{self as planted, Bug};

use crate::auth::Published;
use crate::codec;
use crate::digest::{DIGEST_SCHEME, Digest};
use crate::disk::{self, Disk, LIVE, META, Options};
use crate::error::{Fault, ReadError, Refusal};
use crate::event::RevisionEvents;
use crate::index::{Index, Meta};
use crate::keys::{self, Revision};
use crate::limits;
use crate::range::header;
use crate::registry::Registry;
use crate::reply::Reply;
use crate::staged::Staged;
use crate::view::View;

/// One log entry.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Opaque; what [`StateMachine::applied`] answers after this entry.
    pub log_id: Bytes,
    /// Opaque; set when this entry changed who votes.
    pub membership: Option<Bytes>,
    /// Carried out in this order.
    pub commands: Vec<Command>,
}

/// What one entry did.
#[derive(Debug)]
pub struct Applied {
    /// One for each command of the entry, in order.
    pub outcomes: Vec<Result<Reply, Refusal>>,
    /// In revision order; a revision is never split over two entries.
    pub events: Vec<RevisionEvents>,
    /// The store's revision after the entry.
    pub revision: i64,
    /// After the entry.
    pub digest: Digest,
}

/// What readers and the writer share. Whoever takes both locks takes `registry` first.
pub(crate) struct Shared {
    pub(crate) registry: RwLock<Registry>,
    pub(crate) state: RwLock<State>,
    pub(crate) auth: Published,
}

pub(crate) struct State {
    pub(crate) disk: Arc<Disk>,
    pub(crate) index: Index,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) applied: Option<Bytes>,
    pub(crate) membership: Option<Bytes>,
    pub(crate) digest: Digest,
}

/// The state machine. Belongs to one thread; others read through [`StateMachine::view`].
pub struct StateMachine {
    pub(crate) shared: Arc<Shared>,
    options: Options,
    pub(crate) broken: bool,
    /// Below which revision the last step of a compaction looked.
    pub(crate) compacting: Option<i64>,
}

/// A new store is at revision 1, as etcd's is.
const FIRST_REVISION: i64 = 1;

/// A position that this version can go on from.
pub(crate) fn check_state(record: &StateRecord) -> Result<(), Fault> {
    if record.format != codec::FORMAT {
        return Err(Fault::damaged(format!("state of format {}", record.format)));
    }
    let (revision, compacted) = (record.revision, record.compact_revision);
    if !(FIRST_REVISION..=limits::REVISION_MAX).contains(&revision)
        || !(0..=revision).contains(&compacted)
    {
        let what = format!("state at revision {revision}, compacted up to {compacted}");
        return Err(Fault::damaged(what));
    }
    Ok(())
}

pub(crate) fn load(disk: Disk) -> Result<(State, Registry), Fault> {
    let record: StateRecord = match disk.get(META, keys::STATE)? {
        Some(stored) => codec::decode(&stored)?,
        None => StateRecord {
            format: codec::FORMAT,
            revision: FIRST_REVISION,
            ..StateRecord::default()
        },
    };
    check_state(&record)?;
    let digest = Digest::stored(&record);
    let mut registry = Registry::load(&disk)?;
    registry.cluster_id = record.cluster_id;
    registry.cluster_version = record.cluster_version;

    let (mut revision, mut compacted) = (record.revision, record.compact_revision);
    let mut newest = FIRST_REVISION;
    let mut index = Index::default();
    disk.scan(LIVE, &[], None, |key, stored| {
        let record: Record = codec::decode(stored)?;
        let deleted = record.deleted;
        let kv = record.kv.ok_or_else(|| Fault::damaged("record without a key"))?;
        let possible = kv.key == key
            && (1..=revision).contains(&kv.mod_revision)
            && (0..=limits::REVISION_MAX).contains(&kv.version)
            && (kv.version == 0) == deleted;
        if !possible {
            return Err(Fault::damaged(format!(
                "record of key {:?}",
                key.escape_ascii().to_string()
            )));
        }
        newest = newest.max(kv.mod_revision);
        registry.attach(key, 0, kv.lease);
        let forgets = planted::is(Bug::DivergesAfterRestart);
        let meta = Meta {
            modified: Revision { main: kv.mod_revision, sub: record.sub },
            created: if forgets { kv.mod_revision } else { kv.create_revision },
            version: kv.version,
            lease: kv.lease,
        };
        index.insert(key.into(), meta);
        Ok(true)
    })?;
    if planted::is(Bug::CompactionRewinds) {
        (revision, compacted) = (newest, compacted.min(newest));
    }
    let applied = disk.get(META, keys::APPLIED)?.map(Bytes::from);
    let membership = disk.get(META, keys::MEMBERSHIP)?.map(Bytes::from);
    let state =
        State { disk: Arc::new(disk), index, revision, compacted, applied, membership, digest };
    Ok((state, registry))
}

/// Applied log id and membership of a checkpoint that nobody has open.
///
/// # Errors
/// When `dir` is not a readable state.
pub fn inspect(dir: &Path) -> Result<(Option<Bytes>, Option<Bytes>), Fault> {
    let mut found = disk::peek(dir, &[keys::APPLIED, keys::MEMBERSHIP])?.into_iter();
    let mut next = || found.next().flatten().map(Bytes::from);
    Ok((next(), next()))
}

impl StateMachine {
    /// Opens the state in `dir`, or makes an empty one. Reads every key once to build the index.
    ///
    /// # Errors
    /// When the disk fails or holds what this version cannot read.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, Fault> {
        Self::with(Disk::open(dir, options)?, options)
    }

    /// An empty state that is on no disk and is gone when it is dropped. It has no checkpoints and
    /// cannot be replaced by one.
    ///
    /// # Errors
    /// None that is known.
    pub fn in_memory() -> Result<Self, Fault> {
        Self::with(Disk::in_memory(), &Options::default())
    }

    fn with(disk: Disk, options: &Options) -> Result<Self, Fault> {
        let (state, registry) = load(disk)?;
        let auth = Published::default();
        auth.set(&registry.auth);
        let shared = Shared { registry: RwLock::new(registry), state: RwLock::new(state), auth };
        Ok(Self {
            shared: Arc::new(shared),
            options: options.clone(),
            broken: false,
            compacting: None,
        })
    }

    /// The log id of the last applied entry, and the membership of the last one that set it.
    #[must_use]
    pub fn applied(&self) -> (Option<Bytes>, Option<Bytes>) {
        let state = self.shared.state.read();
        (state.applied.clone(), state.membership.clone())
    }

    /// A handle for readers on any thread; it stays valid over [`StateMachine::replace_from`].
    #[must_use]
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.shared))
    }

    /// Applies a run of log entries in one atomic write (K3). Readers see all of it or nothing.
    /// An entry without commands still moves `applied`.
    ///
    /// # Errors
    /// A fault of this member; the process must stop.
    pub fn apply(&mut self, entries: Vec<Entry>) -> Result<Vec<Applied>, Fault> {
        if self.broken {
            return Err(Fault::Broken);
        }
        // Cleared only when memory and disk agree again.
        self.broken = true;
        let applied = self.apply_run(entries)?;
        self.broken = false;
        Ok(applied)
    }

    fn apply_run(&mut self, entries: Vec<Entry>) -> Result<Vec<Applied>, Fault> {
        let mut registry = self.shared.registry.write();
        let state = self.shared.state.upgradable_read();
        let (mut log_id, mut membership) = (None, None);
        let mut staged = Staged::new(&state, &mut registry);
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut outcomes = Vec::with_capacity(entry.commands.len());
            let mut events = Vec::new();
            for command in entry.commands {
                outcomes.push(match staged.command(command) {
                    Ok(reply) => Ok(reply),
                    Err(ReadError::Refused(refusal)) => Err(refusal),
                    Err(ReadError::Failed(fault)) => return Err(fault),
                });
                events.extend(staged.finish());
            }
            staged.digest_entry(&entry.log_id, entry.membership.as_ref(), &outcomes);
            let (revision, digest) = (staged.revision, staged.digest);
            all.push(Applied { outcomes, events, revision, digest });
            log_id = Some(entry.log_id);
            membership = entry.membership.or(membership);
        }

        let Staged { registry, overlay, mut batch, revision, compacted, digest, .. } = staged;
        let meta = state.disk.family(META);
        let behind = planted::is(Bug::AppliedBehind);
        if let Some(log_id) = if behind { &state.applied } else { &log_id } {
            batch.put(meta, keys::APPLIED, log_id);
        }
        if let Some(membership) = &membership {
            batch.put(meta, keys::MEMBERSHIP, membership);
        }
        let record = StateRecord {
            format: codec::FORMAT,
            revision,
            compact_revision: compacted,
            cluster_id: registry.cluster_id,
            cluster_version: registry.cluster_version.clone(),
            digest: digest.value,
            digested: digest.entries,
            digest_scheme: DIGEST_SCHEME,
        };
        batch.put(meta, keys::STATE, codec::encode(&record));
        state.disk.write(batch)?;

        // U4: before the data.
        self.shared.auth.set(&registry.auth);
        let mut state = RwLockUpgradableReadGuard::upgrade(state);
        for (key, meta) in overlay {
            state.index.insert(key, meta);
        }
        state.revision = revision;
        state.compacted = compacted;
        state.digest = digest;
        state.applied = log_id.or(state.applied.take());
        state.membership = membership.or(state.membership.take());
        Ok(all)
    }

    /// Returns when all that was applied before is on disk: the log up to there may be purged.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn flush(&self) -> Result<(), Fault> {
        let disk = Arc::clone(&self.shared.state.read().disk);
        disk.flush()
    }

    /// As [`StateMachine::flush`], and nothing will be applied any more: when the last view is dropped,
    /// what the folder holds is written down, and held against it at the next start.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn finish(&self) -> Result<(), Fault> {
        let disk = Arc::clone(&self.shared.state.read().disk);
        disk.finish()
    }

    /// Writes a copy of the state as of the last `apply` to `dir`, which must not exist; files are
    /// hard links where they can be.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), Fault> {
        let disk = Arc::clone(&self.shared.state.read().disk);
        disk.checkpoint(dir)
    }

    /// Replaces the whole state by the checkpoint in `source`, which must lie on the same file system
    /// and is moved away. Views go on with the new state; the old files go when the last read is done.
    ///
    /// # Errors
    /// A fault of this member; the old state stays current unless the new one was opened.
    pub fn replace_from(&mut self, source: &Path) -> Result<(), Fault> {
        let old = Arc::clone(&self.shared.state.read().disk);
        let (new_state, mut new_registry) = load(old.install(source, &self.options)?)?;
        if planted::is(Bug::SnapshotForgetsLeases) {
            new_registry.leases.values_mut().for_each(|lease| lease.keys.clear());
        }
        let mut registry = self.shared.registry.write();
        let mut state = self.shared.state.write();
        self.shared.auth.set(&new_registry.auth);
        *state = new_state;
        *registry = new_registry;
        self.broken = false;
        self.compacting = None;
        Ok(())
    }
}

impl Staged<'_> {
    fn command(&mut self, command: Command) -> Result<Reply, ReadError> {
        let op = command.op.ok_or(Refusal::UnknownCommand)?;
        let auth = &self.registry.auth;
        if auth.enabled() {
            auth.permit_command(command.caller.as_ref(), &op, &self.registry.leases)?;
        }
        let disk = Arc::clone(&self.base.disk);
        Ok(match op {
            Op::Put(put) => {
                self.registry.allow(true)?;
                Reply::Put(self.put(put)?)
            }
            Op::DeleteRange(delete) => {
                self.registry.allow(false)?;
                Reply::DeleteRange(self.delete_range(&delete)?)
            }
            Op::Txn(txn) => Reply::Txn(self.txn(txn)?),
            Op::Compact(compact) => Reply::Compact(self.compact(compact)?),
            Op::LeaseGrant(grant) => {
                self.registry.grant(&disk, &mut self.batch, &grant)?;
                Reply::LeaseGrant(etcd::LeaseGrantResponse {
                    header: header(self.revision),
                    id: grant.id,
                    ttl: grant.ttl,
                    error: String::new(),
                })
            }
            Op::LeaseRevoke(revoke) => {
                self.revoke(revoke.id)?;
                Reply::LeaseRevoke(etcd::LeaseRevokeResponse { header: header(self.current()) })
            }
            Op::LeaseCheckpoint(checkpoint) => {
                self.registry.checkpoint(&disk, &mut self.batch, &checkpoint);
                let header = header(self.revision);
                Reply::LeaseCheckpoint(etcd::LeaseCheckpointResponse { header })
            }
            Op::Alarm(alarm) => {
                let suspected = self.registry.suspects();
                let alarms = self.registry.alarm(&disk, &mut self.batch, &alarm)?;
                if suspected && !self.registry.suspects() {
                    // Whoever clears it takes the members' data as they are from here on.
                    self.digest = Digest::default();
                }
                Reply::Alarm(etcd::AlarmResponse { header: header(self.revision), alarms })
            }
            Op::MemberSet(member) => {
                self.registry.set_member(&disk, &mut self.batch, member)?;
                Reply::Members(self.registry.members.values().cloned().collect())
            }
            Op::MemberRemove(remove) => {
                self.registry.remove_member(&disk, &mut self.batch, remove.member_id)?;
                Reply::Members(self.registry.members.values().cloned().collect())
            }
            Op::ClusterSet(set) => {
                self.registry.set_cluster(set)?;
                Reply::Done
            }
            Op::Fence(fence) => {
                self.registry.fence(&disk, &mut self.batch, &fence);
                Reply::Done
            }
            Op::DigestRestart(_) => {
                self.digest = Digest::default();
                Reply::Done
            }
            Op::Auth(change) => {
                let change = change.change.ok_or(Refusal::UnknownCommand)?;
                let auth_revision = self.registry.change_auth(&disk, &mut self.batch, change)?;
                let header = header(self.revision);
                Reply::Auth(AuthChanged { header, auth_revision, token: String::new() })
            }
        })
    }
}
