//! Named combinations of a workload and faults, run on a real cluster and judged.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::checker::{self, Verdict};
use crate::cluster::Cluster;
use crate::history::{History, Kind, Recorder};
use crate::nemesis::{self, Nemesis};
use crate::report;
use crate::tested::{Asking, Kept, Tested};
use crate::workload::{Connect, Fleet, Mix};

/// A named combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// The leader is killed with SIGKILL and started again on the same data
    LeaderKill,
    /// A member that does not lead is killed and started again
    FollowerKill,
    /// All members are killed at once and started again
    KillAll,
    /// The leader is stopped for three seconds; when it wakes it must not answer from its past
    Pause,
}

impl Scenario {
    fn nemesis(self) -> Nemesis {
        match self {
            Self::LeaderKill => Nemesis::KillLeader,
            Self::FollowerKill => Nemesis::KillFollower,
            Self::KillAll => Nemesis::KillAll,
            Self::Pause => Nemesis::PauseLeader,
        }
    }

    /// How long a fault holds before it is healed.
    fn hold(self, rng: &mut StdRng) -> Duration {
        match self {
            Self::LeaderKill | Self::FollowerKill => {
                Duration::from_millis(rng.random_range(300..2500))
            }
            Self::KillAll => Duration::from_millis(rng.random_range(100..500)),
            Self::Pause => Duration::from_secs(3),
        }
    }
}

/// Flags of `orlop chaos`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// What to do to the cluster
    #[arg(value_enum)]
    pub scenario: Scenario,
    #[command(flatten)]
    pub tested: Tested,
    /// Members of the cluster (odd)
    #[arg(long, default_value_t = 3)]
    pub members: usize,
    /// How often the fault is injected
    #[arg(long, default_value_t = 5)]
    pub kills: usize,
    /// What the clients do, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "rw-txn")]
    pub workloads: Vec<Kind>,
    /// Clients of each workload that are at work at the same time
    #[arg(long, default_value_t = 8)]
    pub clients: usize,
    /// Keys that the clients share
    #[arg(long, default_value_t = 12)]
    pub keys: usize,
    /// Operations a second and client, at most
    #[arg(long, default_value_t = 60)]
    pub rate: u32,
    /// Acknowledged writes between two faults, at least
    #[arg(long, default_value_t = 150)]
    pub writes_between: u64,
    /// Seed of all random choices; a random one when not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Run at least this many seconds, with calm traffic at the end
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub duration: u64,
    #[command(flatten)]
    pub asking: Asking,
    #[command(flatten)]
    pub kept: Kept,
    /// Write the run as one HTML page to this file, even if nothing is wrong
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

impl Flags {
    /// Settings of the first scenario, for callers that have no command line.
    pub fn for_scenario(scenario: Scenario) -> Self {
        Self {
            scenario,
            tested: Tested::default(),
            members: 3,
            kills: 5,
            workloads: vec![Kind::RwTxn],
            clients: 8,
            keys: 12,
            rate: 60,
            writes_between: 150,
            seed: None,
            duration: 0,
            asking: Asking::default(),
            kept: Kept::default(),
            report: None,
        }
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The seed that was used.
    pub seed: u64,
    /// What was recorded.
    pub history: History,
    /// What the checkers say.
    pub verdicts: Vec<Verdict>,
}

impl Run {
    /// Whether every checker passed.
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(Verdict::passed)
    }
}

/// Runs a scenario, prints its report, and fails if a promise was broken.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let run = tokio::select! {
        run = execute(&flags) => run?,
        () = shutdown.cancelled() => bail!("interrupted before the scenario was done"),
    };
    let text = report::text::summary(&flags, &run);
    std::io::stdout().write_all(text.as_bytes())?;
    if run.passed() { Ok(()) } else { bail!("{} broke a promise", report::text::title(&flags)) }
}

/// Runs a scenario and judges it. The history is written to a folder when a promise was broken.
pub async fn execute(flags: &Flags) -> anyhow::Result<Run> {
    ensure!(flags.clients > 0 && flags.keys > 0, "a scenario needs clients and keys");
    let seed = flags.seed.unwrap_or_else(|| rand::rng().random());
    tracing::info!(scenario = ?flags.scenario, seed, "scenario starts");
    let mut cluster = Cluster::start(flags.tested.launcher()?, flags.members).await?;
    let recorded = record(flags, seed, &mut cluster).await;
    let history = match recorded {
        Ok(history) => history,
        Err(error) => return Err(cluster.kept_after(error, seed)),
    };
    let (history, verdicts) = tokio::task::spawn_blocking(move || {
        let verdicts = checker::check_all(&history);
        (history, verdicts)
    })
    .await?;
    let run = Run { seed, history, verdicts };
    if !run.passed() || flags.kept.keep {
        let dir = save(flags, &run)?;
        let data = cluster.keep();
        let note = format!(
            "report: {}\nhistory and verdicts: {}\nmembers' data and logs: {}\n",
            dir.join("report.html").display(),
            dir.display(),
            data.display()
        );
        std::io::stderr().write_all(note.as_bytes())?;
    }
    if let Some(file) = &flags.report {
        std::fs::write(file, report::html::page(flags, &run))
            .with_context(|| format!("cannot write the report to {}", file.display()))?;
        std::io::stderr().write_all(format!("report: {}\n", file.display()).as_bytes())?;
    }
    Ok(run)
}

/// Everything up to the point where nothing changes any more.
async fn record(flags: &Flags, seed: u64, cluster: &mut Cluster) -> anyhow::Result<History> {
    let start = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let recorder = Recorder::default();
    let connect = Connect::to(&cluster.urls());
    let mix = Mix {
        keys: flags.keys,
        watch_progress: flags.asking.watch_progress,
        plant_stale_reads: flags.asking.plant_stale_reads,
        ..Mix::of(&flags.workloads, flags.clients, flags.rate, seed)
    };
    let fleet = Fleet::start(&connect, &mix, &recorder).await?;

    let mut faults = Vec::new();
    for _ in 0..flags.kills {
        nemesis::await_writes(|| recorder.acknowledged_writes(), flags.writes_between).await?;
        let hold = flags.scenario.hold(&mut rng);
        let nemesis = flags.scenario.nemesis();
        faults.push(nemesis::strike(nemesis, cluster, &recorder, &mut rng, hold).await?);
    }
    nemesis::await_writes(|| recorder.acknowledged_writes(), flags.writes_between).await?;
    if let Some(rest) = Duration::from_secs(flags.duration).checked_sub(start.elapsed()) {
        tokio::time::sleep(rest).await;
    }
    let recorded = fleet.stop().await?;
    if let Some(crash) = cluster.crashed() {
        bail!("a member ended without being asked to: {crash}");
    }
    Ok(recorded.history(&recorder, faults))
}

fn save(flags: &Flags, run: &Run) -> anyhow::Result<PathBuf> {
    let dir = flags.kept.folder()?;
    let sheet = report::html::sheet_of(flags, run);
    sheet
        .write(&dir, &report::text::summary(flags, run))
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    Ok(dir)
}
