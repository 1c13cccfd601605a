//! `orlop chaos soak`: hours of chaos, round after round with new seeds.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | O1 | However often a soak is killed, each of its seeds is counted once, none is left out. |
//! | O2 | A round passes only by its figures and its exit code; one that hangs or dies failed. |
//! | O3 | Of a failed round the ledger has the command; its folder what it left, within a bound. |
//! | O4 | What a round left running or lying about is gone before the next one begins. |
//!
//! Each round is a process of its own (`round.rs`), so that one that dies or hangs is a finding and
//! not the end. What was done stands in a ledger (`ledger.rs`), with which a soak goes on where it
//! stopped; `totals.rs` adds it up. `strays.rs` finds the processes that a killed soak left, and
//! `kept.rs` bounds what failed rounds leave.

mod kept;
mod ledger;
mod round;
mod simulator;
#[cfg(test)]
mod soak_test;
mod strays;
mod totals;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio_util::sync::CancellationToken;

pub use ledger::{Head, Kind, Ledger, Lines, Round};
pub use totals::Totals;

use crate::disk::Disk;
use crate::limits;
use crate::report::replay::quoted;
use crate::run::{self as whole_run, ProfileName};
use crate::topo::Topo;

/// Flags of `orlop chaos soak`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Folder of the ledger, of the report and of what failed rounds left. Made if it is not there;
    /// if it is, the soak in it goes on
    #[arg(long, value_name = "DIR", default_value = ".orlop-soak")]
    pub state: PathBuf,
    /// Begin no round after so many hours of them, those of earlier starts included
    #[arg(long, default_value_t = 8.0)]
    pub hours: f64,
    /// Begin no round after so many of them, those of earlier starts included
    #[arg(long, value_name = "COUNT")]
    pub rounds: Option<u64>,
    /// The first seed of a new soak; a random one when not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long each round on real processes is, and what it must have shown
    #[arg(long, value_enum, default_value_t = ProfileName::Soak)]
    pub profile: ProfileName,
    /// Members of the clusters of real processes, which take turns
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_values_t = limits::SOAK_MEMBERS)]
    pub members: Vec<usize>,
    /// One more flag for each `orlop chaos run`, such as --run-flag=--binary=etcd; may be repeated
    #[arg(long = "run-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub run_flags: Vec<String>,
    /// Simulated seeds in every second round; 0: all rounds are on real processes
    #[arg(long, value_name = "COUNT", default_value_t = limits::SOAK_SIM_SEEDS)]
    pub sim_seeds: u64,
    /// The simulator's program, if it does not lie beside this one
    #[arg(long, value_name = "FILE")]
    pub simulator: Option<PathBuf>,
    /// Minutes after which a round that has not ended is killed, and has failed
    #[arg(long, value_name = "MINUTES", default_value_t = limits::SOAK_ROUND_MINUTES)]
    pub deadline: u64,
    /// MiB that failed rounds keep, all together. Members' data goes first, then histories
    #[arg(long, value_name = "MIB", default_value_t = limits::SOAK_KEPT_MIB)]
    pub keep: u64,
    /// Only add up what the ledger has; may be asked while a soak runs
    #[arg(long)]
    pub show: bool,
    /// Run this program's rounds instead of this one's: for tests of the soak itself
    #[arg(long, value_name = "PATH", hide = true)]
    pub program: Option<PathBuf>,
}

/// The ledger's file.
const LEDGER: &str = "ledger.jsonl";
/// The totals, written anew after each round.
const REPORT: &str = "report.txt";

/// Runs rounds until the time is up, and prints the totals.
///
/// # Errors
/// If a round failed in this soak, now or before; if it was interrupted; or if it cannot go on.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    ensure!(flags.hours >= 0.0 && flags.hours.is_finite(), "--hours must not be below zero");
    ensure!(!flags.members.is_empty(), "--members: no count is given");
    let most = limits::SOAK_SEEDS_PER_ROUND;
    ensure!(flags.sim_seeds <= most, "--sim-seeds: a round has at most {most}");
    if flags.show {
        let lines = Lines::read(&flags.state.join(LEDGER))?;
        return conclude(&Totals::of(&lines.rounds), &flags.state);
    }
    let mut soak = Soak::open(flags).await?;
    let ended = soak.rounds(&shutdown).await;
    let totals = soak.totals();
    let concluded = conclude(&totals, &soak.flags.state);
    ended.and(concluded)?;
    if shutdown.is_cancelled() {
        let hours = soak.ledger.seconds() / 3600.0;
        bail!(
            "interrupted after {hours:.2} of {} hours; the same command goes on",
            soak.flags.hours
        );
    }
    Ok(())
}

fn conclude(totals: &Totals, state: &Path) -> anyhow::Result<()> {
    std::io::stdout().write_all(totals.to_string().as_bytes())?;
    let (failed, rounds, state) = (totals.failed(), totals.rounds(), state.display());
    ensure!(failed == 0, "{failed} of {rounds} rounds failed; what they left is in {state}");
    Ok(())
}

/// To a person who waits. Without a standard error there is none.
fn say(text: &str) {
    drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
}

/// A soak that is under way.
struct Soak {
    flags: Flags,
    ledger: Ledger,
    /// What rounds are run by.
    program: PathBuf,
    /// What simulates, or why nothing does.
    simulator: Result<PathBuf, String>,
}

impl Soak {
    async fn open(flags: Flags) -> anyhow::Result<Self> {
        let program = match &flags.program {
            Some(program) => program.clone(),
            None => {
                // Here, and not in every round again.
                tokio::task::spawn_blocking(|| Topo::check().and_then(|()| Disk::check()))
                    .await?
                    .context("this machine has no hosts or disks that misbehave")?;
                std::env::current_exe().context("cannot find the running program")?
            }
        };
        std::fs::create_dir_all(&flags.state).with_context(|| flags.state.display().to_string())?;
        let ledger = Ledger::open(&flags.state.join(LEDGER), flags.seed)?;
        let named = flags.simulator.as_deref();
        let simulator = simulator::find(&program, named, flags.sim_seeds).await?;
        let soak = Self { flags, ledger, program, simulator };
        soak.clear().await?;
        if let Err(why) = &soak.simulator {
            say(&format!("LEFT OUT simulated rounds: {why}"));
        }
        if soak.ledger.next() > 0 {
            say(&format!("goes on after {}", soak.totals().line()));
        }
        Ok(soak)
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::of(&self.ledger.rounds);
        if let Err(why) = &self.simulator {
            totals.leave_out_simulation(why);
        }
        totals
    }

    /// Where members' data is while they run.
    fn scratch_in(&self, parent: &Path) -> PathBuf {
        parent.join(format!("orlop-soak-{}", self.ledger.head.id))
    }

    /// O4, and folders of rounds that passed or were not finished.
    async fn clear(&self) -> anyhow::Result<()> {
        let strays = strays::end(&self.ledger.head.id).await?;
        if strays > 0 {
            say(&format!("ended what was left running of a round: {strays} processes"));
        }
        self.clear_scratch(Path::new(whole_run::MEMORY)).await?;
        self.clear_scratch(&self.flags.state).await?;
        for (number, folder) in kept::folders(&self.flags.state)? {
            let round = usize::try_from(number).ok().and_then(|at| self.ledger.rounds.get(at));
            if round.is_none_or(Round::passed) {
                std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
            }
        }
        Ok(())
    }

    /// A disk whose process has just been killed can be taken away once all of that process is gone,
    /// and the kernel no longer answers for the disk out of what it knew.
    async fn clear_scratch(&self, parent: &Path) -> anyhow::Result<()> {
        let (start, scratch) = (Instant::now(), self.scratch_in(parent));
        loop {
            Disk::reap();
            match std::fs::remove_dir_all(&scratch) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) if start.elapsed() > limits::SOAK_END_DEADLINE => {
                    return Err(error).with_context(|| scratch.display().to_string());
                }
                Err(_) => tokio::time::sleep(limits::POLL_INTERVAL).await,
            }
        }
    }

    fn is_done(&self) -> bool {
        let flags = &self.flags;
        self.ledger.seconds() >= flags.hours * 3600.0
            || flags.rounds.is_some_and(|most| self.ledger.next() >= most)
    }

    async fn rounds(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let mut mute = 0;
        while !self.is_done() && !shutdown.is_cancelled() {
            self.check_space()?;
            let Some(round) = self.round(shutdown).await? else {
                // O1: it has not ended, so it is not in the ledger.
                return self.clear().await;
            };
            mute = if round.is_mute() { mute + 1 } else { 0 };
            self.note(round)?;
            self.clear().await?;
            let most = limits::SOAK_MUTE_ROUNDS_MAX;
            ensure!(mute < most, "{mute} rounds in a row told nothing of a store");
        }
        Ok(())
    }

    fn check_space(&self) -> anyhow::Result<()> {
        let state = &self.flags.state;
        let free =
            nix::sys::statvfs::statvfs(state).with_context(|| state.display().to_string())?;
        let free = free.blocks_available() * free.fragment_size();
        let least = limits::SOAK_FREE_BYTES_MIN;
        ensure!(free >= least, "{}: {free} bytes are free, {least} are needed", state.display());
        Ok(())
    }

    /// Runs the next round; none when it was interrupted.
    async fn round(&self, shutdown: &CancellationToken) -> anyhow::Result<Option<Round>> {
        let number = self.ledger.next();
        let seed = self.ledger.seed(number);
        let (kind, choices) = self.choices(number, seed);
        let folder = kept::folder(&self.flags.state, number);
        let memory = whole_run::memory().unwrap_or_else(|| self.flags.state.clone());
        let scratch = self.scratch_in(&memory);
        std::fs::create_dir_all(&scratch).context("no folder for members' data")?;
        let words = [choices.clone(), self.places(kind, &folder, &scratch)].concat();
        let soak = self.ledger.head.id.as_str();
        let (program, grace) = (&self.program, limits::SOAK_END_DEADLINE);
        let task = round::Task { program, words: &words, folder: &folder, soak, grace };
        let deadline = Duration::from_secs(self.flags.deadline.saturating_mul(60));
        let began = Instant::now();
        let Some(ended) = round::run(task, tokio::time::sleep(deadline), shutdown).await? else {
            return Ok(None);
        };
        let command: Vec<String> = choices.iter().map(|word| quoted(word)).collect();
        Ok(Some(Round {
            number,
            kind,
            seed,
            command: format!("orlop {}", command.join(" ")),
            seconds: began.elapsed().as_secs_f64(),
            summary: ended.summary,
            end: ended.end,
        }))
    }

    /// What a round does. Real processes and simulated ones take turns.
    fn choices(&self, number: u64, seed: u64) -> (Kind, Vec<String>) {
        if self.simulator.is_ok() && number % 2 == 1 {
            let last = seed.saturating_add(self.flags.sim_seeds.saturating_sub(1));
            let seeds = format!("--seeds={seed}-{last}");
            return (Kind::Sim, vec!["chaos".to_owned(), "sim".to_owned(), seeds]);
        }
        use clap::ValueEnum as _;
        let profile = self.flags.profile.to_possible_value();
        let profile = profile.as_ref().map_or("", |value| value.get_name());
        let mut words = vec!["chaos".to_owned(), "run".to_owned()];
        words.extend([format!("--profile={profile}"), format!("--seed={seed}")]);
        // Every second round is simulated.
        let turn = if self.simulator.is_ok() { number / 2 } else { number };
        let turns = &self.flags.members;
        words
            .push(format!("--members={}", turns[usize::try_from(turn).unwrap_or(0) % turns.len()]));
        words.extend(self.flags.run_flags.iter().cloned());
        (Kind::Run, words)
    }

    /// Where a round finds and leaves its things.
    fn places(&self, kind: Kind, folder: &Path, scratch: &Path) -> Vec<String> {
        let mut words = vec![
            format!("--summary={}", folder.join(round::SUMMARY).display()),
            format!("--output={}", folder.display()),
            format!("--scratch={}", scratch.display()),
        ];
        if let (Kind::Sim, Ok(simulator)) = (kind, &self.simulator) {
            words.push(format!("--simulator={}", simulator.display()));
        }
        words
    }

    /// O1 and O3: what a round said is in the ledger before anything of it goes.
    fn note(&mut self, round: Round) -> anyhow::Result<()> {
        let Round { number, seed, seconds, .. } = round;
        let passed = if round.passed() { "passed" } else { "FAILED" };
        let failures = round.failures();
        self.ledger.add(round)?;
        let totals = self.totals();
        say(&format!(
            "round {number} (seed {seed}) {passed} after {seconds:.0} s; {}",
            totals.line()
        ));
        for failure in failures {
            say(&format!("  {}\n  again: {}", failure.what, failure.again));
        }
        for path in kept::trim(&self.flags.state, self.flags.keep.saturating_mul(1 << 20))? {
            say(&format!("not kept, for --keep={}: {}", self.flags.keep, path.display()));
        }
        // In whole or not at all, for whoever reads it meanwhile.
        let (file, new) = (self.flags.state.join(REPORT), self.flags.state.join("report.new"));
        std::fs::write(&new, totals.to_string()).context("cannot write the report")?;
        std::fs::rename(&new, &file).context("cannot write the report")
    }
}
