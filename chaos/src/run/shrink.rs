//! Finds the smallest schedule that still fails: events are left out as long as the rest fails.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | Z1 | What is returned failed when it was last run, in at least one of so many tries. |
//! | Z2 | Unless tries ran out, leaving out any one more event made every try pass. |
//! | Z3 | What was tried once is not tried again. |

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use tokio_util::sync::CancellationToken;

use super::flags;
use super::schedule::{Event, Schedule};
use super::{Report, execute, say, table};
use crate::checker::Verdict;
use crate::limits;
use crate::tested::Kept;

/// Flags of `orlop chaos shrink`: those of a run, and how hard to try.
#[derive(Clone, Debug, clap::Args)]
// clap names a group after its type, and that of the run is in here too.
#[group(id = "shrink")]
pub struct Flags {
    #[command(flatten)]
    run: flags::Flags,
    /// How often a smaller schedule is run before it counts as one that passes
    #[arg(long, default_value_t = 3)]
    tries: usize,
    /// Runs in all, at most
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Where the smallest schedule that fails is written
    #[arg(long, value_name = "FILE", default_value = "smallest.json")]
    smallest: PathBuf,
}

/// Shrinks the schedule of `--schedule` or `--seed`, and writes the smallest.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || shrink(&flags, &shutdown)).await?
}

fn shrink(flags: &Flags, shutdown: &CancellationToken) -> anyhow::Result<()> {
    ensure!(flags.tries > 0 && flags.runs > 0, "to shrink takes tries");
    let schedule = flags.run.plan()?.schedule;
    let folder = tempfile::Builder::new().prefix("orlop-chaos-shrink-").tempdir()?;
    let file = folder.path().join("candidate.json");
    let mut left = flags.runs;
    let mut fails = |events: &[Event]| -> anyhow::Result<bool> {
        let candidate = Schedule { events: events.to_vec(), ..schedule.clone() };
        candidate.write(&file)?;
        // What it fails of is a promise: a small schedule shows little, and is not blamed for it.
        let run = flags::Flags {
            schedule: Some(file.clone()),
            write_schedule: None,
            least_faults: Some(0),
            least_operations: Some(0),
            report: None,
            summary: None,
            kept: Kept { output: Some(folder.path().join("last")), keep: false },
            ..flags.run.clone()
        };
        for attempt in 1..=flags.tries {
            if left == 0 || shutdown.is_cancelled() {
                return Ok(false);
            }
            left -= 1;
            let report = execute(&run, shutdown)?;
            let broken = broken(&report);
            say(&format!(
                "shrink  {} events, try {attempt} of {}: {}; {left} runs left\n",
                events.len(),
                flags.tries,
                if broken.is_empty() { "passes".to_owned() } else { broken.join(", ") }
            ));
            if !broken.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    ensure!(fails(&schedule.events)?, "the whole schedule passes: there is nothing to shrink");
    let events = minimized(&schedule.events, &mut fails)?;
    if shutdown.is_cancelled() {
        bail!("interrupted before the smallest schedule was found");
    }
    let smallest = Schedule { events, ..schedule };
    smallest.write(&flags.smallest)?;
    let again = flags::Flags { schedule: Some(flags.smallest.clone()), ..flags.run.clone() };
    say(&format!(
        "smallest schedule: {} events, in {}\nagain   {}\n",
        smallest.events.len(),
        flags.smallest.display(),
        table::command_line(&again, &again.plan()?)
    ));
    Ok(())
}

/// The checkers that object, other than to how little was shown.
fn broken(report: &Report) -> Vec<&'static str> {
    let all = report.verdicts.iter().filter(|verdict| !verdict.passed());
    all.filter(|verdict| is_promise(verdict)).map(|verdict| verdict.name).collect()
}

fn is_promise(verdict: &Verdict) -> bool {
    let is_thin = |rule: &str| matches!(rule, "G1" | "G2" | "G3" | "G6");
    verdict.broken > 0 && !verdict.violations.iter().all(|one| is_thin(one.rule))
}

/// Delta debugging (Zeller and Hildebrandt): leaves out ever smaller parts, as long as it fails.
///
/// # Errors
/// If a try could not be carried out.
pub fn minimized<T: Clone>(
    all: &[T],
    fails: &mut impl FnMut(&[T]) -> anyhow::Result<bool>,
) -> anyhow::Result<Vec<T>> {
    // Places in `all`, so that what was tried has a name.
    let mut kept: Vec<usize> = (0..all.len()).collect();
    let mut known: BTreeMap<Vec<usize>, bool> = BTreeMap::new();
    let mut parts = 2;
    let mut steps = 0;
    while kept.len() > 1 && steps < limits::SHRINK_STEPS_MAX {
        let size = kept.len().div_ceil(parts);
        let mut smaller = None;
        for part in 0..kept.len().div_ceil(size) {
            let (from, to) = (part * size, ((part + 1) * size).min(kept.len()));
            let rest: Vec<usize> = [&kept[..from], &kept[to..]].concat();
            steps += 1;
            let does_fail = match known.get(&rest) {
                Some(known) => *known,
                None => {
                    let events: Vec<T> = rest.iter().map(|place| all[*place].clone()).collect();
                    let does_fail = !events.is_empty() && fails(&events)?;
                    known.insert(rest.clone(), does_fail);
                    does_fail
                }
            };
            if does_fail {
                smaller = Some(rest);
                break;
            }
        }
        match smaller {
            Some(rest) => {
                kept = rest;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    Ok(kept.into_iter().map(|place| all[place].clone()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::minimized;

    proptest! {
        /// Z2, for what fails if and only if certain events are in it.
        #[test]
        fn exactly_the_events_that_matter_are_left(
            size in 1_usize..40,
            culprits in prop::collection::btree_set(0_usize..40, 1..4),
        ) {
            let all: Vec<usize> = (0..size).collect();
            let culprits: Vec<usize> = culprits.into_iter().filter(|one| *one < size).collect();
            prop_assume!(!culprits.is_empty());
            let mut tries = 0;
            let mut fails = |events: &[usize]| {
                tries += 1;
                Ok(culprits.iter().all(|one| events.contains(one)))
            };
            let smallest = minimized(&all, &mut fails).expect("it never fails to be tried");
            prop_assert_eq!(smallest, culprits);
            prop_assert!(tries <= 40 * 40);
        }
    }
}
