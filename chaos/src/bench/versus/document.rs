//! The report: the table first, then every round of every row.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::goal::short;
use super::sample::{Comparison, Sample};
use super::stores::{Side, orlop_binary};
use super::{VersusFlags, version};
use crate::bench::measure;
use crate::bench::table::{self, Judged, load_average, ratio};
use crate::cluster::Cluster;

/// A row that could not be measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    pub row: String,
    pub error: String,
    /// The member that ended, and its last words.
    pub crashed: Option<String>,
}

/// Everything that is known so far.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Document {
    pub etcd: String,
    pub orlop: String,
    pub cpus: usize,
    /// What /proc/loadavg said before the first member was started.
    pub load_at_start: String,
    pub load_at_end: String,
    pub rounds: usize,
    pub seconds: u64,
    /// RSS of new members in MiB, of etcd and of ours.
    pub idle: Option<(String, String)>,
    pub comparisons: Vec<Comparison>,
    pub failures: Vec<Failure>,
}

impl Document {
    pub(super) fn begin(flags: &VersusFlags) -> anyhow::Result<Self> {
        Ok(Self {
            etcd: version(&flags.etcd, "--version"),
            orlop: version(&orlop_binary(flags)?, "version"),
            cpus: std::thread::available_parallelism()?.get(),
            load_at_start: load_average(),
            load_at_end: String::new(),
            rounds: flags.rounds,
            seconds: flags.seconds,
            idle: None,
            comparisons: Vec::new(),
            failures: Vec::new(),
        })
    }

    /// Writes the report and the figures beside it, if a file is named; returns the report.
    pub(super) fn write(&mut self, report: Option<&Path>) -> anyhow::Result<String> {
        self.load_at_end = load_average();
        // In the order of the table, not in that in which they ran.
        self.comparisons.sort_by_key(|comparison| number(&comparison.row));
        let text = self.markdown()?;
        if let Some(path) = report {
            table::save(path, &text, &(serde_json::to_string_pretty(self)? + "\n"))?;
        }
        Ok(text)
    }

    fn markdown(&self) -> anyhow::Result<String> {
        let mut out = String::new();
        writeln!(out, "# orlop store beside etcd\n")?;
        writeln!(
            out,
            "Three members each on one machine, both running all the time, loaded in turns: {} \
             rounds of {} s (rows that take long: fewer), without TLS, no pinning. A ratio is the \
             median of the rounds' ratios, with the least and the most.\n",
            self.rounds, self.seconds
        )?;
        writeln!(out, "* etcd: {}", self.etcd)?;
        writeln!(out, "* orlop: {}", self.orlop)?;
        writeln!(
            out,
            "* machine: {} CPUs; load before {}; after {}",
            self.cpus, self.load_at_start, self.load_at_end
        )?;
        if let Some((etcd, orlop)) = &self.idle {
            writeln!(out, "* RSS of idle members, MiB: etcd {etcd}; orlop {orlop}")?;
        }
        table::write(&mut out, "etcd", self.judged())?;
        for failure in &self.failures {
            writeln!(out, "\n**{} was not measured**: {}", failure.row, failure.error)?;
            if let Some(crashed) = &failure.crashed {
                writeln!(out, "\n```\n{crashed}\n```")?;
            }
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
                let (row, title, failed) = (of.row.as_str(), of.title.as_str(), of.failed());
                Judged { row, title, name, goal: *goal, peer, orlop, failed }
            })
        })
    }
}

/// Every round, where CPU time went, and what failed.
fn details(out: &mut String, comparison: &Comparison) -> std::fmt::Result {
    writeln!(out, "\n## {}: {}\n", comparison.row, comparison.title)?;
    let Some(first) = comparison.etcd.first().or(comparison.orlop.first()) else { return Ok(()) };
    let names: Vec<&str> = first.figures.iter().map(|(name, _)| *name).collect();
    writeln!(out, "| round | store | {} | failed |", names.join(" | "))?;
    writeln!(out, "|---|---|{}---|", "---|".repeat(names.len()))?;
    let rounds = comparison.etcd.len().max(comparison.orlop.len());
    for round in 0..rounds {
        for (side, samples) in [(Side::Etcd, &comparison.etcd), (Side::Orlop, &comparison.orlop)] {
            let Some(sample) = samples.get(round) else { continue };
            let figures: Vec<String> =
                names.iter().map(|name| short(sample.figure(name))).collect();
            writeln!(
                out,
                "| {} | {} | {} | {} |",
                round + 1,
                side.name(),
                figures.join(" | "),
                sample.failed
            )?;
        }
    }
    let mut paragraph = |text: String| writeln!(out, "\n{text}");
    let judged = comparison.goals.iter().filter(|(name, _)| names.contains(name));
    let ratios: Vec<String> = judged
        .map(|(name, _)| {
            let (etcd, orlop) = comparison.figures(name);
            format!("{name} {}", ratio(&orlop, &etcd))
        })
        .collect();
    paragraph(format!("orlop / etcd: {}", ratios.join("; ")))?;
    if let (Some(etcd), Some(orlop)) = (comparison.etcd.last(), comparison.orlop.last())
        && !orlop.kinds.is_empty()
    {
        let kinds = etcd.kinds.iter().zip(&orlop.kinds);
        let kinds = kinds.map(|((name, etcd), (_, orlop))| {
            format!("{name} {} / {}", short(*etcd), short(*orlop))
        });
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        paragraph(format!("p99 ms by kind in the last round, etcd / orlop: {kinds}"))?;
    }
    for note in &comparison.notes {
        paragraph(note.clone())?;
    }
    let shares = shares(&comparison.orlop);
    if !shares.is_empty() {
        paragraph(format!("orlop's CPU time by thread: {shares}"))?;
    }
    for (side, samples) in [(Side::Etcd, &comparison.etcd), (Side::Orlop, &comparison.orlop)] {
        for (error, count) in samples.iter().flat_map(|sample| &sample.errors) {
            paragraph(format!("{}: {count} x {error}", side.name()))?;
        }
    }
    Ok(())
}

/// The threads that used most, largest first, in hundredths of all.
fn shares(samples: &[Sample]) -> String {
    const LISTED_MAX: usize = 8;
    let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, us) in samples.iter().flat_map(|sample| &sample.threads) {
        *spent.entry(name).or_default() += us;
    }
    let all = spent.values().sum::<u64>().max(1);
    let mut threads: Vec<(&str, u64)> =
        spent.into_iter().map(|(name, us)| (name, us * 100 / all)).collect();
    threads.sort_by_key(|(_, share)| std::cmp::Reverse(*share));
    let listed = threads.iter().filter(|(_, share)| *share > 0).take(LISTED_MAX);
    listed.map(|(name, share)| format!("{name} {share} %")).collect::<Vec<_>>().join(", ")
}

/// The number of a row: B15 stands behind B9.
fn number(row: &str) -> u32 {
    row.trim_start_matches('B').parse().unwrap_or(u32::MAX)
}

pub(super) fn rss(cluster: &Cluster) -> anyhow::Result<String> {
    let memory = cluster.pids().into_iter().map(measure::memory);
    let memory: Vec<String> = memory
        .map(|memory| Ok((memory?.rss_kib / 1024).to_string()))
        .collect::<anyhow::Result<_>>()?;
    Ok(memory.join(" + "))
}

#[cfg(test)]
mod tests {
    use super::super::goal::Goal;
    use super::*;

    fn document(failed: u64) -> Document {
        let goals = vec![("ops/s", Goal::TimesAtLeast(3.0)), ("p99 ms", Goal::AtMost(2.0))];
        let mut comparisons = Vec::new();
        for row in ["B15", "B2"] {
            let mut comparison = Comparison::new(row, "puts".to_owned(), goals.clone());
            for (etcd, orlop) in [(100.0, 300.0), (100.0, 320.0), (100.0, 90.0)] {
                let sample = |speed| Sample {
                    figures: vec![("ops/s", speed), ("p99 ms", 2.5)],
                    failed,
                    ..Sample::default()
                };
                comparison.push(Side::Etcd, sample(etcd));
                comparison.push(Side::Orlop, sample(orlop));
            }
            comparisons.push(comparison);
        }
        Document {
            etcd: "3".to_owned(),
            orlop: "0".to_owned(),
            cpus: 2,
            load_at_start: String::new(),
            load_at_end: String::new(),
            rounds: 3,
            seconds: 1,
            idle: None,
            comparisons,
            failures: vec![Failure { row: "B9".to_owned(), error: "no".to_owned(), crashed: None }],
        }
    }

    #[test]
    fn the_table_says_which_goals_were_reached_and_which_rows_are_missing() {
        let text = document(0).write(None).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| B")).collect();
        assert_eq!(rows[0], "| B2 | puts | ops/s | 100 | 300 | 3 (0.9 to 3.2) | >= 3x | yes |");
        assert!(rows[1].ends_with("| <= 2 | no |"), "{}", rows[1]);
        assert!(rows[2].starts_with("| B15 |"), "{}", rows[2]);
        assert!(text.contains("**B9 was not measured**: no"), "{text}");
    }

    #[test]
    fn a_fast_store_that_answers_with_errors_reaches_nothing() {
        let text = document(1).write(None).unwrap();
        let mut rows = text.lines().filter(|line| line.starts_with("| B"));
        assert!(rows.all(|row| row.ends_with("| errors |")), "{text}");
    }
}
