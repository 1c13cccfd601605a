//! RocksDB, set up for what the store uses it for.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBPinnableSlice, DBRawIterator, ErrorKind, FlushOptions, Options, ReadOptions, ReadTier,
    WriteBatch, WriteOptions, checkpoint::Checkpoint, properties,
};

use crate::{DEFAULT, Durability, Error, Reading, StateOptions};

pub(crate) struct Rocks {
    pub(crate) db: DB,
    /// Flushed together.
    families: Vec<String>,
}

impl From<rocksdb::Error> for Error {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            ErrorKind::Corruption => Self::Damaged(error.into_string()),
            _ => Self::Refused(format!("rocksdb: {error}")),
        }
    }
}

/// RocksDB cannot open what lies in `path`; its own words mostly, but not always, name the file.
fn opening(path: &Path, error: &rocksdb::Error) -> Error {
    let damage = match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument => true,
        // A file that is gone; a full disk is the same kind.
        ErrorKind::IOError => error.as_ref().contains("No such file"),
        _ => false,
    };
    let path = path.display();
    if damage {
        Error::Damaged(format!("{path}: {error}"))
    } else {
        Error::Refused(format!("{path}: rocksdb: {error}"))
    }
}

impl Rocks {
    pub(crate) fn open_state(
        path: &Path,
        make: bool,
        options: &StateOptions,
        names: &[&str],
    ) -> Result<Self, Error> {
        let mut all = Options::default();
        all.create_if_missing(make);
        all.create_missing_column_families(make);
        all.set_paranoid_checks(true);
        all.set_atomic_flush(true);
        all.set_max_background_jobs(options.background_jobs);
        all.set_bytes_per_sync(1 << 20);
        all.set_keep_log_file_num(4);
        let families = state_families(options, names);
        let db =
            DB::open_cf_descriptors(&all, path, families).map_err(|error| opening(path, &error))?;
        Ok(Self { db, families: names.iter().map(|name| (*name).to_owned()).collect() })
    }

    pub(crate) fn open_log(path: &Path, make: bool, buffer_bytes: usize) -> Result<Self, Error> {
        let mut options = Options::default();
        options.create_if_missing(make);
        options.set_paranoid_checks(true);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_write_buffer_size(buffer_bytes);
        options.set_max_write_buffer_number(4);
        options.set_max_background_jobs(1);
        options.set_recycle_log_file_num(4);
        options.set_keep_log_file_num(4);
        options.set_compression_type(DBCompressionType::None);
        options.set_max_total_wal_size(256 << 20);
        let family = ColumnFamilyDescriptor::new(DEFAULT, options.clone());
        let db = DB::open_cf_descriptors(&options, path, [family])
            .map_err(|error| opening(path, &error))?;
        Ok(Self { db, families: vec![DEFAULT.to_owned()] })
    }

    pub(crate) fn peek(
        path: &Path,
        names: &[&str],
        family: &str,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let small = StateOptions { block_cache_bytes: 1 << 20, ..StateOptions::default() };
        let families = state_families(&small, names);
        let db = DB::open_cf_descriptors_read_only(&Options::default(), path, families, false)?;
        let family = db.cf_handle(family).expect("it is one of those that were opened");
        keys.iter().map(|key| Ok(db.get_cf(family, key)?)).collect()
    }

    pub(crate) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("it is one of those that were opened")
    }

    pub(crate) fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        match durability {
            Durability::AtFlush => options.disable_wal(true),
            Durability::AtSync => {}
            Durability::Now => options.set_sync(true),
        }
        Ok(self.db.write_opt(batch, &options)?)
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        Ok(self.db.flush_wal(true)?)
    }

    pub(crate) fn get_cached(
        &self,
        family: &ColumnFamily,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'_>>, Error> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.db.get_pinned_cf_opt(family, key, &options) {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn cursor(&self, family: &ColumnFamily, reading: Reading) -> DBRawIterator<'_> {
        self.db.raw_iterator_cf_opt(family, read_options(reading))
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        let families: Vec<&ColumnFamily> =
            self.families.iter().map(|name| self.family(name)).collect();
        Ok(self.db.flush_cfs_opt(&families, &FlushOptions::default())?)
    }

    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(dir)?)
    }

    pub(crate) fn sizes(&self) -> Result<(u64, u64), Error> {
        let (mut total, mut live) = (0, 0);
        for name in &self.families {
            let read = |property| self.db.property_int_value_cf(self.family(name), property);
            let memory = read(properties::SIZE_ALL_MEM_TABLES)?.unwrap_or(0);
            total += memory + read(properties::TOTAL_SST_FILES_SIZE)?.unwrap_or(0);
            live += memory + read(properties::ESTIMATE_LIVE_DATA_SIZE)?.unwrap_or(0);
        }
        Ok((total, live.min(total)))
    }

    pub(crate) fn background_errors(&self) -> Result<u64, Error> {
        Ok(self.db.property_int_value(properties::BACKGROUND_ERRORS)?.unwrap_or(0))
    }
}

pub(crate) fn read_options(reading: Reading) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = reading.end {
        options.set_iterate_upper_bound(end);
    }
    options.set_auto_readahead_size(true);
    options.fill_cache(reading.fill_cache);
    if let Some(bytes) = reading.readahead_bytes {
        options.set_readahead_size(bytes);
    }
    options
}

fn state_families(options: &StateOptions, names: &[&str]) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let family = |name: &&str| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_block_size(16 << 10);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(5);
        if !options.always_found.contains(name) {
            table.set_bloom_filter(10.0, false);
        }
        let mut family = Options::default();
        family.set_block_based_table_factory(&table);
        family.set_write_buffer_size(options.write_buffer_bytes);
        family.set_max_write_buffer_number(4);
        family.set_compression_type(DBCompressionType::Lz4);
        family.set_level_compaction_dynamic_level_bytes(true);
        ColumnFamilyDescriptor::new(*name, family)
    };
    let mut all = vec![ColumnFamilyDescriptor::new(DEFAULT, Options::default())];
    all.extend(names.iter().map(family));
    all
}
