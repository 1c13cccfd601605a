//! What the state's digest was after each of the entries that were applied last.

use std::collections::VecDeque;

use parking_lot::Mutex;
use store_state_machine::Digest;

use crate::limits;

/// Filled by the apply thread, asked by whoever compares members.
pub(crate) struct Digests {
    ring: Mutex<Ring>,
}

/// Of entries that follow each other; there is always one.
struct Ring {
    first: u64,
    after: VecDeque<Digest>,
}

impl Ring {
    fn of(index: u64, digest: Digest) -> Self {
        Self { first: index, after: VecDeque::from([digest]) }
    }
}

impl Digests {
    /// Of a state where it stands.
    pub(crate) fn new(index: u64, digest: Digest) -> Self {
        Self { ring: Mutex::new(Ring::of(index, digest)) }
    }

    /// The state is another one: what the old one was after its entries is not asked for any more.
    pub(crate) fn replaced(&self, index: u64, digest: Digest) {
        *self.ring.lock() = Ring::of(index, digest);
    }

    /// These were applied, in this order.
    pub(crate) fn applied(&self, entries: impl Iterator<Item = (u64, Digest)>) {
        let mut ring = self.ring.lock();
        for (index, digest) in entries {
            if index != ring.first + ring.after.len() as u64 {
                *ring = Ring::of(index, digest);
                continue;
            }
            if ring.after.len() == limits::DIGESTS_KEPT {
                ring.after.pop_front();
                ring.first += 1;
            }
            ring.after.push_back(digest);
        }
    }

    /// After the last entry, and its index.
    pub(crate) fn last(&self) -> (u64, Digest) {
        let ring = self.ring.lock();
        let digest = ring.after.back().copied().unwrap_or_default();
        (ring.first + (ring.after.len() as u64).saturating_sub(1), digest)
    }

    /// After this entry; none if it was not applied yet, or too long ago.
    pub(crate) fn after(&self, index: u64) -> Option<Digest> {
        let ring = self.ring.lock();
        let place = usize::try_from(index.checked_sub(ring.first)?).ok()?;
        ring.after.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(value: u64) -> Digest {
        Digest { entries: value, value }
    }

    #[test]
    fn the_last_entries_are_known_and_no_others() {
        let digests = Digests::new(10, digest(10));
        digests.applied((11..=12).map(|index| (index, digest(index))));
        assert_eq!(digests.last(), (12, digest(12)));
        assert_eq!(
            [9, 10, 11, 12, 13].map(|index| digests.after(index).is_some()),
            [false, true, true, true, false]
        );
        let many = 13 + limits::DIGESTS_KEPT as u64;
        digests.applied((13..many).map(|index| (index, digest(index))));
        assert_eq!((digests.after(12), digests.after(13)), (None, Some(digest(13))));
        assert_eq!(digests.last(), (many - 1, digest(many - 1)));
        // Another state stands at an earlier entry, and goes on from there.
        digests.replaced(20, digest(7));
        digests.applied([(21, digest(8))].into_iter());
        assert_eq!(
            [19, 20, 21, 22].map(|index| digests.after(index)),
            [None, Some(digest(7)), Some(digest(8)), None]
        );
    }
}
