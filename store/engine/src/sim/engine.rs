//! One database of the simulated engine.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::disk::{Disk, Operation};
use super::files;
use super::inner::{Inner, Loaded, create, load};
use super::read::Snapshot;
use crate::memory::batch::Batch;
use crate::{DEFAULT, Durability, Error, StateOptions};

/// The tables are written again after so many bytes, if not earlier: simulated stores are small.
const ROLL_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Engine {
    disk: Disk,
    life: u64,
    names: Vec<String>,
    inner: Arc<Mutex<Inner>>,
}

impl Engine {
    pub(crate) fn open_state(
        disk: Disk,
        path: &Path,
        make: bool,
        options: &StateOptions,
        families: &[&str],
    ) -> Result<Self, Error> {
        let roll_bytes = options.write_buffer_bytes.min(ROLL_BYTES_MAX);
        Self::open(disk, path, make, families, (false, roll_bytes))
    }

    pub(crate) fn open_log(
        disk: Disk,
        path: &Path,
        make: bool,
        buffer_bytes: usize,
    ) -> Result<Self, Error> {
        Self::open(disk, path, make, &[], (true, buffer_bytes.min(ROLL_BYTES_MAX)))
    }

    fn open(
        disk: Disk,
        path: &Path,
        make: bool,
        families: &[&str],
        (logged, roll_bytes): (bool, usize),
    ) -> Result<Self, Error> {
        let names: Vec<String> =
            [DEFAULT].iter().chain(families).map(|name| (*name).to_owned()).collect();
        let life = disk.life();
        disk.begin(life, Operation::Read)?;
        disk.reopened(path);
        let found = match files::current(path) {
            Ok(Some(generation)) => load(path, generation, names.len(), logged),
            Ok(None) if make => {
                disk.begin(life, Operation::Write)?;
                create(path, names.len(), logged)
            }
            Ok(None) => {
                Err(Error::damaged(format!("{}/{} is missing", path.display(), files::CURRENT)))
            }
            Err(error) => Err(error),
        };
        let found = found.inspect_err(|error| {
            disk.count(|counts| counts.refused += u64::from(matches!(error, Error::Damaged(_))));
        })?;
        disk.count(|counts| counts.cut += u64::from(found.cut));
        files::clear(path, found.generation)?;
        let inner = Inner {
            dir: path.to_path_buf(),
            logged,
            roll_bytes,
            generation: found.generation,
            tables: found.tables,
            pending: Vec::new(),
            pending_bytes: 0,
            records: found.records,
            log_bytes: found.log_bytes,
            failed: None,
        };
        let inner = Arc::new(Mutex::new(inner));
        disk.opened(life, &inner)?;
        Ok(Self { disk, life, names, inner })
    }

    pub(crate) fn peek(
        disk: &Disk,
        path: &Path,
        families: &[&str],
        family: &str,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        disk.begin(disk.life(), Operation::Read)?;
        let missing = || Error::damaged(format!("{}/CURRENT is missing", path.display()));
        let generation = files::current(path)?.ok_or_else(missing)?;
        let Loaded { tables, .. } = load(path, generation, families.len() + 1, false)?;
        let position = families.iter().position(|name| *name == family);
        let position = position.expect("it is one of those that it has") + 1;
        disk.found(tables.whole(u32::try_from(position).expect("there are few families")))?;
        let family = &tables.families[position];
        Ok(keys.iter().map(|key| family.get(*key).map(|value| value.to_vec())).collect())
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.disk.is_alive(self.life)
    }

    pub(crate) fn family(&self, name: &str) -> u32 {
        let position = self.names.iter().position(|other| other == name);
        let position = position.expect("it is one of those that were opened");
        u32::try_from(position).expect("there are few families")
    }

    pub(crate) fn write(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        let batch = Bytes::from(batch.into_data());
        let mut inner = self.inner.lock();
        inner.check()?;
        if !self.is_alive() {
            // Says why.
            return self.begin(&mut inner, Operation::Write);
        }
        inner.pending_bytes += batch.len();
        inner.pending.push(batch.clone());
        match durability {
            Durability::AtFlush => {
                inner.apply(&batch);
                if inner.pending_bytes >= inner.roll_bytes {
                    // In the background: the write does not fail, but later ones will.
                    let _ = self.flush_inner(&mut inner);
                }
                return Ok(());
            }
            Durability::AtSync => {
                self.begin(&mut inner, Operation::Write)?;
                inner.apply(&batch);
            }
            Durability::Now => {
                self.begin(&mut inner, Operation::Write)?;
                self.begin(&mut inner, Operation::Sync)?;
                let keep = inner.pending.len();
                inner.persist(keep)?;
                inner.apply(&batch);
            }
        }
        if inner.log_bytes >= inner.roll_bytes {
            let _ = self.flush_inner(&mut inner);
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.check()?;
        if inner.logged {
            self.begin(&mut inner, Operation::Sync)?;
            let keep = inner.pending.len();
            inner.persist(keep)?;
        }
        Ok(())
    }

    pub(crate) fn get(&self, family: u32, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.disk.begin(self.life, Operation::Read)?;
        self.get_cached(family, key)
    }

    pub(crate) fn get_cached(&self, family: u32, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let inner = self.inner.lock();
        self.disk.found(inner.tables.whole(family))?;
        Ok(inner.tables.families[family as usize].get(key).cloned())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        // A copy of the maps' names: they are shared until one is changed.
        let tables = self.inner.lock().tables.clone();
        Snapshot { disk: self.disk.clone(), life: self.life, tables }
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        self.flush_inner(&mut inner)
    }

    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        self.flush_inner(&mut inner)?;
        self.begin(&mut inner, Operation::Write)?;
        self.begin(&mut inner, Operation::Sync)?;
        fs::create_dir(dir).map_err(Error::file(format!("create {}", dir.display())))?;
        let from = files::tables_path(&inner.dir, inner.generation);
        // The file, and not what was read from it: as links to RocksDB's files would be.
        fs::copy(&from, files::tables_path(dir, inner.generation))
            .map_err(Error::file(format!("copy {}", from.display())))?;
        if inner.logged {
            files::write(&files::log_path(dir, inner.generation), &[])?;
        }
        files::point_at(dir, inner.generation)
    }

    pub(crate) fn sizes(&self) -> (u64, u64) {
        let bytes = self.inner.lock().tables.bytes as u64;
        (bytes, bytes)
    }

    pub(crate) fn background_errors(&self) -> u64 {
        u64::from(self.inner.lock().failed.is_some())
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.inner.lock().tables.sequence
    }

    /// E4: what fails here fails for good.
    fn begin(&self, inner: &mut Inner, operation: Operation) -> Result<(), Error> {
        let begun = self.disk.begin(self.life, operation);
        begun.inspect_err(|error| inner.failed = Some(error.to_string()))
    }

    /// Begins a new generation with all that was written. The old one counts until the last step.
    fn flush_inner(&self, inner: &mut Inner) -> Result<(), Error> {
        inner.check()?;
        if inner.pending.is_empty() && inner.records == 0 {
            return if self.is_alive() { Ok(()) } else { self.begin(inner, Operation::Sync) };
        }
        // As a compaction that reads what is damaged: it writes no other file instead.
        let whole = inner.tables.damaged.values().next().cloned().map_or(Ok(()), |what| {
            inner.failed = Some(what.clone());
            Err(Error::damaged(what))
        });
        self.disk.found(whole)?;
        let next = inner.generation + 1;
        let path = files::tables_path(&inner.dir, next);
        let bytes = inner.tables.encode();
        if let Err(error) = self.begin(inner, Operation::Write) {
            // E2: half a file, which nothing names.
            files::write(&path, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        files::write(&path, &bytes)?;
        // Of the file, and of its name in `CURRENT`.
        self.begin(inner, Operation::Sync)?;
        self.begin(inner, Operation::Sync)?;
        inner.begin_generation(next)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.is_alive() {
            return;
        }
        // As RocksDB does. What cannot be written is lost: nobody was told that it was durable.
        if self.inner.lock().logged {
            let _ = self.sync();
        } else {
            let _ = self.flush();
        }
        // Those that failed are not closed in order: the crash to come takes what they had.
        if self.inner.lock().failed.is_none() {
            self.disk.closed(&self.inner);
        }
    }
}
