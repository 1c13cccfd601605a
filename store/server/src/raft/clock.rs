//! When raft looks at its timers. openraft does so five times in each heartbeat, whether or not one of them
//! can have run out, and that was most of what woke an idle member; here its clock runs only when one can.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | Q1 | A leader sends a heartbeat as often as the flag says, unless it was silenced. |
//! | Q2 | The clock of a member that does not lead stands still only while it knows another that does, and for half an election timeout at most after it last heard of it: no timer runs out sooner. |
//! | Q3 | Whoever must elect alone is not kept waiting. |

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openraft::{
    Instant as _, ServerState, async_runtime::WatchReceiver as _, metrics::RaftServerMetrics,
};
use tokio::time::sleep;

use super::{Node, types::TypeConfig};

/// The clock's door for the rest of the member.
#[derive(Clone)]
pub(crate) struct Clock {
    heartbeat: Duration,
    election: Duration,
    silent: Arc<AtomicBool>,
}

/// What a member is, as far as its clock depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Leads,
    /// It leads, and there is nobody else.
    Reigns,
    /// Somebody else does.
    Follows,
    /// Nobody does, as far as it knows, or it has to elect itself.
    Seeks,
}

impl Role {
    fn of(now: &RaftServerMetrics<TypeConfig>) -> Self {
        let membership = now.membership_config.membership();
        if now.state == ServerState::Leader {
            return if membership.nodes().count() > 1 { Self::Leads } else { Self::Reigns };
        }
        // Q3
        let mut voters = membership.voter_ids();
        let alone = voters.next() == Some(now.id) && voters.next().is_none();
        match now.current_leader {
            Some(leader) if leader != now.id && !alone => Self::Follows,
            Some(_) | None => Self::Seeks,
        }
    }
}

impl Clock {
    pub(crate) fn new(heartbeat: Duration, election: Duration) -> Self {
        Self { heartbeat, election, silent: Arc::default() }
    }

    /// No heartbeats from here on, or again: the others elect when they hear nothing.
    pub(crate) fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Q2: how long nothing can run out, for a member that follows a leader and heard of it so long ago.
    fn rest(&self, ago: Option<Duration>) -> Option<Duration> {
        (self.election / 2).checked_sub(ago?).filter(|rest| !rest.is_zero())
    }

    /// Runs until raft ends.
    pub(crate) async fn run(self, raft: Node) {
        let mut changes = raft.server_metrics();
        loop {
            let role = Role::of(&changes.borrow_watched());
            // Until the next look, if there is one before something changes.
            let rest = match role {
                Role::Leads => {
                    raft.runtime_config().tick(false);
                    let beats = !self.silent.load(Ordering::Relaxed);
                    if beats && raft.trigger().heartbeat().await.is_err() {
                        return;
                    }
                    Some(self.heartbeat)
                }
                Role::Reigns => {
                    raft.runtime_config().tick(false);
                    None
                }
                Role::Follows => {
                    let ago = raft.with_raft_state(|state| {
                        state.vote_last_modified().map(|heard| heard.elapsed())
                    });
                    let Ok(ago) = ago.await else { return };
                    let rest = self.rest(ago);
                    raft.runtime_config().tick(rest.is_none());
                    rest.or(Some(self.election / 2))
                }
                Role::Seeks => {
                    raft.runtime_config().tick(true);
                    None
                }
            };
            let rested = async {
                match rest {
                    Some(rest) => sleep(rest).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = rested => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_rests_no_longer_than_the_shortest_election_timeout() {
        let clock = Clock::new(Duration::from_millis(100), Duration::from_secs(1));
        let rest = |millis| clock.rest(Some(Duration::from_millis(millis)));
        assert_eq!(rest(0), Some(Duration::from_millis(500)));
        assert_eq!(rest(499), Some(Duration::from_millis(1)));
        assert_eq!(rest(500), None);
        assert_eq!(rest(90_000), None);
        assert_eq!(clock.rest(None), None, "nobody was heard since the start");
    }
}
