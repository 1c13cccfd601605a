//! Whether this member asks for votes. Some members must not lead: whose disk is stuck, or whose data differ
//! from the others'. Each reason is given and taken back by who sees it, and none of them for another.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Node;

/// Why a member must not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bar {
    /// Its disk does not finish a write.
    Disk = 1,
    /// Its data are not a majority's.
    Fence = 2,
}

/// The reasons that hold now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bars(u8);

impl Bars {
    fn set(&mut self, bar: Bar, holds: bool) {
        self.0 = if holds { self.0 | bar as u8 } else { self.0 & !(bar as u8) };
    }

    fn none(self) -> bool {
        self.0 == 0
    }
}

/// A member's candidacy, shared by who bars it and who would ask for votes.
#[derive(Clone)]
pub(crate) struct Candidacy {
    raft: Node,
    bars: Arc<Mutex<Bars>>,
}

impl Candidacy {
    pub(crate) fn new(raft: Node) -> Self {
        Self { raft, bars: Arc::default() }
    }

    /// For this reason the member does not ask for votes from here on, or asks again unless there is another.
    pub(crate) fn bar(&self, bar: Bar, holds: bool) {
        let mut bars = self.bars.lock();
        bars.set(bar, holds);
        // Raft's own timers; under the lock, so that the last word is the last.
        self.raft.runtime_config().elect(bars.none());
    }

    /// Whether it may ask for votes. openraft heeds its switch for its own timers only, not for who asks it
    /// to elect.
    pub(crate) fn is_open(&self) -> bool {
        self.bars.lock().none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_answers_again_does_not_let_a_fenced_member_lead() {
        let mut bars = Bars::default();
        assert!(bars.none());
        bars.set(Bar::Fence, true);
        bars.set(Bar::Disk, true);
        bars.set(Bar::Disk, true);
        bars.set(Bar::Disk, false);
        assert!(!bars.none(), "its data are not a majority's");
        bars.set(Bar::Fence, false);
        assert!(bars.none());
    }
}
