//! What a power cut takes back: how a file was before each change since its last sync.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::limits;

/// What of the changes that were not synced a power cut loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// All of them.
    All,
    /// Of each file the last one; if that was a write, a prefix of it stays, as long as the seed
    /// says.
    LastTorn {
        /// The same one tears the same files in the same places.
        seed: u64,
    },
}

/// What a power cut had to choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Files with changes that were not synced.
    pub files: u64,
    /// Those changes: with [`Lost::All`] all of them are gone.
    pub changes: u64,
}

/// A file's changes since its last sync, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    changes: Vec<Change>,
    /// How many there ever were.
    count: u64,
    bytes: usize,
}

/// How the file was before one change.
#[derive(Debug)]
struct Change {
    number: u64,
    length: u64,
    offset: u64,
    before: Vec<u8>,
    /// What was written, if it was a write.
    written: Option<Range<u64>>,
}

impl Log {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Notes how a file is before the bytes in `range` change; `is_write` if they are written,
    /// not cut off or punched out.
    pub(super) fn note(
        &mut self,
        file: &File,
        range: Range<u64>,
        is_write: bool,
    ) -> io::Result<()> {
        let length = file.metadata()?.len();
        let size = range.end.min(length).saturating_sub(range.start);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (number, offset) = (self.count, range.start);
        self.count += 1;
        if size > limits::DISK_UNSYNCED_BYTES_MAX - self.bytes {
            // A disk may write back whenever it likes: what came before now counts as durable.
            self.changes.clear();
            self.bytes = 0;
            if size > limits::DISK_UNSYNCED_BYTES_MAX {
                return Ok(());
            }
        }
        let mut before = vec![0; size];
        file.read_exact_at(&mut before, range.start)?;
        let written = is_write.then_some(range);
        self.changes.push(Change { number, length, offset, before, written });
        self.bytes += size;
        Ok(())
    }

    /// The changes so far, which a sync that begins now makes durable.
    pub(super) fn mark(&self) -> u64 {
        self.count
    }

    /// A sync has ended that began at `mark`.
    pub(super) fn synced(&mut self, mark: u64) {
        self.changes.retain(|change| change.number >= mark);
        self.bytes = self.changes.iter().map(|change| change.before.len()).sum();
    }

    /// Takes the changes back.
    pub(super) fn lose(&mut self, file: &File, torn: Option<&mut StdRng>) -> io::Result<Taken> {
        let taken = Taken { files: 1, changes: self.changes.len() as u64 };
        match torn {
            None => {
                while let Some(change) = self.changes.pop() {
                    change.undo(file)?;
                }
            }
            Some(seed) => {
                if let Some(last) = self.changes.pop() {
                    last.tear(file, seed)?;
                }
            }
        }
        *self = Self::default();
        Ok(taken)
    }
}

impl Change {
    fn undo(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.before, self.offset)?;
        file.set_len(self.length)
    }

    fn tear(&self, file: &File, seed: &mut StdRng) -> io::Result<()> {
        let Some(range) = &self.written else { return self.undo(file) };
        let size = seed.random_range(0..range.end - range.start);
        let mut prefix = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(&mut prefix, range.start)?;
        self.undo(file)?;
        file.write_all_at(&prefix, range.start)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rand::SeedableRng as _;

    use super::*;

    fn write(log: &mut Log, file: &File, offset: u64, data: &str) {
        let end = offset + u64::try_from(data.len()).unwrap();
        log.note(file, offset..end, true).unwrap();
        file.write_all_at(data.as_bytes(), offset).unwrap();
    }

    fn content(mut file: &File) -> String {
        use std::io::Seek as _;
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_sync_keeps_what_came_before_it_began_and_nothing_more() {
        let file = tempfile::tempfile().unwrap();
        let mut log = Log::default();
        write(&mut log, &file, 0, "one ");
        let mark = log.mark();
        write(&mut log, &file, 4, "two");
        write(&mut log, &file, 0, "1");
        log.synced(mark);
        assert_eq!(content(&file), "1ne two");
        log.lose(&file, None).unwrap();
        assert_eq!(content(&file), "one ");
    }

    #[test]
    fn what_was_cut_off_is_back() {
        let file = tempfile::tempfile().unwrap();
        let mut log = Log::default();
        write(&mut log, &file, 0, "one two");
        log.synced(log.mark());
        log.note(&file, 3..u64::MAX, false).unwrap();
        file.set_len(3).unwrap();
        write(&mut log, &file, 5, "!");
        log.lose(&file, None).unwrap();
        assert_eq!(content(&file), "one two");
    }

    #[test]
    fn a_torn_write_is_a_prefix_of_it() {
        for seed in 0..20 {
            let file = tempfile::tempfile().unwrap();
            let mut log = Log::default();
            write(&mut log, &file, 0, "first ");
            write(&mut log, &file, 6, "second");
            log.lose(&file, Some(&mut StdRng::seed_from_u64(seed))).unwrap();
            let left = content(&file);
            assert!(left.len() < 12 && left.starts_with("first "), "{left}");
            assert!("first second".starts_with(&left), "{left}");
        }
    }
}
