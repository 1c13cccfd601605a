//! Every key in memory, in order, with all that a write must know of it, and counted.
//!
//! Keys lie in sorted chunks; each chunk knows how many of its keys are not deleted, so that the
//! count of a long range adds one number per chunk.

use crate::keys::{KeyRange, Revision};
use crate::limits::INDEX_CHUNK_KEYS_MAX;

/// The newest record of a key without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) modified: Revision,
    pub(crate) created: i64,
    /// Zero for a deleted key.
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl Meta {
    pub(crate) fn is_live(&self) -> bool {
        self.version != 0
    }
}

#[derive(Default)]
struct Chunk {
    keys: Vec<(Box<[u8]>, Meta)>,
    live: usize,
}

/// The keys, deleted ones included until they are compacted away.
#[derive(Default)]
pub(crate) struct Index {
    /// Never holds an empty chunk.
    chunks: Vec<Chunk>,
}

impl Index {
    /// The chunk in which `key` lies or would lie.
    fn chunk_of(&self, key: &[u8]) -> usize {
        let after = self.chunks.partition_point(|chunk| chunk.keys[0].0.as_ref() <= key);
        after.saturating_sub(1)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Meta> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.keys.binary_search_by(|(other, _)| other.as_ref().cmp(key)).ok()?;
        Some(&chunk.keys[at].1)
    }

    pub(crate) fn insert(&mut self, key: Box<[u8]>, meta: Meta) {
        let is_last = |last: &Chunk| last.keys.last().is_some_and(|(newest, _)| *newest < key);
        // A store that starts reads its keys in order: those need not be looked for.
        if let Some(last) = self.chunks.last_mut().filter(|last| is_last(last)) {
            last.keys.push((key, meta));
            last.live += usize::from(meta.is_live());
            if last.keys.len() > INDEX_CHUNK_KEYS_MAX {
                let (chunk, inserted) = (self.chunks.len() - 1, INDEX_CHUNK_KEYS_MAX);
                self.split(chunk, inserted);
            }
            return;
        }
        let at_chunk = self.chunk_of(&key);
        let Some(chunk) = self.chunks.get_mut(at_chunk) else {
            let live = usize::from(meta.is_live());
            self.chunks.push(Chunk { keys: vec![(key, meta)], live });
            return;
        };
        match chunk.keys.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => {
                let old = std::mem::replace(&mut chunk.keys[at].1, meta);
                chunk.live += usize::from(meta.is_live());
                chunk.live -= usize::from(old.is_live());
            }
            Err(at) => {
                chunk.keys.insert(at, (key, meta));
                chunk.live += usize::from(meta.is_live());
                if chunk.keys.len() > INDEX_CHUNK_KEYS_MAX {
                    self.split(at_chunk, at);
                }
            }
        }
    }

    /// Keys that arrive in order leave full chunks behind; others split in the middle.
    fn split(&mut self, at_chunk: usize, inserted: usize) {
        let chunk = &mut self.chunks[at_chunk];
        let in_order = inserted + 1 == chunk.keys.len();
        let at = if in_order { inserted } else { chunk.keys.len() / 2 };
        let keys = chunk.keys.split_off(at);
        let live = keys.iter().filter(|(_, meta)| meta.is_live()).count();
        chunk.live -= live;
        self.chunks.insert(at_chunk + 1, Chunk { keys, live });
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let at_chunk = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at_chunk) else { return };
        if let Ok(at) = chunk.keys.binary_search_by(|(other, _)| other.as_ref().cmp(key)) {
            let (_, meta) = chunk.keys.remove(at);
            chunk.live -= usize::from(meta.is_live());
            if chunk.keys.is_empty() {
                self.chunks.remove(at_chunk);
            }
        }
    }

    /// Keys of the range that are not deleted.
    pub(crate) fn count(&self, range: &KeyRange) -> usize {
        if let KeyRange::One(key) = range {
            return usize::from(self.get(key).is_some_and(Meta::is_live));
        }
        let start = range.start();
        let mut count = 0;
        for chunk in &self.chunks[self.chunk_of(start).min(self.chunks.len())..] {
            let (first, last) = (&chunk.keys[0].0, &chunk.keys[chunk.keys.len() - 1].0);
            if range.contains(first) && range.contains(last) {
                count += chunk.live;
                continue;
            }
            let inside = |(key, meta): &&(Box<[u8]>, Meta)| meta.is_live() && range.contains(key);
            count += chunk.keys.iter().filter(inside).count();
            if first.as_ref() >= start && !range.contains(first) {
                break;
            }
        }
        count
    }

    /// Keys of the range in order, deleted ones included.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = (&'a [u8], &'a Meta)> {
        let start = range.start();
        self.chunks[self.chunk_of(start).min(self.chunks.len())..]
            .iter()
            .flat_map(|chunk| chunk.keys.iter())
            .skip_while(move |(key, _)| key.as_ref() < start)
            .take_while(|(key, _)| range.contains(key))
            .map(|(key, meta)| (key.as_ref(), meta))
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.keys.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Index, Meta, Revision};
    use crate::keys::KeyRange;

    fn meta(version: i64) -> Meta {
        Meta { modified: Revision { main: 1, sub: 0 }, created: 1, version, lease: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// A plain map is the judge of what the chunks hold and count.
        #[test]
        fn chunks_answer_as_a_plain_map(
            steps in proptest::collection::vec((0u16..900, 0u8..4), 1..3000),
            from in 0u16..900, to in 0u16..900,
        ) {
            let (mut index, mut map) = (Index::default(), BTreeMap::new());
            for (number, action) in steps {
                let key: Box<[u8]> = Box::from(number.to_be_bytes());
                if action == 3 {
                    index.remove(&key);
                    map.remove(&key);
                } else {
                    index.insert(key.clone(), meta(i64::from(action)));
                    map.insert(key, meta(i64::from(action)));
                }
            }
            prop_assert_eq!(index.len(), map.len());
            let start = Bytes::copy_from_slice(&from.to_be_bytes());
            let end = Bytes::copy_from_slice(&to.to_be_bytes());
            for range in [
                KeyRange::One(start.clone()),
                KeyRange::From(start.clone()),
                KeyRange::Between(start, end),
            ] {
                let expected: Vec<_> = map
                    .iter()
                    .filter(|(key, _)| range.contains(key))
                    .map(|(key, meta)| (key.as_ref(), meta))
                    .collect();
                let live = expected.iter().filter(|(_, meta)| meta.is_live()).count();
                prop_assert_eq!(index.count(&range), live);
                prop_assert_eq!(index.range(&range).collect::<Vec<_>>(), expected);
            }
        }
    }
}
