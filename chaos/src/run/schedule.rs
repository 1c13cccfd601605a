//! What is done when: a list that a seed makes, that a file keeps, and that a person can edit.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use crate::limits;

/// The faults of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The seed that it was made from, and which all other chance of the run follows from.
    pub seed: u64,
    /// Members of the cluster.
    pub members: usize,
    /// In the order of `at_ms`.
    pub events: Vec<Event>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since traffic began.
    pub at_ms: u64,
    /// How long before it is healed. Some kinds heal themselves, or not before they had effect.
    pub hold_ms: u64,
    /// What.
    pub fault: Kind,
    /// To whom.
    pub targets: Targets,
    /// How much; [`Kind`] says of what.
    pub amount: i64,
    /// Of its own choices, such as which bit flips.
    pub seed: u64,
}

/// Members, by name or by what they are at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// Who leads.
    Leader,
    /// One that does not lead, by the event's seed.
    Follower,
    /// Everybody.
    All,
    /// These; where an order matters, in this one.
    Members(Vec<usize>),
}

impl Targets {
    /// How many that may be, at most.
    pub fn count(&self, members: usize) -> usize {
        match self {
            Self::Leader | Self::Follower => 1,
            Self::All => members,
            Self::Members(named) => named.len(),
        }
    }
}

impl Event {
    /// When healing begins, in milliseconds since traffic began.
    pub fn end_ms(&self) -> u64 {
        self.at_ms + self.hold_ms
    }
}

impl Schedule {
    /// When the last fault is healed.
    pub fn end_ms(&self) -> u64 {
        self.events.iter().map(Event::end_ms).max().unwrap_or(0)
    }

    /// Whether any of the faults is of this kind.
    pub fn has(&self, is_meant: impl Fn(Kind) -> bool) -> bool {
        self.events.iter().any(|event| is_meant(event.fault))
    }

    /// As JSON, one event a line.
    pub fn to_json(&self) -> anyhow::Result<String> {
        let events: Vec<String> =
            self.events.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let (seed, members) = (self.seed, self.members);
        let events = events.join(",\n    ");
        Ok(format!(
            "{{\n  \"seed\": {seed},\n  \"members\": {members},\n  \"events\": [\n    {events}\n  ]\n}}\n"
        ))
    }

    /// Reads what [`Self::to_json`] wrote, or a person.
    pub fn from_json(text: &str) -> anyhow::Result<Self> {
        let mut schedule: Self = serde_json::from_str(text)?;
        let most = limits::RUN_EVENTS_MAX;
        ensure!(schedule.events.len() <= most, "more than {most} events");
        schedule.events.sort_by_key(|event| event.at_ms);
        let members = schedule.members;
        ensure!(members % 2 == 1, "a cluster has an odd number of members, not {members}");
        for event in &schedule.events {
            if let Targets::Members(named) = &event.targets {
                let unknown = named.iter().find(|member| **member >= members);
                ensure!(unknown.is_none(), "there is no member {unknown:?} of {members}");
            }
        }
        Ok(schedule)
    }

    /// Reads a file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        Self::from_json(&text).with_context(|| format!("{} is no schedule", file.display()))
    }

    /// Writes a file.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        std::fs::write(file, self.to_json()?)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}
