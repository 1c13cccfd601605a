//! The physical side of compaction: removes, in small steps, what no readable revision can see.

use std::sync::Arc;

use proto::orlop::store::v1::Record;
use serde::{Deserialize, Serialize};
use store_planted::{self as planted, Bug};

use crate::codec;
use crate::disk::{LIVE, META, REV};
use crate::error::Fault;
use crate::keys::{self, Revision};
use crate::machine::StateMachine;

/// Where this member's removal stands. It can start over at any time, so it is node-local.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Progress {
    /// All of this compacted revision is done.
    finished: i64,
    /// The next record to look at.
    next_main: i64,
    next_sub: u32,
}

/// Up to which compacted revision the removal is done, from the stored progress.
pub(crate) fn finished(stored: &[u8]) -> Result<i64, Fault> {
    let progress: Progress = codec::decode_local(stored)?;
    Ok(progress.finished)
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactProgress {
    /// Records removed by this step.
    pub removed: usize,
    /// Nothing is left to remove below the compacted revision.
    pub done: bool,
}

impl StateMachine {
    /// Looks at up to `limit` records, removes what they make unreachable, and remembers how far it
    /// came. To be called between applies until it is done.
    ///
    /// # Errors
    /// A fault of this member.
    pub fn compact_step(&mut self, limit: usize) -> Result<CompactProgress, Fault> {
        if self.broken {
            return Err(Fault::Broken);
        }
        let (disk, compacted) = {
            let state = self.shared.state.read();
            (Arc::clone(&state.disk), state.compacted)
        };
        let mut progress: Progress = match disk.get(META, keys::COMPACT)? {
            Some(stored) => codec::decode_local(&stored)?,
            None => Progress::default(),
        };
        if progress.finished >= compacted {
            return Ok(CompactProgress { removed: 0, done: true });
        }
        // The deletions of a revision that was the compacted one itself were kept: now they go.
        if self.compacting != Some(compacted) {
            progress.next_sub = 0;
        }

        let start = Revision { main: progress.next_main, sub: progress.next_sub }.to_key();
        let end = compacted + 1 + i64::from(planted::is(Bug::CompactionTooMuch));
        let end = Revision::first_of(end).to_key().to_vec();
        let keeps = !(planted::is(Bug::WatchLosesDelete) || planted::is(Bug::CompactionRewinds));
        let (mut seen, mut removed) = (0, 0);
        let mut next = None;
        let mut batch = disk.batch();
        let mut forgotten = Vec::new();
        disk.scan(REV, &start, Some(end), |key, stored| {
            let place = Revision::from_key(key).ok_or_else(|| Fault::damaged("revision key"))?;
            if seen == limit {
                next = Some(place);
                return Ok(false);
            }
            seen += 1;
            let record: Record = codec::decode(stored)?;
            if record.previous_main != 0 {
                let previous = Revision { main: record.previous_main, sub: record.previous_sub };
                batch.delete(disk.family(REV), previous.to_key());
                removed += 1;
            }
            // A deletion at the compacted revision itself stays: a watch may start there.
            if record.deleted && place.main < compacted + i64::from(!keeps) {
                batch.delete(disk.family(REV), place.to_key());
                removed += 1;
                let kv = record.kv.ok_or_else(|| Fault::damaged("record without a key"))?;
                forgotten.push((kv.key, place));
            }
            Ok(true)
        })?;

        // K5: a key that was made again since then has a newer record, and stays.
        let state = self.shared.state.upgradable_read();
        forgotten.retain(|(key, place)| {
            state.index.get(key).is_some_and(|meta| meta.modified == *place)
        });
        for (key, _) in &forgotten {
            batch.delete(disk.family(LIVE), key);
        }
        // The next compaction looks again at the deletions that this one had to keep.
        let continue_at = next.unwrap_or(Revision::first_of(compacted));
        progress.next_main = continue_at.main;
        progress.next_sub = continue_at.sub;
        if next.is_none() {
            progress.finished = compacted;
        }
        batch.put(disk.family(META), keys::COMPACT, codec::encode_local(&progress));
        disk.write(batch)?;

        let mut state = parking_lot::RwLockUpgradableReadGuard::upgrade(state);
        for (key, _) in &forgotten {
            state.index.remove(key);
        }
        drop(state);
        self.compacting = Some(compacted);
        Ok(CompactProgress { removed, done: next.is_none() })
    }
}
