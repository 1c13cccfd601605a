//! What an operator does with a member whose data are gone: it is removed, wiped, and added again.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow};
use chaos::client::MemberClient;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::nemesis::Stage;
use crate::world::{self, Command};
use crate::{connect, limits};

/// Replaces members that ended because of damage, as long as the run goes on.
pub(crate) async fn keep(stage: Stage) {
    loop {
        sleep(limits::KEEP_EVERY).await;
        let refused = |world: &mut world::World| {
            world.members.iter().position(|member| member.is_damaged && member.has_refused)
        };
        if let Some(member) = world::with(refused) {
            world::with(|world| {
                world.members[member].held_down += 1;
                world.commands.push(Command::Crash(member, false));
            });
            renew(member, &stage, false).await;
            world::with(|world| {
                world.members[member].held_down -= 1;
                world.led_to("replaced-for-damage");
            });
        }
    }
}

/// Removes a member that is held down, wipes it and adds it, one at a time.
pub(crate) async fn renew(member: usize, stage: &Stage, is_learner: bool) {
    while world::with(|world| {
        let member = &mut world.members[member];
        member.is_up || std::mem::replace(&mut member.is_renewed, true)
    }) {
        sleep(limits::POLL).await;
    }
    let done = renewed(member, stage, is_learner).await;
    world::with(|world| {
        world.members[member].is_renewed = false;
        if let Err(error) = done {
            world.broken.push(format!("member {member} cannot be replaced: {error:#}"));
        }
    });
}

async fn renewed(member: usize, stage: &Stage, is_learner: bool) -> anyhow::Result<()> {
    let url = &peer_url(member, stage);
    let old = &AtomicU64::new(0);
    retried(member, stage, |mut operator| async move {
        if let Some(found) = operator.find(url).await? {
            old.store(found.id, Ordering::Relaxed);
            operator.remove(found.id).await?;
        }
        Ok(())
    })
    .await
    .context("it was not removed")?;
    world::with(|world| world.wipe(member)).context("it was not wiped")?;
    retried(member, stage, |mut operator| async move {
        // An attempt without an answer may have been carried out.
        let found = operator.find(url).await?;
        if found.is_none_or(|one| one.id == old.load(Ordering::Relaxed)) {
            operator.add(url, is_learner).await?;
        }
        Ok(())
    })
    .await
    .context("it was not added")
}

/// Waits until a member that was added as a learner votes.
pub(crate) async fn promote(member: usize, stage: &Stage) {
    let url = &peer_url(member, stage);
    let promoted = retried(member, stage, |mut operator| async move {
        let found = operator.find(url).await?.context("it is no member")?;
        if found.is_learner {
            operator.promote(found.id).await?;
        }
        Ok(())
    });
    let promoted = promoted.await;
    world::with(|world| match promoted {
        Ok(()) => world.led_to("promoted"),
        Err(error) => {
            world.broken.push(format!("member {member} cannot be promoted: {error:#}"));
        }
    });
}

fn peer_url(member: usize, stage: &Stage) -> String {
    format!("http://{}:2380", stage.addresses[member])
}

/// Who asks one member, as root where the store wants to know.
struct Operator {
    cluster: ClusterClient<Channel>,
    root: MemberClient,
}

impl Operator {
    fn at(member: usize, stage: &Stage) -> anyhow::Result<Self> {
        let channel = connect::channel(stage.addresses[member])?;
        Ok(Self { cluster: ClusterClient::new(channel), root: stage.connect.client(member)? })
    }

    fn taken<T>(&self, answer: Result<Response<T>, Status>) -> anyhow::Result<T> {
        Ok(answer.inspect_err(|refusal| _ = self.root.learn(refusal))?.into_inner())
    }

    /// The member with this peer URL, as a majority knows it.
    async fn find(&mut self, url: &String) -> anyhow::Result<Option<pb::Member>> {
        let request = self.root.signed(pb::MemberListRequest { linearizable: true }).await?;
        let answer = self.cluster.member_list(request).await;
        let members = self.taken(answer)?.members;
        Ok(members.into_iter().find(|one| one.peer_urls.contains(url)))
    }

    async fn remove(&mut self, id: u64) -> anyhow::Result<()> {
        let request = self.root.signed(pb::MemberRemoveRequest { id }).await?;
        let answer = self.cluster.member_remove(request).await;
        self.taken(answer).map(drop)
    }

    async fn add(&mut self, url: &str, is_learner: bool) -> anyhow::Result<()> {
        let peer_urls = vec![url.to_owned()];
        let request = self.root.signed(pb::MemberAddRequest { peer_urls, is_learner }).await?;
        let answer = self.cluster.member_add(request).await;
        self.taken(answer).map(drop)
    }

    async fn promote(&mut self, id: u64) -> anyhow::Result<()> {
        let request = self.root.signed(pb::MemberPromoteRequest { id }).await?;
        let answer = self.cluster.member_promote(request).await;
        self.taken(answer).map(drop)
    }
}

/// Asks one member after the other, but not this one, until one has done it.
async fn retried<F>(not: usize, stage: &Stage, ask: impl Fn(Operator) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let deadline = Instant::now() + limits::CHANGE;
    let mut last = anyhow!("nobody was asked");
    for other in (0..stage.addresses.len()).filter(|other| *other != not).cycle() {
        if Instant::now() >= deadline {
            break;
        }
        match timeout(limits::CALL, ask(Operator::at(other, stage)?)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error,
            Err(error) => last = error.into(),
        }
        sleep(limits::POLL).await;
    }
    Err(last)
}
