//! `orlop chaos run`: a seeded schedule of overlapping faults on real processes, each on a host and a
//! disk of its own.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | N1 | A schedule names every choice, so that a run of it does the same again; what "leader" was |
//! |    | at that moment is written down. |
//! | N2 | Each fault is measured: it took effect, or had none, or was skipped with its reason. |
//! | N3 | A run that shows too little fails, whatever the checkers say of it. |
//! | N4 | However a run ends, no process, mount or namespace of it is left. |
//!
//! Start: [`Flags`] and [`execute`]. `generate.rs` makes a `schedule.rs` from a `profile.rs`;
//! `strike.rs` carries out one fault of a `kind.rs` in the `world.rs` that all faults share;
//! `coverage.rs` judges whether the run is worth judging. [`shrink`] finds the smallest schedule
//! that still fails.

mod api;
mod clock;
mod conduct;
mod coverage;
mod damage;
mod disk;
mod figures;
mod flags;
mod generate;
#[cfg(test)]
mod generate_test;
mod kind;
mod links;
mod membership;
mod network;
mod operator;
mod process;
mod profile;
mod restore;
mod schedule;
pub mod shrink;
mod strike;
mod table;
mod world;

pub(crate) use conduct::{MEMORY, memory};
pub use coverage::{Demands, check as check_coverage};
pub use flags::{Flags, Plan};
pub use generate::schedule as generate;
pub use kind::{Group, Kind};
pub use profile::{Least, Name as ProfileName, Profile};
pub use schedule::{Event, Schedule, Targets};
pub use strike::{Effect, Strike};
pub use table::summary;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use crate::checker::Verdict;
use crate::history::History;
use crate::report;

/// A finished run.
#[derive(Debug)]
pub struct Report {
    /// What was to be done.
    pub plan: Plan,
    /// What was recorded.
    pub history: History,
    /// What the checkers say, the coverage of the run first.
    pub verdicts: Vec<Verdict>,
    /// Every fault, in the order of the schedule.
    pub strikes: Vec<Strike>,
    /// What else happened.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether every checker passed.
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(Verdict::passed)
    }
}

/// Runs, prints the report, and fails if a promise was broken.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (began, plan) = (Instant::now(), flags.plan()?);
    let done = {
        let (flags, plan) = (flags.clone(), plan.clone());
        tokio::task::spawn_blocking(move || carry_out(&flags, plan, &shutdown)).await?
    };
    if let Some(file) = &flags.summary {
        let took = began.elapsed();
        let figures = match &done {
            Ok(report) => figures::of(&flags, report, took),
            Err(error) => figures::unfinished(&flags, &plan, error, took),
        };
        figures.write(file).context("cannot write the summary")?;
    }
    let report = done?;
    std::io::stdout().write_all(summary(&flags, &report).as_bytes())?;
    if report.passed() { Ok(()) } else { bail!("the run broke a promise, or showed too little") }
}

/// Runs and judges. Blocks: the run has a runtime of its own, on the clients' host.
pub fn execute(flags: &Flags, shutdown: &CancellationToken) -> anyhow::Result<Report> {
    carry_out(flags, flags.plan()?, shutdown)
}

fn carry_out(flags: &Flags, plan: Plan, shutdown: &CancellationToken) -> anyhow::Result<Report> {
    if let Some(file) = &flags.write_schedule {
        plan.schedule.write(file)?;
    }
    let (report, data) = conduct::run(flags, plan, shutdown)?;
    if let Some(data) = data {
        let dir = save(flags, &report)?;
        say(&format!(
            "report: {}\nhistory, schedule and verdicts: {}\nmembers' data and logs: {}\n",
            dir.join("report.html").display(),
            dir.display(),
            data.display()
        ));
    }
    if let Some(file) = &flags.report {
        std::fs::write(file, report::html::sheet(&sheet(flags, &report)))
            .with_context(|| format!("cannot write the report to {}", file.display()))?;
        say(&format!("report: {}\n", file.display()));
    }
    Ok(report)
}

/// To a person who waits. Without a standard error there is none.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn sheet<'a>(flags: &Flags, report: &'a Report) -> report::Sheet<'a> {
    report::Sheet {
        title: table::title(flags, report),
        command: table::command_line(flags, &report.plan),
        seed: report.plan.schedule.seed,
        history: &report.history,
        verdicts: &report.verdicts,
    }
}

fn save(flags: &Flags, report: &Report) -> anyhow::Result<PathBuf> {
    let dir = flags.kept.folder()?;
    let written = sheet(flags, report)
        .write(&dir, &summary(flags, report))
        .and_then(|()| report.plan.schedule.write(&dir.join("schedule.json")));
    written.with_context(|| format!("cannot write to {}", dir.display()))?;
    Ok(dir)
}
