//! What a person reads of a run: a line for each fault while it goes on, and a table at the end.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::Report;
use super::coverage;
use super::flags::{Flags, Plan};
use super::kind::Kind;
use super::strike::{Effect, Strike};
use crate::limits;
use crate::report::replay::Line;
use crate::report::{text, words};

/// What was run on what.
pub(super) fn title(flags: &Flags, report: &Report) -> String {
    let program = flags
        .tested
        .binary
        .as_ref()
        .map_or_else(|| "this program".to_owned(), |path| path.display().to_string());
    let schedule = &report.plan.schedule;
    let members = if schedule.members == 1 { "member" } else { "members" };
    let (faults, size) = (schedule.events.len(), schedule.members);
    format!("run of {faults} faults on {size} {members} of {program}")
}

/// The command line that does the same again.
pub(super) fn command_line(flags: &Flags, plan: &Plan) -> String {
    use clap::ValueEnum as _;
    let mut line = Line::of("run");
    match &flags.schedule {
        Some(file) => line.flag("schedule", file.display()),
        None => {
            line.flag("seed", plan.schedule.seed);
            let profile = flags.profile.to_possible_value();
            line.flag("profile", profile.as_ref().map_or("", |value| value.get_name()));
            line.flag("members", plan.schedule.members);
            if !flags.faults.is_empty() {
                let kinds: Vec<String> = flags.faults.iter().map(|kind| kind.name()).collect();
                line.flag("faults", kinds.join(","));
            }
            if let Some(seconds) = flags.duration {
                line.flag("duration", seconds);
            }
        }
    }
    if !flags.workloads.is_empty() {
        let works: Vec<&str> = flags.workloads.iter().map(|work| work.name()).collect();
        line.flag("workloads", works.join(","));
    }
    line.flag("clients", plan.profile.clients);
    line.flag("keys", plan.profile.keys);
    line.flag("rate", plan.profile.rate);
    flags.tested.tell(&mut line);
    flags.asking.tell(&mut line);
    line.text()
}

/// A fault that is over.
pub(super) fn progress(strike: &Strike, left: Duration) -> String {
    let mut line = format!("{} ({} s left)", fault(strike), left.as_secs());
    line = line.replace('\n', " ");
    line.push('\n');
    line
}

fn fault(strike: &Strike) -> String {
    let Strike { fault, effect, .. } = strike;
    let back = match fault.recovered_ns {
        Some(at) => format!("serving after {} ms", at.saturating_sub(fault.healed_ns) / 1_000_000),
        None => "NOT SERVING".to_owned(),
    };
    format!(
        "{:7.1} s {} {:?} for {} ms: {}: {}; {back}",
        seconds(fault.injected_ns),
        fault.name,
        fault.members,
        (fault.healed_ns - fault.injected_ns) / 1_000_000,
        effect.word(),
        words::cut(effect.words(), limits::RUN_LETTERS_MAX)
    )
}

#[expect(clippy::cast_precision_loss, reason = "for people, not for comparing")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The whole report.
pub fn summary(flags: &Flags, report: &Report) -> String {
    let mut out = String::new();
    write_summary(&mut out, flags, report).expect("writing to a string cannot fail");
    out
}

fn write_summary(out: &mut String, flags: &Flags, report: &Report) -> fmt::Result {
    writeln!(out, "{} (seed {})", title(flags, report), report.plan.schedule.seed)?;
    for strike in &report.strikes {
        writeln!(out, "{}", fault(strike))?;
    }
    for note in &report.notes {
        writeln!(out, "note    {note}")?;
    }
    kinds(out, &report.strikes)?;
    text::operations(out, &report.history)?;
    text::watches(out, &report.history)?;
    let recoveries = coverage::recoveries(&report.history);
    let served = recoveries.iter().map(|(_, [read, write])| Some((*read)?.max((*write)?)));
    let longest =
        served.collect::<Option<Vec<u64>>>().map(|all| all.into_iter().max().unwrap_or(0));
    match longest {
        Some(ns) => writeln!(
            out,
            "calm    every member served a read and a write within {} ms of the last heal",
            ns / 1_000_000
        )?,
        None => writeln!(out, "calm    a member served nothing after the last heal")?,
    }
    text::verdicts(out, &report.history, &report.verdicts)?;
    for (kind, reason) in coverage::skipped(&report.strikes) {
        writeln!(out, "LEFT OUT {}: {reason}", kind.name())?;
    }
    let took = report.strikes.iter().filter(|one| matches!(one.effect, Effect::Took(_))).count();
    writeln!(out, "{took} of {} faults took effect", report.strikes.len())?;
    writeln!(out, "again   {}", command_line(flags, &report.plan))
}

#[derive(Default)]
struct Row {
    injected: usize,
    took: usize,
    skipped: usize,
    recoveries_ms: Vec<u64>,
    never: usize,
}

fn kinds(out: &mut String, strikes: &[Strike]) -> fmt::Result {
    let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
    for strike in strikes {
        let row = rows.entry(strike.event.fault).or_default();
        row.injected += 1;
        match &strike.effect {
            Effect::Took(_) => row.took += 1,
            Effect::Nothing(_) => {}
            Effect::Skipped(_) => {
                row.skipped += 1;
                continue;
            }
        }
        match strike.fault.recovered_ns {
            Some(at) => {
                row.recoveries_ms.push(at.saturating_sub(strike.fault.healed_ns) / 1_000_000);
            }
            None => row.never += 1,
        }
    }
    writeln!(
        out,
        "{:18} {:>8} {:>11} {:>7}   serving again after (ms): median, most",
        "fault", "injected", "took effect", "skipped"
    )?;
    for (kind, row) in &mut rows {
        row.recoveries_ms.sort_unstable();
        let median = row.recoveries_ms.get(row.recoveries_ms.len() / 2);
        let most = row.recoveries_ms.last();
        let shown = |ms: Option<&u64>| ms.map_or("-".to_owned(), u64::to_string);
        let never = if row.never > 0 { format!(", never: {}", row.never) } else { String::new() };
        writeln!(
            out,
            "{:18} {:>8} {:>11} {:>7}   {}, {}{never}",
            kind.name(),
            row.injected,
            row.took,
            row.skipped,
            shown(median),
            shown(most)
        )?;
    }
    Ok(())
}
