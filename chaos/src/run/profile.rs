//! What a run is to contain: which kinds, for how long, how much traffic, and what is the least that
//! it must have shown.

use std::time::Duration;

use super::kind::Kind;
use crate::history::Kind as Work;
use crate::workload::Part;

/// A named choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Short enough for every change: each kind once or twice
    Smoke,
    /// Several minutes, with members of a majority away at times
    Default,
    /// One step of a long series
    Soak,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Which faults.
    pub kinds: Vec<Kind>,
    /// Which workloads.
    pub workloads: Vec<Work>,
    /// From the first fault to the last heal.
    pub duration: Duration,
    /// Members that may be away at the same time.
    pub away_max: usize,
    /// Clients, of all workloads together.
    pub clients: usize,
    /// Operations a second and client, at most, of the fastest workloads.
    pub rate: u32,
    /// Keys that they share.
    pub keys: usize,
    /// The least of what the run must have shown.
    pub least: Least,
}

/// What a run must have shown to be worth judging.
#[derive(Clone, Copy, Debug)]
pub struct Least {
    /// Faults that took effect.
    pub effects: usize,
    /// Acknowledged operations.
    pub operations: u64,
    /// Acknowledged operations from each fault until ten seconds after its heal.
    pub operations_around_fault: u64,
}

/// A workload's part of the clients, of so many for all workloads, its least, and its part of the rate
/// in percent: watchers and leases wait more than they ask.
fn share(work: Work) -> (usize, usize, u32) {
    match work {
        Work::RwTxn => (16, 1, 100),
        Work::Register => (8, 1, 100),
        Work::Append => (6, 1, 100),
        Work::Watch => (6, 4, 100),
        Work::Set => (2, 1, 40),
        Work::Lease => (4, 1, 20),
        Work::Kube => (6, 4, 50),
        Work::Lock => (3, 1, 20),
        // One of them only changes what the others may do.
        Work::Auth => (4, 3, 20),
    }
}

impl Profile {
    /// The workloads, each with its clients.
    pub fn parts(&self) -> Vec<Part> {
        let all: usize = self.workloads.iter().map(|work| share(*work).0).sum();
        let part = |kind: &Work| {
            let (of_all, least, percent) = share(*kind);
            let clients = (self.clients * of_all / all.max(1)).max(least);
            Part { kind: *kind, clients, rate: (self.rate * percent / 100).max(1) }
        };
        self.workloads.iter().map(part).collect()
    }
}

impl Name {
    /// Its figures for a cluster of that size.
    pub fn profile(self, members: usize) -> Profile {
        use clap::ValueEnum as _;
        let minority = members.saturating_sub(1) / 2;
        let (seconds, away_max) = match self {
            Self::Smoke => (140, minority),
            Self::Default => (300, minority + 1),
            Self::Soak => (600, minority + 1),
        };
        let (effects, operations) = match self {
            Self::Smoke => (25, 100_000),
            Self::Default => (60, 150_000),
            Self::Soak => (120, 300_000),
        };
        Profile {
            kinds: Kind::value_variants().to_vec(),
            workloads: Work::ALL.to_vec(),
            duration: Duration::from_secs(seconds),
            away_max,
            clients: 96,
            rate: 30,
            keys: 256,
            least: Least { effects, operations, operations_around_fault: 100 },
        }
    }

    /// Scales a profile to another length.
    pub fn profile_of(self, members: usize, duration: Option<Duration>) -> Profile {
        let profile = self.profile(members);
        let Some(duration) = duration else { return profile };
        let scaled = |figure: u64| {
            let figure = u128::from(figure) * duration.as_millis();
            u64::try_from(figure / profile.duration.as_millis().max(1)).unwrap_or(u64::MAX)
        };
        let effects = usize::try_from(scaled(profile.least.effects as u64)).unwrap_or(usize::MAX);
        let operations = scaled(profile.least.operations);
        let least = Least { effects, operations, ..profile.least };
        Profile { duration, least, ..profile }
    }
}
