//! The leader's lease timers. When one runs out they propose its revocation, and nothing else.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L2 | A lease is never revoked early: a new leader gives every lease its full time again. |
//! | L3 | A member that does not surely lead revokes nothing. |

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use proto::{etcdserverpb::LeaseRevokeRequest, orlop::store::v1::command::Op};
use store_state_machine::Refusal;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{auth, error::Error, limits, propose::Proposer, read::Reader, state::State};

#[derive(Default)]
struct Timers {
    leading: bool,
    leases: HashMap<i64, (Instant, Duration)>,
    by_deadline: BTreeSet<(Instant, i64)>,
}

impl Timers {
    fn set(&mut self, id: i64, deadline: Instant, ttl: Duration) {
        if let Some((old, _)) = self.leases.insert(id, (deadline, ttl)) {
            self.by_deadline.remove(&(old, id));
        }
        self.by_deadline.insert((deadline, id));
    }

    fn remove(&mut self, id: i64) {
        if let Some((deadline, _)) = self.leases.remove(&id) {
            self.by_deadline.remove(&(deadline, id));
        }
    }
}

/// The timers of this member's leases; they run only while it leads.
#[derive(Clone, Default)]
pub(crate) struct Lessor {
    timers: Arc<Mutex<Timers>>,
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0).min(limits::LEASE_TTL_MAX.unsigned_abs()))
}

impl Lessor {
    /// A lease was granted, as applied.
    pub(crate) fn granted(&self, id: i64, ttl: i64) {
        let mut timers = self.timers.lock();
        if timers.leading {
            let ttl = seconds(ttl);
            timers.set(id, Instant::now() + ttl, ttl);
        }
    }

    /// A lease was revoked, as applied.
    pub(crate) fn revoked(&self, id: i64) {
        self.timers.lock().remove(id);
    }

    /// Starts a lease anew; its TTL in seconds, zero if there is none, nothing if not leading.
    pub(crate) fn renew(&self, id: i64) -> Option<i64> {
        let mut timers = self.timers.lock();
        if !timers.leading {
            return None;
        }
        let now = Instant::now();
        match timers.leases.get(&id).copied() {
            // One that has run out waits for its revocation.
            Some((deadline, ttl)) if deadline > now => {
                timers.set(id, now + ttl, ttl);
                Some(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
            }
            _ => Some(0),
        }
    }

    /// Seconds left; -1 if there is no such lease, nothing if not leading.
    pub(crate) fn remaining(&self, id: i64) -> Option<i64> {
        let timers = self.timers.lock();
        if !timers.leading {
            return None;
        }
        Some(timers.leases.get(&id).map_or(-1, |(deadline, _)| {
            let left = deadline.saturating_duration_since(Instant::now());
            i64::try_from(left.as_secs()).unwrap_or(i64::MAX)
        }))
    }

    /// As etcd lists them: the one that ends first comes first, as far as this member knows the times.
    pub(crate) fn sort(&self, leases: &mut [i64]) {
        let timers = self.timers.lock();
        leases.sort_by_key(|id| timers.leases.get(id).map(|(deadline, _)| *deadline));
    }

    /// L2: every lease starts anew, plus the time in which nobody could be reached.
    fn lead(&self, state: &State, election: Duration) {
        // Grants that are applied from here on set their own timers.
        *self.timers.lock() = Timers { leading: true, ..Timers::default() };
        let leases = state.view().leases();
        let mut timers = self.timers.lock();
        let now = Instant::now();
        for lease in leases {
            let ttl = seconds(lease.ttl);
            if !timers.leases.contains_key(&lease.id) {
                timers.set(lease.id, now + ttl + election, ttl);
            }
        }
    }

    fn stop_leading(&self) {
        *self.timers.lock() = Timers::default();
    }

    fn expired(&self, limit: usize) -> Vec<i64> {
        let timers = self.timers.lock();
        let now = Instant::now();
        timers
            .by_deadline
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(limit)
            .map(|(_, id)| *id)
            .collect()
    }
}

/// Runs the timers until `stop` fires.
pub(crate) async fn run(
    lessor: Lessor,
    (state, proposer, reader): (State, Proposer, Reader),
    mut leader: watch::Receiver<Option<u64>>,
    (own, election): (u64, Duration),
    stop: CancellationToken,
) {
    let mut tick = interval(limits::LEASE_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let per_tick = limits::LEASE_REVOKES_PER_SECOND_MAX
        / usize::try_from(1000 / limits::LEASE_TICK.as_millis()).expect("a small number");
    let in_flight = Arc::new(Semaphore::new(limits::LEASE_REVOKES_IN_FLIGHT_MAX));
    let mut leading = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = leader.changed() => if changed.is_err() { return },
            _ = tick.tick() => {}
        }
        let leads = *leader.borrow() == Some(own);
        if leads && !leading {
            // Everything that earlier leaders granted must be applied before it is listed.
            if reader.linearizable().await.is_err() {
                continue;
            }
            let (lessor, state) = (lessor.clone(), state.clone());
            let listed = tokio::task::spawn_blocking(move || lessor.lead(&state, election)).await;
            leading = listed.is_ok();
        } else if !leads && leading {
            lessor.stop_leading();
            leading = false;
        }
        if !leading {
            continue;
        }
        let expired = lessor.expired(per_tick);
        // L3: the quorum confirms this leader first.
        if expired.is_empty() || reader.linearizable().await.is_err() {
            continue;
        }
        let revocations = expired.into_iter().map(|id| {
            let (proposer, in_flight) = (proposer.clone(), in_flight.clone());
            let lessor = lessor.clone();
            async move {
                let Ok(_permit) = in_flight.acquire().await else { return };
                let op = Op::LeaseRevoke(LeaseRevokeRequest { id });
                match proposer.propose(auth::member(), op).await {
                    Ok(_) => {}
                    Err(Error::Refused(Refusal::LeaseNotFound)) => lessor.revoked(id),
                    Err(error) => {
                        tracing::warn!(lease = id, ?error, "an expired lease is not revoked yet");
                    }
                }
            }
        });
        futures::future::join_all(revocations).await;
    }
}
