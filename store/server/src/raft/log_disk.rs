//! The raft log on disk: one RocksDB instance, written by one thread with one fsync per turn.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | D1 | Writes reach the disk in the order in which they were queued, votes and entries alike. |
//! | D2 | A callback fires only after an fsync that covers its write and every earlier one. |
//! | D3 | After the first failed write nothing is written any more: the member must stop. |

use std::{
    io,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};
use tokio::sync::oneshot;

use super::{
    codec,
    types::{Entry, LogId, TypeConfig, Vote},
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

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
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
}

/// Called by the sync thread after each turn.
pub(crate) type OnSynced = Box<dyn Fn(Synced) + Send>;

/// The log's files and the thread that writes them.
pub(crate) struct Disk {
    db: Arc<DB>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Disk {
    /// Opens or creates the log under `path`.
    pub(crate) fn open(path: &Path) -> Result<(Self, Found), io::Error> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(32 << 20);
        options.set_max_write_buffer_number(4);
        options.set_max_background_jobs(1);
        options.set_recycle_log_file_num(4);
        options.set_keep_log_file_num(4);
        options.set_compression_type(rocksdb::DBCompressionType::None);
        options.set_max_total_wal_size(256 << 20);
        let db = Arc::new(DB::open(&options, path).map_err(other)?);

        let read = |key| db.get(key).map_err(other);
        let vote = read(VOTE)?.map(|bytes| codec::decode_vote(&bytes)).transpose()?;
        let committed = read(COMMITTED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let purged = read(PURGED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
        let last = match db
            .iterator(IteratorMode::From(&entry_key(u64::MAX), Direction::Reverse))
            .next()
            .transpose()
            .map_err(other)?
        {
            Some((key, value)) if key.first() == Some(&ENTRY) => {
                Some(decode(&key, Bytes::from(value))?.log_id)
            }
            _ => None,
        };

        let shared = Arc::new(Shared { queue: Mutex::new(Queue::default()), wake: Condvar::new() });
        let disk = Self { db, shared, thread: Mutex::new(None) };
        Ok((disk, Found { vote, committed, purged, last }))
    }

    /// Starts the sync thread.
    pub(crate) fn start(&self, on_synced: OnSynced) -> Result<(), io::Error> {
        let (db, shared) = (self.db.clone(), self.shared.clone());
        let thread = std::thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || sync_loop(&db, &shared, &on_synced))?;
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
        for item in self.db.iterator_opt(mode, options) {
            let (key, value) = item.map_err(other)?;
            bytes += value.len();
            entries.push(decode(&key, Bytes::from(value))?);
            if bytes >= bytes_max {
                return Ok((entries, false));
            }
        }
        Ok((entries, true))
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

fn decode(key: &[u8], value: Bytes) -> Result<Entry, io::Error> {
    let index = key
        .get(1..9)
        .map(|part| u64::from_be_bytes(part.try_into().expect("the slice is eight bytes long")))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "raft log: bad key"))?;
    codec::decode_entry(index, &value)
}

fn sync_loop(db: &DB, shared: &Shared, on_synced: &OnSynced) {
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
            None => write_all(db, &writes, committed, stop).map(|(last, took)| {
                let is_truncation = |write: &&Write| matches!(write, Write::TruncateFrom(_));
                truncations += writes.iter().filter(is_truncation).count() as u64;
                on_synced(Synced { last, truncations, took });
            }),
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
            return;
        }
    }
}

fn write_all(
    db: &DB,
    writes: &[Write],
    committed: Option<LogId>,
    stop: bool,
) -> Result<(Option<u64>, Duration), String> {
    let mut batch = WriteBatch::default();
    let mut sync = stop;
    let mut last = None;
    for write in writes {
        match write {
            Write::Append(entries, _) => {
                for (index, value) in entries {
                    batch.put(entry_key(*index), value);
                    last = Some(*index);
                }
                sync = true;
            }
            Write::Vote(vote, _) => {
                batch.put(VOTE, codec::encode_vote(vote));
                sync = true;
            }
            Write::TruncateFrom(index) => {
                batch.delete_range(entry_key(*index), entry_key(u64::MAX));
                last = None;
            }
            Write::Purge(upto) => {
                batch.delete_range(entry_key(0), entry_key(upto.index + 1));
                batch.put(PURGED, codec::encode_log_id(upto));
            }
        }
    }
    if let Some(committed) = committed {
        batch.put(COMMITTED, codec::encode_log_id(&committed));
    }
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    let started = Instant::now();
    db.write_opt(batch, &options).map_err(rocksdb::Error::into_string)?;
    Ok((last, started.elapsed()))
}
