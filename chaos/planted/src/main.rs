//! The binary `orlop-planted`: a store member that can be given a bug, and the suite that finds it.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use store_planted::{Bug, VARIABLE};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Bugs planted in the store on purpose, to see that the tests find them
#[derive(Debug, Parser)]
#[command(name = "orlop-planted", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a store member, with a bug if one is named
    Store {
        /// The bug; the member is a normal one without
        #[arg(long, env = VARIABLE, default_value = "", value_name = "NAME")]
        plant: String,
        #[command(flatten)]
        flags: Box<store_server::Flags>,
    },
    /// Run what finds each bug, and show how soon it does
    Suite(chaos_planted::Flags),
    /// List the bugs
    List,
}

fn main() -> ExitCode {
    let result = match Arguments::parse_from(std::env::args_os().collect::<Vec<OsString>>()).command
    {
        Command::Store { plant, flags } => member(&plant, *flags),
        Command::Suite(flags) => suite(flags),
        Command::List => list(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            drop(writeln!(std::io::stderr(), "error: {line}"));
            ExitCode::FAILURE
        }
    }
}

fn member(plant: &str, flags: store_server::Flags) -> anyhow::Result<()> {
    let flags = flags.resolved()?;
    set_up_logs("info,openraft=error,hyper=warn,h2=warn,tower=warn")?;
    let bug = store_planted::plant(plant).map_err(|why| anyhow!("{VARIABLE}: {why}"))?;
    if let Some(bug) = bug {
        let (name, what) = (bug.name(), bug.what());
        tracing::error!("PLANTED BUG {name}: {what}. This member breaks its promises on purpose");
    }
    let config = flags.into_config()?;
    run(|stop| store_server::run(config, stop))
}

fn suite(flags: chaos_planted::Flags) -> anyhow::Result<()> {
    set_up_logs("warn")?;
    run(|stop| chaos_planted::run(flags, stop))
}

fn list() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for bug in Bug::all() {
        writeln!(out, "{:24} {}\n{:24} ({})", bug.name(), bug.what(), "", bug.modelled_on())?;
    }
    Ok(())
}

fn set_up_logs(quiet: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ => quiet.to_owned(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&filter).context("RUST_LOG")?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow!("cannot set up logs: {error}"))
}

fn run<F>(start: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the async runtime")?.block_on(async {
        let shutdown = CancellationToken::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let fired = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            fired.cancel();
        });
        start(shutdown).await
    })
}
