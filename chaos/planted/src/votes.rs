//! Terms over the death of every member: what a member promised by its vote is not forgotten.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | V1 | The term that a member tells never goes back. |
//! | V2 | What was acknowledged in any term is there. |
//! | V3 | Members that died serve again, and meanwhile another one leads. |

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use chaos::cluster::{Cluster, Launcher, Setup};
use chaos::topo::shapes::partition;
use chaos::topo::{Policy, Topo};

use crate::limits;
use crate::story::{Judge, Judged, Member, Store};

const ROUNDS: usize = 3;
const WRITES: usize = 20;

/// Elections until the one member is elected that the story needs.
const ELECTIONS: usize = 30;
const MEMBERS: usize = 3;

/// Tells both stories.
pub(crate) async fn run(store: &Store, seed: u64) -> anyhow::Result<Judged> {
    let judge = everybody_dies(store).await?;
    let launcher = store.launcher(&[]);
    let told = tokio::task::spawn_blocking(move || on_hosts(&launcher, seed, judge));
    Ok(told.await??.done())
}

/// A runtime on a host of its own, beside those of the members.
fn on_hosts(launcher: &Launcher, seed: u64, judge: Judge) -> anyhow::Result<Judge> {
    let topo = Topo::start(MEMBERS + 2, seed).context("this machine has no hosts in namespaces")?;
    let topo = Arc::new(topo);
    let told = topo.host(MEMBERS + 1).run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let story = a_voter_dies(launcher, &topo, judge);
        runtime.block_on(async { tokio::time::timeout(limits::TRIAL, story).await })?
    });
    told?
}

/// A member that has given its vote dies before it hears of whom it elected: of that term it knows nothing
/// but its own promise. Started again, and cut off, it must still know it.
async fn a_voter_dies(
    launcher: &Launcher,
    topo: &Arc<Topo>,
    mut judge: Judge,
) -> anyhow::Result<Judge> {
    let setup = Setup { topo: Some(Arc::clone(topo)), ..Setup::new(launcher.clone(), MEMBERS) };
    let mut cluster = Cluster::bring_up(setup).await?;
    let switch = topo.switch();
    for election in 0..ELECTIONS {
        let (leader, term) = cluster.wait_leader(limits::STORY).await?;
        // Members ask in the order of their ids, so that the same two may succeed each other again and again:
        // both are tried as the one that is elected, twice each.
        let one = 1 + election / 2 % 2;
        let (elected, voter) = ((leader + one) % MEMBERS, (leader + MEMBERS - one) % MEMBERS);
        let slow = Policy { delay: limits::VOTER_IS_SLOW, ..Policy::default() };
        // A member's host is the one after the first, which is the clients'.
        switch.set(elected + 1, voter + 1, slow);
        cluster.kill(leader)?;
        let Some((now, term)) = next_leader(&cluster, &mut judge, (leader, term)).await else {
            return Ok(judge);
        };
        if now == elected {
            cluster.kill(voter)?;
            switch.cut(&partition(&[voter + 1], &[leader + 1, elected + 1]));
            cluster.spawn(voter)?;
            match first_term(&cluster, voter).await {
                Ok(began) => judge.must("V1", began >= term, || {
                    format!("member {voter} voted in term {term}, and begins in term {began}")
                }),
                Err(error) => judge.must("V3", false, || format!("{error:#}")),
            }
        }
        switch.heal();
        cluster.spawn(leader)?;
        for member in 0..MEMBERS {
            let served = cluster.wait_serving(member, limits::STORY).await;
            judge.must("V3", served.is_ok(), || format!("member {member}: {served:?}"));
        }
        if now == elected {
            return Ok(judge);
        }
    }
    anyhow::bail!("the voter was elected itself, {ELECTIONS} times")
}

async fn everybody_dies(store: &Store) -> anyhow::Result<Judge> {
    let mut cluster = Cluster::start(store.launcher(&[]), 3).await?;
    let mut judge = Judge::new("votes");
    let mut written = Vec::new();
    let mut known = 0;
    for round in 0..ROUNDS {
        let (leader, term) = cluster.wait_leader(limits::STORY).await?;
        judge.must("V1", term >= known, || format!("term {term} after term {known}"));
        known = known.max(term);
        write(&cluster, &mut judge, (round, &mut written)).await?;
        // First only a leader: the term rises. Then all, who have nobody to ask.
        cluster.kill(leader)?;
        let Some((_, term)) = next_leader(&cluster, &mut judge, (leader, term)).await else {
            return Ok(judge);
        };
        known = known.max(term);
        cluster.spawn(leader)?;
        cluster.wait_serving(leader, limits::STORY).await?;
        if !all_die(&mut cluster, &mut judge, known).await? {
            return Ok(judge);
        }
    }
    let (leader, term) = cluster.wait_leader(limits::STORY).await?;
    judge.must("V1", term >= known, || format!("term {term} after term {known}"));
    let found = Member::of(&cluster, leader)?.list("v/", false).await?;
    for key in &written {
        let there = found.kvs.iter().any(|kv| kv.key.as_ref() == key.as_bytes());
        judge.must("V2", there, || format!("{key} was acknowledged and is gone"));
    }
    Ok(judge)
}

/// Whether they serve again.
async fn all_die(cluster: &mut Cluster, judge: &mut Judge, known: u64) -> anyhow::Result<bool> {
    for member in 0..3 {
        cluster.kill(member)?;
    }
    for member in 0..3 {
        cluster.spawn(member)?;
    }
    for member in 0..3 {
        // One that finds that its log is ahead of its vote does not start at all.
        let term = match first_term(cluster, member).await {
            Ok(term) => term,
            Err(error) => {
                judge.must("V3", false, || format!("{error:#}"));
                return Ok(false);
            }
        };
        judge.must("V1", term >= known, || {
            format!("member {member} begins in term {term}, and knew term {known}")
        });
    }
    for member in 0..3 {
        let served = cluster.wait_serving(member, limits::STORY).await;
        judge.must("V3", served.is_ok(), || format!("member {member}: {served:?}"));
        if served.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The term that a member tells first. Zero is what it says before it has read its own; later it is what it
/// makes of it.
async fn first_term(cluster: &Cluster, member: usize) -> anyhow::Result<u64> {
    let begun = Instant::now();
    loop {
        let is_late = begun.elapsed() > limits::STORY;
        match cluster.status(member).await {
            Ok(status) if status.term > 0 || is_late => return Ok(status.term),
            Ok(_) => {}
            Err(error) => ensure!(!is_late, "member {member} does not start: {error:#}"),
        }
        tokio::time::sleep(limits::POLL).await;
    }
}

/// Who leads after another one, and in which term. V3: somebody does.
async fn next_leader(
    cluster: &Cluster,
    judge: &mut Judge,
    before: (usize, u64),
) -> Option<(usize, u64)> {
    let begun = Instant::now();
    loop {
        match cluster.leader().await {
            Some(now) if now != before => return Some(now),
            Some(_) | None if begun.elapsed() > limits::STORY => {
                let mut all = String::new();
                for member in 0..cluster.size() {
                    let status = cluster.status(member).await;
                    let told = status.map(|one| (one.member_id, one.leader_id, one.term));
                    let said = cluster.tail(member);
                    write!(
                        all,
                        "; member {member}, its leader, the term: {told:x?}, it said\n{said}"
                    )
                    .expect("writing to a String cannot fail");
                }
                judge.must("V3", false, || format!("nobody took over from {before:?}{all}"));
                return None;
            }
            Some(_) | None => tokio::time::sleep(limits::POLL).await,
        }
    }
}

async fn write(
    cluster: &Cluster,
    judge: &mut Judge,
    (round, written): (usize, &mut Vec<String>),
) -> anyhow::Result<()> {
    for number in 0..WRITES {
        let key = format!("v/{round}-{number}");
        judge.operations += 1;
        Member::of(cluster, number % 3)?.put(&key, "value", 0).await?;
        written.push(key);
    }
    Ok(())
}
