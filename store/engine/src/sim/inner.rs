//! What one simulated database holds in memory and in its files, and what a crash leaves of it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand::{Rng as _, RngCore};

use super::files::{self, Tables};
use crate::Error;

pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) logged: bool,
    pub(super) roll_bytes: usize,
    pub(super) generation: u64,
    /// What reads see.
    pub(super) tables: Tables,
    /// Batches that are in no file, in the order in which they were written.
    pub(super) pending: Vec<Bytes>,
    pub(super) pending_bytes: usize,
    /// Records and bytes of the log of this generation.
    pub(super) records: u32,
    pub(super) log_bytes: usize,
    /// E4: why the first write failed.
    pub(super) failed: Option<String>,
}

/// What became of the batches that were not durable.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) lost: u64,
    pub(super) kept: u64,
    pub(super) torn: u64,
}

impl Inner {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), |text| Err(Error::Refused(text)))
    }

    pub(super) fn apply(&mut self, batch: &Bytes) {
        self.tables.apply(batch).expect("the batch was made for this database");
    }

    /// Appends the first `count` batches that wait to the log, whole and durable.
    pub(super) fn persist(&mut self, count: usize) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for batch in self.pending.drain(..count) {
            self.pending_bytes -= batch.len();
            bytes.extend(files::record(self.generation, self.records, &batch));
            self.records += 1;
        }
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let path = files::log_path(&self.dir, self.generation);
        let file = fs::OpenOptions::new().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(bytes));
        self.log_bytes += bytes.len();
        written.map_err(Error::file(format!("append to {}", path.display())))
    }

    /// From now on the tables of this generation count, which are written already.
    pub(super) fn begin_generation(&mut self, generation: u64) -> Result<(), Error> {
        if self.logged {
            files::write(&files::log_path(&self.dir, generation), &[])?;
        }
        files::point_at(&self.dir, generation)?;
        self.generation = generation;
        self.pending.clear();
        (self.pending_bytes, self.records, self.log_bytes) = (0, 0, 0);
        files::clear(&self.dir, generation)
    }

    /// The power is gone. E2: a prefix of what was not durable had reached the disk.
    pub(super) fn settle(&mut self, dice: &mut dyn RngCore) -> io::Result<Settled> {
        let waiting = self.pending.len();
        let mut settled = Settled::default();
        let survives = dice.random() && self.tables.damaged.is_empty();
        let keep = if survives { dice.random_range(0..=waiting) } else { 0 };
        if self.logged {
            self.persist(keep)?;
            if let Some(next) = self.pending.first()
                && dice.random()
            {
                let record = files::record(self.generation, self.records, next);
                let torn = dice.random_range(1..record.len());
                self.append(&record[..torn])?;
                settled.torn = 1;
            }
        } else if keep > 0 {
            // As if it had been flushed in the background.
            let mut tables = files::tables(&self.dir, self.generation)?;
            for batch in &self.pending[..keep] {
                tables.apply(batch).expect("the batch was made for this database");
            }
            let next = self.generation + 1;
            files::write(&files::tables_path(&self.dir, next), &tables.encode())?;
            self.begin_generation(next)?;
        }
        self.pending.clear();
        (settled.kept, settled.lost) = (keep as u64, (waiting - keep) as u64);
        Ok(settled)
    }

    /// The process is gone, and the kernel writes what it was given.
    pub(super) fn hand_over(&mut self) -> io::Result<Settled> {
        let waiting = self.pending.len();
        let keep = if self.logged && self.failed.is_none() { waiting } else { 0 };
        self.persist(keep)?;
        self.pending.clear();
        Ok(Settled { lost: (waiting - keep) as u64, kept: keep as u64, torn: 0 })
    }
}

pub(super) struct Loaded {
    pub(super) generation: u64,
    pub(super) tables: Tables,
    pub(super) records: u32,
    pub(super) log_bytes: usize,
    pub(super) cut: bool,
}

pub(super) fn create(path: &Path, families: usize, logged: bool) -> Result<Loaded, Error> {
    fs::create_dir_all(path).map_err(Error::file(format!("create {}", path.display())))?;
    let (generation, tables) = (1, Tables::new(families));
    files::write(&files::tables_path(path, generation), &tables.encode())?;
    if logged {
        files::write(&files::log_path(path, generation), &[])?;
    }
    files::point_at(path, generation)?;
    Ok(Loaded { generation, tables, records: 0, log_bytes: 0, cut: false })
}

pub(super) fn load(
    path: &Path,
    generation: u64,
    families: usize,
    logged: bool,
) -> Result<Loaded, Error> {
    let mut tables = files::tables(path, generation)?;
    if tables.families.len() != families {
        let found = tables.families.len();
        return Err(Error::damaged(format!("{} has {found} families", path.display())));
    }
    let (mut records, mut log_bytes, mut cut) = (0, 0, false);
    if logged {
        let log = files::log_path(path, generation);
        let shown = log.display();
        let bytes = files::read(&log)?;
        let damaged = |at| {
            let what = format!("{shown} is damaged at byte {at}: what follows was acknowledged");
            Error::damaged(what)
        };
        let scan = files::scan(generation, &bytes).map_err(damaged)?;
        for batch in &scan.batches {
            tables.apply(batch).ok_or_else(|| Error::damaged(format!("{shown}: no batch")))?;
            records += 1;
        }
        (log_bytes, cut) = (scan.end, scan.end < bytes.len());
        if cut {
            let file = fs::OpenOptions::new().write(true).open(&log);
            let shorter = file.and_then(|file| file.set_len(scan.end as u64));
            shorter.map_err(Error::file(format!("shorten {shown}")))?;
        }
    }
    Ok(Loaded { generation, tables, records, log_bytes, cut })
}
