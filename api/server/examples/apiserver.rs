//! The API server alone, to try it by hand.

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: api_server::Flags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let on_signal = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            on_signal.cancel();
        }
    });
    api_server::run(Cli::parse().flags.into_config()?, shutdown).await
}
