//! Reads: values, snapshots and cursors.

use std::ops::Deref;

use rocksdb::{DB, DBPinnableSlice, DBRawIterator, SnapshotWithThreadMode};

#[cfg(feature = "sim")]
use crate::sim;
use crate::{Error, Family, FamilyOf, MIXED, memory, rocks};

/// How to read a run of keys.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The first key that is not read.
    pub end: Option<Vec<u8>>,
    /// Whether what was read stays in memory.
    pub fill_cache: bool,
    /// How much to read at once; none for what seems best.
    pub readahead_bytes: Option<usize>,
}

impl Reading {
    /// All keys below `end`.
    #[must_use]
    pub fn below(end: Option<Vec<u8>>) -> Self {
        Self { end, fill_cache: true, readahead_bytes: None }
    }
}

/// A value where it lies in memory.
pub struct Value<'a>(pub(crate) ValueOf<'a>);

pub(crate) enum ValueOf<'a> {
    Rocks(DBPinnableSlice<'a>),
    Bytes(bytes::Bytes),
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            ValueOf::Rocks(value) => value,
            ValueOf::Bytes(value) => value,
        }
    }
}

/// All families as of one moment.
pub struct Snapshot<'a>(pub(crate) SnapshotOf<'a>);

pub(crate) enum SnapshotOf<'a> {
    Rocks(SnapshotWithThreadMode<'a, DB>),
    Memory(memory::Snapshot),
    #[cfg(feature = "sim")]
    Sim(sim::Snapshot),
}

impl Snapshot<'_> {
    /// The value of a key as of the snapshot.
    ///
    /// # Errors
    /// When the disk fails, or does not hold what was written.
    pub fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Value<'_>>, Error> {
        match (&self.0, family.0) {
            (SnapshotOf::Rocks(snapshot), FamilyOf::Rocks(family)) => {
                let found = snapshot.get_pinned_cf(family, key)?;
                Ok(found.map(|found| Value(ValueOf::Rocks(found))))
            }
            (SnapshotOf::Memory(snapshot), FamilyOf::Memory(family)) => {
                Ok(snapshot.get(family, key).map(|found| Value(ValueOf::Bytes(found))))
            }
            #[cfg(feature = "sim")]
            (SnapshotOf::Sim(snapshot), FamilyOf::Sim(family)) => {
                Ok(snapshot.get(family, key)?.map(|found| Value(ValueOf::Bytes(found))))
            }
            _ => unreachable!("{MIXED}"),
        }
    }

    /// A cursor over a family as of the snapshot.
    #[must_use]
    pub fn cursor(&self, family: Family<'_>, reading: Reading) -> Cursor<'_> {
        Cursor(match (&self.0, family.0) {
            (SnapshotOf::Rocks(snapshot), FamilyOf::Rocks(family)) => {
                CursorOf::Rocks(snapshot.raw_iterator_cf_opt(family, rocks::read_options(reading)))
            }
            (SnapshotOf::Memory(snapshot), FamilyOf::Memory(family)) => {
                CursorOf::Memory(snapshot.cursor(family, reading))
            }
            #[cfg(feature = "sim")]
            (SnapshotOf::Sim(snapshot), FamilyOf::Sim(family)) => {
                CursorOf::Sim(snapshot.cursor(family, reading))
            }
            _ => unreachable!("{MIXED}"),
        })
    }
}

/// A place in a family, from which one goes on to its neighbours. It begins nowhere: seek first.
pub struct Cursor<'a>(pub(crate) CursorOf<'a>);

pub(crate) enum CursorOf<'a> {
    Rocks(DBRawIterator<'a>),
    Memory(memory::Cursor),
    #[cfg(feature = "sim")]
    Sim(sim::Cursor),
}

impl Cursor<'_> {
    /// Goes to the first key that is not below `key`.
    pub fn seek(&mut self, key: &[u8]) {
        match &mut self.0 {
            CursorOf::Rocks(cursor) => cursor.seek(key),
            CursorOf::Memory(cursor) => cursor.seek(key),
            #[cfg(feature = "sim")]
            CursorOf::Sim(cursor) => cursor.seek(key),
        }
    }

    /// Goes to the last key that is not above `key`.
    pub fn seek_back(&mut self, key: &[u8]) {
        match &mut self.0 {
            CursorOf::Rocks(cursor) => cursor.seek_for_prev(key),
            CursorOf::Memory(cursor) => cursor.seek_back(key),
            #[cfg(feature = "sim")]
            CursorOf::Sim(cursor) => cursor.seek_back(key),
        }
    }

    /// Goes one key on; only from a key.
    pub fn next(&mut self) {
        match &mut self.0 {
            CursorOf::Rocks(cursor) => cursor.next(),
            CursorOf::Memory(cursor) => cursor.next(),
            #[cfg(feature = "sim")]
            CursorOf::Sim(cursor) => cursor.next(),
        }
    }

    /// Goes one key back; only from a key.
    pub fn back(&mut self) {
        match &mut self.0 {
            CursorOf::Rocks(cursor) => cursor.prev(),
            CursorOf::Memory(cursor) => cursor.back(),
            #[cfg(feature = "sim")]
            CursorOf::Sim(cursor) => cursor.back(),
        }
    }

    /// The key and value here; none at an end, or after a failure.
    #[must_use]
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        match &self.0 {
            CursorOf::Rocks(cursor) => cursor.item(),
            CursorOf::Memory(cursor) => cursor.item(),
            #[cfg(feature = "sim")]
            CursorOf::Sim(cursor) => cursor.item(),
        }
    }

    /// Whether it stands at none because there is no more.
    ///
    /// # Errors
    /// When the disk failed, or does not hold what was written.
    pub fn status(&self) -> Result<(), Error> {
        match &self.0 {
            CursorOf::Rocks(cursor) => Ok(cursor.status()?),
            CursorOf::Memory(_) => Ok(()),
            #[cfg(feature = "sim")]
            CursorOf::Sim(cursor) => cursor.status(),
        }
    }
}
