//! The bugs: their names, what they are modelled on, and what goes wrong.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// The log is acknowledged without a sync.
    AckBeforeSync,
    /// A vote never reaches the disk.
    VoteForgotten,
    /// The applied index on disk is behind the data.
    AppliedBehind,
    /// A damaged log is cut where the damage is.
    LogCutAtFlip,
    /// The revision is taken from the records that compaction left.
    CompactionRewinds,
    /// Compaction takes what the compacted revision still shows.
    CompactionTooMuch,
    /// A range at a compacted revision is answered.
    CompactedAnswered,
    /// The leader takes itself for the leader.
    ReadUnconfirmed,
    /// A read index is used for reads that came later.
    ReadTokenReused,
    /// A read does not wait for its read index.
    ReadBeforeApplied,
    /// The header says a later revision than the answer is of.
    HeaderAhead,
    /// Pages of one revision are read at the newest.
    PagesDrift,
    /// Guards look at the state before the batch.
    GuardsOnOldState,
    /// A restarted member applies the same log to another result.
    DivergesAfterRestart,
    /// A previous value is the one before the batch.
    PrevKvStale,
    /// A write of unknown outcome is sent again.
    ForwardTwice,
    /// A watch that is slow loses events.
    WatchDropsSlow,
    /// A watch that resumes is told its last event again.
    WatchTellsTwice,
    /// Compaction takes a deletion that a watch may start at.
    WatchLosesDelete,
    /// Progress is told before the events.
    ProgressAhead,
    /// Events that a snapshot stands for are never told.
    WatchSnapshotGap,
    /// A watch from a future revision is told earlier events.
    WatchFromFuture,
    /// A page of history ends within a revision.
    WatchSplitsRevision,
    /// A leader of before revokes leases.
    LeaseOldLeader,
    /// A new leader gives leases a second.
    LeaseExpiresEarly,
    /// A follower answers renewals by itself.
    LeaseRenewedNowhere,
    /// A revoked lease is back after a restart.
    LeaseRevives,
    /// Some keys stay when their lease ends.
    LeaseHalfRevoked,
    /// A key stays with the lease that it had before.
    LeaseKeepsKey,
    /// A snapshot comes without the keys of its leases.
    SnapshotForgetsLeases,
    /// A lock is granted to a waiter whose lease has ended.
    LockUnchecked,
    /// Rights that were changed stay as they were for who reads.
    AuthStale,
}

/// What is known of a bug.
struct Facts {
    bug: Bug,
    name: &'static str,
    after: &'static str,
    wrong: &'static str,
}

const fn row(bug: Bug, name: &'static str, after: &'static str, wrong: &'static str) -> Facts {
    Facts { bug, name, after, wrong }
}

use Bug as B;

#[rustfmt::skip]
const TABLE: [Facts; 32] = [
    row(B::AckBeforeSync, "ack-before-sync", "etcd#14370",
        "writes are acknowledged before the log is on disk, and a power cut takes them back"),
    row(B::VoteForgotten, "vote-forgotten", "raft: hard state must be durable",
        "a member forgets with its process whom it has voted for, and in which term"),
    row(B::AppliedBehind, "applied-behind", "etcd#13766",
        "the applied index is stored one batch late, so a crash applies entries twice"),
    row(B::LogCutAtFlip, "log-cut-at-flip", "etcd#14102, RocksDB's point-in-time recovery",
        "a flipped bit in the log silently takes all later entries away"),
    row(B::CompactionRewinds, "compaction-rewinds", "etcd#17780",
        "the revision after a crash is that of the newest record that a compaction left"),
    row(B::CompactionTooMuch, "compaction-too-much", "compaction must be crash-safe: etcd#14685",
        "compaction removes what the compacted revision itself still shows"),
    row(B::CompactedAnswered, "compacted-answered", "etcd#18667",
        "a range at a compacted revision is answered with what happens to be left"),
    row(B::ReadUnconfirmed, "read-unconfirmed", "etcd#741",
        "a leader answers reads without asking whether it still leads"),
    row(B::ReadTokenReused, "read-token-reused", "etcd#20418",
        "a read whose question failed takes the answer of an earlier question"),
    row(B::ReadBeforeApplied, "read-before-applied", "a stale read: etcd#14140",
        "a member answers a read before it has applied up to the read index"),
    row(B::HeaderAhead, "header-ahead", "etcd#15220",
        "the header of a range has the revision at which it was sent, not read"),
    row(B::PagesDrift, "pages-drift", "Kubernetes' list with continue",
        "later pages of a list are read at the newest revision, not at that of the first"),
    row(B::GuardsOnOldState, "guards-on-old-state", "a lost update: etcd#14890",
        "guards do not see the writes that are applied together with them"),
    row(B::DivergesAfterRestart, "diverges-after-restart", "etcd#14571",
        "a restarted member has forgotten a part of its state, and applies writes differently"),
    row(B::PrevKvStale, "prev-kv-stale", "etcd's watch promises: previous values",
        "the previous value is the one on disk, though a newer one was just applied"),
    row(B::ForwardTwice, "forward-twice", "etcd#14890 (jetcd)",
        "a follower sends a write again though the first may have been taken"),
    row(B::WatchDropsSlow, "watch-drops-slow", "etcd#17529",
        "a watch whose client is slow loses events, and goes on"),
    row(B::WatchTellsTwice, "watch-tells-twice", "etcd#17247",
        "a watch that resumes is told the event before its start again"),
    row(B::WatchLosesDelete, "watch-loses-delete", "etcd#19179, #18089",
        "compaction at a deletion takes it from the watches that may start there"),
    row(B::ProgressAhead, "progress-ahead", "etcd#15220",
        "progress is told to a watch that still has events to come"),
    row(B::WatchSnapshotGap, "watch-snapshot-gap", "etcd#15271",
        "watches on a member that gets a snapshot are never told what it stands for"),
    row(B::WatchFromFuture, "watch-from-future", "etcd#20221",
        "a watch from a revision to come is told events from before it"),
    row(B::WatchSplitsRevision, "watch-splits-revision", "etcd's watch promises: atomic",
        "a page of history ends within a revision, whose rest is lost"),
    row(B::LeaseOldLeader, "lease-old-leader", "etcd#15247, #12528",
        "a leader that was replaced while it slept has leases revoked that were renewed"),
    row(B::LeaseExpiresEarly, "lease-expires-early", "lease checkpoints: etcd#13491",
        "a new leader takes leases for nearly over"),
    row(B::LeaseRenewedNowhere, "lease-renewed-nowhere", "renewals at the old leader: etcd#15247",
        "a follower answers renewals that the leader never hears of"),
    row(B::LeaseRevives, "lease-revives", "lease recovery: etcd#6102",
        "a lease that was revoked is there again after a restart"),
    row(B::LeaseHalfRevoked, "lease-half-revoked", "etcd#11369",
        "one key goes with its lease, the others stay"),
    row(B::LeaseKeepsKey, "lease-keeps-key", "lease recovery: etcd#6102, #6093",
        "a key that was written again without a lease still ends with the one it had"),
    row(B::SnapshotForgetsLeases, "snapshot-forgets-leases", "leases lost on one member: etcd#12651",
        "after a snapshot no key hangs on its lease"),
    row(B::LockUnchecked, "lock-unchecked", "etcd#11456",
        "a lock is granted without a look at whether the waiter's lease has ended"),
    row(B::AuthStale, "auth-stale", "a cache of rights that is not renewed: etcd#14571",
        "users keep the rights that a role had when they were given it"),
];

impl Bug {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|facts| facts.bug)
    }

    fn facts(self) -> &'static Facts {
        &TABLE[self as usize]
    }

    /// How it is chosen.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The issue or the class of bugs that it is modelled on.
    #[must_use]
    pub fn modelled_on(self) -> &'static str {
        self.facts().after
    }

    /// What goes wrong, in a sentence.
    #[must_use]
    pub fn what(self) -> &'static str {
        self.facts().wrong
    }

    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|bug| bug.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_its_row_and_its_own_name() {
        for (number, bug) in Bug::all().enumerate() {
            assert_eq!(bug as usize, number, "{}", bug.name());
            assert_eq!(Bug::named(bug.name()), Some(bug));
        }
        assert_eq!(Bug::named("none"), None);
    }
}
