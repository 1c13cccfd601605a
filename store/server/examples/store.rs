//! One store member from the command line.

use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: store_server::Flags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let line = Line::parse();
    tracing_subscriber::fmt()
        .with_env_filter(line.flags.log_level.clone())
        .with_writer(std::io::stderr)
        .init();
    let stop = tokio_util::sync::CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        let mut term =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        on_signal.cancel();
    });
    store_server::run(line.flags.into_config()?, stop).await
}
