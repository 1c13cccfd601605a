//! The leader's lease timers. When one runs out they propose its revocation, and nothing else.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | L2 | A lease is never revoked early: a new leader gives it the time left at its last checkpoint, all of it if there is none, and the time in which nobody could be reached. |
//! | L3 | A member that does not surely lead revokes nothing, and renews nothing: what runs out on a leader of before is revoked by nobody, and whoever renews there is not told that it did. |
//! | L4 | Nobody is told of a renewal while the log holds a checkpoint of that lease, or may come to. |
//! | L5 | Nobody is told of a renewal of a lease whose end was committed before: a leader may have applied less than the member that said so. |
//! | L6 | Nobody is told that a lease is gone before its revocation is applied: one that ran out may still be given keys, and its revocation may fail. Whoever renews it waits, as in etcd. |

mod timers;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use proto::{
    etcdserverpb::{LeaseCheckpoint, LeaseCheckpointRequest, LeaseRevokeRequest},
    orlop::store::v1::command::Op,
};
use store_planted::{self as planted, Bug};
use store_state_machine::Refusal;
use tokio::{
    sync::{Notify, RwLock, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::timers::{Renewal, Timers};
use crate::{
    auth, error::Error, exec, limits, metrics::store::Store, propose::Proposer, raft::LeaderId,
    read::Reader, state::State,
};

/// The timers of this member's leases; they run only while it leads.
#[derive(Clone, Default)]
pub(crate) struct Lessor {
    timers: Arc<Mutex<Timers>>,
    /// L4: held for writing while leases are marked as told and the checkpoint is put in raft's
    /// queue. Whoever sees the mark proposes what takes it back, and comes after it in the log.
    telling: Arc<RwLock<()>>,
    /// A lease was removed, or the timers no longer run.
    removed: Arc<Notify>,
    every: Duration,
    renewed: Counter,
    expired: Counter,
}

impl Lessor {
    /// Timers that do not run yet. While they do, the log is told the time left `every` so often.
    pub(crate) fn new(every: Duration, metrics: &Store) -> Self {
        let (renewed, expired) = (metrics.leases_renewed.clone(), metrics.leases_expired.clone());
        Self { every, renewed, expired, ..Self::default() }
    }

    /// A lease was granted, as applied.
    pub(crate) fn granted(&self, id: i64, ttl: i64) {
        let mut timers = self.timers.lock();
        if timers.leading {
            timers.grant(id, ttl, Instant::now());
        }
    }

    /// A lease was revoked, as applied.
    pub(crate) fn revoked(&self, id: i64) {
        self.timers.lock().remove(id);
        self.removed.notify_waiters();
    }

    /// Starts a lease anew; its TTL in seconds, zero if there is none, nothing if not leading.
    ///
    /// # Errors
    /// If its time left was told, and that cannot be taken back; if what was committed is not applied.
    pub(crate) async fn renew(
        &self,
        id: i64,
        (proposer, reader): (&Proposer, &Reader),
    ) -> Result<Option<i64>, Error> {
        let mut renewed = self.renew_here(id, proposer).await?;
        if renewed == Some(0) {
            // Another member may have applied its grant, and told its client, before this one.
            reader.linearizable().await?;
            renewed = self.renew_here(id, proposer).await?;
        }
        // L3: after the timer was set. Whoever is elected later begins later, too.
        if renewed.is_none() || !reader.leads_and_applied().await? {
            return Ok(None);
        }
        // L5
        let timers = self.timers.lock();
        let left = renewed.map(|ttl| if timers.has(id) { ttl } else { 0 });
        Ok(left.filter(|_| timers.leading))
    }

    async fn renew_here(&self, id: i64, proposer: &Proposer) -> Result<Option<i64>, Error> {
        loop {
            let removed = self.removed.notified();
            tokio::pin!(removed);
            removed.as_mut().enable();
            let renewal = {
                let _not_telling = self.telling.read().await;
                let mut timers = self.timers.lock();
                if !timers.leading {
                    return Ok(None);
                }
                timers.renew(id, Instant::now())
            };
            let serial = match renewal {
                Renewal::Gone => return Ok(Some(0)),
                // L6
                Renewal::Ended => {
                    removed.await;
                    continue;
                }
                Renewal::Renewed(ttl) => {
                    self.renewed.inc();
                    return Ok(Some(ttl));
                }
                Renewal::Told(serial) => serial,
            };
            let checkpoints = vec![LeaseCheckpoint { id, remaining_ttl: 0 }];
            let op = Op::LeaseCheckpoint(LeaseCheckpointRequest { checkpoints });
            proposer.propose(auth::member(), op).await?;
            let mut timers = self.timers.lock();
            if !timers.leading {
                return Ok(None);
            }
            // One that ended meanwhile is waited for.
            if let Some(ttl) = timers.forgotten(id, serial, Instant::now()) {
                self.renewed.inc();
                return Ok(Some(ttl));
            }
        }
    }

    /// Seconds left; -1 if there is no such lease, nothing if not leading.
    pub(crate) fn remaining(&self, id: i64) -> Option<i64> {
        let timers = self.timers.lock();
        timers.leading.then(|| timers.remaining(id, Instant::now()))
    }

    /// As etcd lists them: the one that ends first comes first, as far as this member knows the times.
    pub(crate) fn sort(&self, leases: &mut [i64]) {
        let timers = self.timers.lock();
        leases.sort_by_key(|id| timers.deadline(*id));
    }

    /// L2
    fn lead(&self, state: &State, election: Duration) {
        // Grants that are applied from here on set their own timers.
        *self.timers.lock() = Timers::new(self.every, true);
        let leases = state.view().leases();
        let mut timers = self.timers.lock();
        let now = Instant::now();
        for lease in leases {
            let early = planted::is(Bug::LeaseExpiresEarly);
            let left = if early { 1 } else { lease.remaining_ttl };
            timers.inherit(lease.id, (lease.ttl, left), election, now);
        }
        self.removed.notify_waiters();
    }

    fn stop_leading(&self) {
        *self.timers.lock() = Timers::new(self.every, false);
        self.removed.notify_waiters();
    }

    /// Until the next look: what nobody waits for is not looked for.
    fn pause(&self) -> Duration {
        let next = self.timers.lock().next();
        let left = next.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.unwrap_or(limits::LEASE_LOOK_EVERY);
        left.clamp(limits::LEASE_TICK, limits::LEASE_LOOK_EVERY)
    }

    /// Has the log remember how much time is left, so that the next leader does not start from the
    /// beginning: otherwise a lease of a day never ends where leaders change twice a day.
    async fn tell(&self, proposer: &Proposer, leader: LeaderId) {
        let _telling = self.telling.write().await;
        let limit = limits::LEASE_CHECKPOINTS_MAX;
        let checkpoints = self.timers.lock().tell(limit, Instant::now());
        if checkpoints.is_empty() {
            return;
        }
        let op = Op::LeaseCheckpoint(LeaseCheckpointRequest { checkpoints });
        proposer.propose_here(leader, op).await;
    }
}

/// Runs the timers until `stop` fires.
pub(crate) async fn run(
    lessor: Lessor,
    (state, proposer, reader): (State, Proposer, Reader),
    mut leader: watch::Receiver<Option<u64>>,
    election: Duration,
    stop: CancellationToken,
) {
    let per_tick = limits::LEASE_REVOKES_PER_SECOND_MAX
        / usize::try_from(1000 / limits::LEASE_TICK.as_millis()).expect("a small number");
    // In which term the timers run.
    let mut led = None;
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = leader.changed() => if changed.is_err() { return },
            () = exec::rest(pause) => {}
        }
        let leads = proposer.leads();
        pause = limits::LEASE_TICK;
        if leads.is_some() && leads != led {
            led = None;
            // Everything that earlier leaders granted must be applied before it is listed.
            if reader.linearizable().await.is_err() {
                continue;
            }
            let (lessor, state) = (lessor.clone(), state.clone());
            let listed = exec::blocking(move || lessor.lead(&state, election)).await;
            led = leads.filter(|_| listed.is_ok());
        } else if leads.is_none() && led.is_some() {
            lessor.stop_leading();
            led = None;
        }
        let Some(own) = led else {
            if leads.is_none() {
                pause = limits::LEASE_LOOK_EVERY;
            }
            continue;
        };
        lessor.tell(&proposer, own).await;
        let expired = lessor.timers.lock().expired(per_tick, Instant::now());
        if !expired.is_empty() {
            revoke(&lessor, &proposer, own, expired).await;
        }
        pause = lessor.pause();
    }
}

/// L3: in the term in which the timers ran, or not at all. Another leader would carry out what this
/// one's timers say of leases that were renewed there.
async fn revoke(lessor: &Lessor, proposer: &Proposer, own: LeaderId, expired: Vec<i64>) {
    let op = |id: &i64| Op::LeaseRevoke(LeaseRevokeRequest { id: *id });
    if planted::is(Bug::LeaseOldLeader) {
        for id in &expired {
            drop(proposer.propose(auth::member(), op(id)).await);
        }
        return;
    }
    let outcomes = match proposer.propose_as(own, expired.iter().map(op).collect()).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            tracing::warn!(leases = expired.len(), ?error, "expired leases are not revoked yet");
            return;
        }
    };
    for (id, outcome) in expired.into_iter().zip(outcomes) {
        match outcome {
            Ok(_) => drop(lessor.expired.inc()),
            Err(Error::Refused(Refusal::LeaseNotFound)) => lessor.revoked(id),
            Err(error) => {
                tracing::warn!(lease = id, ?error, "an expired lease is not revoked yet");
            }
        }
    }
}
