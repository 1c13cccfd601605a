//! When leases end. They are revoked by a task, by the runtime's clock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use proto::etcdserverpb::LeaseRevokeRequest;
use proto::orlop::store::v1::command::Op;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Shared;

#[derive(Clone, Copy)]
struct Timer {
    end: Instant,
    ttl_s: i64,
}

#[derive(Default)]
struct Timers {
    by_id: HashMap<i64, Timer>,
    by_end: BTreeSet<(Instant, i64)>,
}

/// The ends of all leases.
#[derive(Default)]
pub(crate) struct Leases {
    timers: Mutex<Timers>,
    changed: Notify,
}

fn end(ttl_s: i64) -> Instant {
    clock::instant() + Duration::from_secs(ttl_s.unsigned_abs())
}

impl Leases {
    pub(crate) fn granted(&self, id: i64, ttl_s: i64) {
        let timer = Timer { end: end(ttl_s), ttl_s };
        self.timers.lock().set(id, timer);
        self.changed.notify_one();
    }

    pub(crate) fn revoked(&self, id: i64) {
        self.timers.lock().remove(id);
    }

    /// Starts a lease anew; its seconds, zero when there is none.
    pub(crate) fn renewed(&self, id: i64) -> i64 {
        let mut timers = self.timers.lock();
        let Some(timer) = timers.by_id.get(&id).copied() else { return 0 };
        timers.set(id, Timer { end: end(timer.ttl_s), ..timer });
        timer.ttl_s
    }

    /// Whole seconds left, and those granted; none when there is no such lease.
    pub(crate) fn left(&self, id: i64) -> Option<(i64, i64)> {
        let timer = self.timers.lock().by_id.get(&id).copied()?;
        let left = timer.end.saturating_duration_since(clock::instant()).as_secs();
        Some((i64::try_from(left).unwrap_or(i64::MAX), timer.ttl_s))
    }

    pub(crate) fn ids(&self) -> Vec<i64> {
        self.timers.lock().by_end.iter().map(|(_, id)| *id).collect()
    }

    /// A lease that has ended, which nobody can renew any more; or else when the next one ends.
    fn take_ended(&self) -> Result<i64, Option<Instant>> {
        let mut timers = self.timers.lock();
        match timers.by_end.first().copied() {
            Some((end, id)) if end <= clock::instant() => {
                timers.remove(id);
                Ok(id)
            }
            first => Err(first.map(|(end, _)| end)),
        }
    }
}

impl Timers {
    fn set(&mut self, id: i64, timer: Timer) {
        self.remove(id);
        self.by_id.insert(id, timer);
        self.by_end.insert((timer.end, id));
    }

    fn remove(&mut self, id: i64) {
        if let Some(timer) = self.by_id.remove(&id) {
            self.by_end.remove(&(timer.end, id));
        }
    }
}

/// Revokes what has ended, until the store is gone. I3
pub(crate) async fn run(store: Weak<Shared>) {
    /// A store that is gone is noticed after so long, when no lease ends before.
    const LOOK_AGAIN: Duration = Duration::from_secs(60);

    loop {
        let Some(shared) = store.upgrade() else { return };
        let next = match shared.leases.take_ended() {
            Ok(id) => {
                let op = Op::LeaseRevoke(LeaseRevokeRequest { id });
                if let Err(error) = shared.apply(op) {
                    tracing::debug!(lease = id, %error, "a lease that ended was revoked already");
                }
                continue;
            }
            Err(next) => next,
        };
        tokio::select! {
            () = shared.leases.changed.notified() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = async {
                match next {
                    Some(end) => clock::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}
