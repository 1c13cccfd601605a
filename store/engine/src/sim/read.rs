//! Reads of the simulated engine.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::{Disk, Operation};
use super::files::{Map, Tables};
use crate::{Error, Reading};

/// All families as of one moment.
pub(crate) struct Snapshot {
    pub(super) disk: Disk,
    pub(super) life: u64,
    pub(super) tables: Tables,
}

impl Snapshot {
    pub(crate) fn get(&self, family: u32, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.begin(family)?;
        Ok(self.tables.families[family as usize].get(key).cloned())
    }

    pub(crate) fn cursor(&self, family: u32, reading: Reading) -> Cursor {
        let failed = self.begin(family).err();
        let map = Arc::clone(&self.tables.families[family as usize]);
        Cursor { map, end: reading.end, at: None, failed }
    }

    fn begin(&self, family: u32) -> Result<(), Error> {
        self.disk.begin(self.life, Operation::Read)?;
        self.disk.found(self.tables.whole(family))
    }
}

pub(crate) struct Cursor {
    map: Arc<Map>,
    end: Option<Vec<u8>>,
    at: Option<(Bytes, Bytes)>,
    failed: Option<Error>,
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

    pub(crate) fn status(&self) -> Result<(), Error> {
        match &self.failed {
            None => Ok(()),
            Some(Error::Damaged(what)) => Err(Error::Damaged(what.clone())),
            Some(error) => Err(Error::Refused(error.to_string())),
        }
    }

    fn forward(&mut self, from: Bound<&[u8]>) {
        let found = self.map.range::<[u8], _>((from, Bound::Unbounded)).next();
        let found = found.filter(|(key, _)| self.end.as_deref().is_none_or(|end| **key < *end));
        self.at = found.map(|(key, value)| (key.clone(), value.clone()));
        self.hide();
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
        self.hide();
    }

    fn hide(&mut self) {
        if self.failed.is_some() {
            self.at = None;
        }
    }
}
