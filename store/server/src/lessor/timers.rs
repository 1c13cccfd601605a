//! When which lease ends, and whose time left the log must hear of. No clock: callers bring the time.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use proto::etcdserverpb::LeaseCheckpoint;
use tokio::time::Instant;

use crate::limits;

/// One lease, as the leader sees it.
#[derive(Clone, Copy)]
struct Timer {
    deadline: Instant,
    /// The whole time.
    ttl: Duration,
    /// The log holds, or may come to hold, that less than the whole time was left: which checkpoint
    /// said so last.
    told: Option<u64>,
    /// When its time left is told next.
    tell: Option<Instant>,
}

/// What asking for a renewal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There is no such lease.
    Gone,
    /// It has run out and waits for its revocation, which may fail: it is neither gone nor renewed.
    Ended,
    /// It has its whole time again, in seconds.
    Renewed(i64),
    /// First the log must forget what it was told by this checkpoint; then call
    /// [`Timers::forgotten`].
    Told(u64),
}

/// The timers of all leases. They run only while this member leads.
#[derive(Default)]
pub(super) struct Timers {
    pub(super) leading: bool,
    leases: HashMap<i64, Timer>,
    by_deadline: BTreeSet<(Instant, i64)>,
    /// Only leases that last longer than the time between checkpoints.
    by_telling: BTreeSet<(Instant, i64)>,
    serial: u64,
    every: Duration,
}

pub(super) fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0).min(limits::LEASE_TTL_MAX.unsigned_abs()))
}

fn whole(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)
}

impl Timers {
    /// No timers yet; the log is to be told the time left `every` so often.
    pub(super) fn new(every: Duration, leading: bool) -> Self {
        Self { leading, every, ..Self::default() }
    }

    fn put(&mut self, id: i64, now: Instant, mut timer: Timer) {
        self.remove(id);
        let long = timer.deadline.saturating_duration_since(now) > self.every;
        timer.tell = long.then(|| now + self.every);
        self.by_deadline.insert((timer.deadline, id));
        self.by_telling.extend(timer.tell.map(|at| (at, id)));
        self.leases.insert(id, timer);
    }

    pub(super) fn remove(&mut self, id: i64) {
        if let Some(timer) = self.leases.remove(&id) {
            self.by_deadline.remove(&(timer.deadline, id));
            if let Some(at) = timer.tell {
                self.by_telling.remove(&(at, id));
            }
        }
    }

    /// A new lease, of `ttl` seconds.
    pub(super) fn grant(&mut self, id: i64, ttl: i64, now: Instant) {
        let ttl = seconds(ttl);
        self.put(id, now, Timer { deadline: now + ttl, ttl, told: None, tell: None });
    }

    /// A lease that an earlier leader looked after: it has what the log says is `left` of its `ttl`
    /// seconds (zero: all), and `more`, in which nobody could be reached.
    pub(super) fn inherit(
        &mut self,
        id: i64,
        (ttl, left): (i64, i64),
        more: Duration,
        now: Instant,
    ) {
        if self.leases.contains_key(&id) {
            return;
        }
        let told = (left > 0).then_some(self.serial);
        let deadline = now + seconds(if left > 0 { left.min(ttl) } else { ttl }) + more;
        self.put(id, now, Timer { deadline, ttl: seconds(ttl), told, tell: None });
    }

    /// Whether there is such a lease, as far as was applied.
    pub(super) fn has(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    pub(super) fn renew(&mut self, id: i64, now: Instant) -> Renewal {
        match self.leases.get(&id).copied() {
            Some(timer) if timer.deadline > now => match timer.told {
                Some(serial) => Renewal::Told(serial),
                None => {
                    self.put(id, now, Timer { deadline: now + timer.ttl, ..timer });
                    Renewal::Renewed(whole(timer.ttl))
                }
            },
            Some(_) => Renewal::Ended,
            None => Renewal::Gone,
        }
    }

    /// The log has forgotten what the checkpoint `serial` told: the lease has its whole time again,
    /// whose seconds are told; none if it ended meanwhile.
    pub(super) fn forgotten(&mut self, id: i64, serial: u64, now: Instant) -> Option<i64> {
        let timer = self.leases.get(&id).copied().filter(|timer| timer.deadline > now)?;
        // A checkpoint that was made meanwhile counts on.
        let told = timer.told.filter(|told| *told != serial);
        self.put(id, now, Timer { deadline: now + timer.ttl, told, ..timer });
        Some(whole(timer.ttl))
    }

    /// The time left of up to `limit` leases that is to be told now. They count as told from here on.
    pub(super) fn tell(&mut self, limit: usize, now: Instant) -> Vec<LeaseCheckpoint> {
        let due = self.by_telling.iter().take_while(|(at, _)| *at <= now).take(limit);
        let due: Vec<i64> = due.map(|(_, id)| *id).collect();
        self.serial += 1;
        due.into_iter()
            .filter_map(|id| {
                let timer = *self.leases.get(&id)?;
                self.put(id, now, Timer { told: Some(self.serial), ..timer });
                let left = timer.deadline.checked_duration_since(now)?;
                // Rounded up: late, never early. Zero would mean all of it.
                let remaining_ttl = whole(left + Duration::from_millis(999)).max(1);
                Some(LeaseCheckpoint { id, remaining_ttl })
            })
            .collect()
    }

    /// Up to `limit` leases that have run out, the oldest first.
    pub(super) fn expired(&self, limit: usize, now: Instant) -> Vec<i64> {
        let out = self.by_deadline.iter().take_while(|(at, _)| *at <= now).take(limit);
        out.map(|(_, id)| *id).collect()
    }

    /// When there is something to do next: a lease ends, or its time left is to be told.
    pub(super) fn next(&self) -> Option<Instant> {
        let ends = self.by_deadline.first().map(|(at, _)| *at);
        let tells = self.by_telling.first().map(|(at, _)| *at);
        ends.into_iter().chain(tells).min()
    }

    /// Seconds left; -1 if there is no such lease.
    pub(super) fn remaining(&self, id: i64, now: Instant) -> i64 {
        let deadline = self.leases.get(&id).map(|timer| timer.deadline);
        deadline.map_or(-1, |at| whole(at.saturating_duration_since(now)))
    }

    pub(super) fn deadline(&self, id: i64) -> Option<Instant> {
        self.leases.get(&id).map(|timer| timer.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn none() -> Timers {
        Timers::new(minutes(5), true)
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn there_is_nothing_to_do_before_the_first_end_or_the_first_telling() {
        let start = Instant::now();
        let mut timers = none();
        assert_eq!(timers.next(), None);
        timers.grant(1, HOUR, start);
        assert_eq!(timers.next(), Some(start + minutes(5)), "its time left is told");
        timers.grant(2, 60, start);
        assert_eq!(timers.next(), Some(start + minutes(1)));
        timers.remove(2);
        assert_eq!(timers.next(), Some(start + minutes(5)));
    }

    /// A leader that takes over gives a lease what was left of it, not its whole time again.
    #[test]
    fn time_left_is_told_and_inherited() {
        let start = Instant::now();
        let mut first = none();
        first.grant(1, HOUR, start);
        first.grant(2, 60, start);
        assert!(first.tell(10, start + minutes(4)).is_empty());
        let told = first.tell(10, start + minutes(5));
        // The short one ends before the next checkpoint would come.
        assert_eq!(told, [LeaseCheckpoint { id: 1, remaining_ttl: 55 * 60 }]);
        assert!(first.tell(10, start + minutes(6)).is_empty(), "once in five minutes");
        assert_eq!(first.tell(10, start + minutes(10))[0].remaining_ttl, 50 * 60);

        let mut second = none();
        second.inherit(1, (HOUR, 50 * 60), minutes(1), start);
        second.inherit(2, (60, 0), minutes(1), start);
        assert_eq!(second.remaining(1, start), 51 * 60);
        assert_eq!(second.remaining(2, start), 120);
        assert_eq!(second.expired(10, start + minutes(51)), [2, 1]);
    }

    /// A renewal counts only once the log has forgotten the checkpoint: else the next leader would
    /// revoke a renewed lease early.
    #[test]
    fn what_was_told_is_taken_back_before_a_renewal() {
        let start = Instant::now();
        let mut timers = none();
        timers.grant(1, HOUR, start);
        assert_eq!(timers.renew(1, start), Renewal::Renewed(HOUR));
        timers.tell(10, start + minutes(5));
        let now = start + minutes(6);
        let Renewal::Told(serial) = timers.renew(1, now) else { panic!("it was told") };
        assert_eq!(timers.remaining(1, now), 54 * 60, "not renewed yet");
        assert_eq!(timers.forgotten(1, serial, now), Some(HOUR));
        assert_eq!(timers.renew(1, now), Renewal::Renewed(HOUR));

        // What a checkpoint tells while an earlier one is being forgotten stays told.
        timers.tell(10, now + minutes(5));
        let Renewal::Told(serial) = timers.renew(1, now + minutes(5)) else { panic!("told") };
        timers.tell(10, now + minutes(10));
        timers.forgotten(1, serial, now + minutes(10));
        assert!(matches!(timers.renew(1, now + minutes(10)), Renewal::Told(_)));

        // One inherited with less than its whole time was told by the leader before.
        let mut next = none();
        next.inherit(1, (HOUR, 60), Duration::ZERO, start);
        assert!(matches!(next.renew(1, start), Renewal::Told(_)));
        assert_eq!(next.renew(1, start + minutes(1)), Renewal::Ended);
        assert_eq!(next.forgotten(1, 0, start + minutes(1)), None, "its revocation is under way");
        next.remove(1);
        assert_eq!(next.renew(1, start + minutes(1)), Renewal::Gone);
        assert_eq!(next.forgotten(1, 0, start), None);
    }
}
