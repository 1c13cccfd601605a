//! The ring of recent events: the apply thread appends, streams read from their cursors.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::RwLock;
use store_planted::{self as planted, Bug};
use store_state_machine::RevisionEvents;
use tokio::sync::watch;

use crate::limits;

struct Ring {
    events: VecDeque<Arc<RevisionEvents>>,
    bytes: usize,
    /// Every event above this revision is in the ring.
    floor: i64,
    /// Every event up to this revision was published.
    current: i64,
}

/// Recent events, and the revision up to which they were published.
pub(crate) struct Hub {
    ring: RwLock<Ring>,
    revision: watch::Sender<i64>,
}

fn size(events: &RevisionEvents) -> usize {
    let one =
        |event: &Arc<store_state_machine::Event>| 256 + event.kv.key.len() + event.kv.value.len();
    64 + events.events.iter().map(one).sum::<usize>()
}

impl Hub {
    pub(crate) fn new(revision: i64) -> Self {
        let ring = Ring { events: VecDeque::new(), bytes: 0, floor: revision, current: revision };
        Self { ring: RwLock::new(ring), revision: watch::Sender::new(revision) }
    }

    /// Adds the events of newly applied commands. `revision` is the store's after them.
    pub(crate) fn publish(&self, events: Vec<RevisionEvents>, revision: i64) {
        {
            let mut ring = self.ring.write();
            for events in events {
                ring.bytes += size(&events);
                ring.events.push_back(Arc::new(events));
            }
            while ring.bytes > limits::WATCH_RING_BYTES_MAX {
                let Some(oldest) = ring.events.pop_front() else { break };
                ring.bytes -= size(&oldest);
                ring.floor = oldest.revision;
            }
            ring.current = revision;
        }
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    /// Forgets the ring: the state was replaced by a snapshot at `revision`.
    pub(crate) fn reset(&self, revision: i64) {
        {
            let mut ring = self.ring.write();
            *ring = Ring {
                events: VecDeque::new(),
                bytes: 0,
                floor: if planted::is(Bug::WatchSnapshotGap) { 0 } else { revision },
                current: revision.max(ring.current),
            };
        }
        self.revision.send_replace(revision);
    }

    /// Tells about every change of the published revision.
    pub(crate) fn subscribe(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }

    /// The published revision.
    pub(crate) fn revision(&self) -> i64 {
        self.ring.read().current
    }

    /// Up to `limit` revisions after `after`, and the revision up to which they are complete;
    /// none if they are no longer in the ring.
    pub(crate) fn after(
        &self,
        after: i64,
        limit: usize,
    ) -> Option<(Vec<Arc<RevisionEvents>>, i64)> {
        let ring = self.ring.read();
        if after < ring.floor {
            return None;
        }
        let skip = ring.events.partition_point(|events| events.revision <= after);
        let found: Vec<_> = ring.events.iter().skip(skip).take(limit).cloned().collect();
        let complete = match found.last() {
            Some(last) if found.len() == limit => last.revision,
            _ => ring.current.max(after),
        };
        Some((found, complete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: i64) -> RevisionEvents {
        RevisionEvents { revision, events: Vec::new() }
    }

    #[test]
    fn a_cursor_reads_what_came_after_it() {
        let hub = Hub::new(5);
        hub.publish(vec![at(6), at(7)], 7);
        hub.publish(vec![at(8)], 8);
        let (events, complete) = hub.after(6, 10).unwrap();
        assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(complete, 8);
        // A limited page is complete up to its last revision only.
        assert_eq!(hub.after(5, 2).unwrap().1, 7);
        // What was before the ring began must come from the disk.
        assert!(hub.after(4, 10).is_none());
    }
}
