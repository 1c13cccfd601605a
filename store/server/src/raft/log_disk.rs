//! The raft log on disk: one database, written by one thread with one fsync per turn.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | Writes reach the disk in the order in which they were queued, votes and entries alike. |
//! | D2 | A callback fires only after an fsync that covers its write and every earlier one. |
//! | D3 | After the first failed write nothing is written any more: the member must stop. |
//! | D4 | Every write is synced before the next one begins, so a torn one is the last. |

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use store_engine::{Cursor, DEFAULT, Db, Durability, Reading, seal};
use store_planted::{self as planted, Bug};
use tokio::{sync::oneshot, time::Instant};

use super::{
    codec,
    types::{Entry, LogId, TypeConfig, Vote},
    wal,
};
use crate::exec::{Bell, Loop};

const ENTRY: u8 = b'e';
const VOTE: &[u8] = b"m/vote";
const COMMITTED: &[u8] = b"m/committed";
const PURGED: &[u8] = b"m/purged";

fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

/// One queued change of the log.
pub(crate) enum Write {
    /// Encoded entries with their indexes, and whom to tell when they are durable.
    Append(Vec<(u64, Vec<u8>)>, IOFlushed<TypeConfig>),
    /// A vote; the sender is answered when it is durable.
    Vote(Vote, oneshot::Sender<Result<(), io::Error>>),
    /// Deletes every entry from this index on.
    TruncateFrom(u64),
    /// Deletes every entry up to this one, and remembers it.
    Purge(LogId),
}

#[derive(Default)]
struct Queue {
    writes: Vec<Write>,
    /// Best effort: it rides along with the next write, and never causes one.
    committed: Option<LogId>,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    bell: Bell,
    /// When the write that is under way began.
    writing: Mutex<Option<Instant>>,
    /// Bytes written since the log was opened.
    written: AtomicU64,
    #[cfg(test)]
    stuck: Stuck,
}

/// A disk that a test makes stick.
#[cfg(test)]
#[derive(Default)]
struct Stuck {
    is: Mutex<bool>,
    changed: Condvar,
}

#[cfg(test)]
impl Stuck {
    fn wait(&self) {
        let mut stuck = self.is.lock();
        while *stuck {
            self.changed.wait(&mut stuck);
        }
    }
}

/// What the disk held when it was opened.
pub(crate) struct Found {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

/// What one turn of the sync thread did.
pub(crate) struct Synced {
    /// The last entry written.
    pub(crate) last: Option<u64>,
    /// How many truncations were carried out since the start.
    pub(crate) truncations: u64,
    /// The time of the write and its fsync.
    pub(crate) took: Duration,
    /// The bytes of the write.
    pub(crate) bytes: usize,
}

/// Called by the sync thread after each turn.
pub(crate) type OnSynced = Box<dyn Fn(Synced) + Send>;

/// The log's files and the thread that writes them.
pub(crate) struct Disk {
    db: Arc<Db>,
    path: PathBuf,
    shared: Arc<Shared>,
    running: Mutex<Option<Loop>>,
}

impl Disk {
    /// Opens or creates the log under `path`; a new file is begun after so many bytes.
    ///
    /// # Errors
    /// `InvalidData`, with the name of the file, if something that was durable is not readable.
    pub(crate) fn open(path: &Path, buffer_bytes: usize) -> Result<(Self, Found), io::Error> {
        let make = !path.join("CURRENT").exists();
        // Only RocksDB's files are looked at from outside.
        let by_rocksdb = !store_engine::is_simulated(path);
        let mut reached = 0;
        if !make {
            seal::break_open(path)?;
            if by_rocksdb {
                reached = wal::prepare(path)?;
            }
        }
        let db = Db::open_log(path, make, buffer_bytes)?;
        if db.sequence() < reached {
            wal::condemn(path)?;
            let what = format!("{}: writes up to {reached} are missing", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if by_rocksdb {
            wal::remember(path)?;
        }

        let read = |key| db.get(db.family(DEFAULT), key);
        let vote = read(VOTE)?.map(|bytes| codec::decode_vote(&bytes)).transpose()?;
        let committed = read(COMMITTED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let purged = read(PURGED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let entry = |seek: &dyn Fn(&mut Cursor<'_>)| -> Result<Option<LogId>, io::Error> {
            let mut cursor = db.cursor(db.family(DEFAULT), Reading::below(None));
            seek(&mut cursor);
            cursor.status()?;
            match cursor.item() {
                Some((key, value)) if key.first() == Some(&ENTRY) => {
                    Ok(Some(decode(key, value)?.log_id))
                }
                _ => Ok(None),
            }
        };
        let first = entry(&|cursor| cursor.seek(&entry_key(0)))?;
        let last = entry(&|cursor| cursor.seek_back(&entry_key(u64::MAX)))?;
        let expected = purged.map_or(0, |id| id.index + 1);
        if let Some(first) = first
            && first.index != expected
        {
            let (path, first) = (path.display(), first.index);
            let what = format!("{path}: the entries from {expected} to {first} are missing");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }

        let shared = Arc::new(Shared::default());
        let (db, path) = (Arc::new(db), path.to_path_buf());
        let disk = Self { db, path, shared, running: Mutex::new(None) };
        Ok((disk, Found { vote, committed, purged, last }))
    }

    /// Starts the sync thread.
    pub(crate) fn start(&self, on_synced: OnSynced) -> Result<(), io::Error> {
        let writer = Writer {
            db: self.db.clone(),
            shared: self.shared.clone(),
            on_synced,
            failed: None,
            truncations: 0,
        };
        #[cfg(feature = "sim")]
        if crate::exec::is_simulated() {
            let task = tokio::spawn(writer.run_simulated());
            *self.running.lock() = Some(Loop::Task(task));
            return Ok(());
        }
        *self.running.lock() = Some(Loop::thread("raft-log", || writer.run())?);
        Ok(())
    }

    /// Queues a write. Never blocks on the disk.
    pub(crate) fn push(&self, write: Write) {
        self.shared.queue.lock().writes.push(write);
        self.shared.wake();
    }

    /// Remembers the committed position, to be written together with the next change.
    pub(crate) fn set_committed(&self, committed: Option<LogId>) {
        if committed.is_some() {
            self.shared.queue.lock().committed = committed;
        }
    }

    /// The entries with `start <= index < end`, but no more after `bytes_max` bytes; and whether
    /// these are all.
    pub(crate) fn read(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<(Vec<Entry>, bool), io::Error> {
        let reading = Reading::below(Some(entry_key(end).to_vec()));
        let mut cursor = self.db.cursor(self.db.family(DEFAULT), reading);
        cursor.seek(&entry_key(start));
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some((key, value)) = cursor.item() {
            bytes += value.len();
            entries.push(decode(key, value)?);
            if bytes >= bytes_max {
                return Ok((entries, false));
            }
            cursor.next();
        }
        cursor.status()?;
        Ok((entries, true))
    }

    /// Where the log lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written since the log was opened.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// How long the write that is under way has taken so far.
    pub(crate) fn writing_for(&self) -> Duration {
        self.shared.writing.lock().map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Makes every write wait, or lets them go on.
    #[cfg(test)]
    pub(crate) fn stick(&self, stuck: bool) {
        *self.shared.stuck.is.lock() = stuck;
        self.shared.stuck.changed.notify_all();
    }

    /// How often the engine failed in the background since it was opened: after the first time it writes
    /// nothing any more.
    pub(crate) fn background_errors(&self) -> Result<u64, io::Error> {
        Ok(self.db.background_errors()?)
    }

    /// Writes what is queued, syncs, and ends the thread.
    pub(crate) fn stop(&self) {
        if let Some(running) = self.begin_to_stop() {
            running.join();
        }
    }

    /// As `stop`, for those who must not block.
    pub(crate) async fn stopped(&self) {
        let running = self.begin_to_stop();
        if let Some(running) = running {
            running.ended().await;
        }
    }

    fn begin_to_stop(&self) -> Option<Loop> {
        self.shared.queue.lock().stop = true;
        self.shared.wake();
        self.running.lock().take()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stop();
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<Entry, io::Error> {
    let index = key
        .get(1..9)
        .map(|part| u64::from_be_bytes(part.try_into().expect("the slice is eight bytes long")))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "raft log: bad key"))?;
    codec::decode_entry(index, &Bytes::copy_from_slice(value))
}

/// What is written at once.
struct Turn {
    writes: Vec<Write>,
    committed: Option<LogId>,
    /// Whether it is the last one.
    stop: bool,
}

impl Shared {
    fn wake(&self) {
        self.wake.notify_one();
        self.bell.ring();
    }

    /// What is queued; waits until there is something.
    fn take(&self) -> Turn {
        let mut queue = self.queue.lock();
        while queue.is_idle() {
            self.wake.wait(&mut queue);
        }
        queue.take()
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.writes.is_empty() && !self.stop
    }

    fn take(&mut self) -> Turn {
        Turn {
            writes: std::mem::take(&mut self.writes),
            committed: self.committed.take(),
            stop: self.stop,
        }
    }
}

/// The one who writes.
struct Writer {
    db: Arc<Db>,
    shared: Arc<Shared>,
    on_synced: OnSynced,
    /// D3: the first failure is final.
    failed: Option<String>,
    truncations: u64,
}

impl Writer {
    fn run(mut self) {
        loop {
            let turn = self.shared.take();
            let stop = turn.stop;
            self.begin();
            #[cfg(test)]
            self.shared.stuck.wait();
            let written = self.write(&turn, Durability::Now);
            self.end(turn, written);
            if stop {
                break;
            }
        }
        self.db.seal_when_closed(self.failed.is_none());
    }

    /// As a task of a simulated world: a write takes as long as its disk says, and the power may go
    /// while it is not synced, or while nobody was told of it.
    #[cfg(feature = "sim")]
    async fn run_simulated(mut self) {
        loop {
            let turn = {
                let mut queue = self.shared.queue.lock();
                (!queue.is_idle()).then(|| queue.take())
            };
            let Some(turn) = turn else {
                self.shared.bell.rung().await;
                continue;
            };
            let stop = turn.stop;
            let times = crate::simulated::log_write();
            self.begin();
            let mut written = self.write(&turn, Durability::AtSync);
            tokio::time::sleep(times.before).await;
            if written.is_ok()
                && let Err(error) = self.db.sync()
            {
                written = Err(error.to_string());
            }
            tokio::time::sleep(times.after).await;
            self.end(turn, written);
            if stop {
                break;
            }
        }
        self.db.seal_when_closed(self.failed.is_none());
    }

    fn begin(&self) {
        if self.failed.is_none() {
            *self.shared.writing.lock() = Some(Instant::now());
        }
    }

    fn write(&self, turn: &Turn, durability: Durability) -> Result<Written, String> {
        match &self.failed {
            Some(message) => Err(message.clone()),
            None => write_all(&self.db, &turn.writes, turn.committed, durability),
        }
    }

    /// Tells those who wait (D2).
    fn end(&mut self, turn: Turn, written: Result<Written, String>) {
        *self.shared.writing.lock() = None;
        let result = written.map(|Written { last, took, bytes }| {
            self.shared.written.fetch_add(bytes as u64, Ordering::Relaxed);
            let is_truncation = |write: &&Write| matches!(write, Write::TruncateFrom(_));
            self.truncations += turn.writes.iter().filter(is_truncation).count() as u64;
            (self.on_synced)(Synced { last, truncations: self.truncations, took, bytes });
        });
        if let Err(message) = &result
            && self.failed.is_none()
        {
            tracing::error!(error = message, "the raft log cannot be written");
            self.failed = Some(message.clone());
        }
        for write in turn.writes {
            let outcome = result.clone().map_err(io::Error::other);
            match write {
                Write::Append(_, callback) => callback.io_completed(outcome),
                Write::Vote(_, done) => drop(done.send(outcome)),
                Write::TruncateFrom(_) | Write::Purge(_) => {}
            }
        }
    }
}

/// What was written: the last entry, in which time, in how many bytes.
struct Written {
    last: Option<u64>,
    took: Duration,
    bytes: usize,
}

fn write_all(
    db: &Db,
    writes: &[Write],
    committed: Option<LogId>,
    durability: Durability,
) -> Result<Written, String> {
    let (mut batch, log) = (db.batch(), db.family(DEFAULT));
    let (mut last, mut purged) = (None, None);
    for write in writes {
        match write {
            Write::Append(entries, _) => {
                for (index, value) in entries {
                    batch.put(log, entry_key(*index), value);
                    last = Some(*index);
                }
            }
            Write::Vote(..) if planted::is(Bug::VoteForgotten) => {}
            Write::Vote(vote, _) => batch.put(log, VOTE, codec::encode_vote(vote)),
            Write::TruncateFrom(index) => {
                batch.delete_range(log, entry_key(*index), entry_key(u64::MAX));
                last = None;
            }
            Write::Purge(upto) => {
                batch.delete_range(log, entry_key(0), entry_key(upto.index + 1));
                batch.put(log, PURGED, codec::encode_log_id(upto));
                purged = Some(upto.index);
            }
        }
    }
    if let Some(committed) = committed {
        batch.put(log, COMMITTED, codec::encode_log_id(&committed));
    }
    let (started, bytes) = (Instant::now(), batch.size_in_bytes());
    // D4: also where nobody waits for it.
    let lazy = planted::is(Bug::AckBeforeSync);
    let durability = if lazy { Durability::AtSync } else { durability };
    db.write(batch, durability).map_err(|error| error.to_string())?;
    if let Some(upto) = purged {
        // Whole files go at once, and need not be merged with others before they do.
        let forgotten = db.forget_files(log, &entry_key(0), &entry_key(upto));
        forgotten.map_err(|error| error.to_string())?;
    }
    Ok(Written { last, took: started.elapsed(), bytes })
}
