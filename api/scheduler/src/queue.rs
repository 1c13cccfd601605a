//! Pods waiting to be scheduled: ready, backing off, or fitting nowhere until something changes.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | Q1 | Of the ready pods the one with the greatest priority comes first; of equals the one that waits longest. |
//! | Q2 | A change that happens while a pod is being tried is not lost on it: it is tried again after its back-off. |

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::limits;

type Place = (Reverse<i32>, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready(Place),
    BackingOff(Instant),
    Unschedulable(Instant),
    Trying { moves: u64 },
}

#[derive(Debug)]
struct Entry {
    state: State,
    priority: i32,
    attempts: u32,
    order: u64,
    tried: Instant,
}

/// How many pods wait in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be tried.
    pub active: usize,
    /// Waiting for their back-off to end.
    pub backoff: usize,
    /// Fitting nowhere.
    pub unschedulable: usize,
}

/// The queue; pods are named by their key.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    ready: BTreeSet<(Place, String)>,
    timers: BTreeSet<(Instant, String)>,
    order: u64,
    moves: u64,
}

/// The wait after so many attempts: 1 s, doubling, at most 10 s.
#[must_use]
pub fn backoff(attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    limits::BACKOFF_MIN.saturating_mul(factor).min(limits::BACKOFF_MAX)
}

impl Queue {
    /// A pod wants a node. One that waits already is made ready: it has changed, it may fit now.
    pub fn add(&mut self, key: &str, priority: i32, now: Instant) {
        match self.entries.get(key).map(|entry| entry.state) {
            None => {
                self.order += 1;
                let (order, tried) = (self.order, now);
                let state = State::Ready((Reverse(priority), order));
                self.entries
                    .insert(key.to_owned(), Entry { state, priority, attempts: 0, order, tried });
                self.ready.insert(((Reverse(priority), order), key.to_owned()));
            }
            Some(State::Unschedulable(_)) => self.wake(key, now),
            Some(State::Trying { .. }) => self.moves += 1,
            Some(State::Ready(_) | State::BackingOff(_)) => {}
        }
    }

    /// The pod needs no node any more: it has one, or it is gone.
    pub fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.unlist(key, entry.state);
        }
    }

    /// The next pod to try, if one is ready.
    pub fn pop(&mut self, now: Instant) -> Option<String> {
        self.release(now);
        let (_, key) = self.ready.pop_first()?;
        let moves = self.moves;
        let entry = self.entries.get_mut(&key).expect("every ready pod has an entry");
        entry.state = State::Trying { moves };
        entry.attempts += 1;
        entry.tried = now;
        Some(key)
    }

    /// When to look again, if nothing is added before.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The pod that was tried fits nowhere.
    pub fn failed(&mut self, key: &str, now: Instant) {
        let changed = self.moves;
        let Some(State::Trying { moves }) = self.entries.get(key).map(|entry| entry.state) else {
            return;
        };
        if moves == changed {
            self.set(key, State::Unschedulable(now + limits::UNSCHEDULABLE_MAX));
        } else {
            // Q2.
            self.retry(key, now);
        }
    }

    /// The pod that was tried could not be bound: it is tried again after its back-off.
    pub fn retry(&mut self, key: &str, now: Instant) {
        if let Some(entry) = self.entries.get(key) {
            let due = now + backoff(entry.attempts);
            self.set(key, State::BackingOff(due));
        }
    }

    /// Something changed that may let pods fit.
    pub fn move_all(&mut self, now: Instant) {
        self.moves += 1;
        let waiting = |(key, entry): (&String, &Entry)| {
            matches!(entry.state, State::Unschedulable(_)).then(|| key.clone())
        };
        let keys: Vec<String> = self.entries.iter().filter_map(waiting).collect();
        for key in keys {
            self.wake(&key, now);
        }
    }

    /// Counts for the metrics.
    #[must_use]
    pub fn depth(&self) -> Depth {
        let mut depth = Depth::default();
        for entry in self.entries.values() {
            match entry.state {
                State::Ready(_) => depth.active += 1,
                State::BackingOff(_) => depth.backoff += 1,
                State::Unschedulable(_) => depth.unschedulable += 1,
                State::Trying { .. } => {}
            }
        }
        depth
    }

    fn wake(&mut self, key: &str, now: Instant) {
        let Some(entry) = self.entries.get(key) else { return };
        let due = entry.tried + backoff(entry.attempts);
        let place = (Reverse(entry.priority), entry.order);
        self.set(key, if due > now { State::BackingOff(due) } else { State::Ready(place) });
    }

    fn release(&mut self, now: Instant) {
        while let Some((due, key)) = self.timers.first().cloned() {
            if due > now {
                return;
            }
            let Some(entry) = self.entries.get(&key) else { return };
            let place = (Reverse(entry.priority), entry.order);
            self.set(&key, State::Ready(place));
        }
    }

    fn set(&mut self, key: &str, state: State) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.state, state);
        self.unlist(key, before);
        match state {
            State::Ready(place) => {
                self.ready.insert((place, key.to_owned()));
            }
            State::BackingOff(due) | State::Unschedulable(due) => {
                self.timers.insert((due, key.to_owned()));
            }
            State::Trying { .. } => {}
        }
    }

    fn unlist(&mut self, key: &str, state: State) {
        match state {
            State::Ready(place) => {
                self.ready.remove(&(place, key.to_owned()));
            }
            State::BackingOff(due) | State::Unschedulable(due) => {
                self.timers.remove(&(due, key.to_owned()));
            }
            State::Trying { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn priority_first_then_age() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add("low", 0, now);
        queue.add("first", 10, now);
        queue.add("second", 10, now);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(order, ["first", "second", "low"], "Q1");
    }

    #[test]
    fn what_fits_nowhere_waits_for_a_change_and_for_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add("a", 0, now);
        queue.pop(now).unwrap();
        queue.failed("a", now);
        assert_eq!(queue.depth().unschedulable, 1);
        assert_eq!(queue.pop(now + second(60)), None, "nothing changed");
        queue.move_all(now);
        assert_eq!(queue.depth().backoff, 1);
        assert_eq!(queue.pop(now), None, "backing off for a second");
        assert_eq!(queue.pop(now + second(1)).as_deref(), Some("a"));
    }

    #[test]
    fn a_change_during_the_attempt_is_not_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add("a", 0, now);
        queue.pop(now).unwrap();
        queue.move_all(now);
        queue.failed("a", now);
        assert_eq!(queue.depth().backoff, 1, "Q2");
    }

    #[test]
    fn everything_is_tried_again_after_five_minutes() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add("a", 0, now);
        queue.pop(now).unwrap();
        queue.failed("a", now);
        assert_eq!(queue.next_due(), Some(now + second(300)));
        assert_eq!(queue.pop(now + second(300)).as_deref(), Some("a"));
    }

    #[test]
    fn back_off_grows_to_ten_seconds() {
        let waits: Vec<u64> = (1..=6).map(|attempts| backoff(attempts).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_removed_pod_leaves_nothing_behind() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add("a", 0, now);
        queue.remove("a");
        assert_eq!(queue.pop(now), None);
        queue.add("b", 0, now);
        queue.pop(now).unwrap();
        queue.remove("b");
        queue.failed("b", now);
        assert!(queue.entries.is_empty() && queue.timers.is_empty() && queue.ready.is_empty());
    }
}
