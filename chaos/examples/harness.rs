//! `orlop chaos` and `orlop bench` without the rest of orlop: builds in seconds.

use clap::Parser;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
enum Command {
    /// Break a cluster and judge it
    Chaos(chaos::Flags),
    /// Load a server
    Bench(chaos::bench::Flags),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let interrupted = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    match Command::parse() {
        Command::Chaos(flags) => chaos::run(flags, shutdown).await,
        Command::Bench(flags) => chaos::bench::run(flags, shutdown).await,
    }
}
