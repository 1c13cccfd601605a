//! The course of a run: bring-up, traffic, faults, calm, and what is left at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock::Clocks;
use super::coverage;
use super::flags::{Flags, Plan};
use super::kind::Kind;
use super::schedule::Event;
use super::strike::{Strike, strike};
use super::world::World;
use super::{Report, network, say, table};
use crate::checker;
use crate::cluster::{Cluster, Setup};
use crate::disk::Disk;
use crate::history::{History, Recorder};
use crate::limits;
use crate::topo::Topo;
use crate::workload::{Connect, Fleet, Mix};

/// Where memory is a file system.
pub(crate) const MEMORY: &str = "/dev/shm";

/// Where a run takes place.
struct Stage {
    topo: Arc<Topo>,
    spares: usize,
    /// What carries clients and watchers, on their host.
    clients: tokio::runtime::Handle,
}

/// What a run recorded, before it is judged.
struct Recorded {
    history: History,
    strikes: Vec<Strike>,
    notes: Vec<String>,
    crashes: Vec<String>,
    /// Why the members could not be read at the end.
    unfinished: Option<String>,
}

/// Runs a plan. The second value is the folder of the members' data, kept if something is wrong.
pub(super) fn run(
    flags: &Flags,
    plan: Plan,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Report, Option<PathBuf>)> {
    let ended = run_and_judge(flags, plan, shutdown);
    // Here the members are gone, also those of a run that failed or was interrupted.
    Clocks::forget_the_dead();
    ended
}

fn run_and_judge(
    flags: &Flags,
    plan: Plan,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Report, Option<PathBuf>)> {
    Disk::check().context("this machine has no disks that misbehave")?;
    let spares = usize::from(plan.schedule.has(|kind| kind == Kind::Learner));
    // The clients', the members', and the operator's, whose links are always whole.
    let hosts = 1 + plan.schedule.members + spares + 1;
    let topo = Topo::start(hosts, plan.schedule.seed);
    let topo = Arc::new(topo.context("this machine has no hosts in namespaces")?);
    // All threads of a runtime are of the host where it was made, and so are the sockets made there.
    let on_host = |host, threads| {
        topo.host(host).run(|| {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads).enable_all().build()
        })
    };
    let clients = on_host(network::CLIENTS, limits::RUN_CLIENT_THREADS)??;
    let operator = on_host(hosts - 1, limits::RUN_OPERATOR_THREADS)??;
    let stage = Stage { topo: Arc::clone(&topo), spares, clients: clients.handle().clone() };
    let ended = topo.host(hosts - 1).run(|| {
        operator.block_on(async {
            tokio::select! {
                ended = from_start_to_end(flags, &plan, &stage) => ended,
                () = shutdown.cancelled() => Err(anyhow!("interrupted before the run was done")),
            }
        })
    });
    // Who still waits for a member does so in vain; with the tasks the cluster goes (N4).
    operator.shutdown_timeout(limits::STOP_DEADLINE);
    clients.shutdown_timeout(limits::STOP_DEADLINE);
    let ended = ended?;
    let (recorded, mut cluster) = ended?;
    let Recorded { history, strikes, notes, mut crashes, unfinished } = recorded;
    let is_finished = unfinished.is_none();
    crashes.extend(unfinished.map(|why| format!("the cluster did not come back: {why}")));
    let mut verdicts = vec![coverage::check(&plan.demands, &history, &strikes, &crashes)];
    if is_finished {
        // The coverage is another view of the same things, for faults that overlap.
        let others = checker::check_all(&history);
        verdicts.extend(others.into_iter().filter(|verdict| verdict.name != "bookkeeping"));
    }
    let report = Report { plan, history, verdicts, strikes, notes };
    let is_kept = !report.passed() || flags.kept.keep;
    let data = if is_kept { Some(kept(&mut cluster, flags)?) } else { None };
    Ok((report, data))
}

async fn from_start_to_end(
    flags: &Flags,
    plan: &Plan,
    stage: &Stage,
) -> anyhow::Result<(Recorded, Cluster)> {
    let Stage { topo, spares, clients } = stage;
    let spares = *spares;
    let launcher = flags.launcher()?;
    let size = plan.schedule.members;
    let is_wanted = plan.schedule.has(Kind::needs_clock);
    let clocks = is_wanted.then(|| Clocks::find(&launcher.program, size + spares)).transpose()?;
    let environment = match &clocks {
        Some(clocks) => (0..size + spares).map(|member| clocks.environment(member)).collect(),
        None => Vec::new(),
    };
    let setup = Setup {
        spares,
        topo: Some(Arc::clone(topo)),
        mount: Some(Disk::mount_volatile),
        parent: flags.scratch.clone().or_else(memory),
        environment,
        ..Setup::new(launcher, size)
    };
    let cluster = Cluster::bring_up(setup).await?;
    let recorder = Recorder::default();
    let mix = Mix {
        parts: plan.profile.parts(),
        keys: plan.profile.keys,
        seed: plan.schedule.seed,
        watch_progress: flags.asking.watch_progress,
        plant_stale_reads: flags.asking.plant_stale_reads,
    };
    let connect = Connect::to(&cluster.urls());
    let fleet = {
        let (connect, recorder) = (connect.clone(), recorder.clone());
        clients.spawn(async move { Fleet::start(&connect, &mix, &recorder).await }).await??
    };
    let watched = fleet.told();
    let watched = (watched, &connect);
    let world = Arc::new(World::new((cluster, Arc::clone(topo)), clocks, &recorder, watched));
    let keeper = tokio::spawn(Arc::clone(&world).keep());
    let recorded = record(plan, &world, fleet).await;
    world.closing.cancel();
    keeper.await?;
    let world = sole_owner(world).await?;
    let mut cluster = world.cluster.into_inner();
    match recorded {
        Ok(recorded) => Ok((recorded, cluster)),
        Err(error) => {
            let dir = kept(&mut cluster, flags)?;
            Err(error.context(format!(
                "the run (seed {}) could not be finished; data and logs are in {}",
                plan.schedule.seed,
                dir.display()
            )))
        }
    }
}

/// Where data is that only has to outlast the run: in memory, if there is enough of it. What a disk of
/// this machine does at that moment is no part of the schedule; the members' own disks are.
pub(crate) fn memory() -> Option<PathBuf> {
    let folder = PathBuf::from(MEMORY);
    let free = nix::sys::statvfs::statvfs(&folder).ok()?;
    let bytes = free.blocks_available() * free.fragment_size();
    (bytes >= limits::RUN_MEMORY_BYTES).then_some(folder)
}

/// Moves what is kept to where it was asked for, or to where temporary files are: memory is for runs.
fn kept(cluster: &mut Cluster, flags: &Flags) -> anyhow::Result<PathBuf> {
    let from = cluster.keep_folder();
    let to = match &flags.kept.output {
        Some(dir) => {
            let to = dir.join("members");
            if to.exists() {
                std::fs::remove_dir_all(&to)?;
            }
            to
        }
        None if from.starts_with(MEMORY) => {
            tempfile::Builder::new().prefix("orlop-chaos-").tempdir()?.keep()
        }
        None => return Ok(from),
    };
    copy(&from, &to)?;
    std::fs::remove_dir_all(&from)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// When all that was started for a member has ended.
async fn sole_owner(mut world: Arc<World>) -> anyhow::Result<World> {
    let start = Instant::now();
    loop {
        match Arc::try_unwrap(world) {
            Ok(world) => return Ok(world),
            Err(shared) => world = shared,
        }
        let deadline = limits::RUN_CHANGE_DEADLINE + limits::RUN_CALL_DEADLINE;
        ensure!(start.elapsed() < deadline, "something of the run does not end");
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
}

async fn record(plan: &Plan, world: &Arc<World>, fleet: Fleet) -> anyhow::Result<Recorded> {
    warm_up(world).await?;
    let mut strikes = strikes(plan, world).await?;
    strike_again(plan, world, &mut strikes).await;
    let healed_ns = strikes.iter().map(|strike| strike.fault.healed_ns).max().unwrap_or(0);
    calm(world, healed_ns, plan.demands.operations).await;
    // A cluster that does not come back keeps no promise.
    let base_revision = fleet.base_revision();
    let told_at_end = fleet.stop().await;
    let told = std::mem::take(&mut *world.told.lock());
    let faults = strikes.iter().map(|strike| strike.fault.clone()).collect();
    let (history, unfinished) = match told_at_end {
        Ok(recorded) => (recorded.history(&world.recorder, faults), None),
        Err(error) => {
            let ops = world.recorder.ops();
            let history = History { base_revision, ops, faults, ..History::default() };
            (history, Some(format!("{error:#}")))
        }
    };
    let history = History { restored: told.restored, ..history };
    Ok(Recorded { history, strikes, notes: told.notes, crashes: told.crashes, unfinished })
}

/// Faults in silence prove nothing.
async fn warm_up(world: &World) -> anyhow::Result<()> {
    let start = Instant::now();
    while world.recorder.acknowledged_writes() < limits::RUN_WARM_UP_WRITES {
        ensure!(start.elapsed() < limits::BRING_UP_DEADLINE, "clients write nothing");
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
    Ok(())
}

/// Every event at its time, each by itself.
async fn strikes(plan: &Plan, world: &Arc<World>) -> anyhow::Result<Vec<Strike>> {
    let start = tokio::time::Instant::now();
    let total = Duration::from_millis(plan.schedule.end_ms());
    let mut under_way: JoinSet<Strike> = JoinSet::new();
    let mut done: Vec<Strike> = Vec::new();
    let mut events = plan.schedule.events.iter().cloned().enumerate().peekable();
    loop {
        let next = events.peek().map(|(_, event)| start + Duration::from_millis(event.at_ms));
        tokio::select! {
            () = tokio::time::sleep_until(next.unwrap_or(start)), if next.is_some() => {
                if let Some((number, event)) = events.next() {
                    under_way.spawn(strike(Arc::clone(world), number, event));
                }
            }
            ended = under_way.join_next(), if !under_way.is_empty() => {
                if let Some(ended) = ended {
                    let strike = ended?;
                    say(&table::progress(&strike, total.saturating_sub(start.elapsed())));
                    done.push(strike);
                }
            }
            else => break,
        }
    }
    done.sort_by_key(|strike| strike.number);
    Ok(done)
}

/// What never had an effect is tried a few times more, one after the other: how far a store has come by
/// the time of a fault differs by machine, and some find nothing to do.
async fn strike_again(plan: &Plan, world: &Arc<World>, strikes: &mut Vec<Strike>) {
    for _ in 0..limits::RUN_MORE_ATTEMPTS {
        for event in coverage::missed(&plan.demands, strikes) {
            let at_ms = world.recorder.now_ns() / 1_000_000;
            let event = Event { at_ms, seed: event.seed.wrapping_add(1), ..event };
            let strike = strike(Arc::clone(world), strikes.len(), event).await;
            say(&table::progress(&strike, Duration::ZERO));
            strikes.push(strike);
        }
    }
}

/// Traffic goes on until each member has served what G4 asks for since the last heal and there was as
/// much of it as the run demands (on a slow machine that takes longer), or too long.
async fn calm(world: &World, healed_ns: u64, operations: u64) {
    let start = Instant::now();
    while start.elapsed() < limits::RECOVERY_GIVE_UP {
        tokio::time::sleep(limits::RUN_CALM).await;
        let ops = world.recorder.ops_since(healed_ns);
        let has_served =
            |member| coverage::served(&ops, member, healed_ns).iter().all(Option::is_some);
        if world.recorder.acknowledged() >= operations && (0..world.size).all(has_served) {
            return;
        }
    }
}
