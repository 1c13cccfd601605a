//! Leases, and the locks that stand on them, while leaders sleep, die and come back.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E1 | A key of a lease is there until the lease's time after its last renewal has passed. |
//! | E2 | All keys of a lease that was not renewed go, in one revision. |
//! | E3 | When a revocation is acknowledged, all keys of the lease are gone, on every member. |
//! | E4 | A key that was written again without its lease stays when that ends. |
//! | E5 | A lease that was revoked does not come back. |
//! | O1 | Who is granted a lock has a key that is there. |

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use chaos::cluster::Cluster;
use proto::etcdserverpb as pb;
use proto::v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient};
use tokio_stream::StreamExt as _;

use crate::limits;
use crate::story::{Judge, Judged, Member, Store, restart_in_order, until};

/// Time after the end of a lease in which its keys must go.
const LATE: Duration = Duration::from_secs(8);

/// A lease, its keys, and until when they must be there.
struct Lease {
    id: i64,
    ttl: Duration,
    prefix: &'static str,
    keys: i64,
    until: Instant,
}

struct Story {
    cluster: Cluster,
    judge: Judge,
}

impl Story {
    async fn begin(store: &Store, flags: &[&str]) -> anyhow::Result<Self> {
        let cluster = Cluster::start(store.launcher(flags), 3).await?;
        Ok(Self { cluster, judge: Judge::new("lease") })
    }

    async fn leader(&self) -> anyhow::Result<usize> {
        Ok(self.cluster.wait_leader(limits::STORY).await?.0)
    }

    async fn grant(
        &mut self,
        member: usize,
        seconds: i64,
        (prefix, keys): (&'static str, i64),
    ) -> anyhow::Result<Lease> {
        let mut client = Member::of(&self.cluster, member)?;
        let ttl = Duration::from_secs(u64::try_from(seconds)?);
        let until = Instant::now() + ttl;
        let request = pb::LeaseGrantRequest { ttl: seconds, id: 0 };
        let id = client.lease.lease_grant(request).await?.into_inner().id;
        for key in 0..keys {
            client.put(&format!("{prefix}{key}"), "value", id).await?;
        }
        self.judge.operations += 1 + usize::try_from(keys)?;
        Ok(Lease { id, ttl, prefix, keys, until })
    }

    /// Renews through a member; a renewal that fails changes nothing that is known.
    async fn renew(&mut self, member: usize, lease: &mut Lease) -> anyhow::Result<()> {
        self.judge.operations += 1;
        let mut client = Member::of(&self.cluster, member)?;
        let sent = Instant::now();
        let request = pb::LeaseKeepAliveRequest { id: lease.id };
        let answer = async {
            let once = tokio_stream::once(request);
            let mut answers = client.lease.lease_keep_alive(once).await.ok()?.into_inner();
            answers.next().await?.ok()
        };
        let answer = tokio::time::timeout(Duration::from_secs(2), answer).await;
        if let Ok(Some(answer)) = answer
            && answer.ttl > 0
        {
            lease.until = sent + lease.ttl;
        }
        Ok(())
    }

    /// E1: how many keys there are; nothing is said once the lease may have ended.
    async fn still_there(&mut self, member: usize, lease: &Lease) -> anyhow::Result<i64> {
        self.judge.operations += 1;
        let mut client = Member::of(&self.cluster, member)?;
        let answer =
            tokio::time::timeout(Duration::from_secs(2), client.list(lease.prefix, false)).await;
        let Ok(Ok(answer)) = answer else { return Ok(lease.keys) };
        if let Some(left) = lease.until.checked_duration_since(Instant::now()) {
            let (prefix, keys) = (lease.prefix, lease.keys);
            self.judge.must("E1", answer.count == keys, || {
                let count = answer.count;
                format!("{count} of {keys} keys below {prefix} are there, {left:?} too early")
            });
        }
        Ok(answer.count)
    }

    async fn revoke(&mut self, member: usize, lease: &Lease) -> anyhow::Result<i64> {
        self.judge.operations += 1;
        let mut client = Member::of(&self.cluster, member)?;
        let answer = client.lease.lease_revoke(pb::LeaseRevokeRequest { id: lease.id }).await?;
        crate::story::revision(answer.into_inner().header)
    }

    /// E2, E3: the keys below a prefix are gone, on a member's own disk, and went together.
    async fn gone(&mut self, rule: &'static str, lease: &Lease, at: i64) -> anyhow::Result<()> {
        for member in 0..self.cluster.size() {
            self.judge.operations += 1;
            let found = Member::of(&self.cluster, member)?.list(lease.prefix, false).await;
            let left = found.map(|answer| answer.count).map_err(|status| status.to_string());
            // Also a member that finds out by itself that it is wrong was wrong.
            self.judge.must(rule, left == Ok(0), || {
                format!("member {member}: keys below {}: {left:?}", lease.prefix)
            });
        }
        for member in 0..self.cluster.size() {
            self.judge.operations += 1;
            let client = Member::of(&self.cluster, member)?;
            let reached = || {
                let mut client = client.clone();
                async move {
                    let answer = client.list("", true).await.ok();
                    answer.and_then(|a| a.header).is_some_and(|header| header.revision >= at)
                }
            };
            until("a member that follows", limits::STORY, reached).await?;
            let mut client = client.clone();
            let left = client.list(lease.prefix, true).await?.count;
            self.judge.must(rule, left == 0, || {
                format!("member {member}: {left} keys below {} stayed", lease.prefix)
            });
        }
        let now =
            crate::story::revision(Member::of(&self.cluster, 0)?.list("", false).await?.header)?;
        let events = Member::of(&self.cluster, 0)?.events(2, now).await?;
        let events = events.map_err(|_| anyhow::anyhow!("nobody compacted"))?;
        let ends: std::collections::BTreeSet<i64> = events
            .iter()
            .filter(|event| event.r#type() == proto::mvccpb::event::EventType::Delete)
            .filter_map(|event| event.kv.as_ref())
            .filter(|kv| kv.key.starts_with(lease.prefix.as_bytes()))
            .map(|kv| kv.mod_revision)
            .collect();
        self.judge.must(rule, ends.len() == 1, || {
            format!("the keys below {} went in the revisions {ends:?}", lease.prefix)
        });
        Ok(())
    }
}

/// No faults: renewed, left alone, revoked.
pub(crate) async fn calm(store: &Store, _seed: u64) -> anyhow::Result<Judged> {
    let mut story = Story::begin(store, &[]).await?;
    let leader = story.leader().await?;
    let follower = (leader + 1) % 3;
    let mut kept = story.grant(leader, 3, ("kept/", 3)).await?;
    let left = story.grant(follower, 3, ("left/", 4)).await?;
    let revoked = story.grant(follower, 600, ("revoked/", 3)).await?;
    let changed = story.grant(follower, 600, ("changed/", 1)).await?;
    Member::of(&story.cluster, leader)?.put("changed/0", "again", 0).await?;

    let at = story.revoke(leader, &revoked).await?;
    story.gone("E3", &revoked, at).await?;
    story.revoke(leader, &changed).await?;
    let count = Member::of(&story.cluster, leader)?.list("changed/", false).await?.count;
    story.judge.must("E4", count == 1, || "a key went with a lease that it had left".to_owned());

    let begun = Instant::now();
    let mut ended = false;
    while begun.elapsed() < Duration::from_secs(8) {
        story.renew(follower, &mut kept).await?;
        story.still_there(leader, &kept).await?;
        ended |= story.still_there(leader, &left).await? < left.keys;
        tokio::time::sleep(limits::POLL * 16).await;
    }
    story.judge.must("E2", ended, || "a lease did not end that nobody renewed".to_owned());
    if ended {
        let header = Member::of(&story.cluster, leader)?.list("", false).await?.header;
        story.gone("E2", &left, crate::story::revision(header)?).await?;
    }
    Ok(story.judge.done())
}

/// The leader sleeps for longer than a lease that is renewed through the others.
pub(crate) async fn asleep(store: &Store, _seed: u64) -> anyhow::Result<Judged> {
    let mut story = Story::begin(store, &[]).await?;
    for _ in 0..2 {
        let leader = story.leader().await?;
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        let mut kept = story.grant(others[0], 5, ("kept/", 3)).await?;
        story.cluster.pause(leader)?;
        let begun = Instant::now();
        let mut awake = false;
        let mut turn = 0;
        while begun.elapsed() < Duration::from_secs(11) {
            turn += 1;
            story.renew(others[turn % 2], &mut kept).await?;
            story.still_there(others[(turn + 1) % 2], &kept).await?;
            if !awake && begun.elapsed() > Duration::from_secs(7) {
                story.cluster.resume(leader)?;
                awake = true;
            }
            tokio::time::sleep(limits::POLL * 10).await;
        }
        story.cluster.wait_serving(leader, limits::STORY).await?;
        // A lease that has ended already is no matter here.
        let _gone = story.revoke(others[0], &kept).await;
    }
    Ok(story.judge.done())
}

/// A leader dies, and leases have not heard from their clients yet.
pub(crate) async fn new_leader(store: &Store, _seed: u64) -> anyhow::Result<Judged> {
    let mut story = Story::begin(store, &[]).await?;
    let leader = story.leader().await?;
    let other = (leader + 1) % 3;
    let kept = story.grant(other, 12, ("kept/", 3)).await?;
    story.cluster.kill(leader)?;
    story.cluster.wait_serving(other, limits::STORY).await?;
    story.cluster.spawn(leader)?;
    while Instant::now() < kept.until {
        story.still_there(other, &kept).await?;
        tokio::time::sleep(limits::POLL * 10).await;
    }
    let ended = Instant::now();
    while story.still_there(other, &kept).await? > 0 {
        ensure!(ended.elapsed() < LATE * 3, "a lease never ends");
        tokio::time::sleep(limits::POLL * 10).await;
    }
    Ok(story.judge.done())
}

/// Members end in order, and start again.
pub(crate) async fn restarted(store: &Store, _seed: u64) -> anyhow::Result<Judged> {
    let mut story = Story::begin(store, &[]).await?;
    let revoked = story.grant(0, 600, ("revoked/", 3)).await?;
    let kept = story.grant(1, 600, ("kept/", 3)).await?;
    let at = story.revoke(0, &revoked).await?;
    story.gone("E3", &revoked, at).await?;
    restart_in_order(&mut story.cluster).await?;
    for member in 0..3 {
        story.judge.operations += 1;
        story.still_there(member, &kept).await?;
        let mut client = Member::of(&story.cluster, member)?;
        let leases = client.lease.lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner();
        let ids: Vec<i64> = leases.leases.iter().map(|lease| lease.id).collect();
        story.judge.must("E5", !ids.contains(&revoked.id), || {
            format!("member {member}: lease {} is back", revoked.id)
        });
        story.judge.must("E1", ids.contains(&kept.id), || format!("member {member}: {ids:?}"));
    }
    Ok(story.judge.done())
}

/// A follower gets a snapshot; then a lease is revoked. It is down meanwhile, not paused: what a leader has
/// sent to one that sleeps is in its sockets, and it would need no snapshot.
pub(crate) async fn snapshot(store: &Store, _seed: u64) -> anyhow::Result<Judged> {
    let mut story = Story::begin(store, &["--snapshot-count=50"]).await?;
    let leader = story.leader().await?;
    let follower = (leader + 1) % 3;
    let kept = story.grant(leader, 600, ("kept/", 5)).await?;
    story.cluster.kill(follower)?;
    let mut client = Member::of(&story.cluster, leader)?;
    for number in 0..700 {
        client.put(&format!("other/{}", number % 7), "value", 0).await?;
        story.judge.operations += 1;
    }
    story.cluster.spawn(follower)?;
    story.cluster.wait_serving(follower, limits::STORY).await?;
    let log = std::fs::read_to_string(story.cluster.dir().join(format!("m{follower}.log")))?;
    ensure!(log.contains("installed a snapshot"), "the follower got no snapshot");
    story.still_there(follower, &kept).await?;
    let at = story.revoke(leader, &kept).await?;
    story.gone("E3", &kept, at).await?;
    Ok(story.judge.done())
}

/// A waiter's lease ends before the lock is free.
pub(crate) async fn lock(store: &Store, _seed: u64) -> anyhow::Result<Judged> {
    let mut story = Story::begin(store, &[]).await?;
    let holder = story.grant(0, 600, ("holder/", 0)).await?;
    let waiter = story.grant(1, 3, ("waiter/", 0)).await?;
    let mut locks = LockClient::new(Member::of(&story.cluster, 0)?.channel);
    let request = LockRequest { name: b"lock".to_vec().into(), lease: holder.id };
    let held = locks.lock(request).await?.into_inner();
    let mut waiting = LockClient::new(Member::of(&story.cluster, 1)?.channel);
    let request = LockRequest { name: b"lock".to_vec().into(), lease: waiter.id };
    let mut late = tonic::Request::new(request);
    late.set_timeout(Duration::from_secs(60));
    let wait = tokio::spawn(async move { waiting.lock(late).await });
    let mut client = Member::of(&story.cluster, 2)?;
    let begun = Instant::now();
    loop {
        let keys = client.list("lock/", false).await?.count;
        if begun.elapsed() > waiter.ttl && keys == 1 {
            break;
        }
        ensure!(begun.elapsed() < waiter.ttl + LATE, "a waiter's lease never ends");
        tokio::time::sleep(limits::POLL * 4).await;
    }
    story.judge.operations += 3;
    locks.unlock(UnlockRequest { key: held.key }).await?;
    let granted = tokio::time::timeout(limits::STORY, wait).await.context("still waiting")??;
    match granted {
        Ok(granted) => {
            let key = granted.into_inner().key;
            let found = client.list(std::str::from_utf8(&key)?, false).await?;
            story.judge.must("O1", found.count == 1, || {
                "the lock was granted to a waiter whose lease had ended".to_owned()
            });
        }
        Err(status) if status.message().contains("session is expired") => {
            story.judge.must("O1", true, String::new);
        }
        Err(status) => bail!("the waiter was told something else: {status}"),
    }
    Ok(story.judge.done())
}
