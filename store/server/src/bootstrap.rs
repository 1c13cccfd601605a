//! The member's identity and its data directory.
//!
//! Member and cluster ids are made as etcd makes them: the first eight bytes of a SHA-1 over the
//! sorted peer URLs and the token, and over the sorted member ids.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::config::Config;

const FORMAT: u32 = 1;
const IDENTITY: &str = "member.json";
/// The mark of a first start.
const UNFINISHED: &str = "member.new";

/// Who this member is; fixed when its data directory is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    format: u32,
    /// The cluster's id.
    pub(crate) cluster_id: u64,
    /// This member's id.
    pub(crate) member_id: u64,
    /// Whether it was added as a learner: until it has heard of that from the leader, it goes by this.
    #[serde(default)]
    pub(crate) joins_as_learner: bool,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process runs on the directory.
    #[error("data directory {0} is in use by another process")]
    Locked(PathBuf),
    /// The directory was not made by a member that finished starting.
    #[error(
        "data directory {path} is not usable: {problem}; \
         remove it to start this member anew, after removing the member from its cluster"
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

fn first_eight(hash: Sha1) -> u64 {
    let bytes = hash.finalize();
    u64::from_be_bytes(bytes[..8].try_into().expect("a SHA-1 has twenty bytes"))
}

/// A member's id, from its peer URLs and the token (and, for members added later, the time).
#[must_use]
pub(crate) fn member_id(peer_urls: &[String], token: &str, added_at: Option<u64>) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    let mut hash = Sha1::new();
    hash.update(urls.concat());
    hash.update(token);
    if let Some(seconds) = added_at {
        hash.update(seconds.to_string());
    }
    first_eight(hash)
}

/// The cluster's id, from the ids of its first members.
#[must_use]
pub(crate) fn cluster_id(members: &[u64]) -> u64 {
    let mut ids = members.to_vec();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    for id in ids {
        hash.update(id.to_be_bytes());
    }
    first_eight(hash)
}

/// Makes a folder, and those above it that are missing, so that a power loss takes none of them away.
///
/// # Errors
/// If the file system refuses.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing = path.ancestors().take_while(|folder| !folder.exists()).count();
    fs::create_dir_all(&path)?;
    for above in path.ancestors().skip(1).take(missing) {
        File::open(above)?.sync_all()?;
    }
    // One that is there already may have been made a moment before a process ended; where it lies may be
    // closed to this user.
    if let (0, Some(above)) = (missing, path.parent())
        && let Ok(above) = File::open(above)
    {
        above.sync_all()?;
    }
    Ok(())
}

/// The data directory, locked for this process.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Makes the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// If another process holds it, or the file system refuses.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Io { path, source }
        };
        make_folder(root).map_err(failed(root))?;
        let path = root.join("lock");
        let file = File::create(&path).map_err(failed(&path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| Error::Locked(root.to_path_buf()))?;
        Ok(Self { root: root.to_path_buf(), _lock: lock })
    }

    /// Where the raft log lies.
    #[must_use]
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Where the state machine lies.
    #[must_use]
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Where checkpoints and received snapshots lie for a while.
    #[must_use]
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// There while a first start has begun and is not done.
    fn unfinished(&self) -> PathBuf {
        self.file(UNFINISHED)
    }

    /// Whether something of the member's own lies there, or may be emptied with it.
    #[must_use]
    pub(crate) fn is_own(&self, path: &Path) -> bool {
        let fixtures = self.root.join("fixtures");
        let own = [self.log(), self.state(), self.scratch(), fixtures];
        own.iter().any(|own| std::path::absolute(own).is_ok_and(|own| path.starts_with(own)))
    }

    /// A small file of the member's own.
    #[must_use]
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes such a file, durably, whole or not at all.
    ///
    /// # Errors
    /// If the file system refuses.
    pub(crate) fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.file(name).with_extension("tmp");
        fs::write(&temporary, bytes)?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, self.file(name))?;
        File::open(&self.root)?.sync_all()
    }

    /// Removes such a file if it is there, durably.
    ///
    /// # Errors
    /// If the file system refuses.
    pub(crate) fn forget(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(&self.root)?.sync_all(),
        }
    }

    /// Whether a first start has begun, and is not known to be done.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.unfinished().exists()
    }

    /// Begins a first start. Of one that a crash cut short nothing is left: it had no identity, so nobody
    /// was told anything by it.
    ///
    /// # Errors
    /// If the file system refuses.
    pub(crate) fn begin(&self) -> Result<(), Error> {
        let path = self.unfinished();
        let begin = || -> io::Result<()> {
            if path.exists() {
                for folder in [self.log(), self.state()].iter().filter(|folder| folder.exists()) {
                    fs::remove_dir_all(folder)?;
                }
            }
            File::create(&path)?.sync_all()?;
            File::open(&self.root)?.sync_all()
        };
        begin().map_err(|source| Error::Io { path: path.clone(), source })
    }

    /// The identity written at the first start, if there was one.
    ///
    /// # Errors
    /// If the directory holds something, but no readable identity.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, Error> {
        let path = self.file(IDENTITY);
        let unusable = |problem: String| Error::Unusable { path: self.root.clone(), problem };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if (self.log().exists() || self.state().exists()) && !self.unfinished().exists() {
                    return Err(unusable("it has data but no member.json".to_owned()));
                }
                return Ok(None);
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        // A crash may have kept the mark although the start was done; without its identity one day, the
        // member's data would be taken for a beginning.
        self.forget(UNFINISHED).map_err(|source| Error::Io { path: self.unfinished(), source })?;
        Identity::read(&text).map(Some).map_err(unusable)
    }

    /// Writes the identity, durably. The last step of making a data directory.
    ///
    /// # Errors
    /// If the file system refuses.
    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            self.keep(IDENTITY, &serde_json::to_vec_pretty(identity)?)?;
            self.forget(UNFINISHED)
        };
        write().map_err(|source| Error::Io { path: self.file(IDENTITY), source })
    }
}

/// The ids that the configuration's initial cluster leads to.
#[must_use]
pub(crate) fn initial_members(config: &Config) -> Vec<(u64, String, Vec<String>)> {
    config
        .initial_cluster
        .iter()
        .map(|(name, urls)| {
            (member_id(urls, &config.initial_token, None), name.clone(), urls.clone())
        })
        .collect()
}

impl Identity {
    /// An identity of the current format.
    #[must_use]
    pub(crate) fn new(cluster_id: u64, member_id: u64) -> Self {
        Self { format: FORMAT, cluster_id, member_id, joins_as_learner: false }
    }

    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn read(text: &[u8]) -> Result<Self, String> {
        let identity: Self =
            serde_json::from_slice(text).map_err(|error| format!("member.json: {error}"))?;
        if identity.format != FORMAT {
            return Err(format!("its format {} is unknown", identity.format));
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_etcds() {
        // As a real etcd with its default flags reports them.
        let id = member_id(&["http://localhost:2380".to_owned()], "etcd-cluster", None);
        assert_eq!(format!("{id:x}"), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id(&[id])), "cdf818194e3a8c32");
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(first.identity().unwrap().is_none());
        assert!(matches!(DataDir::open(dir.path()), Err(Error::Locked(_))));
        fs::create_dir(first.log()).unwrap();
        assert!(matches!(first.identity(), Err(Error::Unusable { .. })));
    }

    /// A member that was added to a cluster and lost its power while it started for the first time: it
    /// said for ever that its data were not usable.
    #[test]
    fn a_first_start_that_was_cut_short_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        dir.begin().unwrap();
        fs::create_dir(dir.log()).unwrap();
        fs::write(dir.log().join("000001.log"), "half").unwrap();
        assert!(dir.identity().unwrap().is_none());
        dir.begin().unwrap();
        assert!(!dir.log().exists());

        fs::create_dir(dir.log()).unwrap();
        let identity = Identity::new(1, 2);
        dir.set_identity(&identity).unwrap();
        // As after a crash right then.
        fs::write(root.path().join("member.new"), "").unwrap();
        assert_eq!(dir.identity().unwrap().unwrap().member_id, 2);
        fs::remove_file(root.path().join("member.json")).unwrap();
        assert!(dir.identity().is_err(), "what was done once is not thrown away");
    }
}
