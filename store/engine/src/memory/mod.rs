//! An engine that keeps everything in memory and nothing on a disk: for stores that end with their process.
//!
//! A snapshot shares the maps until one of them is changed: then that one is copied. So a write under
//! a snapshot costs as much as the family has keys, and the readers of such stores hold theirs briefly.

pub(crate) mod batch;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::{DEFAULT, Reading};
pub(crate) use batch::Batch;
use batch::Change;

type Map = BTreeMap<Bytes, Bytes>;

/// A database in memory.
pub(crate) struct Memory {
    names: Vec<String>,
    tables: RwLock<Tables>,
}

struct Tables {
    families: Vec<Arc<Map>>,
    /// How many changes were ever made.
    sequence: u64,
    /// Of all keys and values.
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(families: &[&str]) -> Self {
        let names: Vec<String> =
            [DEFAULT].iter().chain(families).map(|name| (*name).to_owned()).collect();
        let families = vec![Arc::default(); names.len()];
        Self { names, tables: RwLock::new(Tables { families, sequence: 0, bytes: 0 }) }
    }

    pub(crate) fn family(&self, name: &str) -> u32 {
        let position = self.names.iter().position(|other| other == name);
        let position = position.expect("it is one of those that were opened");
        u32::try_from(position).expect("there are few families")
    }

    /// E1: readers see the whole batch or nothing of it.
    pub(crate) fn write(&self, batch: Batch) {
        let changes = batch::changes(&Bytes::from(batch.into_data()));
        let changes = changes.expect("the batch was made by this engine");
        let mut tables = self.tables.write();
        for (family, change) in changes {
            tables.apply(family as usize, change);
        }
    }

    pub(crate) fn get(&self, family: u32, key: &[u8]) -> Option<Bytes> {
        self.tables.read().families[family as usize].get(key).cloned()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { families: self.tables.read().families.clone() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.tables.read().bytes as u64
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.tables.read().sequence
    }
}

impl Tables {
    fn apply(&mut self, family: usize, change: Change) {
        let map = Arc::make_mut(&mut self.families[family]);
        self.sequence += 1;
        match change {
            Change::Put(key, value) => {
                // A slice would keep the whole batch in memory.
                let (key, value) = (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
                self.bytes += key.len() + value.len();
                let length = key.len();
                if let Some(old) = map.insert(key, value) {
                    self.bytes -= length + old.len();
                }
            }
            Change::Delete(key) => {
                if let Some(old) = map.remove(&key) {
                    self.bytes -= key.len() + old.len();
                }
            }
            Change::DeleteRange(from, to) if from < to => {
                let range = (Bound::Included(from), Bound::Excluded(to));
                let inside: Vec<Bytes> = map.range(range).map(|(key, _)| key.clone()).collect();
                for key in inside {
                    let old = map.remove(&key).map_or(0, |old| old.len());
                    self.bytes -= key.len() + old;
                }
            }
            Change::DeleteRange(..) => {}
        }
    }
}

/// All families as of one moment.
pub(crate) struct Snapshot {
    families: Vec<Arc<Map>>,
}

impl Snapshot {
    pub(crate) fn get(&self, family: u32, key: &[u8]) -> Option<Bytes> {
        self.families[family as usize].get(key).cloned()
    }

    pub(crate) fn cursor(&self, family: u32, reading: Reading) -> Cursor {
        let map = Arc::clone(&self.families[family as usize]);
        Cursor { map, end: reading.end, at: None }
    }
}

/// A place in a family.
pub(crate) struct Cursor {
    map: Arc<Map>,
    end: Option<Vec<u8>>,
    at: Option<(Bytes, Bytes)>,
}

impl Cursor {
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.forward(Bound::Included(key));
    }

    pub(crate) fn next(&mut self) {
        if let Some((key, _)) = self.at.take() {
            self.forward(Bound::Excluded(&key));
        }
    }

    pub(crate) fn seek_back(&mut self, key: &[u8]) {
        self.backward(Bound::Included(key));
    }

    pub(crate) fn back(&mut self) {
        if let Some((key, _)) = self.at.take() {
            self.backward(Bound::Excluded(&key));
        }
    }

    pub(crate) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.at.as_ref().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    fn forward(&mut self, from: Bound<&[u8]>) {
        let found = self.map.range::<[u8], _>((from, Bound::Unbounded)).next();
        let found = found.filter(|(key, _)| self.end.as_deref().is_none_or(|end| **key < *end));
        self.at = found.map(|(key, value)| (key.clone(), value.clone()));
    }

    fn backward(&mut self, from: Bound<&[u8]>) {
        let upto = match (from, self.end.as_deref()) {
            (Bound::Included(key) | Bound::Excluded(key), Some(end)) if end <= key => {
                Bound::Excluded(end)
            }
            (from, _) => from,
        };
        let found = self.map.range::<[u8], _>((Bound::Unbounded, upto)).next_back();
        self.at = found.map(|(key, value)| (key.clone(), value.clone()));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Db, Durability, Reading};

    #[test]
    fn a_snapshot_stays_as_it_was_and_a_batch_is_seen_as_a_whole() {
        let db = Db::in_memory(&["one"]);
        let family = db.family("one");
        let mut batch = db.batch();
        for key in ["a", "b", "c"] {
            batch.put(family, key, "1");
        }
        db.write(batch, Durability::AtFlush).unwrap();
        let before = db.snapshot();

        let mut batch = db.batch();
        batch.put(family, "b", "2");
        batch.delete(family, "a");
        batch.delete_range(family, "c", "d");
        db.write(batch, Durability::AtFlush).unwrap();

        let read = |mut cursor: crate::Cursor<'_>| {
            let mut found = Vec::new();
            cursor.seek(b"");
            while let Some((key, value)) = cursor.item() {
                found.push(format!("{}={}", key.escape_ascii(), value.escape_ascii()));
                cursor.next();
            }
            found
        };
        assert_eq!(read(before.cursor(family, Reading::below(None))), ["a=1", "b=1", "c=1"]);
        assert_eq!(read(db.cursor(family, Reading::below(None))), ["b=2"]);
        assert_eq!(db.get(family, b"b").unwrap().unwrap(), b"2");
        assert_eq!(db.sizes().unwrap(), (2, 2));
        let mut cursor = before.cursor(family, Reading::below(Some(b"c".to_vec())));
        cursor.seek_back(b"z");
        assert_eq!(cursor.item().unwrap().0, b"b");
        cursor.back();
        assert_eq!(cursor.item().unwrap().0, b"a");
    }
}
