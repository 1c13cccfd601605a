//! Makes the data folders of a new cluster from a backup, while no member runs on them.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | R1 | Nothing that exists is written over: a folder is made beside its place and moved there whole. |
//! | R2 | The new cluster's ids are those of no other: not of the one backed up, and not of one that is started anew with the same names, URLs and token. |
//! | R3 | The revision is higher than any that the old cluster can have handed out, and everything below counts as compacted, unless the operator says otherwise. |

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message as _;
use proto::{
    etcdserverpb::Member,
    mvccpb::{KeyValue, event::EventType},
    orlop::store::v1::{AuthRecord, LeaseRecord},
};
use sha1::{Digest as _, Sha1};
use store_backup::{
    Snapshot,
    archive::{Step, Until, replay},
    etcd,
};
use store_state_machine::{
    Imported, Importer, Options, ReadError, Restored, Revision, Seed, StateMachine, reseed,
};

use crate::{
    ConfigError,
    bootstrap::{self, DataDir, Identity},
    flags,
    raft::seed,
};

/// Why a cluster was not made from a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The members given make no cluster.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No member has this name.
    #[error("--initial-cluster does not name {0:?}")]
    UnknownName(String),
    /// Something is there already (R1).
    #[error("{0} is not empty: restore never writes over existing data; choose another folder")]
    NotEmpty(PathBuf),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The backup is damaged.
    #[error(transparent)]
    Backup(#[from] store_backup::Error),
    /// The state cannot be made from it.
    #[error(transparent)]
    State(#[from] store_state_machine::Fault),
    /// The data folder cannot be made.
    #[error("{0}")]
    Folder(String),
}

/// The cluster that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCluster {
    /// Its id.
    pub cluster_id: u64,
    /// Its members: ids, names and peer URLs.
    pub members: Vec<(u64, String, Vec<String>)>,
}

impl NewCluster {
    /// The cluster of `initial_cluster` (as etcd's flag: `name=url,...`). Its ids come from the
    /// token, the URLs and `origin`, which names what it is made from (R2): whoever gives the same
    /// three makes a member of the same cluster.
    ///
    /// # Errors
    /// When the members cannot be understood.
    pub fn new(initial_cluster: &str, token: &str, origin: &str) -> Result<Self, RestoreError> {
        let mut digest = Sha1::new();
        for part in ["restored", token, origin, initial_cluster] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let token = format!("{:x}", digest.finalize());
        let members: Vec<_> = flags::cluster(initial_cluster)?
            .into_iter()
            .map(|(name, urls)| (bootstrap::member_id(&urls, &token, None), name, urls))
            .collect();
        let ids: Vec<u64> = members.iter().map(|(id, ..)| *id).collect();
        Ok(Self { cluster_id: bootstrap::cluster_id(&ids), members })
    }
}

/// What a cluster is made from.
pub enum Origin<'a> {
    /// A snapshot file, ours or etcd's.
    Snapshot(&'a Snapshot),
    /// A folder with the files of a checkpoint; it stays as it is.
    Checkpoint(&'a Path),
}

/// Fails unless there is nothing at `path`, or an empty folder (R1).
///
/// # Errors
/// [`RestoreError::NotEmpty`], or what the system says.
pub fn check_free(path: &Path) -> Result<(), RestoreError> {
    match fs::read_dir(path).map(|mut listing| listing.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => Err(RestoreError::NotEmpty(path.to_path_buf())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(RestoreError::NotEmpty(path.to_path_buf()))
        }
        Err(source) => Err(RestoreError::Io { path: path.to_path_buf(), source }),
    }
}

/// What is to be made.
pub struct Plan<'a> {
    /// What from.
    pub origin: Origin<'a>,
    /// What was written after that, and how much of it counts; nothing for the backup alone.
    pub replay: Option<(&'a [PathBuf], Until)>,
    /// Added to the revision; zero keeps revision and compacted revision as they were.
    pub bump_revision: i64,
}

impl<'a> Plan<'a> {
    /// A backup as it is.
    #[must_use]
    pub fn new(origin: Origin<'a>, bump_revision: i64) -> Self {
        Self { origin, replay: None, bump_revision }
    }
}

/// Makes a data folder for each of `folders`: names of members, and where their folders are to be.
/// `progress` is told how many records were read so far.
///
/// # Errors
/// What is wrong; then none of the folders is there.
pub fn restore(
    plan: &Plan<'_>,
    cluster: &NewCluster,
    folders: &[(String, PathBuf)],
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, RestoreError> {
    for (_, folder) in folders {
        check_free(folder)?;
    }
    let mut made = Vec::new();
    let outcome = make_all(plan, cluster, folders, &mut made, progress);
    for unfinished in made {
        // After success they were moved away.
        drop(fs::remove_dir_all(unfinished));
    }
    outcome
}

fn make_all(
    plan: &Plan<'_>,
    cluster: &NewCluster,
    folders: &[(String, PathBuf)],
    made: &mut Vec<PathBuf>,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, RestoreError> {
    let seed = new_seed(cluster, plan.bump_revision)?;
    let mut first: Option<(PathBuf, Restored)> = None;
    for (name, folder) in folders {
        let own = cluster.members.iter().find(|(_, other, _)| other == name);
        let (id, ..) = own.ok_or_else(|| RestoreError::UnknownName(name.clone()))?;
        let path = beside(folder)?;
        made.push(path.clone());
        fs::create_dir_all(&path).map_err(at(&path))?;
        let dir = DataDir::open(&path).map_err(|error| RestoreError::Folder(error.to_string()))?;
        match &first {
            None => {
                let restored = make_state(plan, &dir.state(), &seed, progress)?;
                first = Some((dir.state(), restored));
            }
            Some((state, _)) => copy(state, &dir.state())?,
        }
        let identity = Identity::new(cluster.cluster_id, *id);
        dir.set_identity(&identity).map_err(|error| RestoreError::Folder(error.to_string()))?;
    }
    // All are whole: only now does the first one appear.
    for (unfinished, (_, folder)) in made.iter().zip(folders) {
        fs::rename(unfinished, folder).map_err(at(folder))?;
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(at(parent))?;
    }
    let (_, restored) = first.ok_or_else(|| RestoreError::UnknownName(String::new()))?;
    Ok(restored)
}

/// What is in a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// The store's revision.
    pub revision: i64,
    /// Reads below it are refused.
    pub compact_revision: i64,
    /// As `HashKV` answers it.
    pub hash_kv: u32,
    /// Keys that exist.
    pub keys: u64,
    /// Leases.
    pub leases: u64,
    /// Users.
    pub users: u64,
}

/// Opens a data folder that no member runs on, and reads all of it.
///
/// # Errors
/// What is wrong with the folder.
pub fn read_folder(folder: &Path) -> Result<Contents, RestoreError> {
    let dir = DataDir::open(folder).map_err(|error| RestoreError::Folder(error.to_string()))?;
    let machine = StateMachine::open(&dir.state(), &Options::default())?;
    let view = machine.view();
    let hash = match view.hash_kv(0) {
        Ok(hash) => hash,
        Err(ReadError::Failed(fault)) => return Err(fault.into()),
        Err(ReadError::Refused(refusal)) => return Err(RestoreError::Folder(refusal.to_string())),
    };
    let (keys, _) = view.key_counts();
    Ok(Contents {
        revision: hash.hash_revision,
        compact_revision: view.compact_revision(),
        hash_kv: hash.hash,
        keys: keys as u64,
        leases: view.leases().len() as u64,
        users: view.auth().users().count() as u64,
    })
}

fn new_seed(cluster: &NewCluster, bump_revision: i64) -> Result<Seed, RestoreError> {
    let voters: BTreeMap<u64, Vec<String>> =
        cluster.members.iter().map(|(id, _, urls)| (*id, urls.clone())).collect();
    let (applied, membership) =
        seed::beginning(&voters).map_err(|error| RestoreError::Folder(error.to_string()))?;
    let member = |(id, name, urls): &(u64, String, Vec<String>)| Member {
        id: *id,
        name: name.clone(),
        peer_urls: urls.clone(),
        ..Member::default()
    };
    Ok(Seed {
        applied: applied.into(),
        membership: membership.into(),
        cluster_id: cluster.cluster_id,
        members: cluster.members.iter().map(member).collect(),
        bump_revision,
    })
}

fn make_state(
    plan: &Plan<'_>,
    state: &Path,
    seed: &Seed,
    progress: &mut dyn FnMut(u64),
) -> Result<Restored, RestoreError> {
    let options = Options::default();
    let (mut importer, mut imported) = match &plan.origin {
        Origin::Checkpoint(files) => {
            copy(files, &state.join("db-1"))?;
            if plan.replay.is_none() {
                return Ok(reseed(state, &options, seed)?);
            }
            Importer::resume(state, &options)?
        }
        Origin::Snapshot(snapshot) => import(snapshot, state, &options, progress)?,
    };
    if let Some((segments, until)) = plan.replay {
        let mut step = |step| add_step(&mut importer, &mut imported.leases, step);
        imported.revision = replay(segments, imported.revision, until, &mut step)?;
        // Of a lease that both know the backup says more; it comes first.
        imported.leases.sort_by_key(|lease| lease.id);
        imported.leases.dedup_by_key(|lease| lease.id);
    }
    Ok(importer.finish(&imported, seed)?)
}

fn import(
    snapshot: &Snapshot,
    state: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<(Importer, Imported), RestoreError> {
    let source = snapshot.state()?;
    let mut importer = Importer::create(state, options)?;
    let (mut revision, mut count) = (source.compacted.max(1), 0);
    snapshot.records::<RestoreError>(&mut |record| {
        revision = revision.max(record.place.main);
        count += 1;
        if count % PROGRESS_EVERY == 0 {
            progress(count);
        }
        add(&mut importer, record)
    })?;
    progress(count);
    let auth = AuthRecord { enabled: source.auth.enabled, revision: source.auth.revision };
    let imported = Imported {
        revision,
        compacted: source.compacted,
        leases: source.leases,
        auth: (auth.revision > 0).then_some(auth),
        users: source.auth.users,
        roles: source.auth.roles,
    };
    Ok((importer, imported))
}

/// One revision of the archive.
fn add_step(
    importer: &mut Importer,
    leases: &mut Vec<LeaseRecord>,
    step: Step,
) -> Result<(), RestoreError> {
    leases.extend(step.leases);
    for (sub, event) in (0u32..).zip(step.events) {
        let deleted = event.r#type == EventType::Delete as i32;
        let nothing = || RestoreError::Folder(format!("revision {}: no key", step.revision));
        let kv = event.kv.ok_or_else(nothing)?;
        importer.record(Revision { main: step.revision, sub }, deleted, kv)?;
    }
    Ok(())
}

const PROGRESS_EVERY: u64 = 4096;

fn add(importer: &mut Importer, record: etcd::Record<'_>) -> Result<(), RestoreError> {
    let etcd::Place { main, sub } = record.place;
    let bad = |problem: String| store_backup::Error::Bucket {
        bucket: "key".to_owned(),
        problem: format!("revision {main}.{sub}: {problem}"),
    };
    let kv = KeyValue::decode(Bytes::copy_from_slice(record.kv))
        .map_err(|error| bad(error.to_string()))?;
    if kv.key.is_empty() {
        // etcdutl marks a raised revision so; only the revision counts.
        return Ok(());
    }
    let sub = u32::try_from(sub).map_err(|error| bad(error.to_string()))?;
    Ok(importer.record(Revision { main, sub }, record.deleted, kv)?)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RestoreError + use<> {
    let path = path.to_path_buf();
    move |source| RestoreError::Io { path, source }
}

/// A path on the same file system, for what is not finished yet.
fn beside(folder: &Path) -> Result<PathBuf, RestoreError> {
    let name = folder.file_name().ok_or_else(|| RestoreError::NotEmpty(folder.to_path_buf()))?;
    let mut unfinished = name.to_os_string();
    unfinished.push(format!(".restoring-{}", std::process::id()));
    Ok(folder.with_file_name(unfinished))
}

/// Copies a folder of files and folders, durably.
fn copy(from: &Path, to: &Path) -> Result<(), RestoreError> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(at(&source))?.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(at(&target))?;
            fs::File::open(&target).and_then(|file| file.sync_all()).map_err(at(&target))?;
        }
    }
    fs::File::open(to).and_then(|dir| dir.sync_all()).map_err(at(to))
}
