//! The summary on a terminal: what was done, what was checked, and the shortest counter-example.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::replay;
use crate::checker::{Verdict, bookkeeping, shortest_counter_example};
use crate::history::{History, Outcome, WatchLog};
use crate::scenario::{Flags, Run};

/// The scenario in words.
pub fn title(flags: &Flags) -> String {
    let program = flags
        .tested
        .binary
        .as_ref()
        .map_or_else(|| "this program".to_owned(), |path| path.display().to_string());
    format!("{:?} x {} on {} members of {program}", flags.scenario, flags.kills, flags.members)
}

/// The whole report.
pub fn summary(flags: &Flags, run: &Run) -> String {
    let mut out = String::new();
    write_summary(&mut out, flags, run).expect("writing to a string cannot fail");
    out
}

fn write_summary(out: &mut String, flags: &Flags, run: &Run) -> fmt::Result {
    let history = &run.history;
    writeln!(out, "{} (seed {})", title(flags), run.seed)?;
    writeln!(out, "again   {}", replay::command_line(flags, run.seed))?;
    operations(out, history)?;
    faults(out, history)?;
    watches(out, history)?;
    verdicts(out, history, &run.verdicts)
}

/// What the watchers were told.
pub(crate) fn watches(out: &mut String, history: &History) -> fmt::Result {
    let events: usize =
        history.watches.iter().flat_map(|w| &w.seen).map(|seen| seen.events.len()).sum();
    let streams: usize =
        history.watches.iter().map(|w| w.seen.last().map_or(0, |seen| seen.stream + 1)).sum();
    let progress: usize = history.watches.iter().map(WatchLog::progress_answers).sum();
    writeln!(
        out,
        "watch   {} watchers, {streams} streams, {events} events told, {progress} times their \
         progress; log of {} events to revision {}",
        history.watches.len(),
        history.log().len(),
        history.log().last().map_or(0, |event| event.kv.mod_revision)
    )
}

/// What each checker says, with the shortest counter-example.
pub(crate) fn verdicts(out: &mut String, history: &History, all: &[Verdict]) -> fmt::Result {
    for verdict in all {
        line(out, verdict)?;
    }
    if let Some((checker, violation)) = shortest_counter_example(all) {
        writeln!(out, "\nshortest counter-example ({checker}, {}):", violation.rule)?;
        writeln!(out, "  {}", violation.text)?;
        for index in &violation.ops {
            let op = &history.ops[*index];
            writeln!(
                out,
                "  op {} process {} member {} sent {:.3} ms answered {:.3} ms\n    {:?}\n    {:?}",
                op.index,
                op.process,
                op.member,
                milliseconds(op.invoked_ns),
                milliseconds(op.completed_ns),
                op.action,
                op.outcome
            )?;
        }
    }
    let passed = all.iter().filter(|verdict| verdict.passed()).count();
    writeln!(out, "{passed} passed, {} failed", all.len() - passed)
}

/// How many operations of which kind, and how they ended.
pub(crate) fn operations(out: &mut String, history: &History) -> fmt::Result {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut ok, mut refused, mut unknown) = (0_u64, 0_u64, 0_u64);
    for op in &history.ops {
        match &op.outcome {
            Outcome::Ok(_) => {
                ok += 1;
                *kinds.entry(op.action.kind()).or_default() += 1;
            }
            Outcome::Refused(_) => refused += 1,
            Outcome::Unknown(_) => unknown += 1,
        }
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let last = history.ops.iter().map(|op| op.invoked_ns).max().unwrap_or(0);
    writeln!(
        out,
        "ops     {} in {:.1} s: {ok} ok ({}), {refused} refused, {unknown} unknown",
        history.ops.len(),
        milliseconds(last) / 1000.0,
        kinds.join(", ")
    )
}

fn faults(out: &mut String, history: &History) -> fmt::Result {
    for fault in &history.faults {
        let recovered = fault.recovered_ns.map_or_else(
            || "never".to_owned(),
            |at| format!("{:.0} ms", milliseconds(at.saturating_sub(fault.healed_ns))),
        );
        let gap = bookkeeping::write_gap_ms(history, fault)
            .map_or_else(|| "never".to_owned(), |gap| format!("{gap} ms"));
        writeln!(
            out,
            "fault   {:8.1} s {} {:?} for {:.0} ms: next write after {gap}, serving again after \
             {recovered}, term {} -> {}, leader {:?} -> {:?}",
            milliseconds(fault.injected_ns) / 1000.0,
            fault.name,
            fault.members,
            milliseconds(fault.healed_ns - fault.injected_ns),
            fault.term_before,
            fault.term_after,
            fault.leader_before,
            fault.leader_after
        )?;
    }
    Ok(())
}

fn line(out: &mut String, verdict: &Verdict) -> fmt::Result {
    let state = if verdict.passed() { "ok    " } else { "BROKEN" };
    writeln!(
        out,
        "{state}  {:12} {} facts, {} wrong",
        verdict.name, verdict.checked, verdict.broken
    )?;
    for note in &verdict.notes {
        writeln!(out, "        {note}")?;
    }
    for violation in &verdict.violations {
        let text: String = violation.text.chars().take(300).collect();
        writeln!(out, "        {}: {text}", violation.rule)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds for people, not for comparing")]
fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}
