//! Runs what finds each bug, on members that have it and on members that have none.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde::Serialize;
use store_planted::Bug;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::story::{Judged, Store};
use crate::trials::{Catcher, Trial, catchers};

/// Flags of `orlop-planted suite`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Only this bug; may be repeated
    #[arg(long = "bug", value_name = "NAME")]
    pub bugs: Vec<String>,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
    /// Only the control: all trials on members without a bug
    #[arg(long)]
    pub control_only: bool,
    /// Leave the control out
    #[arg(long, conflicts_with = "control_only")]
    pub no_control: bool,
    /// Only this trial; may be repeated
    #[arg(long = "trial", value_name = "NAME")]
    pub trials: Vec<String>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Program of the control's members; this one when not given
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Words between that program and etcd's flags; give "" for real etcd
    #[arg(long, value_name = "WORDS", default_value = "store")]
    pub store_command: String,
}

/// What became of a bug, or of a trial without one.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: &'static str,
    modelled_on: &'static str,
    what: &'static str,
    /// Whether it is as it should be: found, or nothing to find.
    good: bool,
    trial: &'static str,
    rule: String,
    said: String,
    seconds: f64,
    operations: usize,
    runs: u64,
}

/// Runs the suite, and fails if a bug was not found or something was found where there is none.
pub async fn run(flags: Flags, stop: CancellationToken) -> anyhow::Result<()> {
    let bugs: Vec<Bug> = match &flags.bugs[..] {
        [] => Bug::all().collect(),
        names => names
            .iter()
            .map(|name| Bug::named(name).with_context(|| format!("no bug is named {name:?}")))
            .collect::<Result<_, _>>()?,
    };
    let trials = control_trials(&bugs);
    check_names(&flags.trials, &trials)?;
    let mut rows = Vec::new();
    if !flags.control_only {
        for bug in &bugs {
            tokio::select! {
                row = find(*bug, &flags) => rows.push(tell(&flags, row?)?),
                () = stop.cancelled() => bail!("interrupted"),
            }
        }
    }
    let found = rows.iter().filter(|row| row.good).count();
    let missed = rows.len() - found;
    let mut controls: Vec<Row> = Vec::new();
    if !flags.no_control {
        for trial in trials.into_iter().filter(|trial| is_wanted(*trial, &flags)) {
            tokio::select! {
                row = control(trial, &flags) => controls.push(tell(&flags, row?)?),
                () = stop.cancelled() => bail!("interrupted"),
            }
        }
    }
    let wrong = controls.iter().filter(|row| !row.good).count();
    if flags.json {
        let all = serde_json::json!({ "bugs": rows, "control": controls });
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&all)?)?;
    }
    let passed = controls.len() - wrong;
    let line = format!(
        "{found} found, {missed} not; without a bug {passed} trials passed, {wrong} failed"
    );
    writeln!(std::io::stderr(), "{line}")?;
    if missed + wrong > 0 { bail!("{line}") } else { Ok(()) }
}

/// The trials that these bugs need, each once.
fn control_trials(bugs: &[Bug]) -> Vec<Trial> {
    let mut trials: Vec<Trial> =
        bugs.iter().flat_map(|bug| catchers(*bug)).map(|catcher| catcher.trial).collect();
    trials.sort();
    trials.dedup();
    trials
}

/// Nobody may ask for a trial that no bug needs: none would be run, and nothing found wrong.
fn check_names(asked: &[String], trials: &[Trial]) -> anyhow::Result<()> {
    let names: Vec<&str> = trials.iter().map(|trial| trial.name()).collect();
    match asked.iter().find(|name| !names.contains(&name.as_str())) {
        Some(name) => bail!("no trial is named {name:?}: there are {}", names.join(", ")),
        None => Ok(()),
    }
}

fn is_wanted(trial: Trial, flags: &Flags) -> bool {
    flags.trials.is_empty() || flags.trials.iter().any(|name| name == trial.name())
}

async fn attempt(trial: Trial, store: &Store, seed: u64) -> anyhow::Result<Judged> {
    let run = tokio::time::timeout(limits::TRIAL, trial.run(store, seed));
    run.await.with_context(|| format!("not done within {:?}", limits::TRIAL))?
}

/// The first objection by one of the rules: the rule, and what it says.
fn objection(catcher: &Catcher, judged: &Judged) -> Option<(String, String)> {
    let found = judged
        .verdicts
        .iter()
        .flat_map(|verdict| verdict.violations.iter().map(|violation| (verdict.name, violation)));
    let mut found = found.filter(|(_, violation)| catcher.rules.contains(&violation.rule));
    found.next().map(|(checker, violation)| {
        (format!("{checker} {}", violation.rule), violation.text.clone())
    })
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the running program")
}

/// Runs what finds a bug until it is found.
async fn find(bug: Bug, flags: &Flags) -> anyhow::Result<Row> {
    let store =
        Store { program: own_program()?, words: vec!["store".to_owned()], bug: Some(bug.name()) };
    let begun = Instant::now();
    let mut row = Row {
        name: bug.name(),
        modelled_on: bug.modelled_on(),
        what: bug.what(),
        good: false,
        trial: "",
        rule: String::new(),
        said: String::new(),
        seconds: 0.0,
        operations: 0,
        runs: 0,
    };
    for catcher in catchers(bug).iter().filter(|catcher| is_wanted(catcher.trial, flags)) {
        for seed in flags.seed..flags.seed + catcher.seeds {
            row.runs += 1;
            row.trial = catcher.trial.name();
            match attempt(catcher.trial, &store, seed).await {
                Ok(judged) => {
                    row.operations += judged.operations;
                    if let Some((rule, said)) = objection(catcher, &judged) {
                        (row.rule, row.said) = (rule, said);
                        row.good = true;
                    } else {
                        row.said = others(&judged);
                    }
                }
                Err(error) => row.said = format!("not judged: {error:#}"),
            }
            row.seconds = begun.elapsed().as_secs_f64();
            if row.good {
                return Ok(row);
            }
        }
    }
    Ok(row)
}

/// Runs one trial on the members of a program, for tests: nobody may object.
///
/// # Errors
/// What was wrong.
pub async fn prove(trial: &str, program: PathBuf) -> anyhow::Result<()> {
    let trials: Vec<Bug> = Bug::all().collect();
    let trial = control_trials(&trials).into_iter().find(|known| known.name() == trial);
    let trial = trial.context("there is no such trial")?;
    let store = Store { program, words: vec!["store".to_owned()], bug: None };
    let judged = attempt(trial, &store, 1).await?;
    let good = judged.verdicts.iter().all(chaos::checker::Verdict::passed);
    if good { Ok(()) } else { bail!("{}: {}", trial.name(), others(&judged)) }
}

/// What was said by rules that do not count.
fn others(judged: &Judged) -> String {
    let all = judged.verdicts.iter().flat_map(|verdict| &verdict.violations);
    let said: Vec<String> =
        all.map(|violation| format!("{}: {}", violation.rule, violation.text)).take(3).collect();
    said.join("; ")
}

/// Runs a trial on members that have no bug: nobody may object.
async fn control(trial: Trial, flags: &Flags) -> anyhow::Result<Row> {
    let program = match &flags.binary {
        Some(program) => program.clone(),
        None => own_program()?,
    };
    let words = flags.store_command.split_whitespace().map(str::to_owned).collect();
    let store = Store { program, words, bug: None };
    let begun = Instant::now();
    let judged = attempt(trial, &store, flags.seed).await;
    let (good, said, operations) = match &judged {
        Ok(judged) => {
            let good = judged.verdicts.iter().all(chaos::checker::Verdict::passed);
            (good, others(judged), judged.operations)
        }
        Err(error) => (false, format!("not judged: {error:#}"), 0),
    };
    Ok(Row {
        name: "(none)",
        modelled_on: "",
        what: "",
        good,
        trial: trial.name(),
        rule: String::new(),
        said,
        seconds: begun.elapsed().as_secs_f64(),
        operations,
        runs: 1,
    })
}

/// A line of the table, as soon as it is known.
fn tell(flags: &Flags, row: Row) -> anyhow::Result<Row> {
    let mut out: Box<dyn std::io::Write> =
        if flags.json { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
    let verdict = match (row.name, row.good) {
        ("(none)", true) => "passed",
        (_, true) => "FOUND",
        (_, false) => "WRONG",
    };
    writeln!(
        out,
        "{verdict:6} {:24} {:18} {:14} {:6.1} s {:6} ops {:2} runs  {}",
        row.name, row.trial, row.rule, row.seconds, row.operations, row.runs, row.modelled_on
    )?;
    if !row.said.is_empty() {
        let said: String = row.said.replace('\n', " ").chars().take(240).collect();
        writeln!(out, "       {said}")?;
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_something_that_finds_it_and_every_trial_finds_something() {
        assert!(Bug::all().all(|bug| !catchers(bug).is_empty()));
        let used = control_trials(&Bug::all().collect::<Vec<_>>());
        assert_eq!(used, Trial::ALL);
    }

    #[test]
    fn a_trial_that_does_not_exist_is_an_error_with_the_names_of_those_that_do() {
        let trials = [Trial::Kills, Trial::Lock];
        assert!(check_names(&[], &trials).is_ok());
        assert!(check_names(&["lock".to_owned()], &trials).is_ok());
        let asked = ["kills".to_owned(), "locks".to_owned()];
        let error = check_names(&asked, &trials).expect_err("there is no such trial").to_string();
        assert!(error.contains("\"locks\"") && error.contains("kills, lock"), "{error}");
    }
}
