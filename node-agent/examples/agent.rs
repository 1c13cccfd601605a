//! Runs the node agent by hand: `cargo run -p node-agent --example agent -- --kubeconfig FILE …`.

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: node_agent::Flags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = Arguments::parse().flags.into_config()?;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    node_agent::run(config, shutdown).await
}
