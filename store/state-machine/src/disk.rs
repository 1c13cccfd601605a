//! The RocksDB instance of the state, and the folder it lies in.
//!
//! Inside the given folder each installed state has a folder `db-N`; the file `CURRENT` names the one
//! that counts. There is no write-ahead log: what is on disk is always the state after some prefix of
//! the applied batches (`atomic_flush`), and the raft log has the rest.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBPinnableSlice, ErrorKind, FlushOptions, Options as RocksOptions, ReadOptions, ReadTier,
    WriteBatch, WriteOptions, checkpoint::Checkpoint, properties,
};

use crate::error::Fault;

pub(crate) const LIVE: &str = "live";
pub(crate) const REV: &str = "rev";
pub(crate) const META: &str = "meta";
const FAMILIES: [&str; 3] = [LIVE, REV, META];
const CURRENT: &str = "CURRENT";

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
    pub(crate) db: DB,
    folder: Folder,
}

impl Disk {
    /// Opens the state that `dir` says is the current one, or an empty one; clears leftovers.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Self, Fault> {
        fs::create_dir_all(dir).map_err(Fault::file(format!("create {}", dir.display())))?;
        let current = match fs::read_to_string(dir.join(CURRENT)) {
            Ok(name) => name.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "db-1".to_owned(),
            Err(error) => return Err(Fault::file(format!("read {}", dir.display()))(error)),
        };
        let listing = fs::read_dir(dir).map_err(Fault::file(format!("list {}", dir.display())))?;
        for entry in listing {
            let entry = entry.map_err(Fault::file(format!("list {}", dir.display())))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("db-") && name != current {
                let path = entry.path();
                fs::remove_dir_all(&path)
                    .map_err(Fault::file(format!("remove {}", path.display())))?;
            }
        }
        Self::open_db(dir.join(current), options)
    }

    fn open_db(path: PathBuf, options: &Options) -> Result<Self, Fault> {
        let mut db_options = RocksOptions::default();
        db_options.create_if_missing(true);
        db_options.create_missing_column_families(true);
        db_options.set_atomic_flush(true);
        db_options.set_max_background_jobs(options.background_jobs);
        db_options.set_bytes_per_sync(1 << 20);
        db_options.set_keep_log_file_num(4);
        let db = DB::open_cf_descriptors(&db_options, &path, families(options))?;
        Ok(Self { db, folder: Folder { path, remove: AtomicBool::new(false) } })
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

        let opened = Self::open_db(path, options)?;
        let temporary = dir.join("CURRENT.tmp");
        write_synced(&temporary, name.as_bytes())?;
        fs::rename(&temporary, dir.join(CURRENT)).map_err(Fault::file("replace CURRENT"))?;
        sync_dir(dir)?;
        self.folder.remove.store(true, Ordering::Relaxed);
        Ok(opened)
    }

    pub(crate) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("opened with all column families")
    }

    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), Fault> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Ok(self.db.write_opt(batch, &options)?)
    }

    pub(crate) fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.db.get_cf(self.family(family), key)?)
    }

    /// As `get`, but only from memory: none if the disk would have to be asked, or has no such key.
    pub(crate) fn get_cached(
        &self,
        family: &str,
        key: &[u8],
    ) -> Option<Result<DBPinnableSlice<'_>, Fault>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.db.get_pinned_cf_opt(self.family(family), key, &options) {
            Ok(found) => found.map(Ok),
            Err(error) if error.kind() == ErrorKind::Incomplete => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Calls `each` with every pair of the family from `start` on, below `end`, until it says stop.
    pub(crate) fn scan(
        &self,
        family: &str,
        start: &[u8],
        end: Option<Vec<u8>>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let mut options = bounded(end);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(family), options);
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
        let families = FAMILIES.map(|name| self.family(name));
        Ok(self.db.flush_cfs_opt(&families, &FlushOptions::default())?)
    }

    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<(), Fault> {
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(dir)?)
    }

    /// Bytes held by this database, and of these the bytes that are not garbage. Estimates.
    pub(crate) fn sizes(&self) -> Result<(u64, u64), Fault> {
        let (mut total, mut live) = (0, 0);
        for name in FAMILIES {
            let read = |property| self.db.property_int_value_cf(self.family(name), property);
            let memory = read(properties::SIZE_ALL_MEM_TABLES)?.unwrap_or(0);
            total += memory + read(properties::TOTAL_SST_FILES_SIZE)?.unwrap_or(0);
            live += memory + read(properties::ESTIMATE_LIVE_DATA_SIZE)?.unwrap_or(0);
        }
        Ok((total, live.min(total)))
    }
}

/// Reads one value of a state that nobody has open, such as a checkpoint.
pub(crate) fn peek(path: &Path, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
    let options = RocksOptions::default();
    let families = families(&Options { block_cache_bytes: 1 << 20, ..Options::default() });
    let db = DB::open_cf_descriptors_read_only(&options, path, families, false)?;
    let meta = db.cf_handle(META).expect("opened with all column families");
    keys.iter().map(|key| Ok(db.get_cf(meta, key)?)).collect()
}

pub(crate) fn bounded(end: Option<Vec<u8>>) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = end {
        options.set_iterate_upper_bound(end);
    }
    options.set_auto_readahead_size(true);
    options
}

fn families(options: &Options) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let family = |name: &str| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_block_size(16 << 10);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(5);
        if name != REV {
            // Revisions are read by number and always there; keys are often asked for in vain.
            table.set_bloom_filter(10.0, false);
        }
        let mut family = RocksOptions::default();
        family.set_block_based_table_factory(&table);
        family.set_write_buffer_size(options.write_buffer_bytes);
        family.set_max_write_buffer_number(4);
        family.set_compression_type(DBCompressionType::Lz4);
        family.set_level_compaction_dynamic_level_bytes(true);
        ColumnFamilyDescriptor::new(name, family)
    };
    let mut all = vec![ColumnFamilyDescriptor::new("default", RocksOptions::default())];
    all.extend(FAMILIES.map(family));
    all
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let context = || format!("write {}", path.display());
    let mut file = fs::File::create(path).map_err(Fault::file(context()))?;
    io::Write::write_all(&mut file, bytes).map_err(Fault::file(context()))?;
    file.sync_all().map_err(Fault::file(context()))
}

fn sync_dir(dir: &Path) -> Result<(), Fault> {
    let context = || format!("sync {}", dir.display());
    let file = fs::File::open(dir).map_err(Fault::file(context()))?;
    file.sync_all().map_err(Fault::file(context()))
}
