//! Two stores on one machine, three members each, loaded in turns: only the ratio of rounds that
//! stand side by side means something on a machine that does other things too.

mod bystander;
mod cases;
mod document;
mod failover;
mod flags;
pub(in crate::bench) mod goal;
mod loading;
mod maintenance;
mod restart;
mod sample;
mod stores;

pub(in crate::bench) use flags::Row;
pub use flags::VersusFlags;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;

use self::cases::{Case, Through};
use self::document::{Document, Failure};
use self::goal::Goal::TimesAtLeast;
use self::sample::{Comparison, P50};
use self::stores::{Side, Stores};
use super::ServerFlags;
use crate::cluster::Cluster;
use crate::limits;

/// The many keys of some rows: what they begin with, and their size.
const BIG_PREFIX: &str = "big/";
const BIG_KEY_BYTES: usize = 36;

/// Rows that share fresh stores, in the order in which they run: those that leave least behind
/// first.
const FRESH: [Row; 6] = [Row::B1, Row::B5, Row::B6, Row::B7, Row::B3, Row::B15];
/// Rows that share stores with many keys.
const BIG: [Row; 4] = [Row::B2, Row::B4, Row::B9, Row::B8];

/// Runs the rows and returns the report, in markdown.
pub(super) async fn run(flags: &VersusFlags) -> anyhow::Result<String> {
    let flags = flags.clone().settled()?;
    let mut table = Table { document: Document::begin(&flags)?, flags, stores: None };
    for row in FRESH {
        table.row(row).await?;
    }
    table.stores = None;
    if let Some(delay) = table.flags.slow_fsync {
        if table.flags.rows.contains(&Row::B1) {
            let mut done = Vec::new();
            let slow = Box::pin(table.slow_puts(delay, &mut done)).await;
            table.note("B1, slow fsync", done, slow)?;
        }
        table.stores = None;
    }
    for row in BIG {
        table.row(row).await?;
    }
    table.document.write(table.flags.report.as_deref())
}

/// What is under way.
struct Table {
    flags: VersusFlags,
    /// Those of the row before, unless it failed.
    stores: Option<Stores>,
    document: Document,
}

impl Table {
    /// Runs a row if it was asked for. What goes wrong stands in the report, and the others go on.
    async fn row(&mut self, row: Row) -> anyhow::Result<()> {
        if !self.flags.rows.contains(&row) {
            return Ok(());
        }
        let mut done = Vec::new();
        let result = Box::pin(self.measure(row, &mut done)).await;
        self.note(name(row).as_str(), done, result)
    }

    /// Keeps what was measured, and why the rest was not.
    fn note(
        &mut self,
        what: &str,
        done: Vec<Comparison>,
        result: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.document.comparisons.extend(done);
        match result {
            Ok(()) => {}
            Err(error) => {
                progress(&format!("{what} failed: {error:#}"));
                let crashed = self.stores.as_mut().and_then(|stores| {
                    Side::BOTH.into_iter().find_map(|side| {
                        Some(format!("{}: {}", side.name(), stores.of(side).crashed()?))
                    })
                });
                let failure =
                    Failure { row: what.to_owned(), error: format!("{error:#}"), crashed };
                self.document.failures.push(failure);
                // Nobody knows what state it left them in.
                self.stores = None;
            }
        }
        // What is known so far must not be lost with what is still to come.
        self.document.write(self.flags.report.as_deref()).map(drop)
    }

    async fn measure(&mut self, row: Row, done: &mut Vec<Comparison>) -> anyhow::Result<()> {
        let Self { flags, stores, document } = self;
        if stores.is_none() {
            *stores = Some(start(flags, None, document).await?);
        }
        let stores = stores.as_mut().context("they were just started")?;
        if BIG.contains(&row) && !stores.is_loaded {
            let loaded = loading::load(flags, stores).await?;
            if row == Row::B2 {
                done.push(loaded);
                return Ok(());
            }
        }
        match row {
            Row::B2 => anyhow::bail!("the many keys were there before they were to be written"),
            Row::B8 => done.push(maintenance::run(flags, stores).await?),
            Row::B9 => done.push(restart::run(flags, stores).await?),
            Row::B15 => done.push(failover::run(flags, stores).await?),
            Row::B1 | Row::B3 | Row::B4 | Row::B5 | Row::B6 | Row::B7 => {
                for case in cases::of(row, flags) {
                    done.push(in_turns(&case, stores).await?);
                }
            }
        }
        Ok(())
    }

    /// Row B1 again, with a slow disk.
    async fn slow_puts(
        &mut self,
        delay: Duration,
        done: &mut Vec<Comparison>,
    ) -> anyhow::Result<()> {
        let stores = self.stores.insert(start(&self.flags, Some(delay), &mut self.document).await?);
        let disk = format!("{delay:?} added to every fsync");
        for case in cases::puts(&self.flags, TimesAtLeast(1.7), &disk) {
            let mut comparison = in_turns(&case, stores).await?;
            let (etcd, orlop) = comparison.figures(P50);
            let fastest = etcd.into_iter().chain(orlop).fold(f64::INFINITY, f64::min);
            ensure!(
                fastest >= delay.as_secs_f64() * 1e3,
                "half of the puts took less than {fastest} ms: fsyncs were not made slower"
            );
            comparison.notes.extend(stores.slowed_by.map(|by| by.note().to_owned()));
            done.push(comparison);
        }
        Ok(())
    }
}

async fn start(
    flags: &VersusFlags,
    slow: Option<Duration>,
    document: &mut Document,
) -> anyhow::Result<Stores> {
    progress("starting three members of each store");
    let mut stores = Stores::start(flags, slow).await?;
    if slow.is_none() && document.idle.is_none() {
        tokio::time::sleep(limits::BENCH_IDLE_SETTLE).await;
        document.idle =
            Some((document::rss(stores.of(Side::Etcd))?, document::rss(stores.of(Side::Orlop))?));
    }
    Ok(stores)
}

/// Runs a case's rounds, etcd's first.
async fn in_turns(case: &Case, stores: &mut Stores) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison::new(&name(case.row), case.title.clone(), case.goals.clone());
    comparison.notes.extend(case.notes.iter().map(|note| (*note).to_owned()));
    for round in 0..case.rounds {
        for side in Side::BOTH {
            let (row, name) = (name(case.row), side.name());
            progress(&format!("{row}: {}, {}/{}, {name}", case.title, round + 1, case.rounds));
            let cluster = stores.of(side);
            let urls = match case.through {
                Through::All => cluster.urls(),
                Through::Follower => vec![cluster.url(a_follower(cluster).await?)],
                Through::Leader => vec![cluster.url(leader(cluster).await?)],
            };
            let server = ServerFlags::plain(urls, 0, cluster.pids());
            let sample = case.job.run(server, round == 0).await.context(name)?;
            comparison.push(side, sample);
        }
    }
    Ok(comparison)
}

async fn leader(cluster: &Cluster) -> anyhow::Result<usize> {
    Ok(cluster.wait_leader(limits::RECOVERY_GIVE_UP).await?.0)
}

async fn a_follower(cluster: &Cluster) -> anyhow::Result<usize> {
    Ok((leader(cluster).await? + 1) % cluster.size())
}

/// A row's name as it stands in the table.
fn name(row: Row) -> String {
    row.to_possible_value().map_or_else(String::new, |value| value.get_name().to_uppercase())
}

/// Tells on standard error what is under way. Nobody listening is no reason to stop.
fn progress(what: &str) {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs();
    drop(writeln!(std::io::stderr(), "[{seconds:>4} s] {what}"));
}

/// The first line that a program says of its version.
fn version(program: &Path, word: &str) -> String {
    match std::process::Command::new(program).arg(word).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().unwrap_or("unknown").to_owned()
        }
        Err(error) => format!("unknown ({error})"),
    }
}
