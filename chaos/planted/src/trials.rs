//! What finds which bug: courses under load and stories, with the rules that must object.

use std::pin::Pin;

use chaos::nemesis::Nemesis;
use store_planted::Bug;

use crate::course::{self, Course, Deed};
use crate::story::{Judged, Store};
use crate::{compaction, damage, lease, rights, votes};

/// Something that is run on a store, and judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trial {
    /// Leaders die under load.
    Kills,
    /// Leaders sleep under load.
    Pauses,
    /// A member alone, under load.
    Alone,
    /// The power goes, under load.
    Power,
    /// A follower needs a snapshot, under load.
    Outrun,
    /// Watches from anywhere, and slow ones, under load.
    Watches,
    /// Watches of a history of several pages.
    Histories,
    Compaction,
    Damage,
    Votes,
    Rights,
    LeasesCalm,
    LeasesAsleep,
    LeasesNewLeader,
    LeasesRestarted,
    LeasesSnapshot,
    Lock,
}

use Deed as D;

const SHORT_LOG: &[&str] = &["--snapshot-count=100"];

const KILLS: Course = Course {
    members: 3,
    flags: SHORT_LOG,
    on_volatile_disk: false,
    deeds: &[
        D::Writes(300),
        D::WatchAround,
        D::Strike(Nemesis::KillLeader, 1000),
        D::Writes(300),
        D::WatchAround,
        D::Strike(Nemesis::KillLeader, 300),
        D::Writes(300),
        D::Strike(Nemesis::KillAll, 100),
        D::Writes(300),
    ],
};

const PAUSES: Course = Course {
    deeds: &[
        D::Writes(150),
        D::Strike(Nemesis::PauseLeader, 3000),
        D::Writes(150),
        D::Strike(Nemesis::PauseLeader, 3000),
        D::Writes(150),
    ],
    ..KILLS
};

const ALONE: Course = Course {
    members: 1,
    deeds: &[D::Writes(1000), D::Strike(Nemesis::KillAll, 100), D::Writes(300)],
    ..KILLS
};

const POWER: Course = Course {
    on_volatile_disk: true,
    deeds: &[D::Writes(150), D::CutPower, D::Writes(150), D::CutPower, D::Writes(50)],
    ..KILLS
};

const OUTRUN: Course = Course {
    flags: &["--snapshot-count=20"],
    deeds: &[D::Writes(150), D::Outrun(1000), D::Writes(150)],
    ..KILLS
};

const WATCHES: Course = Course {
    deeds: &[
        D::Writes(300),
        D::WatchAround,
        D::WatchSlowly,
        D::Writes(300),
        D::WatchAround,
        D::Writes(300),
    ],
    ..KILLS
};

const HISTORIES: Course =
    Course { deeds: &[D::Writes(1000), D::WatchHistory, D::Writes(100)], ..ALONE };

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Judged>> + Send + 'a>>;

impl Trial {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 17] = [
        Self::Kills,
        Self::Pauses,
        Self::Alone,
        Self::Power,
        Self::Outrun,
        Self::Watches,
        Self::Histories,
        Self::Compaction,
        Self::Damage,
        Self::Votes,
        Self::Rights,
        Self::LeasesCalm,
        Self::LeasesAsleep,
        Self::LeasesNewLeader,
        Self::LeasesRestarted,
        Self::LeasesSnapshot,
        Self::Lock,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kills => "kills",
            Self::Pauses => "pauses",
            Self::Alone => "alone",
            Self::Power => "power",
            Self::Outrun => "outrun",
            Self::Watches => "watches",
            Self::Histories => "histories",
            Self::Compaction => "compaction",
            Self::Damage => "damage",
            Self::Votes => "votes",
            Self::Rights => "rights",
            Self::LeasesCalm => "leases-calm",
            Self::LeasesAsleep => "leases-asleep",
            Self::LeasesNewLeader => "leases-new-leader",
            Self::LeasesRestarted => "leases-restarted",
            Self::LeasesSnapshot => "leases-snapshot",
            Self::Lock => "lock",
        }
    }

    /// Runs it once.
    pub(crate) fn run(self, store: &Store, seed: u64) -> Running<'_> {
        match self {
            Self::Kills => Box::pin(course::run(&KILLS, store, seed)),
            Self::Pauses => Box::pin(course::run(&PAUSES, store, seed)),
            Self::Alone => Box::pin(course::run(&ALONE, store, seed)),
            Self::Power => Box::pin(course::run(&POWER, store, seed)),
            Self::Outrun => Box::pin(course::run(&OUTRUN, store, seed)),
            Self::Watches => Box::pin(course::run(&WATCHES, store, seed)),
            Self::Histories => Box::pin(course::run(&HISTORIES, store, seed)),
            Self::Compaction => Box::pin(compaction::run(store, seed)),
            Self::Damage => Box::pin(damage::run(store, seed)),
            Self::Votes => Box::pin(votes::run(store, seed)),
            Self::Rights => Box::pin(rights::run(store, seed)),
            Self::LeasesCalm => Box::pin(lease::calm(store, seed)),
            Self::LeasesAsleep => Box::pin(lease::asleep(store, seed)),
            Self::LeasesNewLeader => Box::pin(lease::new_leader(store, seed)),
            Self::LeasesRestarted => Box::pin(lease::restarted(store, seed)),
            Self::LeasesSnapshot => Box::pin(lease::snapshot(store, seed)),
            Self::Lock => Box::pin(lease::lock(store, seed)),
        }
    }
}

/// What finds a bug: what is run, how often at most, and which rules may be the ones that object.
/// Any other objection, or a member that does not start, is an accident and counts for nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Catcher {
    pub(crate) trial: Trial,
    pub(crate) seeds: u64,
    pub(crate) rules: &'static [&'static str],
}

const fn by(trial: Trial, seeds: u64, rules: &'static [&'static str]) -> Catcher {
    Catcher { trial, seeds, rules }
}

use Trial as T;

/// A write is lost, doubled or changed.
const WRITES: &[&str] = &["D1", "D2", "D3", "D4", "R1", "R2", "A2", "A3", "S1", "S3"];
/// A read is from the past.
const STALE: &[&str] = &["R3", "L1"];
/// Members differ.
const APART: &[&str] = &["A1", "A2", "C1", "C2", "C3", "C4", "W8", "D1", "S1"];

/// What finds it, the most likely first.
pub(crate) fn catchers(bug: Bug) -> Vec<Catcher> {
    match bug {
        Bug::AckBeforeSync => vec![by(T::Power, 3, WRITES)],
        Bug::VoteForgotten => vec![by(T::Votes, 3, &["V1", "V2", "V3"])],
        Bug::AppliedBehind => vec![by(T::Alone, 3, WRITES), by(T::Kills, 3, APART)],
        Bug::LogCutAtFlip => vec![by(T::Damage, 5, &["X1"])],
        Bug::CompactionRewinds => vec![by(T::Compaction, 2, &["H5"])],
        Bug::CompactionTooMuch => vec![by(T::Compaction, 2, &["H1", "H2"])],
        Bug::CompactedAnswered => vec![by(T::Compaction, 2, &["H3"])],
        Bug::ReadUnconfirmed | Bug::ReadTokenReused => vec![by(T::Pauses, 4, STALE)],
        Bug::ReadBeforeApplied => vec![by(T::Kills, 3, STALE)],
        Bug::HeaderAhead => vec![by(T::Alone, 3, &["A1"]), by(T::Kills, 3, &["A1"])],
        Bug::PagesDrift => vec![by(T::Compaction, 2, &["H2"])],
        Bug::GuardsOnOldState => vec![by(T::Alone, 3, &["A2"]), by(T::Kills, 3, APART)],
        Bug::DivergesAfterRestart => vec![by(T::Kills, 3, APART)],
        Bug::PrevKvStale => vec![by(T::Alone, 3, &["A1", "A2", "W8"])],
        Bug::ForwardTwice => vec![by(T::Kills, 8, WRITES)],
        Bug::WatchDropsSlow => vec![by(T::Watches, 3, &["W4"])],
        Bug::WatchTellsTwice => vec![by(T::Watches, 3, &["W1", "W2", "W5"])],
        Bug::WatchLosesDelete => vec![by(T::Compaction, 2, &["H4"])],
        Bug::ProgressAhead => vec![by(T::Watches, 3, &["W6"]), by(T::Kills, 3, &["W6"])],
        Bug::WatchSnapshotGap => vec![by(T::Outrun, 3, &["W4", "W5", "W6"])],
        Bug::WatchFromFuture => vec![by(T::Watches, 3, &["W1", "W2", "W5"])],
        Bug::WatchSplitsRevision => {
            const RULES: &[&str] = &["D1", "W3", "W4", "W5", "C2", "C3"];
            vec![by(T::Histories, 3, RULES), by(T::Kills, 8, RULES)]
        }
        Bug::LeaseOldLeader => vec![by(T::LeasesAsleep, 4, &["E1"])],
        Bug::LeaseExpiresEarly => vec![by(T::LeasesNewLeader, 2, &["E1"])],
        Bug::LeaseRenewedNowhere => vec![by(T::LeasesCalm, 2, &["E1"])],
        Bug::LeaseRevives => vec![by(T::LeasesRestarted, 2, &["E5"])],
        Bug::LeaseHalfRevoked => vec![by(T::LeasesCalm, 2, &["E2", "E3"])],
        Bug::LeaseKeepsKey => vec![by(T::LeasesCalm, 2, &["E4"])],
        Bug::SnapshotForgetsLeases => vec![by(T::LeasesSnapshot, 2, &["E3"])],
        Bug::LockUnchecked => vec![by(T::Lock, 2, &["O1"])],
        Bug::AuthStale => vec![by(T::Rights, 2, &["U2"])],
    }
}
