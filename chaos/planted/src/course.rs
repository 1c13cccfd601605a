//! A course of faults under load, judged by the general checkers.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | S1 | Nobody says that the cluster is corrupt: the members compare themselves, too. |
//! | S2 | The run comes to its end: writes go on, and every member can be asked. |
//! | S3 | No member ends by itself: nothing is done to them that no store could bear. |

use std::time::{Duration, Instant};

use anyhow::ensure;
use chaos::checker::{self, Verdict};
use chaos::cluster::Cluster;
use chaos::disk::{Disk, Lost};
use chaos::history::{Fault, History, Kind, Outcome, Recorder};
use chaos::nemesis::{self, Nemesis};
use chaos::workload::{Connect, Fleet, Mix};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::limits;
use crate::story::{Judged, Store};
use crate::watchers::{self, Watchers};

/// One thing that is done, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// Waits until so many more writes were acknowledged.
    Writes(u64),
    Strike(Nemesis, u64),
    /// All members lose their power, and what they had not synced.
    CutPower,
    /// A follower sleeps until it needs a snapshot.
    Outrun(u64),
    /// Watches that begin around the newest revision.
    WatchAround,
    /// Watches that begin one revision after the other near the first: pages of history end at
    /// another place for each.
    WatchHistory,
    /// A watch whose client sleeps while large values are written.
    WatchSlowly,
}

/// What is done to what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) members: usize,
    pub(crate) flags: &'static [&'static str],
    pub(crate) on_volatile_disk: bool,
    pub(crate) deeds: &'static [Deed],
}

/// Runs a course, and judges it.
pub(crate) async fn run(course: &Course, store: &Store, seed: u64) -> anyhow::Result<Judged> {
    let launcher = store.launcher(course.flags);
    let mut cluster = if course.on_volatile_disk {
        Cluster::start_on_disk(Disk::mount_volatile, launcher, course.members).await?
    } else {
        Cluster::start(launcher, course.members).await?
    };
    let mut history = History { base_revision: 1, ..History::default() };
    let recorder = Recorder::default();
    let ended = drive(course, seed, &mut cluster, &recorder, &mut history).await;
    history.ops = recorder.ops();
    let crashed = cluster.crashed();
    drop(cluster);
    let ended = ended.err().map(|error| format!("{error:#}"));
    let operations = history.ops.len();
    let judge = move || judge(&history, ended, crashed);
    Ok(Judged { verdicts: tokio::task::spawn_blocking(judge).await?, operations })
}

fn judge(history: &History, ended: Option<String>, crashed: Option<String>) -> Vec<Verdict> {
    let mut end = Verdict::new("end");
    end.checked = history.ops.len() as u64;
    if let Some(crash) = crashed {
        end.fail("S3", Vec::new(), format!("a member ended without being asked to: {crash}"));
    }
    for op in &history.ops {
        if let Outcome::Refused(why) | Outcome::Unknown(why) = &op.outcome
            && why.contains("corrupt cluster")
        {
            end.fail("S1", vec![op.index], format!("member {}: {why}", op.member));
        }
    }
    let mut verdicts = match ended {
        None => checker::check_all(history),
        Some(why) => {
            end.fail("S2", Vec::new(), why);
            // Without the log there is less to say.
            vec![checker::revisions::check(history)]
        }
    };
    verdicts.push(end);
    verdicts
}

async fn drive(
    course: &Course,
    seed: u64,
    cluster: &mut Cluster,
    recorder: &Recorder,
    history: &mut History,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let urls = cluster.urls();
    // Numbers far from those of the fleet's own.
    let mut more = Watchers::new(limits::WATCHERS_FROM, recorder.clone());
    for (member, url) in urls.iter().enumerate() {
        more.patient(url, member, 2);
    }
    let mix =
        Mix { keys: limits::KEYS, ..Mix::of(&[Kind::RwTxn], limits::CLIENTS, limits::RATE, seed) };
    let fleet = Fleet::start(&Connect::to(&urls), &mix, recorder).await?;
    for deed in course.deeds {
        carry_out(*deed, cluster, recorder, (&mut rng, &mut more), history).await?;
    }
    // A member that repairs itself gets the time for it.
    for member in 0..urls.len() {
        cluster.wait_serving(member, limits::SETTLED).await?;
    }
    let recorded = fleet.stop().await?;
    (history.watches, history.finals) = (recorded.watches, recorded.finals);
    history.kinds = recorded.kinds;
    let last = history.finals.iter().map(|state| state.revision).max().unwrap_or(0);
    history.watches.extend(more.finish(last).await);
    Ok(())
}

async fn carry_out(
    deed: Deed,
    cluster: &mut Cluster,
    recorder: &Recorder,
    (rng, more): (&mut StdRng, &mut Watchers),
    history: &mut History,
) -> anyhow::Result<()> {
    match deed {
        Deed::Writes(count) => await_writes(recorder, count).await?,
        Deed::Strike(nemesis, hold_ms) => {
            let hold = Duration::from_millis(hold_ms);
            let fault = nemesis::strike(nemesis, cluster, recorder, rng, hold).await?;
            history.faults.push(fault);
        }
        Deed::CutPower => history.faults.push(cut_power(cluster, recorder).await?),
        Deed::Outrun(writes) => history.faults.push(outrun(cluster, recorder, writes).await?),
        Deed::WatchAround => {
            let revision = cluster.status(0).await?.revision;
            for (member, url) in cluster.urls().iter().enumerate() {
                for offset in [-40, -1, 1, 40, 80] {
                    more.patient(url, member, (revision + offset).max(2));
                }
            }
        }
        Deed::WatchHistory => {
            for (member, url) in cluster.urls().iter().enumerate() {
                (2..2 + limits::HISTORIES).for_each(|start| more.patient(url, member, start));
            }
        }
        Deed::WatchSlowly => {
            let revision = cluster.status(0).await?.revision;
            more.slow(&cluster.url(0), 0, revision + 1);
            watchers::fill(&cluster.url(0), recorder, limits::WATCH_SLEEP).await?;
        }
    }
    Ok(())
}

async fn await_writes(recorder: &Recorder, more: u64) -> anyhow::Result<()> {
    let goal = recorder.acknowledged_writes() + more;
    let begun = Instant::now();
    while recorder.acknowledged_writes() < goal {
        ensure!(begun.elapsed() < limits::PROGRESS, "not even {more} writes were acknowledged");
        tokio::time::sleep(limits::POLL).await;
    }
    Ok(())
}

async fn recovered(cluster: &mut Cluster, members: &[usize]) -> anyhow::Result<(usize, u64)> {
    for member in members {
        cluster.wait_serving(*member, limits::SETTLED).await?;
    }
    cluster.wait_leader(limits::SETTLED).await
}

async fn cut_power(cluster: &mut Cluster, recorder: &Recorder) -> anyhow::Result<Fault> {
    let (leader, term_before) = cluster.wait_leader(limits::SETTLED).await?;
    let members: Vec<usize> = (0..cluster.size()).collect();
    let injected_ns = recorder.now_ns();
    cluster.cut_power(&members, Lost::All)?;
    let healed_ns = recorder.now_ns();
    for member in &members {
        cluster.spawn(*member)?;
    }
    let (leader_after, term_after) = recovered(cluster, &members).await?;
    Ok(Fault {
        name: "cut power".to_owned(),
        members,
        injected_ns,
        healed_ns,
        recovered_ns: Some(recorder.now_ns()),
        leader_before: Some(leader),
        leader_after: Some(leader_after),
        term_before,
        term_after,
        ..Fault::default()
    })
}

async fn outrun(cluster: &mut Cluster, recorder: &Recorder, writes: u64) -> anyhow::Result<Fault> {
    let (leader, term_before) = cluster.wait_leader(limits::SETTLED).await?;
    let asleep = (leader + 1) % cluster.size();
    let injected_ns = recorder.now_ns();
    cluster.pause(asleep)?;
    let written = await_writes(recorder, writes).await;
    let healed_ns = recorder.now_ns();
    cluster.resume(asleep)?;
    written?;
    let (leader_after, term_after) = recovered(cluster, &[asleep]).await?;
    Ok(Fault {
        name: "outrun a follower".to_owned(),
        members: vec![asleep],
        injected_ns,
        healed_ns,
        recovered_ns: Some(recorder.now_ns()),
        leader_before: Some(leader),
        leader_after: Some(leader_after),
        term_before,
        term_after,
        ..Fault::default()
    })
}
