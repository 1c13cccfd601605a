//! A load generator for any etcd v3 endpoint: `orlop bench store`.
//!
//! It speaks gRPC on bare HTTP/2, many streams on few connections, so that its own cost, which it
//! reports, stays small beside the server's.

mod flags;
mod load;
mod measure;
mod operation;
mod report;
mod versus;
mod wire;

pub use flags::{Flags, LoadFlags, Target, VersusFlags, Workload};
pub use load::generate;
pub use report::Summary;

use std::io::Write as _;

use tokio_util::sync::CancellationToken;

/// Runs the benchmark that the flags name and prints its report.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Target::Store(workload) = flags.target;
    let text = tokio::select! {
        text = dispatch(workload) => text?,
        () = shutdown.cancelled() => anyhow::bail!("interrupted before the benchmark was done"),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn dispatch(workload: Workload) -> anyhow::Result<String> {
    match workload {
        Workload::Versus(flags) => versus::run(&flags).await,
        Workload::Put(load) => one(operation::Kind::Put, &load).await,
        Workload::Range(range) => {
            let kind = operation::Kind::Range { serializable: range.serializable };
            one(kind, &range.load).await
        }
        Workload::Txn(txn) => one(operation::Kind::Txn { puts: txn.puts }, &txn.load).await,
    }
}

async fn one(kind: operation::Kind, load: &LoadFlags) -> anyhow::Result<String> {
    let summary = generate(kind, load).await?;
    if load.wants_json() {
        Ok(serde_json::to_string(&summary)? + "\n")
    } else {
        Ok(summary.table())
    }
}
