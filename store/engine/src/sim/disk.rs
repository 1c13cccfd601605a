//! The disk of a simulated host: which of its operations fail, and what a crash leaves of the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rand::{Rng as _, RngCore};

use super::files::CURRENT;
use super::inner::Inner;
use crate::Error;

/// The disks by the folders of their hosts.
static REGISTRY: RwLock<BTreeMap<PathBuf, Disk>> = RwLock::new(BTreeMap::new());

/// Databases that are opened below `prefix` from now on are simulated, on this disk.
pub fn register(prefix: &Path, disk: &Disk) {
    let prefix = absolute(prefix);
    disk.0.lock().roots.push(prefix.clone());
    REGISTRY.write().insert(prefix, disk.clone());
}

/// Databases that are opened below `prefix` from now on are RocksDB's.
pub fn unregister(prefix: &Path) {
    REGISTRY.write().remove(&absolute(prefix));
}

/// The disk that the nearest folder above `path` is on.
pub(crate) fn disk_of(path: &Path) -> Option<Disk> {
    let registry = REGISTRY.read();
    if registry.is_empty() {
        return None;
    }
    absolute(path).ancestors().find_map(|folder| registry.get(folder)).cloned()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// What an engine asks of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Bytes for a file, of the log or of a flush.
    Write,
    /// Until they are durable; also of names.
    Sync,
    /// Any read but those from memory alone, and opening.
    Read,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Input/output error.
    Eio,
    /// No space left on device.
    Enospc,
}

/// How often it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// This many operations from now on.
    Next(u64),
    /// All of them, until [`Disk::heal`].
    All,
}

/// What the faults of a disk did: a fault that changed no number had no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of [`Disk::crash`].
    pub crashes: u64,
    /// Calls of [`Disk::kill`].
    pub kills: u64,
    /// Hosts that died inside of an operation ([`Disk::crash_after`]).
    pub inside: u64,
    /// Batches that were not durable, and are gone.
    pub lost: u64,
    /// Batches that were not durable, and survived all the same.
    pub kept: u64,
    /// Records of a log that were torn in the middle.
    pub torn: u64,
    /// Torn records that were cut off when a log was opened.
    pub cut: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Bits that were flipped.
    pub flips: u64,
    /// Databases that were not opened because they are damaged.
    pub refused: u64,
    /// Reads and flushes that met damage in an open database.
    pub damage: u64,
    /// Writes, syncs and reads that were asked for.
    pub operations: u64,
}

/// Which bit was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The file.
    pub path: PathBuf,
    /// The byte, from zero.
    pub byte: usize,
    /// The bit, from the lowest.
    pub bit: u8,
}

#[derive(Default)]
struct State {
    roots: Vec<PathBuf>,
    /// How often the host went down. What belongs to an earlier life does nothing any more.
    life: u64,
    /// It died inside of an operation, and what that left is not settled yet.
    down: bool,
    /// So many more writes and syncs are carried out.
    crash_after: Option<u64>,
    failing: BTreeMap<Operation, (Failure, Times)>,
    /// Those of this life, in the order in which they were opened.
    engines: Vec<Arc<Mutex<Inner>>>,
    counts: Counts,
}

/// The disk of one host. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes. Everything that was open fails from now on; of what was not durable the dice
    /// let a prefix survive, and tear what comes next. The host may be started again at once.
    ///
    /// # Errors
    /// What the real file system says.
    pub fn crash(&self, dice: &mut dyn RngCore) -> io::Result<()> {
        self.0.lock().counts.crashes += 1;
        for engine in self.end_life() {
            let settled = engine.lock().settle(dice)?;
            let mut state = self.0.lock();
            state.counts.lost += settled.lost;
            state.counts.kept += settled.kept;
            state.counts.torn += settled.torn;
        }
        Ok(())
    }

    /// The process ends, and the host goes on: what was handed to the kernel survives, and only what
    /// was in memory is lost. Everything that was open fails from now on.
    ///
    /// # Errors
    /// What the real file system says.
    pub fn kill(&self) -> io::Result<()> {
        self.0.lock().counts.kills += 1;
        for engine in self.end_life() {
            let settled = engine.lock().hand_over()?;
            let mut state = self.0.lock();
            state.counts.lost += settled.lost;
            state.counts.kept += settled.kept;
        }
        Ok(())
    }

    fn end_life(&self) -> Vec<Arc<Mutex<Inner>>> {
        let mut state = self.0.lock();
        state.life += 1;
        state.down = false;
        state.crash_after = None;
        std::mem::take(&mut state.engines)
    }

    /// The host dies inside of a write or a sync, after this many more of them were carried out:
    /// that one fails, and so does everything that follows, until [`Self::crash`] settles what it left.
    pub fn crash_after(&self, operations: u64) {
        self.0.lock().crash_after = Some(operations);
    }

    /// Whether the host died by [`Self::crash_after`], and waits for [`Self::crash`].
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.0.lock().down
    }

    /// Lets operations of a kind fail. An engine of which a write or a sync failed writes nothing any
    /// more until it is opened again.
    pub fn fail(&self, operation: Operation, failure: Failure, times: Times) {
        self.0.lock().failing.insert(operation, (failure, times));
    }

    /// Nothing fails any more, and no crash is planned.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.failing.clear();
        state.crash_after = None;
    }

    /// What its faults did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.lock().counts
    }

    /// Batches that the power would take away, if it went now.
    #[must_use]
    pub fn pending(&self) -> usize {
        let engines = self.0.lock().engines.clone();
        engines.iter().map(|engine| engine.lock().pending.len()).sum()
    }

    /// Flips a bit of one of the host's database files that `wanted` wants, while the host is down. None
    /// if there is no such file.
    ///
    /// # Errors
    /// What the real file system says.
    pub fn flip(
        &self,
        wanted: impl Fn(&Path) -> bool,
        dice: &mut dyn RngCore,
    ) -> io::Result<Option<Flip>> {
        let mut files = Vec::new();
        let roots = self.0.lock().roots.clone();
        for root in roots.iter().filter(|root| root.exists()) {
            database_files(root, &mut files)?;
        }
        files.sort();
        files.retain(|path| wanted(path));
        if files.is_empty() {
            return Ok(None);
        }
        let path = files.swap_remove(dice.random_range(0..files.len()));
        let mut bytes = fs::read(&path)?;
        let (byte, bit) = (dice.random_range(0..bytes.len()), dice.random_range(0..8));
        bytes[byte] ^= 1 << bit;
        fs::write(&path, bytes)?;
        self.0.lock().counts.flips += 1;
        Ok(Some(Flip { path, byte, bit }))
    }

    /// Adds an engine to this life.
    pub(super) fn opened(&self, life: u64, engine: &Arc<Mutex<Inner>>) -> Result<(), Error> {
        let mut state = self.0.lock();
        if state.life != life || state.down {
            return Err(no_power());
        }
        state.engines.push(Arc::clone(engine));
        Ok(())
    }

    /// Forgets an engine that was closed in order.
    pub(super) fn closed(&self, engine: &Arc<Mutex<Inner>>) {
        self.0.lock().engines.retain(|other| !Arc::ptr_eq(other, engine));
    }

    /// A database is opened again. One that failed was not closed in order, and may still be here: what
    /// it had in memory alone is lost, for whoever opens it now goes on from the files.
    pub(super) fn reopened(&self, dir: &Path) {
        let engines = self.0.lock().engines.clone();
        for engine in engines {
            let lost = {
                let mut inner = engine.lock();
                if inner.dir != dir || inner.failed.is_none() {
                    continue;
                }
                std::mem::take(&mut inner.pending).len()
            };
            self.closed(&engine);
            self.count(|counts| counts.lost += lost as u64);
        }
    }

    /// A sync of something that is not the engine's.
    pub(crate) fn before_sync(&self) -> Result<(), Error> {
        self.begin(self.life(), Operation::Sync)
    }

    pub(super) fn life(&self) -> u64 {
        self.0.lock().life
    }

    pub(super) fn is_alive(&self, life: u64) -> bool {
        let state = self.0.lock();
        state.life == life && !state.down
    }

    /// Counts damage that was met.
    pub(super) fn found(&self, whole: Result<(), Error>) -> Result<(), Error> {
        whole.inspect_err(|_| self.count(|counts| counts.damage += 1))
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().counts);
    }

    /// Whether an operation of a host's life takes place.
    pub(super) fn begin(&self, life: u64, operation: Operation) -> Result<(), Error> {
        let mut state = self.0.lock();
        if state.life != life || state.down {
            return Err(no_power());
        }
        state.counts.operations += 1;
        if operation != Operation::Read {
            match state.crash_after {
                Some(0) => {
                    state.crash_after = None;
                    state.down = true;
                    state.counts.inside += 1;
                    return Err(no_power());
                }
                Some(more) => state.crash_after = Some(more - 1),
                None => {}
            }
        }
        let Some((failure, times)) = state.failing.get_mut(&operation) else { return Ok(()) };
        let failure = *failure;
        match times {
            Times::All => {}
            Times::Next(0) => return Ok(()),
            Times::Next(more) => *more -= 1,
        }
        let counts = &mut state.counts;
        let (what, count) = match operation {
            Operation::Write => ("While appending to file", &mut counts.write_errors),
            Operation::Sync => ("While fsync", &mut counts.sync_errors),
            Operation::Read => ("While pread", &mut counts.read_errors),
        };
        *count += 1;
        let number = match failure {
            Failure::Eio => 5,
            Failure::Enospc => 28,
        };
        let text = io::Error::from_raw_os_error(number);
        Err(Error::Refused(format!("IO error: {what}: {text}")))
    }
}

fn no_power() -> Error {
    Error::Refused("the host has no power".to_owned())
}

/// Files of databases below `dir` that hold something.
fn database_files(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let is_database = dir.join(CURRENT).exists();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            database_files(&path, found)?;
        } else if is_database
            && metadata.len() > 0
            && (entry.file_name() == CURRENT
                || path.extension().is_some_and(|end| end == "sst" || end == "log"))
        {
            found.push(path);
        }
    }
    Ok(())
}
