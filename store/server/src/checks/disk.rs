//! The disk under the member: a leader whose disk is stuck gives its place to another, and a member that
//! RocksDB has stopped writing for stops.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::ADVICE;
use crate::{
    exec, limits,
    raft::{Bar, Log},
    rpc::Services,
};

/// The log's disk, as readiness sees it.
#[derive(Clone)]
pub(crate) struct Health {
    log: Log,
    limit: Duration,
}

impl Health {
    /// A write may take three election timeouts: by then a member that had stopped altogether would
    /// long have been replaced.
    pub(crate) fn new(log: Log, election: Duration) -> Self {
        Self { log, limit: 3 * election }
    }

    /// The time in which nothing can come to be wrong: what is written now has so much left, and what
    /// begins later has more.
    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.log.writing_for())
    }

    /// What is wrong.
    pub(crate) fn problem(&self) -> Option<String> {
        let writing = self.log.writing_for();
        let (path, _) = self.log.begins();
        (writing > self.limit).then(|| {
            let seconds = writing.as_secs_f64();
            format!("the disk of {} has not finished a write for {seconds:.1} s", path.display())
        })
    }
}

/// Looks at the disk until `stop` fires.
pub(crate) async fn watch(services: Services, stop: CancellationToken) {
    let (at_least, at_most) = limits::DISK_LOOK_EVERY;
    let again = (services.config.election / 4).max(at_least);
    let mut stuck = false;
    let mut checked: Option<Instant> = None;
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = exec::rest(pause) => {}
        }
        if checked.is_none_or(|at| at.elapsed() + at_least >= at_most) {
            check_background(&services).await;
            checked = Some(Instant::now());
        }
        // While nothing is written there is nothing to look for.
        pause = services.disk.left().clamp(at_least, at_most);
        let problem = services.disk.problem();
        services.metrics.disk_stuck.set(i64::from(problem.is_some()));
        match problem {
            Some(problem) => {
                if !stuck {
                    tracing::error!(problem, "this member will not lead until its disk answers");
                }
                stuck = true;
                pause = again;
                yield_leadership(&services, &problem).await;
            }
            None if stuck => {
                stuck = false;
                tracing::info!("the disk of the raft log answers again");
                services.candidacy.bar(Bar::Disk, false);
                services.clock.silence(false);
            }
            None => {}
        }
    }
}

/// Lets somebody else lead, if there is anybody.
async fn yield_leadership(services: &Services, problem: &str) {
    services.candidacy.bar(Bar::Disk, true);
    let leads = *services.leader.borrow() == Some(services.headers.member_id());
    let alone =
        services.raft.metrics().borrow_watched().membership_config.membership().voter_ids().count()
            < 2;
    if !leads || alone {
        return;
    }
    let heir = services.members.heir(services.config.election);
    tracing::error!(problem, ?heir, "this member gives up leadership");
    services.metrics.leaderships_given_up.inc();
    if let Some(heir) = heir {
        let moved = services.members.move_leader(heir);
        if matches!(timeout(limits::HAND_OVER_TIMEOUT, moved).await, Ok(Ok(()))) {
            return;
        }
    }
    // Nobody took it: the others elect when they hear nothing any more.
    services.clock.silence(true);
}

/// After an error in the background RocksDB refuses to write, but goes on reading.
async fn check_background(services: &Services) {
    let (log, view) = (services.disk.log.clone(), services.state.view());
    let found = exec::blocking(move || -> Result<(), String> {
        let (path, errors) = log.background_errors().map_err(|error| error.to_string())?;
        if errors > 0 {
            return Err(format!("the raft log in {}", path.display()));
        }
        let (path, errors) = view.background_errors().map_err(|fault| fault.to_string())?;
        if errors > 0 {
            // A write is answered with what went wrong, and where.
            let why = view.flush().err().map(|fault| fault.to_string()).unwrap_or_default();
            return Err(format!("the state in {}: {why}", path.display()));
        }
        Ok(())
    })
    .await;
    if let Ok(Err(what)) = found {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}: RocksDB failed in the background, see the file LOG there; {ADVICE}")]
        struct Background(String);
        crate::fatal("writing in the background", &Background(what));
    }
}
