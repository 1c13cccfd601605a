//! The database of the state, and the folder it lies in.
//!
//! Inside the given folder each installed state has a folder `db-N`; the file `CURRENT` names the one
//! that counts. There is no write-ahead log: what is on disk is always the state after some prefix of
//! the applied batches (`atomic_flush`), and the raft log has the rest.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use store_engine::{Batch, Db, Durability, Family, Reading, StateOptions, Value, seal};

use crate::error::Fault;

pub(crate) const LIVE: &str = "live";
pub(crate) const REV: &str = "rev";
pub(crate) const META: &str = "meta";
const FAMILIES: [&str; 3] = [LIVE, REV, META];
const CURRENT: &str = "CURRENT";
const FIRST: &str = "db-1";

/// How much memory and how many threads RocksDB may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of uncompressed blocks kept in memory, for all column families together.
    pub block_cache_bytes: usize,
    /// Bytes of one memtable; when one is full all are flushed together.
    pub write_buffer_bytes: usize,
    /// Flush and compaction threads.
    pub background_jobs: i32,
}

impl Default for Options {
    fn default() -> Self {
        Self { block_cache_bytes: 256 << 20, write_buffer_bytes: 64 << 20, background_jobs: 2 }
    }
}

/// Removes its folder when the last reader is done with a state that was replaced.
struct Folder {
    path: PathBuf,
    remove: AtomicBool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.remove.load(Ordering::Relaxed) {
            // What stays behind is removed at the next start.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

pub(crate) struct Disk {
    /// Dropped before its folder is removed: fields drop in this order.
    pub(crate) db: Db,
    folder: Folder,
}

impl Disk {
    /// Opens the state that `dir` says is the current one, or an empty one; clears leftovers.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Self, Fault> {
        fs::create_dir_all(dir).map_err(Fault::file(format!("create {}", dir.display())))?;
        let found = databases(dir)?;
        let current = match fs::read_to_string(dir.join(CURRENT)) {
            Ok(name) => name.trim().to_owned(),
            // Before the first one is made there is neither a name nor a folder to be named.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match &found[..] {
                [] => FIRST.to_owned(),
                [only] if only == FIRST => FIRST.to_owned(),
                _ => return Err(Fault::damaged(format!("{}/{CURRENT} is missing", dir.display()))),
            },
            Err(error) => return Err(Fault::file(format!("read {}", dir.display()))(error)),
        };
        let path = dir.join(&current);
        // The name is written when the first database is complete.
        let make = !dir.join(CURRENT).exists() && !has_tables(&path);
        if !make && !found.contains(&current) {
            let (path, name) = (path.display(), dir.join(CURRENT));
            let what = format!("{path}, which {} names, is missing", name.display());
            return Err(Fault::damaged(what));
        }
        for name in found.iter().filter(|name| **name != current) {
            let path = dir.join(name);
            fs::remove_dir_all(&path).map_err(Fault::file(format!("remove {}", path.display())))?;
        }
        let disk = Self::open_db(path, options, make)?;
        if !dir.join(CURRENT).exists() {
            point_at(dir, &current)?;
        }
        Ok(disk)
    }

    /// An empty state without a folder.
    pub(crate) fn in_memory() -> Self {
        let folder = Folder { path: PathBuf::new(), remove: AtomicBool::new(false) };
        Self { db: Db::in_memory(&FAMILIES), folder }
    }

    /// `make`: there is none yet. Else one that is not whole must not be taken for a new one.
    fn open_db(path: PathBuf, options: &Options, make: bool) -> Result<Self, Fault> {
        if !make && !path.join(CURRENT).exists() {
            return Err(Fault::damaged(format!("{}/{CURRENT} is missing", path.display())));
        }
        seal::break_open(&path)?;
        let wanted = StateOptions {
            block_cache_bytes: options.block_cache_bytes,
            write_buffer_bytes: options.write_buffer_bytes,
            background_jobs: options.background_jobs,
            // Revisions are read by number and always there; keys are often asked for in vain.
            always_found: &[REV],
        };
        let db = Db::open_state(&path, make, &wanted, &FAMILIES)?;
        Ok(Self { db, folder: Folder { path, remove: AtomicBool::new(false) } })
    }

    /// From now on nothing is written: the folder is sealed when it is closed.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        self.flush()?;
        self.db.seal_when_closed(true);
        Ok(())
    }

    /// Whether the engine has given up writing in the background: what was found there, RocksDB says in
    /// its own log file, in the folder.
    pub(crate) fn background_errors(&self) -> Result<u64, Fault> {
        Ok(self.db.background_errors()?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Moves `source` (on the same file system) into `dir` and makes it the current state. A crash
    /// leaves either the old state or the new one.
    pub(crate) fn install(&self, source: &Path, options: &Options) -> Result<Self, Fault> {
        let old = &self.folder.path;
        let dir = old.parent().expect("the state lies in a folder");
        let name = old.file_name().expect("it was named at open").to_string_lossy();
        let number: u64 = name
            .strip_prefix("db-")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| Fault::damaged(format!("state folder {}", old.display())))?;
        let name = format!("db-{}", number + 1);
        let path = dir.join(&name);
        fs::rename(source, &path).map_err(Fault::file(format!("move {}", source.display())))?;
        sync_dir(dir)?;

        let opened = Self::open_db(path, options, false)?;
        point_at(dir, &name)?;
        self.folder.remove.store(true, Ordering::Relaxed);
        Ok(opened)
    }

    pub(crate) fn family(&self, name: &str) -> Family<'_> {
        self.db.family(name)
    }

    pub(crate) fn batch(&self) -> Batch {
        self.db.batch()
    }

    pub(crate) fn write(&self, batch: Batch) -> Result<(), Fault> {
        self.db.seal_when_closed(false);
        Ok(self.db.write(batch, Durability::AtFlush)?)
    }

    pub(crate) fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.db.get(self.family(family), key)?)
    }

    /// As `get`, but only from memory: none if the disk would have to be asked, or has no such key.
    pub(crate) fn get_cached(&self, family: &str, key: &[u8]) -> Option<Result<Value<'_>, Fault>> {
        self.db.get_cached(self.family(family), key).map_err(Fault::from).transpose()
    }

    /// Calls `each` with every pair of the family from `start` on, below `end`, until it says stop.
    pub(crate) fn scan(
        &self,
        family: &str,
        start: &[u8],
        end: Option<Vec<u8>>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let reading = Reading { fill_cache: false, ..Reading::below(end) };
        let mut iterator = self.db.cursor(self.family(family), reading);
        iterator.seek(start);
        while let Some((key, value)) = iterator.item() {
            if !each(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    /// Returns when everything written before the call is on disk.
    pub(crate) fn flush(&self) -> Result<(), Fault> {
        Ok(self.db.flush()?)
    }

    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<(), Fault> {
        Ok(self.db.checkpoint(dir)?)
    }

    /// Bytes held by this database, and of these the bytes that are not garbage. Estimates.
    pub(crate) fn sizes(&self) -> Result<(u64, u64), Fault> {
        Ok(self.db.sizes()?)
    }
}

/// Reads one value of a state that nobody has open, such as a checkpoint.
pub(crate) fn peek(path: &Path, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
    Ok(store_engine::peek(path, &FAMILIES, META, keys)?)
}

/// The folders of states, whichever counts.
fn databases(dir: &Path) -> Result<Vec<String>, Fault> {
    let failed = || format!("list {}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Fault::file(failed()))? {
        let name = entry.map_err(Fault::file(failed()))?.file_name().to_string_lossy().into_owned();
        if name.starts_with("db-") {
            found.push(name);
        }
    }
    Ok(found)
}

/// Whether there are data of a database in `path`.
fn has_tables(path: &Path) -> bool {
    let is_table = |entry: fs::DirEntry| entry.path().extension().is_some_and(|end| end == "sst");
    fs::read_dir(path).is_ok_and(|mut listing| listing.any(|entry| entry.is_ok_and(is_table)))
}

/// Makes `name` the state that counts, durably.
fn point_at(dir: &Path, name: &str) -> Result<(), Fault> {
    let temporary = dir.join("CURRENT.tmp");
    write_synced(&temporary, name.as_bytes())?;
    let target = dir.join(CURRENT);
    fs::rename(&temporary, &target)
        .map_err(Fault::file(format!("replace {}", target.display())))?;
    sync_dir(dir)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    store_engine::before_sync(path)?;
    let context = || format!("write {}", path.display());
    let mut file = fs::File::create(path).map_err(Fault::file(context()))?;
    io::Write::write_all(&mut file, bytes).map_err(Fault::file(context()))?;
    file.sync_all().map_err(Fault::file(context()))
}

fn sync_dir(dir: &Path) -> Result<(), Fault> {
    store_engine::before_sync(dir)?;
    let context = || format!("sync {}", dir.display());
    let file = fs::File::open(dir).map_err(Fault::file(context()))?;
    file.sync_all().map_err(Fault::file(context()))
}
