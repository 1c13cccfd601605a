//! What a member does by itself, beside serving: it watches over itself, publishes its addresses,
//! tends the membership, raises the space alarm and compacts old revisions.

use std::{collections::VecDeque, time::Duration};

use futures::future::join_all;
use openraft::{ServerState, async_runtime::WatchReceiver as _};
use proto::{
    etcdserverpb::{
        AlarmRequest, AlarmType, CompactionRequest, Member, alarm_request::AlarmAction,
    },
    orlop::{
        peer::v1::IdentifyRequest,
        store::v1::{ClusterSet, command::Op},
    },
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    AutoCompaction, VERSION, auth, exec,
    header::Headers,
    limits,
    metrics::Metrics,
    raft::{Node, TypeConfig},
    rpc::Services,
};

/// Follows raft's metrics: the leader, the term, and whether raft still runs. openraft's core ends
/// on a fatal error and leaves the process behind; here the process ends too.
pub(crate) async fn follow(
    raft: Node,
    leader: watch::Sender<Option<u64>>,
    headers: Headers,
    metrics: std::sync::Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut changes = raft.metrics();
    loop {
        let now = changes.borrow_watched().clone();
        if let Err(fatal) = &now.running_state
            && !stop.is_cancelled()
            && !matches!(fatal, openraft::errors::Fatal::Stopped)
        {
            crate::fatal("running raft", fatal);
        }
        headers.set_term(now.current_term);
        // A leader that steps down for a moment still names itself.
        let known = match (now.current_leader, now.state) {
            (Some(id), state) if id == now.id && state != ServerState::Leader => None,
            (known, _) => known,
        };
        let changed = leader.send_if_modified(|old| std::mem::replace(old, known) != known);
        if changed && let Some(id) = known {
            metrics.raft.leader_changes.inc();
            tracing::info!(member = id, term = now.current_term, "the leader is known");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() {
                let state = changes.borrow_watched().running_state.clone();
                if is_lost(&state, stop.is_cancelled()) {
                    crate::fatal("running raft", &openraft::errors::Fatal::<TypeConfig>::Panicked);
                }
                return;
            },
        }
    }
}

/// Whether raft's core, which tells nothing any more, has ended without saying so: a panic leaves the
/// last state as it was. A member without it answers nobody, and must not look as if it ran.
fn is_lost(last: &Result<(), openraft::errors::Fatal<TypeConfig>>, is_stopping: bool) -> bool {
    last.is_ok() && !is_stopping
}

#[cfg(test)]
mod raft_tests {
    use openraft::errors::Fatal;

    use super::*;

    #[test]
    fn a_core_that_panicked_is_told_from_one_that_was_stopped() {
        assert!(is_lost(&Ok(()), false), "it ran, and is gone");
        assert!(!is_lost(&Ok(()), true), "the member ends");
        assert!(!is_lost(&Err(Fatal::Stopped), false), "it was told to");
    }
}

/// Asks every peer, now and then, whether it is there, and how long it takes to say so.
pub(crate) async fn probe(services: Services) {
    let own = services.headers.member_id();
    let mut tick = interval(limits::PROBE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let others = services.members.list().into_iter().filter(|member| member.id != own);
        let probes = others.map(|member| {
            let client = services.members.client(member.id);
            let counts = services.metrics.peers.of(member.id);
            async move {
                let Some(mut client) = client else { return };
                let began = Instant::now();
                let asked = timeout(limits::PROBE_TIMEOUT, client.identify(IdentifyRequest {}));
                let answered = matches!(asked.await, Ok(Ok(_))).then(|| began.elapsed());
                counts.probed(answered);
            }
        });
        join_all(probes).await;
    }
}

/// Tells the cluster this member's name and client URLs, until it is known.
pub(crate) async fn publish(services: Services, stop: CancellationToken) {
    let id = services.headers.member_id();
    loop {
        let known = services.state.view().members().into_iter().find(|member| member.id == id);
        let config = &services.config;
        let wanted = Member {
            id,
            name: config.name.clone(),
            peer_urls: config.advertise_peer_urls.clone(),
            client_urls: config.advertise_client_urls.clone(),
            is_learner: known.as_ref().is_some_and(|member| member.is_learner),
        };
        if known.as_ref() == Some(&wanted) {
            break;
        }
        // Who joins says nothing before it has applied its own addition: it would say that it is no
        // learner, and be made a voter.
        if known.is_none() && !services.members.votes() {
            sleep(Duration::from_millis(50)).await;
            continue;
        }
        let proposed = services.proposer.propose(auth::member(), Op::MemberSet(wanted));
        tokio::select! {
            () = stop.cancelled() => return,
            outcome = proposed => match outcome {
                Ok(_) => break,
                Err(error) => tracing::debug!(?error, "the member's URLs are not published yet"),
            },
        }
        sleep(Duration::from_millis(200)).await;
    }
    let (cluster_id, version) = services.state.view().cluster();
    if (cluster_id, version.as_str()) != (services.headers.cluster_id(), VERSION) {
        let cluster_id = services.headers.cluster_id();
        let set = ClusterSet { cluster_id, cluster_version: VERSION.to_owned() };
        if let Err(error) = services.proposer.propose(auth::member(), Op::ClusterSet(set)).await {
            tracing::warn!(?error, "the cluster version is not agreed on yet");
        }
    }
}

/// The leader's regular work, once a second.
pub(crate) async fn tend(services: Services, stop: CancellationToken) {
    let mut pause = Duration::ZERO;
    let mut compaction = Compaction::new(services.config.auto_compaction);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = exec::rest(pause) => {}
        }
        pause = Duration::from_secs(1);
        check_space(&services).await;
        check_removed(&services);
        if *services.leader.borrow() != Some(services.headers.member_id()) {
            compaction = Compaction::new(services.config.auto_compaction);
            continue;
        }
        services.members.tend().await;
        let revision = services.state.view().revision();
        if let Some(revision) = compaction.due(Instant::now(), revision) {
            let request = CompactionRequest { revision, physical: false };
            match services.proposer.propose(auth::member(), Op::Compact(request)).await {
                Ok(_) => tracing::info!(revision, "compacted old revisions"),
                Err(error) => tracing::debug!(?error, revision, "nothing compacted"),
            }
        }
    }
}

/// A member that is out of the list and out of raft's membership has nothing left to do.
fn check_removed(services: &Services) {
    let id = services.headers.member_id();
    let listed = services.members.list().iter().any(|member| member.id == id);
    if !listed && services.state.view().was_removed(id) {
        services.members.network.removed().cancel();
    }
}

/// Raises this member's NOSPACE alarm when the quota is reached.
async fn check_space(services: &Services) {
    let quota = services.config.quota_bytes;
    if quota == 0 {
        return;
    }
    let view = services.state.view();
    let member_id = services.headers.member_id();
    let alarm = i32::from(AlarmType::Nospace);
    if view.alarms().iter().any(|a| a.alarm == alarm && a.member_id == member_id) {
        return;
    }
    let sizes = exec::blocking(move || view.sizes()).await;
    if let Ok(Ok(sizes)) = sizes
        && sizes.in_use > quota
    {
        let action = i32::from(AlarmAction::Activate);
        let request = AlarmRequest { action, member_id, alarm };
        if let Err(error) = services.proposer.propose(auth::member(), Op::Alarm(request)).await {
            tracing::warn!(?error, "the space alarm is not raised yet");
        }
    }
}

/// Decides when to compact what, as etcd does.
struct Compaction {
    mode: AutoCompaction,
    /// Revisions with the time at which they were the current one.
    seen: VecDeque<(Instant, i64)>,
    last: Option<Instant>,
}

impl Compaction {
    fn new(mode: AutoCompaction) -> Self {
        Self { mode, seen: VecDeque::new(), last: None }
    }

    fn due(&mut self, now: Instant, revision: i64) -> Option<i64> {
        match self.mode {
            AutoCompaction::Off => None,
            AutoCompaction::Periodic(keep) => {
                let step = keep / 10;
                if self.seen.back().is_none_or(|(at, _)| now - *at >= step) {
                    self.seen.push_back((now, revision));
                }
                let every = keep.min(Duration::from_secs(3600));
                if self.last.is_some_and(|last| now - last < every) {
                    return None;
                }
                let mut old = None;
                while let Some((at, revision)) = self.seen.front().copied() {
                    if now - at < keep {
                        break;
                    }
                    old = Some(revision);
                    self.seen.pop_front();
                }
                if old.is_some() {
                    self.last = Some(now);
                }
                old
            }
            AutoCompaction::Revisions(keep) => {
                let every = Duration::from_secs(300);
                if self.last.is_some_and(|last| now - last < every) {
                    return None;
                }
                self.last = Some(now);
                Some(revision - keep).filter(|revision| *revision > 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periodic_compaction_keeps_its_history() {
        let keep = Duration::from_secs(100);
        let mut compaction = Compaction::new(AutoCompaction::Periodic(keep));
        let start = Instant::now();
        let mut compacted = Vec::new();
        for second in 0..300i64 {
            let revision: i64 = second;
            let now = start + Duration::from_secs(second.unsigned_abs());
            if let Some(revision) = compaction.due(now, revision) {
                compacted.push((second, revision));
            }
        }
        // First after one whole period, then once a period; always that much behind.
        assert_eq!(compacted, [(100, 0), (200, 100)]);
    }
}
