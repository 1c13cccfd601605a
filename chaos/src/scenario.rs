//! Named combinations of a workload and faults, run on a real cluster and judged.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::checker::{self, Verdict};
use crate::client::MemberClient;
use crate::cluster::{Cluster, Launcher};
use crate::history::{
    Action, FinalState, History, Outcome, Recorder, Step, StepReply, write_json_lines,
};
use crate::nemesis::{self, Nemesis};
use crate::workload::{self, Clients, Observers, Settings};
use crate::{limits, report};

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
    /// Program whose members are tested; this one when not given
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Words between the program and etcd's flags; give "" for real etcd
    #[arg(long, value_name = "WORDS", default_value = "store")]
    pub store_command: String,
    /// One more flag for every member; may be repeated
    #[arg(long = "store-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub store_flags: Vec<String>,
    /// Members of the cluster (odd)
    #[arg(long, default_value_t = 3)]
    pub members: usize,
    /// How often the fault is injected
    #[arg(long, default_value_t = 5)]
    pub kills: usize,
    /// Clients that write and read at the same time
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
    /// Whether watchers also ask for their progress all the time. When not given they do if the
    /// members' version says that the answer can be relied on (etcd's since 3.5.13)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub watch_progress: Option<bool>,
    /// Plant a bug: send linearizable reads as serializable ones. The checkers must object, or
    /// they are asleep
    #[arg(long)]
    pub plant_stale_reads: bool,
    /// Where history, verdicts and data go when a promise was broken; a temporary folder otherwise
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Write the history even if nothing is wrong
    #[arg(long)]
    pub keep: bool,
}

impl Flags {
    /// Settings of the first scenario, for callers that have no command line.
    pub fn for_scenario(scenario: Scenario) -> Self {
        Self {
            scenario,
            binary: None,
            store_command: "store".to_owned(),
            store_flags: Vec::new(),
            members: 3,
            kills: 5,
            clients: 8,
            keys: 12,
            rate: 60,
            writes_between: 150,
            seed: None,
            duration: 0,
            watch_progress: None,
            plant_stale_reads: false,
            output: None,
            keep: false,
        }
    }

    fn launcher(&self) -> anyhow::Result<Launcher> {
        let program = match &self.binary {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("cannot find the running program")?,
        };
        let arguments = self.store_command.split_whitespace().map(str::to_owned).collect();
        Ok(Launcher { program, arguments, extra: self.store_flags.clone() })
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
    let mut cluster = Cluster::start(flags.launcher()?, flags.members).await?;
    let recorded = record(flags, seed, &mut cluster).await;
    let history = match recorded {
        Ok(history) => history,
        Err(error) => {
            let dir = cluster.keep();
            return Err(error.context(format!(
                "the run (seed {seed}) could not be finished; data and logs are in {}",
                dir.display()
            )));
        }
    };
    let (history, verdicts) = tokio::task::spawn_blocking(move || {
        let verdicts = checker::check_all(&history);
        (history, verdicts)
    })
    .await?;
    let run = Run { seed, history, verdicts };
    if !run.passed() || flags.keep {
        let dir = save(flags, &run)?;
        let data = cluster.keep();
        let note = format!(
            "history and verdicts: {}\nmembers' data and logs: {}\n",
            dir.display(),
            data.display()
        );
        std::io::stderr().write_all(note.as_bytes())?;
    }
    Ok(run)
}

/// Everything up to the point where nothing changes any more.
async fn record(flags: &Flags, seed: u64, cluster: &mut Cluster) -> anyhow::Result<History> {
    let start = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let recorder = Recorder::default();
    let urls = cluster.urls();
    let status = cluster.status(0).await?;
    let base_revision = status.revision;
    let progress = flags.watch_progress.unwrap_or_else(|| status.has_reliable_progress());
    ensure!(base_revision == 1, "an empty store is at revision 1, not {base_revision}");
    let observers = Observers::start(&urls, base_revision + 1, progress, &recorder)?;
    let settings = Settings {
        clients: flags.clients,
        keys: flags.keys,
        rate: flags.rate,
        seed,
        plant_stale_reads: flags.plant_stale_reads,
    };
    let clients = Clients::start(&urls, settings, &recorder)?;

    let mut faults = Vec::new();
    for _ in 0..flags.kills {
        await_writes(&recorder, flags.writes_between).await?;
        let hold = flags.scenario.hold(&mut rng);
        let nemesis = flags.scenario.nemesis();
        faults.push(nemesis::strike(nemesis, cluster, &recorder, &mut rng, hold).await?);
    }
    await_writes(&recorder, flags.writes_between).await?;
    if let Some(rest) = Duration::from_secs(flags.duration).checked_sub(start.elapsed()) {
        tokio::time::sleep(rest).await;
    }
    clients.stop().await;

    // An operation without an answer may still be on its way. A last write through each member
    // comes after all that its member had; the log is read up to the last of them.
    let revision = tombstones(&urls, &recorder).await?;
    let watches = observers.finish(revision).await;
    let mut finals = Vec::new();
    for (member, url) in urls.iter().enumerate() {
        finals.push(final_state(member, url, base_revision, revision).await?);
    }
    if let Some(crash) = cluster.crashed() {
        bail!("a member ended without being asked to: {crash}");
    }
    Ok(History { base_revision, ops: recorder.ops(), watches, faults, finals })
}

/// Waits until this many more writes were acknowledged: a fault in silence proves nothing.
async fn await_writes(recorder: &Recorder, more: u64) -> anyhow::Result<()> {
    let goal = recorder.acknowledged_writes() + more;
    let start = Instant::now();
    while recorder.acknowledged_writes() < goal {
        ensure!(
            start.elapsed() < limits::RECOVERY_GIVE_UP,
            "not even {more} writes were acknowledged in {:?}",
            limits::RECOVERY_GIVE_UP
        );
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
    Ok(())
}

async fn tombstones(urls: &[String], recorder: &Recorder) -> anyhow::Result<i64> {
    let mut last = 0;
    for (member, url) in urls.iter().enumerate() {
        let step = Step::Put { key: "tombstone".to_owned(), value: format!("tombstone-{member}") };
        let action = Action::Single { step, serializable: false };
        let index = recorder
            .invoke(usize::MAX - member, member, action.clone())
            .context("the history is full")?;
        let outcome = MemberClient::new(url)?.execute(&action).await;
        recorder.complete(index, outcome.clone());
        match outcome {
            Outcome::Ok(reply) => last = reply.revision,
            Outcome::Refused(reason) | Outcome::Unknown(reason) => {
                bail!("the last write through member {member} failed: {reason}")
            }
        }
    }
    Ok(last)
}

async fn final_state(
    member: usize,
    url: &str,
    base_revision: i64,
    revision: i64,
) -> anyhow::Result<FinalState> {
    let mut client = MemberClient::new(url)?;
    let step = Step::List { prefix: String::new() };
    let list = Action::Single { step, serializable: false };
    let reply = match client.execute(&list).await {
        Outcome::Ok(reply) => reply,
        Outcome::Refused(reason) | Outcome::Unknown(reason) => {
            bail!("the final state of member {member} cannot be read: {reason}")
        }
    };
    let live = match reply.steps.into_iter().next() {
        Some(StepReply::Read { found }) => found,
        Some(StepReply::Put { .. } | StepReply::Delete { .. }) | None => {
            bail!("member {member} answered a read with something else")
        }
    };
    let log = workload::read_log(url, base_revision + 1, revision).await?;
    let hash = client.hash_at(revision).await?;
    Ok(FinalState { member, revision: reply.revision, live, log, hash })
}

fn save(flags: &Flags, run: &Run) -> anyhow::Result<PathBuf> {
    let dir = match &flags.output {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            dir.clone()
        }
        None => tempfile::Builder::new().prefix("orlop-chaos-report-").tempdir()?.keep(),
    };
    let mut history = BufWriter::new(File::create(dir.join("history.jsonl"))?);
    write_json_lines(&run.history, &mut history)?;
    let verdicts = BufWriter::new(File::create(dir.join("verdicts.json"))?);
    serde_json::to_writer_pretty(verdicts, &run.verdicts)?;
    std::fs::write(dir.join("report.txt"), report::text::summary(flags, run))?;
    Ok(dir)
}
