//! The storage engine under the state and under the raft log: RocksDB, one in memory for what is not
//! to outlive its process, and in simulations one that loses power.
//!
//! Nobody else imports RocksDB. Which engine it is, is decided when it is opened: the one in memory is
//! asked for; the simulated one is taken under folders that a simulation has registered, and is not
//! even compiled without the feature `sim`.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E1 | A batch is there as a whole or not at all, after any crash too. |
//! | E2 | What is there after a crash is what some prefix of the written batches left. |
//! | E3 | That prefix reaches at least up to the last flush, and the last write that was synced. |
//! | E4 | After the first write that failed nothing is written any more. |
//! | E5 | What the files do not hold as it was written is an error, and never an answer. |

mod batch;
mod error;
mod memory;
mod read;
mod rocks;
pub mod seal;
#[cfg(feature = "sim")]
pub mod sim;

use std::path::Path;

use rocksdb::ColumnFamily;

pub use batch::Batch;
use batch::BatchOf;
pub use error::Error;
use memory::Memory;
pub use read::{Cursor, Reading, Snapshot, Value};
use read::{CursorOf, SnapshotOf, ValueOf};
use rocks::Rocks;
use seal::Closing;

/// The family that every database has.
pub const DEFAULT: &str = "default";

/// How much memory and how many threads the database of a state may use.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// Bytes of uncompressed blocks kept in memory, for all families together.
    pub block_cache_bytes: usize,
    /// Bytes of one memtable; when one is full all are flushed together.
    pub write_buffer_bytes: usize,
    /// Flush and compaction threads.
    pub background_jobs: i32,
    /// Families that are not asked for keys that they do not have.
    pub always_found: &'static [&'static str],
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            background_jobs: 2,
            always_found: &[],
        }
    }
}

/// When a write survives the loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the next flush: it is not logged.
    AtFlush,
    /// After the next sync, or the next write that is synced.
    AtSync,
    /// When the call returns.
    Now,
}

const MIXED: &str = "a family is used with the database that gave it out";

enum Engine {
    Rocks(Rocks),
    Memory(Memory),
    #[cfg(feature = "sim")]
    Sim(sim::Engine),
}

/// An open database.
pub struct Db {
    /// Dropped before its folder is sealed: fields drop in this order.
    engine: Engine,
    closing: Closing,
}

/// One of a database's families.
#[derive(Clone, Copy)]
pub struct Family<'a>(FamilyOf<'a>);

#[derive(Clone, Copy)]
enum FamilyOf<'a> {
    Rocks(&'a ColumnFamily),
    Memory(u32),
    #[cfg(feature = "sim")]
    Sim(u32),
}

/// Whether a database in this folder would be a simulated one.
#[must_use]
pub fn is_simulated(path: &Path) -> bool {
    #[cfg(feature = "sim")]
    return sim::disk_of(path).is_some();
    #[cfg(not(feature = "sim"))]
    {
        let _ = path;
        false
    }
}

/// Asked before a file that lies beside a database is made durable: a simulated disk may fail there, or
/// lose its power. A real one says so itself.
///
/// # Errors
/// What a simulated disk says.
pub fn before_sync(path: &Path) -> Result<(), Error> {
    #[cfg(feature = "sim")]
    if let Some(disk) = sim::disk_of(path) {
        return disk.before_sync();
    }
    let _ = path;
    Ok(())
}

/// Reads values of a state that nobody has open, such as a checkpoint.
///
/// # Errors
/// When `path` is not a readable database.
pub fn peek(
    path: &Path,
    families: &[&str],
    family: &str,
    keys: &[&[u8]],
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    #[cfg(feature = "sim")]
    if let Some(disk) = sim::disk_of(path) {
        return sim::Engine::peek(&disk, path, families, family, keys);
    }
    Rocks::peek(path, families, family, keys)
}

impl Db {
    fn new(path: &Path, engine: Engine) -> Self {
        Self { engine, closing: Closing::new(path.to_path_buf()) }
    }

    /// An empty database that is gone when it is dropped, and never fails.
    #[must_use]
    pub fn in_memory(families: &[&str]) -> Self {
        Self::new(Path::new(""), Engine::Memory(Memory::new(families)))
    }

    /// Opens the database of a state. It has no log: what is on disk is what some prefix of the batches
    /// left, in all families together. `make`: there may be none yet.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the files are not what they were, or are not there.
    pub fn open_state(
        path: &Path,
        make: bool,
        options: &StateOptions,
        families: &[&str],
    ) -> Result<Self, Error> {
        #[cfg(feature = "sim")]
        if let Some(disk) = sim::disk_of(path) {
            let engine = sim::Engine::open_state(disk, path, make, options, families)?;
            return Ok(Self::new(path, Engine::Sim(engine)));
        }
        let engine = Rocks::open_state(path, make, options, families)?;
        Ok(Self::new(path, Engine::Rocks(engine)))
    }

    /// Opens a database whose writes are logged; a new file is begun after so many bytes. It has no
    /// family but [`DEFAULT`]. `make`: there may be none yet.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the files are not what they were, or are not there.
    pub fn open_log(path: &Path, make: bool, buffer_bytes: usize) -> Result<Self, Error> {
        #[cfg(feature = "sim")]
        if let Some(disk) = sim::disk_of(path) {
            let engine = sim::Engine::open_log(disk, path, make, buffer_bytes)?;
            return Ok(Self::new(path, Engine::Sim(engine)));
        }
        Ok(Self::new(path, Engine::Rocks(Rocks::open_log(path, make, buffer_bytes)?)))
    }

    /// Whether everything in memory is on disk, so that the folder may be sealed when it is closed.
    pub fn seal_when_closed(&self, wanted: bool) {
        self.closing.set(wanted);
    }

    /// A family that it was opened with.
    ///
    /// # Panics
    /// If it was opened without.
    #[must_use]
    pub fn family(&self, name: &str) -> Family<'_> {
        Family(match &self.engine {
            Engine::Rocks(rocks) => FamilyOf::Rocks(rocks.family(name)),
            Engine::Memory(memory) => FamilyOf::Memory(memory.family(name)),
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => FamilyOf::Sim(engine.family(name)),
        })
    }

    /// An empty batch for this database.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch(match &self.engine {
            Engine::Rocks(_) => BatchOf::Rocks(Default::default()),
            Engine::Memory(_) => BatchOf::Memory(memory::Batch::default()),
            #[cfg(feature = "sim")]
            Engine::Sim(_) => BatchOf::Sim(sim::Batch::default()),
        })
    }

    /// Writes all of the batch or nothing.
    ///
    /// # Errors
    /// When the disk fails, or has failed before.
    pub fn write(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        match (&self.engine, batch.0) {
            (Engine::Rocks(rocks), BatchOf::Rocks(batch)) => rocks.write(batch, durability),
            (Engine::Memory(memory), BatchOf::Memory(batch)) => {
                memory.write(batch);
                Ok(())
            }
            #[cfg(feature = "sim")]
            (Engine::Sim(engine), BatchOf::Sim(batch)) => engine.write(batch, durability),
            _ => unreachable!("{MIXED}"),
        }
    }

    /// Makes every logged write durable.
    ///
    /// # Errors
    /// When the disk fails, or has failed before.
    pub fn sync(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Rocks(rocks) => rocks.sync(),
            Engine::Memory(_) => Ok(()),
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => engine.sync(),
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the disk fails, or does not hold what was written.
    pub fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match (&self.engine, family.0) {
            (Engine::Rocks(rocks), FamilyOf::Rocks(family)) => Ok(rocks.db.get_cf(family, key)?),
            (Engine::Memory(memory), FamilyOf::Memory(family)) => {
                Ok(memory.get(family, key).map(Vec::from))
            }
            #[cfg(feature = "sim")]
            (Engine::Sim(engine), FamilyOf::Sim(family)) => {
                Ok(engine.get(family, key)?.map(|value| value.to_vec()))
            }
            _ => unreachable!("{MIXED}"),
        }
    }

    /// As `get`, but only from memory: none if the disk would have to be asked, or has no such key.
    ///
    /// # Errors
    /// When memory does not hold what was written.
    pub fn get_cached(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Value<'_>>, Error> {
        match (&self.engine, family.0) {
            (Engine::Rocks(rocks), FamilyOf::Rocks(family)) => {
                Ok(rocks.get_cached(family, key)?.map(|found| Value(ValueOf::Rocks(found))))
            }
            (Engine::Memory(memory), FamilyOf::Memory(family)) => {
                Ok(memory.get(family, key).map(|found| Value(ValueOf::Bytes(found))))
            }
            #[cfg(feature = "sim")]
            (Engine::Sim(engine), FamilyOf::Sim(family)) => {
                Ok(engine.get_cached(family, key)?.map(|found| Value(ValueOf::Bytes(found))))
            }
            _ => unreachable!("{MIXED}"),
        }
    }

    /// All families as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot(match &self.engine {
            Engine::Rocks(rocks) => SnapshotOf::Rocks(rocks.db.snapshot()),
            Engine::Memory(memory) => SnapshotOf::Memory(memory.snapshot()),
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => SnapshotOf::Sim(engine.snapshot()),
        })
    }

    /// A cursor over a family as it is now.
    #[must_use]
    pub fn cursor(&self, family: Family<'_>, reading: Reading) -> Cursor<'_> {
        Cursor(match (&self.engine, family.0) {
            (Engine::Rocks(rocks), FamilyOf::Rocks(family)) => {
                CursorOf::Rocks(rocks.cursor(family, reading))
            }
            (Engine::Memory(memory), FamilyOf::Memory(family)) => {
                CursorOf::Memory(memory.snapshot().cursor(family, reading))
            }
            #[cfg(feature = "sim")]
            (Engine::Sim(engine), FamilyOf::Sim(family)) => {
                CursorOf::Sim(engine.snapshot().cursor(family, reading))
            }
            _ => unreachable!("{MIXED}"),
        })
    }

    /// Returns when everything written before the call is on disk.
    ///
    /// # Errors
    /// When the disk fails, or has failed before.
    pub fn flush(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Rocks(rocks) => rocks.flush(),
            Engine::Memory(_) => Ok(()),
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => engine.flush(),
        }
    }

    /// Writes a copy as of now to `dir`, which must not exist.
    ///
    /// # Errors
    /// When the disk fails, or has failed before.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        match &self.engine {
            Engine::Rocks(rocks) => rocks.checkpoint(dir),
            Engine::Memory(_) => {
                Err(Error::Refused("a database in memory has no checkpoints".to_owned()))
            }
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => engine.checkpoint(dir),
        }
    }

    /// Bytes held by this database, and of these the bytes that are not garbage. Estimates.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn sizes(&self) -> Result<(u64, u64), Error> {
        match &self.engine {
            Engine::Rocks(rocks) => rocks.sizes(),
            Engine::Memory(memory) => Ok((memory.bytes(), memory.bytes())),
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => Ok(engine.sizes()),
        }
    }

    /// How often it failed in the background since it was opened: after the first time it writes
    /// nothing any more.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn background_errors(&self) -> Result<u64, Error> {
        match &self.engine {
            Engine::Rocks(rocks) => rocks.background_errors(),
            Engine::Memory(_) => Ok(0),
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => Ok(engine.background_errors()),
        }
    }

    /// The number of the last change: it rises with every put and deletion, over all times.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match &self.engine {
            Engine::Rocks(rocks) => rocks.db.latest_sequence_number(),
            Engine::Memory(memory) => memory.sequence(),
            #[cfg(feature = "sim")]
            Engine::Sim(engine) => engine.sequence(),
        }
    }

    /// A hint, for keys that were deleted: files that hold nothing else may go.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget_files(&self, family: Family<'_>, from: &[u8], to: &[u8]) -> Result<(), Error> {
        match (&self.engine, family.0) {
            (Engine::Rocks(rocks), FamilyOf::Rocks(family)) => {
                Ok(rocks.db.delete_file_in_range_cf(family, from, to)?)
            }
            (Engine::Memory(_), FamilyOf::Memory(_)) => Ok(()),
            #[cfg(feature = "sim")]
            (Engine::Sim(_), FamilyOf::Sim(_)) => Ok(()),
            _ => unreachable!("{MIXED}"),
        }
    }
}

#[cfg(feature = "sim")]
impl Drop for Db {
    fn drop(&mut self) {
        if let Engine::Sim(engine) = &self.engine
            && !engine.is_alive()
        {
            // A host that lost its power seals nothing.
            self.closing.set(false);
        }
    }
}
