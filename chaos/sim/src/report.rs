//! What is said about a run, and the hash of all that happened in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use chaos::checker::{self, Verdict};
use chaos::history::{History, write_edn_lines, write_json_lines};
use chaos::report::{Sheet, html};
use chaos::sim::Summary;
use sha2::{Digest as _, Sha256};

use crate::plan::Plan;
use crate::run::Ran;
use crate::{panics, world};

/// A run of which nothing more is known than why it failed.
pub(crate) fn failed(plan: &Plan, why: String) -> Summary {
    Summary { seed: plan.seed, members: plan.members, broken: vec![why], ..Summary::default() }
}

/// Judges a run; one that broke a promise leaves in `output` what shows it.
pub(crate) fn judge(plan: &Plan, ran: anyhow::Result<Ran>, output: Option<&Path>) -> Summary {
    let mut summary = Summary { seed: plan.seed, members: plan.members, ..Summary::default() };
    summary.broken = world::with(|world| std::mem::take(&mut world.broken));
    summary.faults = world::with(|world| named(&world.faults));
    summary.effects = world::with(|world| named(&world.effects()));
    if panics::was_there() {
        summary.broken.push("a task panicked: its words are on the standard error".to_owned());
    }
    let mut found = None;
    match ran {
        Ok(Ran { history, took }) => {
            summary.simulated_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            summary.operations = history.ops.len() as u64;
            for op in history.ops.iter().filter(|op| op.reply().is_some()) {
                *summary.acknowledged.entry(op.action.kind().to_owned()).or_default() += 1;
            }
            let verdicts = verdicts(&history);
            let checked = verdicts.iter().map(|one| (one.name.to_owned(), one.checked));
            summary.checked = checked.collect();
            let wrong = verdicts.iter().map(|one| (one.name.to_owned(), one.broken));
            summary.wrong = wrong.filter(|(_, broken)| *broken > 0).collect();
            summary.broken.extend(verdicts.iter().filter_map(describe));
            summary.trace = trace(&history);
            found = Some((history, verdicts));
        }
        Err(error) => summary.broken.push(format!("{error:#}")),
    }
    summary.passed = summary.broken.is_empty();
    if let Some(output) = output.filter(|_| !summary.passed)
        && let Err(error) = leave(output, plan, &summary, found)
    {
        summary.broken.push(format!("{} cannot be written: {error:#}", output.display()));
    }
    summary
}

fn named(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// All checkers but the bookkeeping, which judges each fault and each workload for itself: here faults
/// overlap, and a workload may get nowhere. Whether all did something is asked of all seeds together.
fn verdicts(history: &History) -> Vec<Verdict> {
    let mut verdicts = checker::check_all(history);
    verdicts.retain(|verdict| verdict.name != "bookkeeping");
    verdicts
}

/// Writes down what was to happen, and what did.
fn leave(
    output: &Path,
    plan: &Plan,
    summary: &Summary,
    found: Option<(History, Vec<Verdict>)>,
) -> anyhow::Result<()> {
    fs::create_dir_all(output)?;
    fs::write(output.join("plan.json"), serde_json::to_vec_pretty(plan)?)?;
    fs::write(output.join("summary.json"), serde_json::to_vec_pretty(summary)?)?;
    let Some((history, verdicts)) = found else { return Ok(()) };
    let mut lines = BufWriter::new(File::create(output.join("history.jsonl"))?);
    write_json_lines(&history, &mut lines)?;
    let mut lines = BufWriter::new(File::create(output.join("history.edn"))?);
    write_edn_lines(&history, &mut lines)?;
    fs::write(output.join("verdicts.json"), serde_json::to_vec_pretty(&verdicts)?)?;
    let sheet = Sheet {
        title: format!("Simulation of seed {}", plan.seed),
        command: format!("orlop chaos sim --seed {}", plan.seed),
        seed: plan.seed,
        history: &history,
        verdicts: &verdicts,
    };
    fs::write(output.join("report.html"), html::sheet(&sheet))?;
    Ok(())
}

/// What is wrong. A run is short: that it gave a checker nothing to do is nothing wrong in it.
fn describe(verdict: &Verdict) -> Option<String> {
    let first = verdict.violations.first()?;
    Some(format!(
        "{}: {} of {}: {} {} (operations {:?})",
        verdict.name, verdict.broken, verdict.checked, first.rule, first.text, first.ops
    ))
}

struct Hash(Sha256);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn trace(history: &History) -> String {
    let mut hash = Hash(Sha256::new());
    let states = world::with(|world| world.states());
    if write_json_lines(history, &mut hash).is_err() || hash.write_all(states.as_bytes()).is_err() {
        return String::new();
    }
    let digest = hash.0.finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
