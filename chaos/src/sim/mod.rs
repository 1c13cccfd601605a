//! Many runs of the simulator (`orlop-sim`): a process for each seed, some at a time, and what came of
//! them. The simulator itself is the crate `chaos-sim`: its time and its chance are not a machine's, so
//! that it is a program of its own.

mod seeds;
mod total;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::seeds::Seeds;
pub use self::total::{Summary, Total};
use crate::limits;
use crate::report::summary::Failure;
use crate::run::MEMORY;

/// The name of the simulator's program.
pub const PROGRAM: &str = "orlop-sim";

/// Flags of `orlop chaos sim`.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Run this seed alone
    #[arg(long, conflicts_with_all = ["seeds", "plan"])]
    pub seed: Option<u64>,
    /// Seeds A-B, or how many from 1 on
    #[arg(long, default_value = "200", value_name = "SEEDS")]
    pub seeds: Seeds,
    /// Run a plan as `orlop-sim --show` prints it
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pub plan: Option<PathBuf>,
    /// Run each seed twice, and compare everything that happened
    #[arg(long)]
    pub twice: bool,
    /// Begin no more seeds after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub time: Option<u64>,
    /// Seeds that run at the same time; as many as there are processors when not given
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Write the totals to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Where a seed that breaks a promise leaves its plan, history, verdicts and page, each in a folder
    /// of its own [default: a new folder among the system's temporary ones]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Where the simulated disks are while they are needed [default: in memory, if there is such a
    /// folder]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// The simulator's program, if it does not lie beside this one
    #[arg(long, value_name = "FILE")]
    pub simulator: Option<PathBuf>,
}

/// Runs the seeds, prints a line of JSON for each, and fails if a promise was broken.
///
/// # Errors
/// If a promise was broken, or nothing could be run.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let output = match &flags.output {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("orlop-sim-{}", std::process::id())),
    };
    let flags = Flags { output: Some(output.clone()), ..flags };
    let (mut shown, mut failures) = (0, Vec::new());
    let print = |summary: &Summary| -> anyhow::Result<()> {
        writeln!(std::io::stdout(), "{}", serde_json::to_string(summary)?)?;
        shown += 1;
        if !summary.passed {
            say(&words(&flags, summary));
            failures.push(Failure { what: wrong(summary), again: again(&flags, summary) });
        } else if shown % 20 == 0 {
            say(&format!("{shown} seeds were run\n"));
        }
        Ok(())
    };
    let total = execute_until(&shutdown, &flags, print).await?;
    say(&total.words());
    if let Some(file) = &flags.summary {
        let first = flags.seed.unwrap_or(flags.seeds.first);
        total.figures(first, failures).write(file)?;
    }
    match total.failed.as_slice() {
        [] => Ok(()),
        failed => bail!(
            "{} of {} seeds broke a promise: {failed:?}; what they left is in {}",
            failed.len(),
            total.seeds,
            output.display()
        ),
    }
}

/// To a person who waits. Without a standard error there is none.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// What is wrong with a seed, and how to see it again.
pub fn words(flags: &Flags, summary: &Summary) -> String {
    format!("seed {}: {}\nagain: {}\n", summary.seed, wrong(summary), again(flags, summary))
}

fn wrong(summary: &Summary) -> String {
    summary.broken.first().cloned().unwrap_or_else(|| "nothing is known".to_owned())
}

fn again(flags: &Flags, summary: &Summary) -> String {
    let what = match &flags.plan {
        Some(plan) => format!("--plan {}", plan.display()),
        None => format!("--seed {}", summary.seed),
    };
    let twice = if flags.twice { " --twice" } else { "" };
    format!("make sim ARGS=\"{what}{twice}\"")
}

/// Runs the seeds; `done` is told of each.
///
/// # Errors
/// If nothing could be run, or `done` says so.
pub async fn execute(
    flags: &Flags,
    done: impl FnMut(&Summary) -> anyhow::Result<()>,
) -> anyhow::Result<Total> {
    execute_until(&CancellationToken::new(), flags, done).await
}

async fn execute_until(
    shutdown: &CancellationToken,
    flags: &Flags,
    done: impl FnMut(&Summary) -> anyhow::Result<()>,
) -> anyhow::Result<Total> {
    let simulator = simulator(flags)?;
    let scratch = flags.scratch.clone().unwrap_or_else(|| {
        let memory = PathBuf::from(MEMORY);
        if memory.is_dir() { memory } else { std::env::temp_dir() }
    });
    let folder = tempfile::Builder::new().prefix("orlop-sim-").tempdir_in(&scratch);
    let folder = folder.with_context(|| scratch.display().to_string())?;
    let mut running = JoinSet::new();
    let total = tokio::select! {
        total = all_seeds(flags, (simulator.as_path(), folder.path()), &mut running, done) => total,
        () = shutdown.cancelled() => Err(anyhow!("interrupted before all seeds were run")),
    };
    // Before the folder goes: whoever still runs would make its disks there anew.
    running.shutdown().await;
    total
}

/// Those that are `running` when it fails, or is dropped, are the caller's to end.
async fn all_seeds(
    flags: &Flags,
    (simulator, folder): (&Path, &Path),
    running: &mut JoinSet<anyhow::Result<Summary>>,
    mut done: impl FnMut(&Summary) -> anyhow::Result<()>,
) -> anyhow::Result<Total> {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = flags.jobs.unwrap_or_else(processors).max(1);
    let began = Instant::now();
    let mut seeds = match (flags.seed, &flags.plan) {
        (Some(seed), _) => seed..=seed,
        (None, Some(_)) => 0..=0,
        (None, None) => flags.seeds.first..=flags.seeds.last,
    };
    let is_late = || flags.time.is_some_and(|limit| began.elapsed().as_secs() >= limit);
    let mut total = Total { jobs, ..Total::default() };
    loop {
        while running.len() < jobs
            && !is_late()
            && let Some(seed) = seeds.next()
        {
            let one = One {
                simulator: simulator.to_owned(),
                seed,
                plan: flags.plan.clone(),
                folder: folder.join(seed.to_string()),
                output: flags.output.as_ref().map(|all| all.join(format!("seed-{seed}"))),
            };
            running.spawn(one.judged(flags.twice));
        }
        let Some(summary) = running.join_next().await else { break };
        let summary = summary??;
        done(&summary)?;
        total.add(&summary);
    }
    total.took(began.elapsed());
    ensure!(total.seeds > 0, "no seed was run");
    Ok(total)
}

fn simulator(flags: &Flags) -> anyhow::Result<PathBuf> {
    if let Some(program) = &flags.simulator {
        return Ok(program.clone());
    }
    let own = std::env::current_exe().context("cannot find the running program")?;
    let beside = own.with_file_name(PROGRAM);
    ensure!(
        beside.exists(),
        "this build has no simulator: there is no {} (make sim builds one, and so does \
         cargo build --profile sim -p chaos-sim --features sim; say where it is with --simulator)",
        beside.display()
    );
    Ok(beside)
}

/// One seed's process.
struct One {
    simulator: PathBuf,
    seed: u64,
    plan: Option<PathBuf>,
    folder: PathBuf,
    output: Option<PathBuf>,
}

impl One {
    async fn judged(self, twice: bool) -> anyhow::Result<Summary> {
        let mut summary = self.once().await?;
        if twice {
            let again = self.once().await?;
            if again != summary {
                let (first, second) = (&summary.trace, &again.trace);
                let text = format!("the seed is not one run: {first} and then {second}");
                summary.broken.push(text);
                summary.passed = false;
            }
        }
        Ok(summary)
    }

    async fn once(&self) -> anyhow::Result<Summary> {
        let mut command = Command::new(&self.simulator);
        match &self.plan {
            Some(plan) => command.arg("--plan").arg(plan),
            None => command.arg(format!("--seed={}", self.seed)),
        };
        if let Some(output) = &self.output {
            command.arg("--output").arg(output);
        }
        command.arg("--data").arg(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        let ran = tokio::time::timeout(limits::SIM_SEED_DEADLINE, command.output()).await;
        // What a run that was killed leaves is in nobody's way: the folder above goes at the end.
        drop(std::fs::remove_dir_all(&self.folder));
        let failed =
            |why: String| Summary { seed: self.seed, broken: vec![why], ..Summary::default() };
        let Ok(ran) = ran else {
            return Ok(failed(format!("no end within {:?}", limits::SIM_SEED_DEADLINE)));
        };
        let ran = ran.with_context(|| format!("cannot run {}", self.simulator.display()))?;
        let line = ran.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match serde_json::from_slice(line) {
            Ok(summary) => Ok(summary),
            Err(_) => {
                let said = String::from_utf8_lossy(&ran.stderr);
                let last = said.lines().last().unwrap_or("nothing");
                Ok(failed(format!("the simulator ended with {}: {last}", ran.status)))
            }
        }
    }
}
