//! The raft log on disk: one RocksDB instance, written by one thread with one fsync per turn.
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
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};
use store_state_machine::{is_damage, seal};
use tokio::sync::oneshot;

use super::{
    codec,
    types::{Entry, LogId, TypeConfig, Vote},
    wal,
};

const ENTRY: u8 = b'e';
const VOTE: &[u8] = b"m/vote";
const COMMITTED: &[u8] = b"m/committed";
const PURGED: &[u8] = b"m/purged";

fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn other(error: rocksdb::Error) -> io::Error {
    io::Error::other(error.into_string())
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

struct Files {
    /// Dropped before the folder is sealed: fields drop in this order.
    db: DB,
    closing: seal::Closing,
}

/// The log's files and the thread that writes them.
pub(crate) struct Disk {
    files: Arc<Files>,
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Disk {
    /// Opens or creates the log under `path`; a new file is begun after so many bytes.
    ///
    /// # Errors
    /// `InvalidData`, with the name of the file, if something that was durable is not readable.
    pub(crate) fn open(path: &Path, buffer_bytes: usize) -> Result<(Self, Found), io::Error> {
        let make = !path.join("CURRENT").exists();
        let mut reached = 0;
        if !make {
            seal::break_open(path).map_err(|fault| match fault {
                store_state_machine::Fault::File { source, .. } => source,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
            reached = wal::prepare(path)?;
        }
        let refused = |error: rocksdb::Error| {
            let damage = is_damage(&error);
            let kind = if damage { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
            io::Error::new(kind, format!("{}: {error}", path.display()))
        };
        let db = DB::open(&options(make, buffer_bytes), path).map_err(refused)?;
        if db.latest_sequence_number() < reached {
            wal::condemn(path)?;
            let what = format!("{}: writes up to {reached} are missing", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        wal::remember(path)?;

        let read = |key| db.get(key).map_err(refused);
        let vote = read(VOTE)?.map(|bytes| codec::decode_vote(&bytes)).transpose()?;
        let committed = read(COMMITTED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let purged = read(PURGED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let entry = |from: u64, direction| -> Result<Option<LogId>, io::Error> {
            let mode = IteratorMode::From(&entry_key(from), direction);
            match db.iterator(mode).next().transpose().map_err(refused)? {
                Some((key, value)) if key.first() == Some(&ENTRY) => {
                    Ok(Some(decode(&key, Bytes::from(value))?.log_id))
                }
                _ => Ok(None),
            }
        };
        let first = entry(0, Direction::Forward)?;
        let last = entry(u64::MAX, Direction::Reverse)?;
        let expected = purged.map_or(0, |id| id.index + 1);
        if let Some(first) = first
            && first.index != expected
        {
            let (path, first) = (path.display(), first.index);
            let what = format!("{path}: the entries from {expected} to {first} are missing");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }

        let closing = seal::Closing::new(path.to_path_buf());
        let files = Arc::new(Files { db, closing });
        let shared = Arc::new(Shared::default());
        let disk = Self { files, path: path.to_path_buf(), shared, thread: Mutex::new(None) };
        Ok((disk, Found { vote, committed, purged, last }))
    }

    /// Starts the sync thread.
    pub(crate) fn start(&self, on_synced: OnSynced) -> Result<(), io::Error> {
        let (files, shared) = (self.files.clone(), self.shared.clone());
        let thread = std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || {
            let whole = sync_loop(&files.db, &shared, &on_synced);
            files.closing.set(whole);
        })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Queues a write. Never blocks on the disk.
    pub(crate) fn push(&self, write: Write) {
        self.shared.queue.lock().writes.push(write);
        self.shared.wake.notify_one();
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
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(entry_key(end));
        let from = entry_key(start);
        let mode = IteratorMode::From(&from, Direction::Forward);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for item in self.files.db.iterator_opt(mode, options) {
            let (key, value) = item.map_err(other)?;
            bytes += value.len();
            entries.push(decode(&key, Bytes::from(value))?);
            if bytes >= bytes_max {
                return Ok((entries, false));
            }
        }
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

    /// How often RocksDB failed in the background since it was opened: after the first time it writes
    /// nothing any more.
    pub(crate) fn background_errors(&self) -> Result<u64, io::Error> {
        let name = rocksdb::properties::BACKGROUND_ERRORS;
        Ok(self.files.db.property_int_value(name).map_err(other)?.unwrap_or(0))
    }

    /// Writes what is queued, syncs, and ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.queue.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the raft log thread panicked");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stop();
    }
}

fn options(make: bool, buffer_bytes: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(make);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_write_buffer_size(buffer_bytes);
    options.set_max_write_buffer_number(4);
    options.set_max_background_jobs(1);
    options.set_recycle_log_file_num(4);
    options.set_keep_log_file_num(4);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_max_total_wal_size(256 << 20);
    options
}

fn decode(key: &[u8], value: Bytes) -> Result<Entry, io::Error> {
    let index = key
        .get(1..9)
        .map(|part| u64::from_be_bytes(part.try_into().expect("the slice is eight bytes long")))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "raft log: bad key"))?;
    codec::decode_entry(index, &value)
}

/// Answers, when it is told to stop, whether everything was written.
fn sync_loop(db: &DB, shared: &Shared, on_synced: &OnSynced) -> bool {
    let mut failed: Option<String> = None;
    let mut truncations = 0;
    loop {
        let (writes, committed, stop) = {
            let mut queue = shared.queue.lock();
            while queue.writes.is_empty() && !queue.stop {
                shared.wake.wait(&mut queue);
            }
            (std::mem::take(&mut queue.writes), queue.committed.take(), queue.stop)
        };
        let result = match &failed {
            // D3: the first failure is final.
            Some(message) => Err(message.clone()),
            None => {
                *shared.writing.lock() = Some(Instant::now());
                #[cfg(test)]
                shared.stuck.wait();
                let written = write_all(db, &writes, committed);
                *shared.writing.lock() = None;
                written.map(|(last, took, bytes)| {
                    shared.written.fetch_add(bytes as u64, Ordering::Relaxed);
                    let is_truncation = |write: &&Write| matches!(write, Write::TruncateFrom(_));
                    truncations += writes.iter().filter(is_truncation).count() as u64;
                    on_synced(Synced { last, truncations, took, bytes });
                })
            }
        };
        if let Err(message) = &result
            && failed.is_none()
        {
            tracing::error!(error = message, "the raft log cannot be written");
            failed = Some(message.clone());
        }
        for write in writes {
            let outcome = result.clone().map_err(io::Error::other);
            match write {
                Write::Append(_, callback) => callback.io_completed(outcome),
                Write::Vote(_, done) => drop(done.send(outcome)),
                Write::TruncateFrom(_) | Write::Purge(_) => {}
            }
        }
        if stop {
            return failed.is_none();
        }
    }
}

fn write_all(
    db: &DB,
    writes: &[Write],
    committed: Option<LogId>,
) -> Result<(Option<u64>, Duration, usize), String> {
    let mut batch = WriteBatch::default();
    let (mut last, mut purged) = (None, None);
    for write in writes {
        match write {
            Write::Append(entries, _) => {
                for (index, value) in entries {
                    batch.put(entry_key(*index), value);
                    last = Some(*index);
                }
            }
            Write::Vote(vote, _) => batch.put(VOTE, codec::encode_vote(vote)),
            Write::TruncateFrom(index) => {
                batch.delete_range(entry_key(*index), entry_key(u64::MAX));
                last = None;
            }
            Write::Purge(upto) => {
                batch.delete_range(entry_key(0), entry_key(upto.index + 1));
                batch.put(PURGED, codec::encode_log_id(upto));
                purged = Some(upto.index);
            }
        }
    }
    if let Some(committed) = committed {
        batch.put(COMMITTED, codec::encode_log_id(&committed));
    }
    let mut options = WriteOptions::default();
    // D4: also where nobody waits for it.
    options.set_sync(true);
    let (started, bytes) = (Instant::now(), batch.size_in_bytes());
    db.write_opt(batch, &options).map_err(rocksdb::Error::into_string)?;
    if let Some(upto) = purged {
        // Whole files go at once, and need not be merged with others before they do.
        let (from, to) = (entry_key(0), entry_key(upto));
        db.delete_file_in_range(from, to).map_err(rocksdb::Error::into_string)?;
    }
    Ok((last, started.elapsed(), bytes))
}
