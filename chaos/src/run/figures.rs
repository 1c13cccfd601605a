//! A run in figures, for programs that add them up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::coverage;
use super::flags::{Flags, Plan};
use super::strike::{Effect, Strike};
use super::{Report, table};
use crate::report::summary::{Failure, FaultCount, Finding, Summary, failure};

/// The figures of a run that was judged.
pub(super) fn of(flags: &Flags, report: &Report, took: Duration) -> Summary {
    let seed = report.plan.schedule.seed;
    let again = table::command_line(flags, &report.plan);
    let failures = failure(&report.verdicts).map(|what| Failure { what, again });
    let left_out = coverage::skipped(&report.strikes).into_iter();
    let acknowledged = report.history.ops.iter().filter(|op| op.reply().is_some()).count();
    Summary {
        passed: report.passed(),
        failures: failures.into_iter().collect(),
        seed,
        seeds: 1,
        seconds: took.as_secs_f64(),
        operations: report.history.ops.len() as u64,
        acknowledged: acknowledged as u64,
        faults: faults(&report.strikes),
        left_out: left_out.map(|(kind, why)| (kind.name(), why.to_owned())).collect(),
        verdicts: report.verdicts.iter().map(Finding::from).collect(),
        ..Summary::default()
    }
}

/// A run that came to no end, which is no pass.
pub(super) fn unfinished(
    flags: &Flags,
    plan: &Plan,
    error: &anyhow::Error,
    took: Duration,
) -> Summary {
    let what = format!("the run could not be finished: {error:#}");
    let again = table::command_line(flags, plan);
    Summary {
        failures: vec![Failure { what, again }],
        seed: plan.schedule.seed,
        seeds: 1,
        seconds: took.as_secs_f64(),
        ..Summary::default()
    }
}

fn faults(strikes: &[Strike]) -> BTreeMap<String, FaultCount> {
    let mut faults: BTreeMap<String, FaultCount> = BTreeMap::new();
    for strike in strikes {
        let count = faults.entry(strike.event.fault.name()).or_default();
        match strike.effect {
            Effect::Took(_) => count.took_effect += 1,
            Effect::Nothing(_) => count.without_effect += 1,
            Effect::Skipped(_) => count.left_out += 1,
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;
    use crate::history::{Fault, History};
    use crate::run::{Event, Kind, Targets};

    fn strike(fault: Kind, effect: Effect) -> Strike {
        let event =
            Event { at_ms: 0, hold_ms: 0, fault, targets: Targets::Leader, amount: 0, seed: 0 };
        Strike { number: 0, event, effect, fault: Fault::default() }
    }

    fn report(verdict: Verdict) -> (Flags, Report) {
        let flags = Flags { seed: Some(7), ..Flags::default() };
        let words = || "as was seen".to_owned();
        let strikes = vec![
            strike(Kind::Kill, Effect::Took(words())),
            strike(Kind::Kill, Effect::Took(words())),
            strike(Kind::Kill, Effect::Nothing(words())),
            strike(Kind::ClockJump, Effect::Skipped("no clock".to_owned())),
        ];
        let plan = flags.plan().unwrap();
        let (history, verdicts) = (History::default(), vec![verdict]);
        (flags, Report { plan, history, verdicts, strikes, notes: Vec::new() })
    }

    #[test]
    fn faults_are_counted_by_kind_and_by_what_came_of_them() {
        let verdict = Verdict { checked: 5, ..Verdict::new("durable") };
        let (flags, report) = report(verdict);
        let figures = of(&flags, &report, Duration::from_secs(3));
        assert!(figures.passed && figures.failures.is_empty());
        let kill = FaultCount { took_effect: 2, without_effect: 1, left_out: 0 };
        let jump = FaultCount { left_out: 1, ..FaultCount::default() };
        assert_eq!((figures.faults["kill"], figures.faults["clock-jump"]), (kill, jump));
        assert_eq!(figures.left_out["clock-jump"], "no clock");
        assert_eq!((figures.seeds, figures.verdicts[0].checked), (1, 5));
    }

    /// Whoever reads of a failure can run it again.
    #[test]
    fn a_failure_comes_with_its_command() {
        let mut verdict = Verdict { checked: 5, ..Verdict::new("durable") };
        verdict.fail("D1", Vec::new(), "a write is gone".to_owned());
        let (flags, report) = report(verdict);
        let judged = of(&flags, &report, Duration::ZERO);
        let error = anyhow::anyhow!("no cluster");
        let unfinished = unfinished(&flags, &report.plan, &error, Duration::ZERO);
        for (figures, what) in [(judged, "D1: a write is gone"), (unfinished, "no cluster")] {
            assert!(!figures.passed);
            let [failure] = figures.failures.as_slice() else { unreachable!("one run failed") };
            assert!(failure.what.contains(what), "{}", failure.what);
            assert!(failure.again.starts_with("orlop chaos run --seed=7 "), "{}", failure.again);
        }
    }
}
