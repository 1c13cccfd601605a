//! One page that shows a whole run.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | P1 | Nothing that comes from data is markup: every such text goes through `escape::Text`. |
//! | P2 | The page does not grow with the history: marks become cells, lists are cut and say so. |
//! | P3 | The page asks nobody for anything: style, script and pictures are in it. |

mod axis;
mod buckets;
mod cells;
mod curves;
mod escape;
#[cfg(test)]
mod html_test;
mod neighbours;
mod tables;
mod timeline;
mod verdicts;

use std::fmt::{self, Write as _};

use self::axis::Axis;
use self::escape::Text;
use super::{Sheet, replay, text, words};
use crate::checker::bookkeeping;
use crate::history::{History, Outcome};
use crate::scenario::{Flags, Run};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page of a scenario.
pub fn page(flags: &Flags, run: &Run) -> String {
    sheet(&sheet_of(flags, run))
}

/// What the page of a scenario shows.
pub(crate) fn sheet_of<'a>(flags: &Flags, run: &'a Run) -> Sheet<'a> {
    Sheet {
        title: text::title(flags),
        command: replay::command_line(flags, run.seed),
        seed: run.seed,
        history: &run.history,
        verdicts: &run.verdicts,
    }
}

/// The whole page of any run.
pub fn sheet(sheet: &Sheet<'_>) -> String {
    let mut out = String::new();
    write_page(&mut out, sheet).expect("writing to a string cannot fail");
    out
}

fn write_page(out: &mut String, sheet: &Sheet<'_>) -> fmt::Result {
    let history = sheet.history;
    let axis = Axis::of(history);
    let buckets = buckets::buckets(history, &axis);
    header(out, sheet)?;
    numbers(out, history, &axis)?;
    neighbours::write(out, history, sheet.verdicts)?;

    out.push_str("<section><h2>Checkers</h2>\n");
    verdicts::write(out, history, sheet.verdicts)?;
    out.push_str("</section>\n<section><h2>Operations</h2>\n");
    out.push_str(LEGEND);
    timeline::write(out, history, &axis)?;
    out.push_str("</section>\n<section><h2>Latency of acknowledged operations</h2>\n");
    out.push_str(LATENCY_LEGEND);
    curves::latency(out, &axis, &buckets, &history.faults)?;
    out.push_str("</section>\n<section><h2>Operations a second</h2>\n");
    out.push_str(THROUGHPUT_LEGEND);
    curves::throughput(out, &axis, &buckets, &history.faults)?;
    out.push_str("</section>\n<section><h2>Faults</h2>\n");
    tables::faults(out, history)?;
    out.push_str("</section>\n<section><h2>Members at the end</h2>\n");
    tables::members(out, history)?;
    out.push_str("</section>\n<section><h2>Watchers</h2>\n");
    tables::watchers(out, history)?;
    writeln!(out, "</section>\n</main><script>{SCRIPT}</script></body></html>")
}

const LEGEND: &str = r#"<p class="legend"><i class="ok"></i>ok <i class="refused"></i>refused
<i class="unknown"></i>unknown <i class="held"></i>fault holds <i class="healing"></i>until the
member serves again <i class="next"></i>first write after a fault
<span class="hint">Drag to zoom into a time, double-click for the whole run.</span></p>
"#;

const LATENCY_LEGEND: &str = r#"<p class="legend"><i class="p50"></i>half
<i class="p99"></i>99 of 100 <i class="max"></i>slowest, by the time when they were sent</p>
"#;

const THROUGHPUT_LEGEND: &str = r#"<p class="legend"><i class="writes"></i>ok, changed something
<i class="reads"></i>ok, changed nothing <i class="refused"></i>refused
<i class="unknown"></i>unknown, by the time when they ended</p>
"#;

fn header(out: &mut String, sheet: &Sheet<'_>) -> fmt::Result {
    let title = &sheet.title;
    let broken = sheet.verdicts.iter().filter(|verdict| !verdict.passed()).count();
    let (class, word) = match broken {
        0 => ("good", "every promise was kept".to_owned()),
        1 => ("bad", "1 checker objects".to_owned()),
        more => ("bad", format!("{more} checkers object")),
    };
    writeln!(
        out,
        r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{word}: {}</title>
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<style>{STYLE}</style></head><body><main>
<header><p class="badge {class}">{word}</p><h1>{}</h1>
<p>Seed {}. The same choices again, if not the same timing:</p>
<pre>{}</pre></header>"#,
        Text(title),
        Text(title),
        sheet.seed,
        command_line(&sheet.command)
    )
}

/// Lines are broken between words only, so that it can be read and copied.
fn command_line(line: &str) -> String {
    let words: Vec<String> =
        line.split(' ').map(|word| format!("<span>{}</span>", Text(word))).collect();
    words.join(" ")
}

fn numbers(out: &mut String, history: &History, axis: &Axis) -> fmt::Result {
    let (mut ok, mut refused, mut unknown) = (0_u64, 0_u64, 0_u64);
    for op in &history.ops {
        match &op.outcome {
            Outcome::Ok(_) => ok += 1,
            Outcome::Refused(_) => refused += 1,
            Outcome::Unknown(_) => unknown += 1,
        }
    }
    let gaps = history.faults.iter().map(|fault| bookkeeping::write_gap_ms(history, fault));
    let longest = gaps.reduce(|left, right| left.zip(right).map(|(left, right)| left.max(right)));
    let longest = match longest {
        None => "–".to_owned(),
        Some(None) => "never".to_owned(),
        Some(Some(gap)) => format!("{gap} ms"),
    };
    out.push_str("<dl>");
    for (name, value) in [
        ("duration", words::at(axis.to_ns)),
        ("operations", history.ops.len().to_string()),
        ("ok", ok.to_string()),
        ("refused", refused.to_string()),
        ("unknown", unknown.to_string()),
        ("faults", history.faults.len().to_string()),
        ("longest wait for a write", longest),
        ("changes in the log", history.log().len().to_string()),
    ] {
        write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Text(&value))?;
    }
    out.push_str("</dl>\n");
    Ok(())
}
