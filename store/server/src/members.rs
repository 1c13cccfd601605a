//! Who belongs to the cluster: raft's membership, with the names and client URLs from the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openraft::async_runtime::WatchReceiver as _;
use openraft::{ChangeMembers, Instant as _};
use proto::{
    etcdserverpb::Member,
    orlop::{
        peer::v1::{ChangedMembership, change_membership_request::Change},
        store::v1::{self as store, command::Op},
    },
};
use tokio::{
    sync::Mutex,
    time::{Duration, Instant, sleep, timeout},
};

use crate::{
    Config, auth, bootstrap,
    error::Error,
    limits,
    metrics::Metrics,
    propose::Proposer,
    raft::{Network, Node, Peer, PeerClient},
    state::State,
    strict::{self, Step, Voter},
};

impl Rules {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            strict: config.strict_reconfig_check,
            learners_max: config.max_learners,
            patience: config.election,
        }
    }
}

/// Reads and changes the membership.
#[derive(Clone)]
pub(crate) struct Members {
    pub(crate) raft: Node,
    pub(crate) network: Network,
    pub(crate) state: State,
    pub(crate) proposer: Proposer,
    pub(crate) token: String,
    /// Held while the leader changes the membership: one change at a time.
    pub(crate) changing: Arc<Mutex<()>>,
    /// What the others said when this member joined. It counts until the log that is copied to it
    /// has been applied up to its own addition; before that, the state does not know this member.
    pub(crate) joins_as_learner: bool,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rules: Rules,
}

/// What changes are refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Those that would risk the quorum.
    pub(crate) strict: bool,
    /// More learners than this.
    pub(crate) learners_max: usize,
    /// The time in which a new leader hears of everybody who is there.
    pub(crate) patience: Duration,
}

impl Members {
    /// A client for requests to a member.
    pub(crate) fn client(&self, id: u64) -> Option<PeerClient> {
        let membership = self.raft.metrics().borrow_watched().membership_config.clone();
        let peer = membership.membership().get_node(&id)?;
        self.network.forward(id, &peer.urls).ok()
    }

    /// All members, by id.
    pub(crate) fn list(&self) -> Vec<Member> {
        let known: BTreeMap<u64, Member> =
            self.state.view().members().into_iter().map(|member| (member.id, member)).collect();
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        let membership = stored.membership();
        let learners: BTreeSet<u64> = membership.learner_ids().collect();
        let to_member = |(id, peer): (&u64, &Peer)| {
            let known = known.get(id).cloned().unwrap_or_default();
            // One that was added as a voter counts as one, though it joins when it has caught up.
            let is_learner = learners.contains(id) && known.is_learner;
            Member { id: *id, peer_urls: peer.urls.clone(), is_learner, ..known }
        };
        membership.nodes().map(to_member).collect()
    }

    /// Waits until the list knows what raft knows already: its metrics may be a moment behind.
    pub(crate) async fn settle(&self) {
        let newest =
            self.raft.with_raft_state(|raft| *raft.membership_state.effective().log_id()).await;
        let Ok(newest) = newest else { return };
        let wait = self.raft.wait(Some(limits::METRICS_TIMEOUT));
        let known = wait.metrics(|now| *now.membership_config.log_id() >= newest, "the membership");
        if known.await.is_err() {
            tracing::warn!("raft's metrics are late: the list of members may be old");
        }
    }

    /// Whether raft counts this member as a voter.
    pub(crate) fn votes(&self) -> bool {
        let own = *self.raft.node_id();
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        stored.membership().get_joint_config().iter().any(|set| set.contains(&own))
    }

    /// True if this member is a learner in the eyes of clients.
    pub(crate) fn is_learner(&self) -> bool {
        // The common case first: this is asked for every request.
        if self.votes() {
            return false;
        }
        let own = *self.raft.node_id();
        let known = self.state.view().members().into_iter().find(|member| member.id == own);
        known.map_or(self.joins_as_learner, |member| member.is_learner)
    }

    /// Carries out a change on the leader.
    pub(crate) async fn change(&self, change: Change) -> Result<ChangedMembership, Error> {
        let _one_at_a_time = timeout(limits::RECONFIGURE_TIMEOUT, self.changing.lock())
            .await
            .map_err(|_| Error::Timeout)?;
        let mut added = None;
        match change {
            Change::Add(request) => {
                added = Some(self.add(request.peer_urls, request.is_learner).await?);
            }
            Change::Remove(request) => self.remove(request.id).await?,
            Change::Update(request) => {
                let member = self.find(request.id)?;
                check_urls(&request.peer_urls)?;
                let peer = Peer { urls: request.peer_urls.clone() };
                let nodes = BTreeMap::from([(request.id, peer)]);
                self.reconfigure(ChangeMembers::SetNodes(nodes)).await?;
                let member = Member { peer_urls: request.peer_urls, ..member };
                self.proposer.propose(auth::member(), Op::MemberSet(member)).await?;
            }
            Change::Promote(request) => {
                let promoted = self.promote(request.id).await;
                let outcome = promoted.as_ref().map(drop);
                let why = |error: &Error| tonic::Status::from(*error).message().to_owned();
                self.metrics.raft.promoted(outcome.map_err(why));
                promoted?;
            }
            Change::MoveLeader(request) => self.move_leader(request.target_id).await?,
        }
        self.settle().await;
        Ok(ChangedMembership { added, members: self.list() })
    }

    async fn promote(&self, id: u64) -> Result<(), Error> {
        let member = self.find(id)?;
        if !member.is_learner {
            return Err(Error::MemberNotLearner);
        }
        if !self.caught_up(id) {
            return Err(Error::LearnerNotReady);
        }
        self.check(Step::Promote).await?;
        self.reconfigure(ChangeMembers::AddVoterIds([id].into())).await?;
        let member = Member { is_learner: false, ..member };
        self.proposer.propose(auth::member(), Op::MemberSet(member)).await?;
        Ok(())
    }

    fn find(&self, id: u64) -> Result<Member, Error> {
        self.list().into_iter().find(|member| member.id == id).ok_or(Error::MemberNotFound)
    }

    async fn add(&self, urls: Vec<String>, is_learner: bool) -> Result<Member, Error> {
        check_urls(&urls)?;
        self.check(if is_learner { Step::AddLearner } else { Step::AddVoter }).await?;
        let members = self.list();
        if members.iter().any(|member| member.peer_urls.iter().any(|url| urls.contains(url))) {
            return Err(Error::PeerUrlExists);
        }
        let learners = members.iter().filter(|member| member.is_learner).count();
        if is_learner && learners >= self.rules.learners_max {
            return Err(Error::TooManyLearners);
        }
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let id = bootstrap::member_id(&urls, &self.token, Some(now));
        let member = Member { id, peer_urls: urls.clone(), is_learner, ..Member::default() };
        self.proposer.propose(auth::member(), Op::MemberSet(member.clone())).await?;
        // Raft counts it as a voter only once it has caught up: see `tend`.
        let added = self.raft.add_learner(id, Peer { urls }, false);
        match timeout(limits::RECONFIGURE_TIMEOUT, added).await {
            Ok(Ok(_)) => Ok(member),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a member was not added");
                Err(Error::Unhealthy)
            }
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn remove(&self, id: u64) -> Result<(), Error> {
        // As etcd: whether there is such a member is asked last.
        let member = self.find(id);
        if !member.as_ref().is_ok_and(|member| member.is_learner) {
            self.check(Step::Remove(id)).await?;
        }
        member?;
        self.proposer
            .propose(auth::member(), Op::MemberRemove(store::MemberRemove { member_id: id }))
            .await?;
        self.take_out(id).await
    }

    /// Takes a member out of raft's membership.
    async fn take_out(&self, id: u64) -> Result<(), Error> {
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        let change = if stored.membership().learner_ids().any(|learner| learner == id) {
            ChangeMembers::RemoveNodes([id].into())
        } else {
            ChangeMembers::RemoveVoters([id].into())
        };
        self.reconfigure(change).await
    }

    /// The voter that is best placed to lead after this one: of those that were heard of `within` this
    /// time, the one with the most of the log.
    pub(crate) fn heir(&self, within: Duration) -> Option<u64> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let (heard, copied) = (metrics.heartbeat.as_ref()?, metrics.replication.as_ref()?);
        let matched = |id: &u64| copied.get(id).cloned().flatten().map(|log_id| log_id.index);
        let membership = metrics.membership_config.membership();
        membership
            .voter_ids()
            .filter(|id| *id != metrics.id)
            .filter(|id| heard.get(id).copied().flatten().is_some_and(|at| at.elapsed() <= within))
            .max_by_key(matched)
    }

    /// As etcd's strict check, if it is on.
    async fn check(&self, step: Step) -> Result<(), Error> {
        if !self.rules.strict {
            return Ok(());
        }
        let deadline = Instant::now() + self.rules.patience;
        loop {
            let voters = self.voters();
            let checked = strict::check(&voters, step);
            if strict::is_settled(&voters, &checked) || Instant::now() >= deadline {
                return checked;
            }
            sleep(limits::HEARD_EVERY).await;
        }
    }

    /// All voters in the eyes of clients.
    fn voters(&self) -> Vec<Voter> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let heard = |id: &u64| metrics.heartbeat.as_ref()?.get(id).copied().flatten();
        let voter = |member: Member| {
            let (own, at) = (member.id == metrics.id, heard(&member.id));
            let there = own || at.is_some_and(|at| at.elapsed() <= limits::ACTIVE_WITHIN);
            // One that answers has started, and will say its name in a moment.
            let started = there || !member.name.is_empty();
            Voter { id: member.id, started, heard: own || at.is_some(), there }
        };
        self.list().into_iter().filter(|member| !member.is_learner).map(voter).collect()
    }

    async fn reconfigure(&self, change: ChangeMembers<u64, Peer>) -> Result<(), Error> {
        let changed = self.raft.change_membership(change, false);
        match timeout(limits::RECONFIGURE_TIMEOUT, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the membership was not changed");
                Err(Error::Unhealthy)
            }
            Err(_) => Err(Error::Timeout),
        }
    }

    /// Hands leadership to `target`, and waits until it leads.
    pub(crate) async fn move_leader(&self, target: u64) -> Result<(), Error> {
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        if !stored.membership().voter_ids().any(|voter| voter == target) {
            return Err(Error::BadTransferee);
        }
        // openraft would wait for itself for ever.
        if target == *self.raft.node_id() {
            return Ok(());
        }
        self.raft.trigger().transfer_leader(target).await.map_err(|_| Error::Stopped)?;
        let wait = self.raft.wait(Some(Duration::from_secs(5)));
        let moved = wait.metrics(|m| m.current_leader == Some(target), "leadership moved").await;
        moved.map(|_| ()).map_err(|_| Error::Timeout)
    }

    /// True if the member has nine tenths of the leader's log, as etcd asks.
    fn caught_up(&self, id: u64) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|replication| replication.get(&id).cloned().flatten());
        let last = metrics.last_log_index.unwrap_or(0);
        matched.is_some_and(|matched| matched.index >= last - last / 10)
    }

    /// Finishes what a change that was cut short left over, on the leader: a member removed from
    /// the list but not from raft, or in the list without having reached raft.
    async fn mend(&self) {
        // From raft itself: its metrics may be a moment behind a change that was just made.
        let nodes = self.raft.with_raft_state(|raft| {
            let stored = raft.membership_state.effective();
            stored.membership().nodes().map(|(id, _)| *id).collect::<BTreeSet<u64>>()
        });
        let Ok(nodes) = nodes.await else { return };
        let view = self.state.view();
        for id in nodes.iter().copied().filter(|id| view.was_removed(*id)) {
            let outcome = self.take_out(id).await;
            tracing::info!(member = id, ?outcome, "finished the removal of a member");
        }
        for member in view.members().into_iter().filter(|member| !nodes.contains(&member.id)) {
            let member_id = member.id;
            let removed = self
                .proposer
                .propose(auth::member(), Op::MemberRemove(store::MemberRemove { member_id }));
            let outcome = removed.await.map(drop);
            tracing::info!(member = member_id, ?outcome, "forgot a member that was never added");
        }
    }

    /// Makes voters of members that were added as such, once they have caught up.
    pub(crate) async fn tend(&self) {
        // Somebody who is changing the membership now will see it through.
        let Ok(_one_at_a_time) = self.changing.try_lock() else { return };
        self.mend().await;
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        let learners: Vec<u64> = stored.membership().learner_ids().collect();
        for id in learners {
            let is_voter = self.find(id).is_ok_and(|member| !member.is_learner);
            if is_voter && self.caught_up(id) {
                let change = ChangeMembers::AddVoterIds([id].into());
                match self.reconfigure(change).await {
                    Ok(()) => tracing::info!(member = id, "a new member votes now"),
                    Err(error) => tracing::warn!(member = id, ?error, "a member cannot vote yet"),
                }
            }
        }
    }
}

/// URLs under which peers can be reached.
pub(crate) fn check_urls(urls: &[String]) -> Result<(), Error> {
    let good = |url: &String| {
        url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some()
        })
    };
    if urls.is_empty() || !urls.iter().all(good) {
        return Err(Error::MemberBadUrls);
    }
    Ok(())
}
