//! The kinds of faults: what each is called, on what it acts, and what it may destroy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something that is done to a cluster.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL, then a new start on the same data
    Kill,
    /// SIGSTOP, then SIGCONT
    Pause,
    /// SIGTERM and a new start, one member after the other
    RollingRestart,
    /// A member hears no other member and is heard by none
    Isolate,
    /// A minority and a majority do not hear each other
    Halves,
    /// Each member hears a majority, and no two hear the same one
    MajoritiesRing,
    /// Two halves that reach each other only through one member
    Bridge,
    /// What a member sends to the others is lost
    Mute,
    /// What the others send to a member is lost
    Deaf,
    /// Clients do not reach a member; its peers do
    ClientCut,
    /// Frames of a member are held back, by amount ms and by chance as much again
    SlowLink,
    /// Amount percent of a member's frames are lost
    LossyLink,
    /// Amount percent of a member's frames arrive twice
    DuplicatingLink,
    /// Frames of a member arrive up to amount ms later, in another order
    ReorderingLink,
    /// Amount percent of a member's frames have a bit flipped
    CorruptingLink,
    /// Frames of a member with more than amount bytes are lost: heartbeats pass, entries do not
    LargeFramesLost,
    /// A member's wall clock jumps by amount seconds, and back
    ClockJump,
    /// A member's disk takes amount more bytes
    DiskFull,
    /// A member's disk fails its writes, its syncs or everything, from the amount-th of them on
    IoErrors,
    /// Each sync of a member's disk takes amount ms longer
    SlowSync,
    /// Power is lost with all that was not synced; amount 1: the last write of each file is torn
    PowerLoss,
    /// While a member is down, amount bits of its log flip
    BitFlipLog,
    /// While a member is down, amount bits of its state flip
    BitFlipState,
    /// While a member is down, its newest log file loses its last amount bytes
    TornTail,
    /// A member is removed, wiped, and added again
    Replace,
    /// Another member joins as a learner, is promoted, and is removed
    Learner,
    /// Leadership is given to another member
    MoveLeader,
    /// History is compacted
    Compact,
    /// Members are defragmented
    Defragment,
    /// A member is away until the leader has no log for it any more
    SnapshotInstall,
    /// A snapshot is taken over the API, and checked
    Backup,
    /// A snapshot is made into a store of its own, which must hold what the cluster held
    Restore,
}

/// Kinds of one group use the same thing, so at most one of them holds at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Which members run.
    Process,
    /// Which links are whole.
    Partition,
    /// How good links are.
    Link,
    /// What disks do.
    Disk,
    /// What an operator does.
    Operator,
}

impl Group {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::Process, Self::Partition, Self::Link, Self::Disk, Self::Operator];
}

impl Kind {
    /// As schedules, flags and reports call it.
    pub fn name(self) -> String {
        use clap::ValueEnum as _;
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it acts on.
    pub fn group(self) -> Group {
        match self {
            Self::Kill
            | Self::Pause
            | Self::RollingRestart
            | Self::PowerLoss
            | Self::BitFlipLog
            | Self::BitFlipState
            | Self::TornTail
            | Self::Replace
            | Self::SnapshotInstall => Group::Process,
            Self::Isolate
            | Self::Halves
            | Self::MajoritiesRing
            | Self::Bridge
            | Self::Mute
            | Self::Deaf
            | Self::ClientCut => Group::Partition,
            Self::SlowLink
            | Self::LossyLink
            | Self::DuplicatingLink
            | Self::ReorderingLink
            | Self::CorruptingLink
            | Self::LargeFramesLost => Group::Link,
            Self::DiskFull | Self::IoErrors | Self::SlowSync => Group::Disk,
            Self::ClockJump
            | Self::Learner
            | Self::MoveLeader
            | Self::Compact
            | Self::Defragment
            | Self::Backup
            | Self::Restore => Group::Operator,
        }
    }

    /// Whether what was durable on a member may be gone: only ever on the same minority (F4).
    pub fn destroys_data(self) -> bool {
        matches!(self, Self::BitFlipLog | Self::BitFlipState | Self::TornTail)
    }

    /// Whether the membership changes: nothing that takes a member away comes with it, or a change
    /// would find no majority and prove nothing.
    pub fn changes_membership(self) -> bool {
        matches!(self, Self::Replace | Self::Learner)
    }

    /// Whether its targets do not take part while it holds.
    pub fn takes_away(self) -> bool {
        matches!(self.group(), Group::Process | Group::Partition) && self != Self::ClientCut
            || matches!(self, Self::DiskFull | Self::IoErrors | Self::LargeFramesLost)
    }

    /// Whether it takes away more than its targets.
    pub fn takes_all_away(self) -> bool {
        matches!(self, Self::MajoritiesRing | Self::Bridge)
    }

    /// Whether it takes everybody, in an order that its shape follows from.
    pub fn names_everybody(self) -> bool {
        matches!(self, Self::Halves | Self::MajoritiesRing | Self::Bridge | Self::RollingRestart)
    }

    /// Whether all other members are needed, so that it can have its effect.
    pub fn needs_the_others(self) -> bool {
        self.changes_membership() || self.destroys_data() || self == Self::SnapshotInstall
    }

    /// Whether a member may end by itself because of it.
    pub fn explains_an_end(self) -> bool {
        self.destroys_data() || matches!(self, Self::DiskFull | Self::IoErrors | Self::PowerLoss)
    }

    /// Whether members must have been started under a false clock.
    pub fn needs_clock(self) -> bool {
        self == Self::ClockJump
    }

    /// How long it holds, at least and at most.
    pub fn hold(self) -> (Duration, Duration) {
        let (least, most) = match self {
            Self::Kill => (300, 2_500),
            Self::Pause => (1_500, 3_500),
            Self::PowerLoss => (100, 1_000),
            Self::BitFlipLog | Self::BitFlipState | Self::TornTail => (100, 500),
            Self::RollingRestart | Self::Replace | Self::Compact => (0, 0),
            Self::Defragment | Self::MoveLeader | Self::Backup | Self::Restore => (0, 0),
            Self::Learner => (1_000, 2_000),
            Self::SnapshotInstall => (2_000, 4_000),
            Self::SlowLink | Self::LossyLink | Self::CorruptingLink => (3_000, 8_000),
            Self::DuplicatingLink | Self::ReorderingLink => (3_000, 8_000),
            Self::LargeFramesLost => (2_000, 4_000),
            Self::SlowSync => (2_000, 6_000),
            Self::DiskFull | Self::IoErrors => (1_000, 3_000),
            Self::ClockJump => (2_500, 4_000),
            Self::Isolate | Self::Halves | Self::MajoritiesRing | Self::Bridge => (1_500, 4_000),
            Self::Mute | Self::Deaf | Self::ClientCut => (1_500, 4_000),
        };
        (Duration::from_millis(least), Duration::from_millis(most))
    }

    /// About how long it goes on beyond its hold, until its members serve again.
    pub fn settle(self) -> Duration {
        let ms = match self {
            Self::RollingRestart => 6_000,
            Self::Replace | Self::Learner => 5_000,
            Self::BitFlipLog | Self::BitFlipState | Self::TornTail => 5_000,
            Self::SnapshotInstall => 12_000,
            Self::Kill | Self::Pause | Self::PowerLoss => 2_000,
            Self::Compact | Self::Defragment | Self::MoveLeader | Self::Backup => 1_500,
            Self::DiskFull | Self::IoErrors | Self::Restore => 2_500,
            Self::Isolate | Self::Halves | Self::MajoritiesRing | Self::Bridge => 1_500,
            Self::Mute | Self::Deaf | Self::LargeFramesLost => 1_500,
            Self::ClientCut | Self::SlowLink | Self::LossyLink | Self::DuplicatingLink => 500,
            Self::ReorderingLink | Self::CorruptingLink | Self::SlowSync => 500,
            Self::ClockJump => 500,
        };
        Duration::from_millis(ms)
    }

    /// The choices of [`super::schedule::Event::amount`].
    pub fn amounts(self) -> &'static [i64] {
        match self {
            Self::SlowLink => &[2, 10, 30],
            Self::LossyLink => &[1, 3, 10],
            Self::DuplicatingLink => &[20, 50],
            Self::ReorderingLink => &[5, 25],
            Self::CorruptingLink => &[1, 3, 10],
            Self::LargeFramesLost => &[200, 600],
            Self::ClockJump => &[-3600, -60, 60, 3600, 86_400],
            Self::DiskFull => &[0, 20_000],
            Self::IoErrors => &[1, 7],
            Self::SlowSync => &[10, 40, 200],
            Self::PowerLoss => &[0, 1],
            Self::BitFlipLog | Self::BitFlipState => &[1, 3],
            Self::TornTail => &[1, 100, 5000],
            Self::Kill
            | Self::Pause
            | Self::RollingRestart
            | Self::Isolate
            | Self::Halves
            | Self::MajoritiesRing
            | Self::Bridge
            | Self::Mute
            | Self::Deaf
            | Self::ClientCut
            | Self::Replace
            | Self::Learner
            | Self::MoveLeader
            | Self::Compact
            | Self::Defragment
            | Self::SnapshotInstall
            | Self::Backup
            | Self::Restore => &[0],
        }
    }
}
