//! `orlop chaos` and `orlop bench` without the rest of orlop: builds in seconds.

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
enum Command {
    /// Break a cluster and judge it
    Chaos(Box<chaos::Command>),
    /// Load a server
    Bench(Box<chaos::bench::Flags>),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let interrupted = shutdown.clone();
    tokio::spawn(async move {
        let terminated = async {
            match signal(SignalKind::terminate()) {
                Ok(mut signal) => signal.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
        interrupted.cancel();
    });
    match Command::parse() {
        Command::Chaos(flags) => chaos::run(*flags, shutdown).await,
        Command::Bench(flags) => chaos::bench::run(*flags, shutdown).await,
    }
}
