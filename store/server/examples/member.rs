//! A member alone: as `orlop store`, and quick to build while one works on the store.
//!
//! `cargo run -p store-server --example member -- --data-dir /tmp/store`

use clap::Parser;
use store_server::Flags;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Flags::with_two_dashes(std::env::args_os());
    let config = Line::parse_from(arguments).flags.into_config()?;
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    store_server::run(config, stop).await
}
