//! Who runs and who waits: fair queues by priority level. No clock, no tasks, no locks.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | F1 | A level runs its own nominal seats whenever it wants them. |
//! | F2 | It runs more only on seats that others may lend and do not want, up to its own bound. |
//! | F3 | Of a level's queues that wait, the one that had the least service goes first. |
//! | F4 | A flow reaches only the queues of its hand: one that floods them leaves others free. |

use std::collections::{BTreeMap, VecDeque};

use api_machinery::Object;
use serde_json::Value;

/// What a seat is charged before it is known how long it was taken (upstream's 3 ms).
const ASSUMED_SECONDS: f64 = 0.003;
/// More queues than upstream allows one level to have.
const QUEUES_MAX: usize = 10_000_000;
/// Queues that are kept at most, whatever a level asks for.
const QUEUES_KEPT_MAX: usize = 4096;

/// What a priority level says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    shares: u64,
    lendable_percent: u64,
    /// None for no bound.
    borrowing_percent: Option<u64>,
    /// None when nobody may wait.
    queuing: Option<Queuing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queuing {
    queues: usize,
    hand: usize,
    length: usize,
}

impl Limits {
    /// None for a level without limits.
    pub(super) fn of(level: &Object) -> Option<Self> {
        if level.text(&["spec", "type"]) == "Exempt" {
            return None;
        }
        let limited = level.at(&["spec", "limited"]).unwrap_or(&Value::Null);
        let queuing = &limited["limitResponse"]["queuing"];
        let number = |value: &Value, absent: u64| value.as_u64().unwrap_or(absent);
        let size = |field: &str, absent: u64| {
            usize::try_from(number(&queuing[field], absent)).unwrap_or(QUEUES_MAX)
        };
        let queues = size("queues", 64).clamp(1, QUEUES_KEPT_MAX);
        let queuing = Queuing {
            queues,
            hand: size("handSize", 8).clamp(1, queues),
            length: size("queueLengthLimit", 50),
        };
        let waits = limited["limitResponse"]["type"] == "Queue";
        Some(Self {
            shares: number(&limited["nominalConcurrencyShares"], 30),
            lendable_percent: number(&limited["lendablePercent"], 0),
            borrowing_percent: limited["borrowingLimitPercent"].as_u64(),
            queuing: waits.then_some(queuing),
        })
    }
}

/// Why a request is not served, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
}

impl Refused {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

/// One request that wants seats.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) level: &'a str,
    pub(super) flow: u64,
    pub(super) seats: u64,
    /// Nobody else's.
    pub(super) id: u64,
}

/// Where a request was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Runs { queue: usize },
    Waits { queue: usize },
}

#[derive(Debug, Default)]
struct Queue {
    /// Ids and seats.
    waiting: VecDeque<(u64, u64)>,
    executing: u64,
    /// The service it had, in seats and seconds.
    served: f64,
}

#[derive(Debug)]
struct Level {
    limits: Limits,
    nominal: u64,
    executing: u64,
    waiting: u64,
    /// The service of the queue that went last: who comes new begins here.
    served: f64,
    queues: Vec<Queue>,
}

/// All levels with limits.
#[derive(Debug, Default)]
pub(super) struct Levels {
    all: BTreeMap<String, Level>,
}

/// Cards of a deck, all different, the same for the same number.
fn deal(mut flow: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut dealt: Vec<usize> = Vec::with_capacity(hand);
    for taken in 0..hand.min(deck) {
        let left = u64::try_from(deck - taken).unwrap_or(u64::MAX);
        let mut card = usize::try_from(flow % left).unwrap_or(0);
        flow /= left;
        // The card among those that are left.
        for held in &dealt {
            if *held <= card {
                card += 1;
            }
        }
        let place = dealt.partition_point(|held| *held < card);
        dealt.insert(place, card);
    }
    dealt
}

impl Level {
    fn lendable(&self) -> u64 {
        self.nominal * self.limits.lendable_percent.min(100) / 100
    }

    fn most(&self) -> u64 {
        let own = self.nominal;
        self.limits.borrowing_percent.map_or(u64::MAX, |percent| own + own * percent / 100)
    }

    /// What others could take of it now.
    fn free(&self) -> u64 {
        let wanted = self.executing.min(self.nominal) + self.waiting;
        self.nominal.saturating_sub(wanted).min(self.lendable())
    }

    fn borrowed(&self) -> u64 {
        self.executing.saturating_sub(self.nominal)
    }

    /// The queue of the hand with the least in it.
    fn choose(&self, flow: u64, queuing: Queuing) -> usize {
        let hand = deal(flow, queuing.queues, queuing.hand);
        let load = |queue: &usize| {
            let queue = &self.queues[*queue];
            queue.executing + queue.waiting.iter().map(|(_, seats)| seats).sum::<u64>()
        };
        hand.into_iter().min_by_key(load).unwrap_or(0)
    }

    /// F3. The queue whose turn it is.
    fn next(&self) -> Option<usize> {
        let waits = self.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
        let least = waits.min_by(|(_, one), (_, other)| one.served.total_cmp(&other.served));
        least.map(|(index, _)| index)
    }

    fn start(&mut self, queue: usize, seats: u64) {
        self.executing += seats;
        let queue = &mut self.queues[queue];
        queue.executing += seats;
        self.served = self.served.max(queue.served);
        queue.served += seconds_of(seats, ASSUMED_SECONDS);
    }
}

#[expect(clippy::cast_precision_loss, reason = "seats are few")]
fn seconds_of(seats: u64, seconds: f64) -> f64 {
    seats as f64 * seconds
}

impl Levels {
    /// Takes what levels there are and what they say; `seats` are shared out among them. A level
    /// that is gone stays until nobody runs or waits in it.
    pub(super) fn configure<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a str, Limits)>,
        seats: u64,
    ) {
        let wanted: BTreeMap<&str, Limits> = wanted.collect();
        let shares: u64 = wanted.values().map(|limits| limits.shares).sum();
        self.all.retain(|name, level| {
            wanted.contains_key(name.as_str()) || level.executing + level.waiting > 0
        });
        for (name, limits) in wanted {
            let nominal = (seats * limits.shares).div_ceil(shares.max(1));
            let count = limits.queuing.map_or(1, |queuing| queuing.queues);
            let level = self.all.entry(name.to_owned()).or_insert_with(|| Level {
                limits,
                nominal,
                executing: 0,
                waiting: 0,
                served: 0.0,
                queues: Vec::new(),
            });
            (level.limits, level.nominal) = (limits, nominal);
            // Queues that are not dealt any more are emptied first.
            if count > level.queues.len() || level.executing + level.waiting == 0 {
                level.queues.resize_with(count, Queue::default);
            }
        }
    }

    /// The nominal seats of each level.
    pub(super) fn nominal(&self) -> impl Iterator<Item = (&str, u64)> {
        self.all.iter().map(|(name, level)| (name.as_str(), level.nominal))
    }

    /// F1 and F2.
    fn may_start(&self, name: &str, seats: u64) -> bool {
        let Some(level) = self.all.get(name) else { return false };
        let after = level.executing + seats;
        if after <= level.nominal || level.executing == 0 && level.nominal > 0 {
            return true;
        }
        let others = self.all.iter().filter(|(other, _)| *other != name);
        let free: u64 = others.map(|(_, other)| other.free()).sum();
        let borrowed: u64 = self.all.values().map(Level::borrowed).sum();
        let more = after - level.nominal.max(level.executing);
        after <= level.most() && borrowed + more <= free
    }

    /// Starts a request or lets it wait.
    pub(super) fn ask(&mut self, ask: &Ask<'_>) -> Result<Placed, Refused> {
        let may_start = self.may_start(ask.level, ask.seats);
        let Some(level) = self.all.get_mut(ask.level) else {
            return Err(Refused::ConcurrencyLimit);
        };
        let Some(queuing) = level.limits.queuing else {
            if !may_start {
                return Err(Refused::ConcurrencyLimit);
            }
            level.start(0, ask.seats);
            return Ok(Placed::Runs { queue: 0 });
        };
        let chosen = level.choose(ask.flow, queuing);
        // Nobody is passed.
        let runs = may_start && level.waiting == 0;
        let served = level.served;
        let queue = &mut level.queues[chosen];
        if queue.waiting.is_empty() && queue.executing == 0 {
            // Idle time is not saved up.
            queue.served = queue.served.max(served);
        }
        if runs {
            level.start(chosen, ask.seats);
            return Ok(Placed::Runs { queue: chosen });
        }
        if queue.waiting.len() >= queuing.length {
            return Err(Refused::QueueFull);
        }
        queue.waiting.push_back((ask.id, ask.seats));
        level.waiting += ask.seats;
        Ok(Placed::Waits { queue: chosen })
    }

    /// Starts whoever may start now: their ids.
    pub(super) fn started(&mut self) -> Vec<u64> {
        let mut started = Vec::new();
        let names: Vec<String> = self.all.keys().cloned().collect();
        loop {
            let before = started.len();
            for name in &names {
                let next = self.all.get(name).and_then(|level| {
                    let queue = level.next()?;
                    Some((queue, *level.queues[queue].waiting.front()?))
                });
                let Some((queue, (id, seats))) = next else { continue };
                if !self.may_start(name, seats) {
                    continue;
                }
                if let Some(level) = self.all.get_mut(name) {
                    level.queues[queue].waiting.pop_front();
                    level.waiting -= seats;
                    level.start(queue, seats);
                    started.push(id);
                }
            }
            if started.len() == before {
                return started;
            }
        }
    }

    /// Takes a request that waits out; false when it does not wait (any more).
    pub(super) fn forget(&mut self, name: &str, queue: usize, id: u64) -> bool {
        let Some(level) = self.all.get_mut(name) else { return false };
        let Some(queue) = level.queues.get_mut(queue) else { return false };
        let Some(place) = queue.waiting.iter().position(|(other, _)| *other == id) else {
            return false;
        };
        if let Some((_, seats)) = queue.waiting.remove(place) {
            level.waiting -= seats;
        }
        true
    }

    /// Gives seats back after so many seconds.
    pub(super) fn finish(&mut self, name: &str, (queue, seats): (usize, u64), seconds: f64) {
        let Some(level) = self.all.get_mut(name) else { return };
        level.executing = level.executing.saturating_sub(seats);
        if let Some(queue) = level.queues.get_mut(queue) {
            queue.executing = queue.executing.saturating_sub(seats);
            queue.served += seconds_of(seats, seconds - ASSUMED_SECONDS);
        }
    }

    /// What runs and what waits in a level, in seats.
    pub(super) fn load(&self, name: &str) -> (u64, u64) {
        self.all.get(name).map_or((0, 0), |level| (level.executing, level.waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(shares: u64, lendable_percent: u64, queuing: Option<Queuing>) -> Limits {
        Limits { shares, lendable_percent, borrowing_percent: None, queuing }
    }

    fn queuing() -> Option<Queuing> {
        Some(Queuing { queues: 16, hand: 4, length: 5 })
    }

    fn ask(level: &str, flow: u64, id: u64) -> Ask<'_> {
        Ask { level, flow, seats: 1, id }
    }

    #[test]
    fn a_hand_has_different_cards_and_is_always_the_same() {
        for flow in [0, 1, 77, u64::MAX] {
            let hand = deal(flow, 64, 6);
            assert_eq!(hand, deal(flow, 64, 6));
            assert!(hand.windows(2).all(|pair| pair[0] < pair[1]), "{hand:?}");
            assert!(hand.iter().all(|card| *card < 64));
        }
        assert_eq!(deal(5, 1, 1), [0]);
    }

    #[test]
    fn a_flood_of_one_flow_delays_another_by_its_hand_at_most() {
        let mut levels = Levels::default();
        levels.configure([("l", limits(1, 0, queuing()))].into_iter(), 1);
        let Ok(Placed::Runs { queue }) = levels.ask(&ask("l", 1, 0)) else { unreachable!() };
        let mut refused = 0;
        for id in 1..100 {
            refused += u32::from(levels.ask(&ask("l", 1, id)) == Err(Refused::QueueFull));
        }
        assert_eq!(refused, 99 - 20, "its hand is full, and no more");
        let (quiet, mine) = (20_004, deal(1, 16, 4));
        assert!(deal(quiet, 16, 4).iter().all(|card| !mine.contains(card)));
        assert!(matches!(levels.ask(&ask("l", quiet, 1000)), Ok(Placed::Waits { .. })));
        let mut turns = Vec::new();
        for _ in 0..4 {
            levels.finish("l", (queue, 1), 0.1);
            turns.extend(levels.started());
        }
        assert!(turns.contains(&1000), "{turns:?}");
    }

    #[test]
    fn levels_borrow_what_is_not_wanted_and_own_seats_are_always_there() {
        let mut levels = Levels::default();
        let all = [("a", limits(1, 50, queuing())), ("b", limits(1, 0, queuing()))];
        levels.configure(all.into_iter(), 20);
        let runs = |levels: &mut Levels, level: &str, count: u64| {
            let placed = (0..count).map(|id| levels.ask(&ask(level, id, id)));
            placed.filter(|placed| matches!(placed, Ok(Placed::Runs { .. }))).count()
        };
        assert_eq!(runs(&mut levels, "b", 18), 15, "ten of its own and five that a may lend");
        assert_eq!(runs(&mut levels, "a", 12), 10, "all of its own, and b lends nothing");
    }

    #[test]
    fn a_level_that_rejects_lets_nobody_wait() {
        let mut levels = Levels::default();
        levels.configure([("l", limits(1, 0, None))].into_iter(), 2);
        assert_eq!(levels.ask(&ask("l", 1, 1)), Ok(Placed::Runs { queue: 0 }));
        assert_eq!(levels.ask(&ask("l", 1, 2)), Ok(Placed::Runs { queue: 0 }));
        assert_eq!(levels.ask(&ask("l", 1, 3)), Err(Refused::ConcurrencyLimit));
        levels.finish("l", (0, 1), 0.1);
        assert_eq!(levels.ask(&ask("l", 1, 4)), Ok(Placed::Runs { queue: 0 }));
    }

    #[test]
    fn who_gave_up_does_not_start() {
        let mut levels = Levels::default();
        levels.configure([("l", limits(1, 0, queuing()))].into_iter(), 1);
        let Ok(Placed::Runs { queue }) = levels.ask(&ask("l", 1, 1)) else { unreachable!() };
        let Ok(Placed::Waits { queue: other }) = levels.ask(&ask("l", 1, 2)) else {
            unreachable!()
        };
        assert!(levels.forget("l", other, 2));
        assert!(!levels.forget("l", other, 2));
        levels.finish("l", (queue, 1), 0.1);
        assert_eq!(levels.started(), Vec::<u64>::new());
        assert_eq!(levels.load("l"), (0, 0));
    }
}
