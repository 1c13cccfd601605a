//! The raft log as openraft sees it: recent entries in memory, all of them on disk.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | An entry can be read as soon as `append` has returned, before it is durable. |
//! | G2 | An entry leaves memory only after it is on disk, or was deleted. |
//! | G3 | Purging may go past the last entry (after a snapshot); the next append starts behind it. |

use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::{
    codec,
    log_disk::{Disk, Found, Write},
    types::{Entry, LeaderId, LogId, TypeConfig, Vote},
};
use crate::limits;

#[derive(Default)]
struct Tail {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The index of the first entry that was written to an empty log.
    begins: u64,
    /// Consecutive entries, the newest of the log.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Everything up to this index is on disk.
    written: u64,
    /// How often the log was truncated: older news from the disk do not count any more.
    truncations: u64,
}

impl Tail {
    fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    /// G2: forgets the oldest entries beyond the memory limit, if they are on disk.
    fn shrink(&mut self) {
        while self.bytes > limits::LOG_TAIL_BYTES_MAX {
            match self.entries.front() {
                Some(entry) if entry.log_id.index <= self.written => {
                    self.bytes -= size(entry);
                    self.entries.pop_front();
                }
                _ => return,
            }
        }
    }

    fn slice(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
        let Some(first) = self.first() else { return Vec::new() };
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut out = Vec::new();
        for entry in self.entries.iter().skip(skip) {
            if entry.log_id.index >= end || bytes >= bytes_max {
                break;
            }
            bytes += size(entry);
            out.push(entry.clone());
        }
        out
    }
}

fn size(entry: &Entry) -> usize {
    64 + match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// The raft log. Clones share it, and serve as readers.
#[derive(Clone)]
pub(crate) struct Log {
    tail: Arc<RwLock<Tail>>,
    disk: Arc<Disk>,
    promised: Promised,
}

/// Whom this member has voted for last, none later than it: what it promises is known here before
/// anybody else is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promised(Arc<Mutex<Option<LeaderId>>>);

impl Promised {
    /// As of now; none if it has never voted.
    pub(crate) fn leader(&self) -> Option<LeaderId> {
        *self.0.lock()
    }
}

impl Log {
    /// Opens or creates the log in the directory `path`; `on_sync` is told how long each sync took,
    /// and how many bytes were written.
    ///
    /// # Errors
    /// If the directory cannot be opened or holds bytes of an unknown version.
    pub(crate) fn open(
        path: &Path,
        on_sync: impl Fn(Duration, usize) + Send + 'static,
    ) -> Result<Self, io::Error> {
        Self::open_sized(path, limits::LOG_FILE_BYTES, on_sync)
    }

    /// As `open`, with files of another size.
    pub(super) fn open_sized(
        path: &Path,
        file_bytes: usize,
        on_sync: impl Fn(Duration, usize) + Send + 'static,
    ) -> Result<Self, io::Error> {
        let (disk, Found { vote, committed, purged, last }) = Disk::open(path, file_bytes)?;
        let tail = Tail {
            vote,
            committed,
            purged,
            last: last.max(purged),
            written: last.map_or(0, |id| id.index),
            ..Tail::default()
        };
        let tail = Arc::new(RwLock::new(tail));
        let for_thread = tail.clone();
        disk.start(Box::new(move |synced| {
            on_sync(synced.took, synced.bytes);
            if let Some(written) = synced.last {
                let mut tail = for_thread.write();
                if tail.truncations == synced.truncations {
                    tail.written = written;
                    tail.shrink();
                }
            }
        }))?;
        let promised = Promised(Arc::new(Mutex::new(vote.map(|vote| vote.leader_id))));
        Ok(Self { tail, disk: Arc::new(disk), promised })
    }

    /// What this member has promised by its votes.
    pub(crate) fn promised(&self) -> Promised {
        self.promised.clone()
    }

    /// Counts who still has the log's files open.
    pub(crate) fn users(&self) -> Weak<Disk> {
        Arc::downgrade(&self.disk)
    }

    /// Writes what is queued, and stops the sync thread.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.disk.stop();
    }

    /// As `close`, for those who must not block.
    pub(crate) async fn closed(&self) {
        self.disk.stopped().await;
    }

    /// Where the log lies, and up to which entry it was deleted.
    pub(crate) fn begins(&self) -> (&Path, Option<LogId>) {
        (self.disk.path(), self.tail.read().purged)
    }

    /// Where the log lies, and how often RocksDB failed in the background.
    pub(crate) fn background_errors(&self) -> Result<(&Path, u64), io::Error> {
        Ok((self.disk.path(), self.disk.background_errors()?))
    }

    /// Bytes written since the log was opened.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.disk.written_bytes()
    }

    /// How long the write that is under way has taken so far.
    pub(crate) fn writing_for(&self) -> Duration {
        self.disk.writing_for()
    }

    /// Makes every write wait, or lets them go on.
    #[cfg(test)]
    pub(crate) fn stick(&self, stuck: bool) {
        self.disk.stick(stuck);
    }

    /// The entries from `start` on, below `end`, as far as the log has them: at least one if it has
    /// any, and no more after `bytes_max` bytes.
    pub(crate) fn read(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, io::Error> {
        loop {
            // The tail is read first: what it does not hold any more is on disk (G2). The disk may
            // still hold what was deleted: deletions are queued like every other write.
            let (start, end, mut newest, first) = {
                let tail = self.tail.read();
                let start = start.max(tail.purged.map_or(tail.begins, |id| id.index + 1));
                let end = end.min(tail.last.map_or(0, |id| id.index + 1));
                (start, end, tail.slice(start, end, bytes_max), tail.first())
            };
            if start >= end {
                return Ok(Vec::new());
            }
            if first.is_some_and(|first| first <= start) {
                return Ok(newest);
            }
            let disk_end = first.unwrap_or(end).min(end);
            let (mut entries, all) = self.disk.read(start, disk_end, bytes_max)?;
            let indexes = entries.iter().map(|entry| entry.log_id.index);
            let next = start + entries.len() as u64;
            if indexes.ne(start..next) || (all && next != disk_end) {
                let tail = self.tail.read();
                let deleted = tail.purged.is_some_and(|id| id.index >= start)
                    || tail.last.is_none_or(|id| id.index + 1 < end);
                if deleted {
                    continue;
                }
                let path = self.disk.path().display();
                let what =
                    format!("{path}: of the entries from {start} to {disk_end} some are missing");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            if all {
                entries.append(&mut newest);
            }
            return Ok(entries);
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, limits::APPEND_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail.read().vote)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail.read();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, durable) = oneshot::channel();
        self.disk.push(Write::Vote(*vote, done));
        let result = durable.await.map_err(|_| io::Error::other("the raft log is closed"))?;
        if result.is_ok() {
            self.tail.write().vote = Some(*vote);
            *self.promised.0.lock() = Some(vote.leader_id);
        }
        result
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.tail.write().committed = committed;
        self.disk.set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.tail.read().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        let mut added = Vec::new();
        for entry in entries {
            let mut value = Vec::with_capacity(size(&entry));
            codec::encode_entry(&entry, &mut value)?;
            encoded.push((entry.log_id.index, value));
            added.push(entry);
        }
        {
            // G1: readable before it is durable.
            let mut tail = self.tail.write();
            for entry in added {
                if tail.last.is_none() {
                    tail.begins = entry.log_id.index;
                }
                tail.last = Some(entry.log_id);
                tail.bytes += size(&entry);
                tail.entries.push_back(entry);
            }
        }
        self.disk.push(Write::Append(encoded, callback));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let keep = last.map_or(0, |id| id.index + 1);
        {
            let mut tail = self.tail.write();
            if tail.last.is_none_or(|end| end.index < keep) {
                return Ok(());
            }
            while tail.entries.back().is_some_and(|entry| entry.log_id.index >= keep) {
                if let Some(entry) = tail.entries.pop_back() {
                    tail.bytes -= size(&entry);
                }
            }
            tail.last = last.max(tail.purged);
            tail.written = tail.written.min(keep.saturating_sub(1));
            tail.truncations += 1;
        }
        self.disk.push(Write::TruncateFrom(keep));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut tail = self.tail.write();
            while tail.first().is_some_and(|first| first <= upto.index) {
                if let Some(entry) = tail.entries.pop_front() {
                    tail.bytes -= size(&entry);
                }
            }
            tail.purged = tail.purged.max(Some(upto));
            // G3: the log continues behind what was purged.
            tail.last = tail.last.max(Some(upto));
        }
        self.disk.push(Write::Purge(upto));
        Ok(())
    }
}
