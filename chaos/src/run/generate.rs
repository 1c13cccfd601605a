//! Makes a schedule from a seed and a profile.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | F1 | The same seed, profile and size make the same schedule. |
//! | F2 | No kind comes a second time before each has come once, unless there is no time for it. |
//! | F3 | At most one fault of a group holds at a time; faults of different groups overlap. |
//! | F4 | What destroys or discards durable data does it to one minority, the same in all the run. |
//! | F5 | Members that are away at a time are at most so many as the profile says, but for a fault |
//! |    | that is meant for more: it holds while nobody else is away. |
//! | F6 | Nobody else is away while a fault needs the others, such as a change of the membership. |

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use super::kind::{Group, Kind};
use super::profile::Profile;
use super::schedule::{Event, Schedule, Targets};
use crate::limits;

/// Steps in which a place in time is looked for.
const STEP_MS: u64 = 250;

/// Makes a schedule.
pub fn schedule(seed: u64, profile: &Profile, members: usize) -> Schedule {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut everybody: Vec<usize> = (0..members).collect();
    everybody.shuffle(&mut rng);
    let victims = everybody[..minority(members)].to_vec();
    let mut maker = Maker { members, away_max: profile.away_max, victims, events: Vec::new(), rng };
    let kinds: Vec<Kind> = profile.kinds.iter().copied().filter(|k| suits(*k, members)).collect();
    maker.fill(&kinds, profile.duration);
    maker.events.sort_by_key(|event| event.at_ms);
    Schedule { seed, members, events: maker.events }
}

/// The most members that may be lost while the others go on.
pub(super) fn minority(members: usize) -> usize {
    members.saturating_sub(1) / 2
}

/// Whether a cluster of that size can have such a fault at all.
pub(super) fn suits(kind: Kind, members: usize) -> bool {
    let is_for_several = kind.group() == Group::Partition && kind != Kind::ClientCut
        || kind.needs_the_others() && kind != Kind::Learner
        || matches!(kind, Kind::MoveLeader | Kind::LargeFramesLost);
    members >= 3 || !is_for_several
}

/// Members that a fault takes away, at most.
pub(super) fn away(event: &Event, members: usize) -> usize {
    if event.fault.takes_all_away() {
        return members;
    }
    if !event.fault.takes_away() {
        return 0;
    }
    if event.fault == Kind::Halves {
        return minority(members);
    }
    // One after the other.
    let is_one = event.fault == Kind::RollingRestart;
    if is_one { 1 } else { event.targets.count(members) }
}

/// When a fault is over with all that it brings.
pub(super) fn over_ms(event: &Event) -> u64 {
    event.end_ms() + milliseconds(event.fault.settle())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Maker {
    members: usize,
    away_max: usize,
    /// Whose data may be destroyed (F4).
    victims: Vec<usize>,
    events: Vec<Event>,
    rng: StdRng,
}

impl Maker {
    fn fill(&mut self, kinds: &[Kind], duration: Duration) {
        let end_ms = milliseconds(duration);
        loop {
            // F2: a round is every kind once.
            let mut round = kinds.to_vec();
            round.shuffle(&mut self.rng);
            let before = self.events.len();
            for kind in round {
                let event = self.event(kind);
                if self.events.len() < limits::RUN_EVENTS_MAX
                    && let Some(placed) = self.placed(event, end_ms)
                {
                    self.events.push(placed);
                }
            }
            if self.events.len() == before {
                return;
            }
        }
    }

    fn event(&mut self, kind: Kind) -> Event {
        let (least, most) = kind.hold();
        let hold_ms = self.rng.random_range(milliseconds(least)..=milliseconds(most));
        let amount = kind.amounts().choose(&mut self.rng).copied().unwrap_or(0);
        let targets = self.targets(kind);
        let seed = self.rng.random();
        Event { at_ms: 0, hold_ms, fault: kind, targets, amount, seed }
    }

    fn targets(&mut self, kind: Kind) -> Targets {
        let one = Targets::Members(vec![self.rng.random_range(0..self.members)]);
        let dice = self.rng.random_range(0..100);
        // Thrown for every kind, so that each takes as much chance as any other.
        let mut shuffled: Vec<usize> = (0..self.members).collect();
        shuffled.shuffle(&mut self.rng);
        if kind.destroys_data() || kind == Kind::Replace {
            return Targets::Members(
                self.victims.choose(&mut self.rng).copied().into_iter().collect(),
            );
        }
        if kind.names_everybody() {
            return Targets::Members(shuffled);
        }
        if matches!(kind, Kind::Learner | Kind::MoveLeader | Kind::Compact) {
            return Targets::Leader;
        }
        if matches!(kind, Kind::Backup | Kind::Restore) {
            return one;
        }
        if kind == Kind::SnapshotInstall {
            return Targets::Follower;
        }
        if dice < 15 && matches!(kind, Kind::Kill | Kind::PowerLoss) {
            return Targets::All;
        }
        if dice < 35 && kind == Kind::PowerLoss {
            shuffled.truncate(minority(self.members) + 1);
            return Targets::Members(shuffled);
        }
        let is_for_all = matches!(kind, Kind::Defragment | Kind::SlowSync)
            || kind.group() == Group::Link && kind != Kind::LargeFramesLost;
        if dice < 35 && is_for_all {
            return Targets::All;
        }
        match dice {
            0..60 => Targets::Leader,
            60..80 if self.members > 1 => Targets::Follower,
            _ => one,
        }
    }

    /// At the first time when it keeps the rules, from where its group is free.
    fn placed(&mut self, event: Event, end_ms: u64) -> Option<Event> {
        let group = event.fault.group();
        let same = self.events.iter().filter(|other| other.fault.group() == group);
        let free_ms = same.map(over_ms).max().unwrap_or(0);
        let mut at_ms = free_ms + self.rng.random_range(0..1_000);
        loop {
            let event = Event { at_ms, ..event.clone() };
            if event.end_ms() > end_ms {
                return None;
            }
            if self.keeps_the_rules(&event) {
                return Some(event);
            }
            at_ms += STEP_MS;
        }
    }

    fn keeps_the_rules(&self, event: &Event) -> bool {
        let overlapping: Vec<&Event> = self
            .events
            .iter()
            .filter(|other| other.at_ms < over_ms(event) && event.at_ms < over_ms(other))
            .collect();
        may_overlap(event, &overlapping, self.members, self.away_max)
    }
}

/// F3, F5 and F6 of a fault and those that overlap it.
pub(super) fn may_overlap(
    event: &Event,
    overlapping: &[&Event],
    members: usize,
    away_max: usize,
) -> bool {
    let own = away(event, members);
    let is_group_free = overlapping.iter().all(|other| other.fault.group() != event.fault.group());
    let others: usize = overlapping.iter().map(|other| away(other, members)).sum();
    let is_alone = own == 0 || others == 0;
    let is_few = own + others <= away_max;
    let is_needed = |other: &&&Event| other.fault.needs_the_others();
    let keeps_f6 = if event.fault.needs_the_others() {
        others == 0 && !overlapping.iter().any(|other| is_needed(&other))
    } else {
        own == 0 || !overlapping.iter().any(|other| is_needed(&other))
    };
    is_group_free && (is_alone || is_few) && keeps_f6
}
