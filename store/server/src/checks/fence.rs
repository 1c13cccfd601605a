//! A member whose data differ from those of a majority serves nothing until they are replaced.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use store_state_machine::Refusal;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::rebuild;
use crate::{
    error::Error,
    limits,
    raft::{Bar, Log},
    rpc::Services,
    state::State,
};

/// Whether this member is fenced. Cheap to ask.
#[derive(Clone)]
pub(crate) struct Fence {
    inner: Arc<Inner>,
}

struct Inner {
    closed: AtomicBool,
    /// The same, for those who wait for a change.
    changes: watch::Sender<bool>,
    /// The state was replaced since the fence was put up.
    rebuilt: AtomicBool,
    stopping: CancellationToken,
    /// Cancelled when the fence is put up, or the member stops.
    serving: Mutex<CancellationToken>,
}

impl Fence {
    /// As the state says that it was when the member stopped.
    pub(crate) fn new(stopping: &CancellationToken, state: &State, member_id: u64) -> Self {
        Self::closed(state.view().fenced().contains(&member_id), stopping)
    }

    /// Put up or not.
    pub(crate) fn closed(closed: bool, stopping: &CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                closed: AtomicBool::new(closed),
                changes: watch::Sender::new(closed),
                rebuilt: AtomicBool::new(false),
                stopping: stopping.clone(),
                serving: Mutex::new(stopping.child_token()),
            }),
        }
    }

    /// Refuses while this member is fenced.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let closed = self.inner.closed.load(Ordering::Relaxed);
        if closed { Err(Error::Refused(Refusal::Corrupt)) } else { Ok(()) }
    }

    /// Fires when streams must end, because the member stops or its data are not to be believed.
    pub(crate) fn serving(&self) -> CancellationToken {
        self.inner.serving.lock().clone()
    }

    /// Whether this member is fenced, now and from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<bool> {
        self.inner.changes.subscribe()
    }

    /// Whether the state was replaced since the fence was put up.
    pub(crate) fn rebuilt(&self) -> bool {
        self.inner.rebuilt.load(Ordering::Relaxed)
    }

    /// Puts it up or takes it down.
    pub(crate) fn set(&self, closed: bool) {
        self.inner.closed.store(closed, Ordering::Relaxed);
        self.inner.rebuilt.store(false, Ordering::Relaxed);
        self.inner.changes.send_replace(closed);
        let mut serving = self.inner.serving.lock();
        if closed {
            serving.cancel();
        } else {
            *serving = self.inner.stopping.child_token();
        }
    }
}

/// Follows what the state says of this member: puts the fence up, has the state replaced, takes the
/// fence down.
pub(crate) async fn watch(services: Services, log: Log, scratch: PathBuf) {
    let own = services.headers.member_id();
    let fence = &services.fence;
    // A member that stopped while it was fenced goes on where it was.
    let mut known = false;
    if fence.check().is_err() {
        tracing::warn!("this member was fenced when it stopped");
        services.candidacy.bar(Bar::Fence, true);
        known = true;
    }
    let mut tries = 0;
    let mut applied = services.reader.applied_changes();
    applied.mark_changed();
    loop {
        // Whether it is fenced is part of what is applied: an idle member has nothing to look for.
        let waits = known && !fence.rebuilt() && tries < limits::REBUILDS_MAX;
        if !waits && applied.changed().await.is_err() {
            return;
        }
        sleep(limits::FENCE_TICK).await;
        applied.mark_unchanged();
        let fenced = services.state.view().fenced().contains(&own);
        services.metrics.fenced.set(i64::from(fenced));
        if fenced != known {
            known = fenced;
            tries = 0;
            fence.set(fenced);
            services.candidacy.bar(Bar::Fence, fenced);
            if fenced {
                tracing::error!(
                    "this member's data differ from those of the majority: it serves nothing until \
                     they are replaced by the leader's"
                );
            } else {
                tracing::info!("this member's data agree with the others' again: it serves");
            }
        }
        if !fenced || fence.rebuilt() || tries == limits::REBUILDS_MAX {
            continue;
        }
        if *services.leader.borrow() == Some(own) {
            if let Some(heir) = services.members.heir(services.config.election) {
                let moved = services.members.move_leader(heir);
                let _: Result<_, _> = timeout(limits::HAND_OVER_TIMEOUT, moved).await;
            }
            continue;
        }
        match rebuild::rebuild(&services, &log, &scratch).await {
            Ok(index) => {
                tries += 1;
                tracing::info!(index, tries, "the state was replaced by the leader's");
                fence.inner.rebuilt.store(true, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(%error, "the state is not replaced yet");
                sleep(limits::REBUILD_RETRY_EVERY).await;
            }
        }
        if tries == limits::REBUILDS_MAX {
            tracing::error!(advice = super::ADVICE, "the leader's state did not help");
        }
    }
}
