//! What a run shows, in lines and as files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use super::Run;
use super::record::{Ask, InformerLog, Outcome, What};
use crate::tested::Kept;

/// What happened, in lines.
pub(super) fn summary(run: &Run) -> String {
    let mut text = String::new();
    write(&mut text, run).expect("a String takes all that is written");
    text
}

fn write(text: &mut String, run: &Run) -> std::fmt::Result {
    let history = &run.history;
    writeln!(
        text,
        "informers through {} API servers, seed {}",
        history.finals.servers.len(),
        run.seed
    )?;
    for fault in &history.faults {
        let ms = |ns: u64| ns / 1_000_000;
        let recovered = fault.recovered_ns.map_or("never".to_owned(), |at| {
            format!("{} ms", ms(at.saturating_sub(fault.healed_ns)))
        });
        let held = ms(fault.healed_ns - fault.injected_ns);
        writeln!(
            text,
            "  {:>7} ms  {}: held {held} ms, recovered in {recovered}",
            ms(fault.injected_ns),
            fault.name
        )?;
    }
    let mut calls: BTreeMap<_, [usize; 3]> = BTreeMap::new();
    for call in &history.calls {
        let class = match call.outcome {
            Outcome::Ok(_) => 0,
            Outcome::Refused(..) => 1,
            Outcome::Unknown(_) => 2,
        };
        calls.entry(call.verb).or_default()[class] += 1;
    }
    for (verb, [ok, refused, unknown]) in calls {
        writeln!(text, "  {verb:?}: {ok} ok, {refused} refused, {unknown} unknown")?;
    }
    for informer in &history.informers {
        writeln!(text, "  {}", told(informer))?;
    }
    writeln!(text, "  {} changes in the store's log", history.log.len())?;
    for verdict in &run.verdicts {
        let word = if verdict.passed() { "ok" } else { "BROKEN" };
        writeln!(
            text,
            "  {word:<6} {}: {} checked, {} wrong",
            verdict.name, verdict.checked, verdict.broken
        )?;
        for violation in &verdict.violations {
            let calls = violation.ops.iter().filter_map(|index| history.calls.get(*index));
            writeln!(text, "         {}: {}", violation.rule, violation.text)?;
            for call in calls {
                writeln!(text, "             {call:?}")?;
            }
        }
    }
    Ok(())
}

/// What one informer was told, in one line.
fn told(informer: &InformerLog) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for exchange in &informer.exchanges {
        let asked = match exchange.ask {
            Ask::List { .. } => "lists",
            Ask::Continue => "more pages",
            Ask::Watch { .. } => "watches",
            Ask::WatchList => "streamed lists",
        };
        *counts.entry(asked).or_default() += 1;
        for told in &exchange.told {
            let what = match &told.what {
                What::Page { .. } => continue,
                What::Event { .. } => "events",
                What::Bookmark { .. } => "bookmarks",
                What::Failed { code: 410, .. } => match exchange.ask {
                    Ask::List { .. } | Ask::Continue => "lists gone (410)",
                    Ask::Watch { .. } | Ask::WatchList => "watches gone (410)",
                },
                What::Failed { .. } => "other errors",
            };
            *counts.entry(what).or_default() += 1;
        }
    }
    let counts: Vec<String> =
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    format!("{}: {} lives, {}", informer.name, informer.lives, counts.join(", "))
}

/// Writes history, verdicts and report to a folder.
pub(super) fn save(kept: &Kept, run: &Run) -> anyhow::Result<PathBuf> {
    let dir = kept.folder()?;
    let verdicts = BufWriter::new(File::create(dir.join("verdicts.json"))?);
    serde_json::to_writer_pretty(verdicts, &run.verdicts)?;
    std::fs::write(dir.join("report.txt"), summary(run))?;
    write_lines(&dir, "calls.jsonl", &run.history.calls)?;
    write_lines(&dir, "log.jsonl", &run.history.log)?;
    for informer in &run.history.informers {
        let name = format!("informer {}.jsonl", informer.name);
        write_lines(&dir, &name, &informer.exchanges)?;
    }
    Ok(dir)
}

/// One value a line.
fn write_lines<T: serde::Serialize>(
    dir: &std::path::Path,
    name: &str,
    values: &[T],
) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = BufWriter::new(File::create(dir.join(name))?);
    for value in values {
        serde_json::to_writer(&mut file, value)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(())
}
