//! What the reports that compare share: the table of goals, and the files.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::versus::goal::{Goal, Spread, short};

/// A figure that has a goal, of all rounds.
pub(super) struct Judged<'a> {
    pub row: &'a str,
    pub title: &'a str,
    pub name: &'a str,
    pub goal: Goal,
    pub peer: Vec<f64>,
    pub orlop: Vec<f64>,
    /// Figures that stand beside errors reach no goal.
    pub failed: u64,
}

/// The table: ours beside a peer of this name.
pub(super) fn write<'a>(
    out: &mut String,
    peer: &str,
    judged: impl Iterator<Item = Judged<'a>>,
) -> std::fmt::Result {
    writeln!(
        out,
        "\n| row | workload | figure | {peer} | orlop | orlop / {peer} | goal | reached |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    for one in judged {
        let reached = match one.failed {
            0 if one.goal.is_reached(&one.orlop, &one.peer) => "yes",
            0 => "no",
            _ => "errors",
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {reached} |",
            one.row,
            one.title,
            one.name,
            figure(Spread::of(one.peer.clone()).median),
            figure(Spread::of(one.orlop.clone()).median),
            ratio(&one.orlop, &one.peer),
            one.goal.text()
        )?;
    }
    Ok(())
}

/// A figure that may not be known.
pub(super) fn figure(figure: f64) -> String {
    if figure.is_nan() { "-".to_owned() } else { short(figure) }
}

/// Ours by the peer's, with the least and the most of several rounds.
pub(super) fn ratio(orlop: &[f64], peer: &[f64]) -> String {
    let Spread { median, least, most } = Spread::of_ratios(orlop, peer);
    match orlop.len() {
        0 | 1 => figure(median),
        _ if median.is_nan() => figure(median),
        _ => format!("{} ({} to {})", short(median), short(least), short(most)),
    }
}

/// Writes the report to a file, and the figures for a program beside it.
pub(super) fn save(path: &Path, text: &str, json: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())?;
    let beside = path.with_extension("json");
    std::fs::write(&beside, json).with_context(|| beside.display().to_string())
}

/// What /proc/loadavg says.
pub(super) fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .map_or_else(|error| format!("unknown ({error})"), |text| text.trim().to_owned())
}
