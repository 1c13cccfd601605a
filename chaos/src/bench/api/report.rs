//! The report: the table first, then every round of every row.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::figures::{Comparison, Round};
use super::server::Side;
use crate::bench::table::{self, Judged, figure, load_average};

/// A row that could not be measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    pub row: &'static str,
    pub error: String,
}

/// Everything that is known so far.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Document {
    /// What each server says that it is: the peer, then ours.
    pub servers: Vec<(&'static str, String)>,
    pub cpus: usize,
    /// What /proc/loadavg said before the first request.
    pub load_at_start: String,
    pub load_at_end: String,
    pub rounds: usize,
    pub comparisons: Vec<Comparison>,
    pub failures: Vec<Failure>,
}

impl Document {
    pub(super) fn begin(rounds: usize) -> anyhow::Result<Self> {
        Ok(Self {
            servers: Vec::new(),
            cpus: std::thread::available_parallelism()?.get(),
            load_at_start: load_average(),
            load_at_end: String::new(),
            rounds,
            comparisons: Vec::new(),
            failures: Vec::new(),
        })
    }

    /// Writes the report and the figures beside it, if a file is named; returns the report.
    pub(super) fn write(&mut self, report: Option<&Path>) -> anyhow::Result<String> {
        self.load_at_end = load_average();
        let text = self.markdown()?;
        if let Some(path) = report {
            table::save(path, &text, &self.json()?)?;
        }
        Ok(text)
    }

    /// The figures for a program.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn markdown(&self) -> anyhow::Result<String> {
        let mut out = String::new();
        let beside = if self.servers.len() > 1 { " beside kube-apiserver" } else { "" };
        writeln!(out, "# orlop apiserver{beside}\n")?;
        writeln!(
            out,
            "Servers on one machine, loaded in turns over TLS and HTTP/2: {} rounds after one that \
             is not counted, no pinning. A ratio is the median of the rounds' ratios, with the \
             least and the most; goals that name a multiple need both servers.\n",
            self.rounds
        )?;
        for (name, version) in &self.servers {
            writeln!(out, "* {name}: {version}")?;
        }
        writeln!(
            out,
            "* machine: {} CPUs; load before {}; after {}",
            self.cpus, self.load_at_start, self.load_at_end
        )?;
        table::write(&mut out, "peer", self.judged())?;
        for failure in &self.failures {
            writeln!(out, "\n**{} was not measured**: {}", failure.row, failure.error)?;
        }
        for comparison in &self.comparisons {
            details(&mut out, comparison)?;
        }
        Ok(out)
    }

    fn judged(&self) -> impl Iterator<Item = Judged<'_>> {
        self.comparisons.iter().flat_map(|of| {
            of.goals.iter().map(|(name, goal)| {
                let (peer, orlop) = of.figures(name);
                let (row, title, failed) = (of.row, of.title.as_str(), of.failed());
                Judged { row, title, name, goal: *goal, peer, orlop, failed }
            })
        })
    }
}

/// Every round, and what failed.
fn details(out: &mut String, comparison: &Comparison) -> std::fmt::Result {
    writeln!(out, "\n## {}: {}\n", comparison.row, comparison.title)?;
    let Some(first) = comparison.orlop.first().or(comparison.peer.first()) else { return Ok(()) };
    let names: Vec<&str> = first.figures.iter().map(|(name, _)| *name).collect();
    writeln!(out, "| round | server | {} | failed |", names.join(" | "))?;
    writeln!(out, "|---|---|{}---|", "---|".repeat(names.len()))?;
    let sides = [(Side::Peer, &comparison.peer), (Side::Orlop, &comparison.orlop)];
    for round in 0..comparison.peer.len().max(comparison.orlop.len()) {
        for (side, rounds) in sides {
            let Some(one) = rounds.get(round) else { continue };
            line(out, round + 1, side, &names, one)?;
        }
    }
    for (side, rounds) in sides {
        for (error, count) in rounds.iter().flat_map(|round| &round.errors) {
            writeln!(out, "\n{}: {count} x {error}", side.name())?;
        }
    }
    Ok(())
}

fn line(
    out: &mut String,
    number: usize,
    side: Side,
    names: &[&str],
    round: &Round,
) -> std::fmt::Result {
    let figures: Vec<String> = names.iter().map(|name| figure(round.figure(name))).collect();
    writeln!(out, "| {number} | {} | {} | {} |", side.name(), figures.join(" | "), round.failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::versus::goal::Goal;

    fn document(failed: u64, has_peer: bool) -> String {
        let goals = vec![("requests/s", Goal::TimesAtLeast(5.0)), ("ms", Goal::AtMost(2.0))];
        let mut comparison = Comparison::new("B10", "create".to_owned(), goals);
        for (peer, orlop) in [(100.0, 500.0), (100.0, 520.0), (100.0, 90.0)] {
            let round = |rate, failed| Round {
                figures: vec![("requests/s", rate), ("ms", 1.5)],
                failed,
                ..Round::default()
            };
            if has_peer {
                comparison.push(Side::Peer, round(peer, 0));
            }
            comparison.push(Side::Orlop, round(orlop, failed));
        }
        let mut document = Document::begin(3).unwrap();
        document.comparisons.push(comparison);
        document.failures.push(Failure { row: "B12", error: "no".to_owned() });
        document.write(None).unwrap()
    }

    #[test]
    fn the_table_says_which_goals_were_reached() {
        let text = document(0, true);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| B")).collect();
        let wanted = "| B10 | create | requests/s | 100 | 500 | 5 (0.9 to 5.2) | >= 5x | yes |";
        assert_eq!(rows[0], wanted);
        assert!(rows[1].ends_with("| <= 2 | yes |"), "{}", rows[1]);
        assert!(text.contains("**B12 was not measured**: no"), "{text}");
    }

    #[test]
    fn without_a_peer_no_multiple_is_reached_and_with_errors_nothing_is() {
        let text = document(0, false);
        assert!(text.contains("| requests/s | - | 500 | - | >= 5x | no |"), "{text}");
        let text = document(1, true);
        let mut rows = text.lines().filter(|line| line.starts_with("| B"));
        assert!(rows.all(|row| row.ends_with("| errors |")), "{text}");
    }
}
