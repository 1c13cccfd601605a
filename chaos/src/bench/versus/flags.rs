//! Flags of `orlop bench store versus`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Row {
    /// Puts
    B1,
    /// Transactions of 64 puts, until the many keys are there
    B2,
    /// The mix of a Kubernetes cluster
    B3,
    /// Ranges and counts
    B4,
    /// Linearizable reads through one follower
    B5,
    /// Watchers
    B6,
    /// Leases kept alive
    B7,
    /// Puts while compacting and defragmenting
    B8,
    /// Snapshot, restart and memory with many keys
    B9,
    /// The first put after the leader was killed
    B15,
}

/// Flags of `versus`.
#[derive(Clone, Debug, clap::Args)]
pub struct VersusFlags {
    /// The orlop binary; this one when not given
    #[arg(long, value_name = "PATH")]
    pub orlop: Option<PathBuf>,
    /// The etcd binary to compare with
    #[arg(long, value_name = "PATH")]
    pub etcd: PathBuf,
    /// Rows to measure
    #[arg(
        long,
        value_delimiter = ',',
        ignore_case = true,
        value_enum,
        default_value = "b1,b2,b3,b4,b5,b6,b7,b8,b9,b15"
    )]
    pub rows: Vec<Row>,
    /// Rounds of each store, in turns; rows that take long have at most two
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Clients of row b1
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    pub clients: Vec<usize>,
    /// The many keys of rows b2, b4, b8 and b9; ten million need 30 GB of disk and half an hour
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Leaders killed in row b15
    #[arg(long, default_value_t = 5)]
    pub kills: usize,
    /// Measure row b1 also with every fsync of all members made slower by this ("4ms"); needs
    /// FUSE, or strace where there is none
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub slow_fsync: Option<Duration>,
    /// One short round of everything with fewer keys: to see that it runs, not to quote
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "keys", "kills"])]
    pub quick: bool,
    /// Also write the report to this file, and all figures to one with the ending .json beside it
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Keys are loaded in so many parts, by transactions of 64.
pub(super) const PARTS: u64 = 5;
pub(super) const PUTS: u64 = 64;

impl VersusFlags {
    /// With what `--quick` means, and checked.
    pub(super) fn settled(mut self) -> anyhow::Result<Self> {
        if self.quick {
            (self.rounds, self.seconds, self.keys, self.kills) = (1, 1, 64_000, 2);
        }
        ensure!(self.rounds > 0 && self.seconds > 0, "at least one round of one second");
        ensure!(!self.clients.is_empty() && !self.clients.contains(&0), "at least one client");
        ensure!(self.kills > 0, "at least one kill");
        ensure!(
            self.keys >= PARTS * PUTS && self.keys.is_multiple_of(PARTS * PUTS),
            "--keys is a multiple of {}",
            PARTS * PUTS
        );
        self.rows.sort_unstable();
        self.rows.dedup();
        Ok(self)
    }

    /// Rounds of a measurement that takes long.
    pub(super) fn few_rounds(&self) -> usize {
        self.rounds.min(2)
    }
}

/// A time with its unit: "4ms", "500us", "1s".
fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).context("a time has a unit: 4ms")?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().context("a time begins with a whole number: 4ms")?;
    let duration = match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => anyhow::bail!("{unit:?} is no unit: use us, ms or s"),
    };
    ensure!(!duration.is_zero(), "no time at all is what there is without the flag");
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        flags: VersusFlags,
    }

    fn parse(arguments: &[&str]) -> Result<VersusFlags, String> {
        let line = ["versus", "--etcd", "etcd"].iter().chain(arguments);
        let flags = Command::try_parse_from(line).map_err(|error| error.to_string())?.flags;
        flags.settled().map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_named_in_any_order_and_case_and_those_that_are_none_are_refused() {
        assert_eq!(parse(&["--rows", "b15,B2,b2"]).unwrap().rows, [Row::B2, Row::B15]);
        assert_eq!(parse(&[]).unwrap().rows.len(), 10);
        let error = parse(&["--rows", "b10"]).unwrap_err();
        assert!(error.contains("b10") && error.contains("b15"), "{error}");
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("4ms").unwrap(), Duration::from_millis(4));
        assert_eq!(duration("250us").unwrap(), Duration::from_micros(250));
        assert_eq!(duration("1s").unwrap(), Duration::from_secs(1));
        for wrong in ["4", "ms", "4 ms", "4m", "0ms", "-1ms", ""] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn keys_are_loaded_in_equal_parts_of_whole_transactions() {
        assert!(parse(&["--keys", "1000000"]).is_ok());
        assert!(parse(&["--keys", "10000000"]).is_ok());
        assert!(parse(&["--keys", "1000001"]).is_err());
        assert!(parse(&["--keys", "0"]).is_err());
        let quick = parse(&["--quick"]).unwrap();
        assert_eq!((quick.rounds, quick.kills), (1, 2));
        assert!(parse(&["--quick", "--rounds", "2"]).is_err(), "quick says how many");
    }
}
