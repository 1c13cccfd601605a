//! Leases on the target that live as long as those on the source.
//!
//! A lease keeps its id and the TTL that it was granted. On the target it starts whole, as all leases
//! do when etcd elects a leader, and is renewed whenever the source's was: so it never ends before
//! the source's, and clients find it as long as they keep it alive.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use store_client::{Client, Error};

use super::side::patiently;
use crate::limits;

/// A lease that was granted on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// When the source's ends, as last heard.
    ends: Instant,
    look_at: Instant,
    /// The source's revision when it was found to be gone; not since it was granted there again.
    gone: Option<i64>,
}

/// What an answer about a lease of the source means for the target's.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// It ended.
    Gone,
    /// It was renewed since.
    Renewed,
    /// It runs on.
    Runs,
}

impl Known {
    fn new(now: Instant, left_s: i64) -> Self {
        let left = seconds(left_s);
        Self { ends: now + left, look_at: now + look_after(left), gone: None }
    }

    /// Takes what the source says is left of it, −1 for nothing.
    fn hear(&mut self, now: Instant, left_s: i64) -> Meaning {
        if left_s < 0 {
            return Meaning::Gone;
        }
        let heard = Self::new(now, left_s);
        let renewed = heard.ends > self.ends + limits::MIGRATE_LEASE_RENEWED;
        self.look_at = heard.look_at;
        if renewed {
            self.ends = heard.ends;
            return Meaning::Renewed;
        }
        Meaning::Runs
    }
}

fn seconds(count: i64) -> Duration {
    // No lease is longer than 9 000 000 000 s.
    Duration::from_secs(u64::try_from(count).unwrap_or(0).min(9_000_000_000))
}

fn look_after(left: Duration) -> Duration {
    (left / 3).clamp(limits::MIGRATE_LEASE_LOOK_MIN, limits::MIGRATE_LEASE_LOOK_MAX)
}

/// Keeps the leases of both stores alike.
pub(super) struct Leases {
    source: Client,
    target: Client,
    /// Whether leases without keys are carried over too.
    all: bool,
    known: Mutex<HashMap<i64, Known>>,
    /// The revision of the source that the target is at.
    applied: AtomicI64,
    /// A lease ended on the target alone, and took keys with it.
    lost: AtomicBool,
}

impl Leases {
    pub(super) fn new(source: Client, target: Client, all: bool) -> Self {
        let known = Mutex::new(HashMap::new());
        let (applied, lost) = (AtomicI64::new(0), AtomicBool::new(false));
        Self { source, target, all, known, applied, lost }
    }

    pub(super) fn count(&self) -> usize {
        self.known.lock().len()
    }

    pub(super) fn applied(&self, revision: i64) {
        self.applied.store(revision, Ordering::Relaxed);
    }

    /// Whether the target lost keys with a lease since this was last asked.
    pub(super) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// The target says that one of these is not there.
    pub(super) fn forget(&self, ids: &BTreeSet<i64>) {
        self.known.lock().retain(|id, _| !ids.contains(id));
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Grants on the target what is not there yet. Answers those of `ids` that are alive.
    pub(super) async fn ensure(&self, ids: &BTreeSet<i64>) -> anyhow::Result<BTreeSet<i64>> {
        let missing: Vec<i64> = {
            let known = self.known.lock();
            ids.iter().copied().filter(|id| *id != 0 && !known.contains_key(id)).collect()
        };
        let granting = missing.into_iter().map(|id| self.grant(id));
        let granted = stream::iter(granting).buffer_unordered(limits::MIGRATE_LEASE_CALLS);
        granted.try_collect::<()>().await?;
        let known = self.known.lock();
        Ok(ids.iter().copied().filter(|id| known.contains_key(id)).collect())
    }

    async fn grant(&self, id: i64) -> anyhow::Result<()> {
        let lease = patiently("source", || self.source.lease_time_to_live(id, false)).await?;
        if lease.ttl < 0 {
            // Its keys go with it: that comes as a deletion.
            return Ok(());
        }
        let heard = Instant::now();
        let granting = || async {
            match self.target.lease_grant_as(id, lease.granted_ttl).await {
                // By an earlier run, or an attempt whose answer was lost.
                Err(Error::Refused { message, .. }) if message.contains("already exists") => {
                    match self.target.lease_keep_alive_once(id).await?.ttl {
                        // It ends just now.
                        0 => Err(Error::Unavailable { message: format!("lease {id:x} ends") }),
                        _ => Ok(()),
                    }
                }
                other => other.map(|_| ()),
            }
        };
        patiently("target", granting).await?;
        self.known.lock().insert(id, Known::new(heard, lease.ttl));
        Ok(())
    }

    /// Grants those of the source that no key has.
    pub(super) async fn list(&self) -> anyhow::Result<()> {
        if !self.all {
            return Ok(());
        }
        let ids = patiently("source", || self.source.leases()).await?;
        self.ensure(&ids.into_iter().collect()).await?;
        Ok(())
    }

    /// Looks after them until it is dropped.
    pub(super) async fn keep(&self) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(limits::MIGRATE_LEASE_LOOK_MIN / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut listed = Instant::now();
        loop {
            tick.tick().await;
            self.look(Instant::now()).await;
            if listed.elapsed() >= limits::MIGRATE_LEASES_EVERY {
                self.list().await?;
                listed = Instant::now();
            }
        }
    }

    /// Brings what is due up to date.
    async fn look(&self, now: Instant) {
        let due: Vec<i64> = {
            let known = self.known.lock();
            known.iter().filter(|(_, lease)| lease.look_at <= now).map(|(id, _)| *id).collect()
        };
        let look = |id| self.look_at(id);
        stream::iter(due).for_each_concurrent(limits::MIGRATE_LEASE_CALLS, look).await;
    }

    async fn look_at(&self, id: i64) {
        let answer = self.source.lease_time_to_live(id, false).await;
        let now = Instant::now();
        let renew = {
            let mut known = self.known.lock();
            let Some(lease) = known.get_mut(&id) else { return };
            let was_gone = lease.gone.take();
            // Should all fail, it is looked at again soon.
            lease.look_at = now + limits::MIGRATE_LEASE_LOOK_MIN;
            match &answer {
                // A source that is away ends no lease on the target: later is safe, sooner is not.
                Err(_) => true,
                Ok(answer) => match lease.hear(now, answer.ttl) {
                    Meaning::Gone => {
                        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
                        lease.gone = was_gone.or(Some(revision));
                        false
                    }
                    Meaning::Renewed => true,
                    Meaning::Runs => false,
                },
            }
        };
        if renew {
            match self.target.lease_keep_alive_once(id).await {
                Ok(answer) if answer.ttl == 0 => self.forget(&BTreeSet::from([id])),
                Ok(_) => {}
                Err(_) => {
                    // Heard, but not passed on: next time it must count as renewed again.
                    if let Some(lease) = self.known.lock().get_mut(&id) {
                        lease.ends =
                            now.checked_sub(2 * limits::MIGRATE_LEASE_RENEWED).unwrap_or(now);
                    }
                }
            }
        }
        self.end(id).await;
    }

    /// Ends it on the target once the target is past its end: then it has no keys there any more.
    async fn end(&self, id: i64) {
        let gone = self.known.lock().get(&id).and_then(|lease| lease.gone);
        if gone.is_none_or(|revision| revision > self.applied.load(Ordering::Relaxed)) {
            return;
        }
        match self.target.lease_revoke(id).await {
            Ok(_) | Err(Error::Refused { .. }) => {
                self.known.lock().remove(&id);
            }
            Err(_) => {}
        }
    }

    /// At the end, when both are level: all of the source's are there, and those that ended are not.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        self.list().await?;
        let now = Instant::now();
        for lease in self.known.lock().values_mut() {
            lease.look_at = now;
        }
        self.look(now).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_told_from_time_that_passed() {
        let start = Instant::now();
        let mut lease = Known::new(start, 10);
        let after = |s| start + Duration::from_secs(s);
        // Seconds are cut off, or not, as the clocks lie.
        assert_eq!(lease.hear(after(3), 7), Meaning::Runs);
        assert_eq!(lease.hear(after(3), 8), Meaning::Runs);
        assert_eq!(lease.hear(after(4), 9), Meaning::Renewed);
        assert_eq!(lease.hear(after(6), 7), Meaning::Runs);
        assert_eq!(lease.hear(after(14), -1), Meaning::Gone);
    }

    #[test]
    fn a_lease_is_looked_at_before_it_can_end() {
        for left in [2, 10, 3600, 9_000_000_000] {
            assert!(look_after(seconds(left)) <= seconds(left) / 3, "{left}");
        }
        assert_eq!(look_after(seconds(3600)), limits::MIGRATE_LEASE_LOOK_MAX);
        assert_eq!(look_after(seconds(0)), limits::MIGRATE_LEASE_LOOK_MIN);
    }
}
