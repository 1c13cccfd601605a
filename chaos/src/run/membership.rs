//! Changes of the membership: a member is replaced, another one learns and votes, one is away so
//! long that it needs a snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use proto::etcdserverpb as pb;

use super::strike::{Blow, Effect};
use super::world::World;
use crate::limits;

/// Log entries that etcd keeps beyond its last snapshot, which it has no flag for.
const ETCD_KEEPS: u64 = 5_000;

/// Removed, wiped, added, started: another member under the same name.
pub(super) async fn replace(blow: &Blow) -> anyhow::Result<Effect> {
    let mut words = Vec::new();
    for member in &blow.members {
        // One that is being replaced because of damage is replaced once more.
        let start = Instant::now();
        while !blow.world.begin_replacing(*member) {
            if start.elapsed() > limits::RUN_CHANGE_DEADLINE {
                return Ok(Effect::Nothing("another replacement does not end".to_owned()));
            }
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
        let done = renew(&blow.world, *member).await;
        blow.world.replaced(*member);
        let (old, new) = done?;
        words.push(format!("member {member} was {old:x} and is {new:x}"));
    }
    Ok(Effect::Took(words.join("; ")))
}

/// What an operator does with a member that does not start any more (O3).
pub(super) async fn rescue(world: &Arc<World>, member: usize) {
    let done = renew(world, member).await;
    world.replaced(member);
    match done {
        Ok(_) => world.note(format!("member {member} refused to start on what was left: replaced")),
        Err(error) => world.note(format!("member {member} could not be replaced: {error:#}")),
    }
}

/// Removes a member and adds it again with no data. The caller keeps others from starting it.
async fn renew(world: &Arc<World>, member: usize) -> anyhow::Result<(u64, u64)> {
    let _only = world.membership.lock().await;
    let peer_url = world.cluster.lock().peer_url(member);
    let old = removed(world, member, &peer_url).await.context("it was not removed")?;
    let process = world.cluster.lock().take_process(member);
    if let Some(process) = process {
        tokio::task::spawn_blocking(move || process.kill()).await??;
    }
    world.cluster.lock().wipe(member)?;
    let (new, _) = join(world, member, old, false).await?;
    world.is_new(member);
    world.cluster.lock().spawn(member)?;
    Ok((old.unwrap_or(0), new))
}

/// Asks for the removal of whoever has this URL, until nobody has. An acknowledged removal that the
/// next list does not show is written down as what it is.
async fn removed(world: &Arc<World>, member: usize, peer_url: &str) -> anyhow::Result<Option<u64>> {
    let old = Mutex::new(None);
    retried(world, member, |api| {
        let old = &old;
        async move {
            let has_url = |one: &&pb::Member| one.peer_urls.iter().any(|url| url == peer_url);
            let Some(id) = api.members().await?.iter().find(has_url).map(|one| one.id) else {
                return Ok(());
            };
            old.lock().get_or_insert(id);
            api.remove(id).await?;
            if api.members().await?.iter().any(|one| one.id == id) {
                let broken = format!(
                    "the removal of member {member} ({id:x}) was acknowledged, and it is still listed"
                );
                world.told.lock().crashes.push(broken.clone());
                bail!(broken);
            }
            Ok(())
        }
    })
    .await?;
    Ok(old.into_inner())
}

/// Adds a member and tells it whom it joins.
async fn join(
    world: &Arc<World>,
    member: usize,
    old: Option<u64>,
    is_learner: bool,
) -> anyhow::Result<(u64, Vec<pb::Member>)> {
    let peer_url = &world.cluster.lock().peer_url(member);
    let (id, all) = retried(world, member, |api| async move {
        let all = api.members().await?;
        let has_url = |one: &&pb::Member| one.peer_urls.contains(peer_url);
        match all.iter().find(|one| has_url(one) && Some(one.id) != old) {
            // An attempt without an answer had been carried out.
            Some(there) => Ok((there.id, all)),
            None => api.add(peer_url, is_learner).await,
        }
    })
    .await
    .context("it was not added")?;
    let mut cluster = world.cluster.lock();
    let mut others = Vec::new();
    for other in 0..world.urls.len() {
        let url = cluster.peer_url(other);
        if other != member && all.iter().any(|one| one.peer_urls.contains(&url)) {
            others.push(format!("{}={url}", cluster.name(other)));
        }
    }
    cluster.joins(member, &others);
    Ok((id, all))
}

/// Asks one member after the other, but not this one, until one has done it.
async fn retried<T, F>(
    world: &Arc<World>,
    not: usize,
    ask: impl Fn(super::api::Api) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let start = Instant::now();
    let mut tries = 0;
    loop {
        let up: Vec<usize> =
            (0..world.size).filter(|member| *member != not && world.is_up(*member)).collect();
        let error = match up.get(tries % up.len().max(1)) {
            Some(member) => match ask(world.api(*member)?).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            },
            None => anyhow::anyhow!("no other member is up"),
        };
        tries += 1;
        if start.elapsed() >= limits::RUN_CHANGE_DEADLINE || world.closing.is_cancelled() {
            return Err(error.context(format!("{tries} tries")));
        }
        tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
    }
}

/// The spare member learns, votes for a while, and goes.
pub(super) async fn learner(blow: &Blow) -> anyhow::Result<Effect> {
    let world = &blow.world;
    let Some(spare) = (world.size..world.urls.len()).next() else {
        return Ok(Effect::Skipped("there is no spare member".to_owned()));
    };
    let _only = world.membership.lock().await;
    world.cluster.lock().wipe(spare)?;
    let (id, _) = join(world, spare, None, true).await?;
    world.let_up(spare);
    let start = Instant::now();
    let promoted = retried(world, spare, |api| async move {
        match api.promote(id).await {
            // An attempt without an answer had been carried out.
            Err(error) if error.to_string().contains("not a learner") => Ok(()),
            done => done,
        }
    })
    .await;
    let took_ms = start.elapsed().as_millis();
    let voters = match &promoted {
        Ok(()) => {
            let all = retried(world, spare, |api| async move { api.members().await }).await;
            blow.hold().await;
            all.map(|all| all.iter().filter(|one| !one.is_learner).count())
        }
        Err(_) => Ok(0),
    };
    // Gone whatever happened, so that the cluster is as it was. It ends by itself when it hears of it.
    let peer_url = world.cluster.lock().peer_url(spare);
    world.begin_replacing(spare);
    let removed = removed(world, spare, &peer_url).await;
    world.take_down(spare).await?;
    world.replaced(spare);
    promoted.context("the learner was not promoted")?;
    removed.context("the promoted learner was not removed")?;
    let voters = voters?;
    let words = format!("{id:x} voted {took_ms} ms after it was started, as one of {voters}");
    Ok(Effect::if_so(voters == world.size + 1, words))
}

/// Kept away until the leader has no log for it, so that it is given a snapshot.
pub(super) async fn snapshot_install(blow: &Blow) -> anyhow::Result<Effect> {
    let world = &blow.world;
    let [member] = blow.members[..] else { bail!("a snapshot is installed on one member") };
    let index = match world.api(member)?.status(limits::RUN_STATUS_DEADLINE).await {
        Ok(status) => status.raft_applied_index,
        Err(error) => {
            return Ok(Effect::Nothing(format!("it does not say where it is: {error:#}")));
        }
    };
    world.take_down(member).await?;
    blow.hold().await;
    let is_purged = until_purged(world, member, index).await;
    world.let_up(member);
    let is_purged = is_purged?;
    world.wait_serving(member, limits::RECOVERY_GIVE_UP).await?;
    let api = world.api(member)?;
    let mut installed = 0.0;
    for name in ["orlop_store_snapshots_installed_total", "etcd_network_snapshot_receive_success"] {
        installed += api.metric(name).await?.unwrap_or(0.0);
    }
    let words =
        format!("it had applied {index}, {is_purged}, and it installed {installed} snapshots");
    Ok(Effect::if_so(installed > 0.0, words))
}

/// Waits until the leader has dropped log that a member at this index needs.
async fn until_purged(world: &Arc<World>, member: usize, index: u64) -> anyhow::Result<String> {
    let start = Instant::now();
    loop {
        let deadline = Duration::from_secs(2);
        if let Ok((leader, _)) = world.wait_leader(deadline).await
            && leader != member
        {
            let api = world.api(leader)?;
            let purged = api.metric("orlop_store_log_purged_index").await.ok().flatten();
            let status = api.status(limits::RUN_STATUS_DEADLINE).await;
            #[expect(clippy::cast_precision_loss, reason = "log indexes are far below 2^52")]
            if let Some(purged) = purged
                && purged > index as f64
            {
                return Ok(format!("the leader's log begins after {purged}"));
            }
            let far = index + ETCD_KEEPS + 2 * limits::RUN_SNAPSHOT_COUNT;
            if let Ok(status) = status
                && purged.is_none()
                && status.raft_applied_index > far
            {
                return Ok(format!("the leader was at {}", status.raft_applied_index));
            }
        }
        if start.elapsed() >= limits::RUN_AWAY_MAX || world.closing.is_cancelled() {
            return Ok("the leader still had its log".to_owned());
        }
        tokio::time::sleep(limits::WATCH_RETRY_INTERVAL).await;
    }
}
