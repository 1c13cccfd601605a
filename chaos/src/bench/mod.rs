//! A load generator for any etcd v3 endpoint, `orlop bench store`, and any Kubernetes API server,
//! `orlop bench api`.
//!
//! It speaks gRPC on bare HTTP/2, many streams on few connections, so that its own cost, which it
//! reports, stays small beside the server's. Every answer is judged: what is fast and wrong is an
//! error.
//!
//! `pace` lets clients take turns, `tally` counts, `measure` reads /proc; `load`, `watch`, `lease` and
//! `mixed` are workloads; `versus` runs them on two stores in turns.

mod api;
mod flags;
mod lease;
mod load;
mod measure;
mod mixed;
mod operation;
mod pace;
mod probe;
mod report;
mod table;
mod tally;
mod versus;
mod watch;
mod watchers;
mod wire;

pub use api::{ApiFlags, ApiRow};
pub use flags::{
    Flags, LeaseFlags, LoadFlags, MixedFlags, PaceFlags, RangeFlags, ServerFlags, Target, TxnFlags,
    WatchFlags, Workload,
};
pub use report::Summary;
pub use versus::VersusFlags;
pub use watch::WatchSummary;

use std::io::Write as _;

use tokio_util::sync::CancellationToken;

use self::operation::{Kind, Shape};

/// Runs the benchmark that the flags name and prints its report.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let text = tokio::select! {
        text = dispatch(flags.target) => text?,
        () = shutdown.cancelled() => anyhow::bail!("interrupted before the benchmark was done"),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Runs what is asked for and returns its report.
pub async fn dispatch(target: Target) -> anyhow::Result<String> {
    match target {
        Target::Store(workload) => Box::pin(load_store(*workload)).await,
        Target::Api(flags) => Box::pin(api::run(&flags)).await,
    }
}

async fn load_store(workload: Workload) -> anyhow::Result<String> {
    match workload {
        Workload::Versus(flags) => Box::pin(versus::run(&flags)).await,
        Workload::Put(flags) => {
            summary(&flags.server, &Box::pin(load::generate(Kind::Put, &flags)).await?)
        }
        Workload::Range(range) => {
            let kind = Kind::Range { serializable: range.serializable, shape: shape(&range) };
            let read = Box::pin(load::read(kind, &range.load, range.no_fill)).await?;
            summary(&range.load.server, &read)
        }
        Workload::Txn(txn) => {
            let kind = Kind::Txn { puts: txn.puts };
            summary(&txn.load.server, &Box::pin(load::generate(kind, &txn.load)).await?)
        }
        Workload::Watch(flags) => {
            let figures = Box::pin(watch::run(&flags)).await?;
            if flags.server.wants_json() {
                return Ok(serde_json::to_string(&figures)? + "\n");
            }
            Ok(figures.table())
        }
        Workload::Lease(flags) => summary(&flags.server, &Box::pin(lease::run(&flags)).await?),
        Workload::Mixed(flags) => summary(&flags.server, &Box::pin(mixed::run(&flags)).await?),
    }
}

/// Any flag that is about many keys makes it a range of them.
fn shape(flags: &RangeFlags) -> Shape {
    if flags.count_only {
        Shape::Count
    } else if flags.whole_prefix || flags.keys_only || flags.limit.is_some() {
        Shape::Prefix { limit: flags.limit.unwrap_or(0), keys_only: flags.keys_only }
    } else {
        Shape::Key
    }
}

fn summary(server: &ServerFlags, summary: &Summary) -> anyhow::Result<String> {
    if server.wants_json() {
        Ok(serde_json::to_string(summary)? + "\n")
    } else {
        Ok(summary.table())
    }
}
