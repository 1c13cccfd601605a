//! The command line of `orlop chaos`.

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::{informer, run as whole_run, scenario, sim, soak};

/// Flags of `orlop chaos`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Command {
    #[command(subcommand)]
    mode: Option<Mode>,
    #[command(flatten)]
    scenario: Option<scenario::Flags>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Mode {
    /// Many kinds of faults, overlapping, by a seeded schedule
    ///
    /// Each member is a process on a host and a disk of its own; each fault is measured, and the run
    /// fails if too few took effect. Needs root, /dev/net/tun and /dev/fuse.
    ///
    /// Examples: `orlop chaos run --profile smoke --seed 7`, or on a real etcd
    /// `orlop chaos run --binary etcd --store-command ""`.
    Run(Box<whole_run::Flags>),
    /// Find the smallest schedule that still fails
    Shrink(Box<whole_run::shrink::Flags>),
    /// Hours of runs with new seeds, counted in a ledger with which it goes on after a stop
    ///
    /// Each round is a process of its own: `orlop chaos run`, and every second one `orlop chaos
    /// sim` where there is a simulator. A round that fails keeps history, logs, members' data and
    /// its page, and the soak goes on; the report in the folder has the command that runs it again.
    /// Ctrl-C ends the round that is under way, which is run again by the next start.
    ///
    /// Examples: `orlop chaos soak --hours 8`, then `orlop chaos soak --show`.
    Soak(Box<soak::Flags>),
    /// The store in a simulated world: time, network and disks follow from a seed
    Sim(Box<sim::Flags>),
    /// Informers of an unmodified client, through API servers that break
    Informer(Box<informer::Flags>),
}

/// Runs what the flags say, prints its report, and fails if a promise was broken.
///
/// # Errors
/// If a promise was broken, or the run could not be finished.
pub async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<()> {
    match command.mode {
        Some(Mode::Run(flags)) => whole_run::run(*flags, shutdown).await,
        Some(Mode::Shrink(flags)) => whole_run::shrink::run(*flags, shutdown).await,
        Some(Mode::Soak(flags)) => soak::run(*flags, shutdown).await,
        Some(Mode::Sim(flags)) => sim::run(*flags, shutdown).await,
        Some(Mode::Informer(flags)) => informer::run(*flags, shutdown).await,
        None => {
            let flags = command
                .scenario
                .context("say what to do: run, shrink, sim, soak, informer or a scenario")?;
            scenario::run(flags, shutdown).await
        }
    }
}
