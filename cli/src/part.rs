//! Runs one part in this process: the runtime, the signals and the log set-up they all share.

use std::future::Future;
use std::io::IsTerminal as _;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What libraries say at `info` is for those who work on them: at that level only their
/// warnings, and of openraft only errors: it warns of each heartbeat that a dead peer does not hear.
const QUIET: &str =
    "openraft=error,hyper=warn,h2=warn,tower=warn,kube_client=warn,kube_runtime=warn";

/// Log lines go to standard error; `RUST_LOG` wins over `--log-level`.
pub(crate) fn set_up_logs(level: &str) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot set up logs: {error}"))
}

/// As [`set_up_logs`], with the choices that etcd's flags give.
pub(crate) fn set_up_store_logs(logs: &store_server::Logs) -> anyhow::Result<()> {
    crate::logs::set_up(logs, filter(logs.level)?)
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ if level == "info" => format!("info,{QUIET}"),
        _ => level.to_owned(),
    };
    EnvFilter::try_new(&filter).with_context(|| {
        format!("{filter:?} is not a log level: use error, warn, info, debug or trace")
    })
}

/// The threads that a part works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One per core, or what TOKIO_WORKER_THREADS says.
    PerCore,
    /// No more than so many, for a part that has little to do most of the time: each one has memory of its
    /// own, and is woken to look for work. TOKIO_WORKER_THREADS wins.
    AtMost(usize),
    /// The one that there is: the work is somewhere else.
    This,
}

impl Threads {
    fn builder(self) -> Builder {
        match self {
            Self::PerCore => Builder::new_multi_thread(),
            Self::AtMost(most) => {
                let mut builder = Builder::new_multi_thread();
                if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
                    let cores = std::thread::available_parallelism().map_or(1, usize::from);
                    builder.worker_threads(cores.min(most));
                }
                builder
            }
            Self::This => Builder::new_current_thread(),
        }
    }
}

/// Runs `work` on a runtime with a thread per core.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    block_on_threads(Threads::PerCore, work)
}

fn block_on_threads<T>(
    threads: Threads,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let runtime = threads.builder().enable_all().build();
    runtime.context("cannot start the async runtime")?.block_on(work)
}

/// Runs a part until it fails, or until SIGINT or SIGTERM and its own orderly stop after that.
pub(crate) fn run<F>(
    threads: Threads,
    start: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    block_on_threads(threads, async {
        let shutdown = CancellationToken::new();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch signals")?;
        let fired = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("stopping");
            fired.cancel();
        });
        // Not on this thread: it would be woken by one of the others each time that the part goes on.
        match tokio::spawn(start(shutdown)).await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(error).context("the part was given up"),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_part_has_no_more_threads_than_it_was_given() {
        let workers = |threads| {
            let count = async { Ok(tokio::runtime::Handle::current().metrics().num_workers()) };
            block_on_threads(threads, count).unwrap_or(0)
        };
        let asked = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|text| text.parse().ok());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(workers(Threads::AtMost(1)), asked.unwrap_or(1));
        assert_eq!(workers(Threads::AtMost(4096)), asked.unwrap_or(cores));
        assert_eq!(workers(Threads::PerCore), asked.unwrap_or(cores));
        assert_eq!(workers(Threads::This), 1);
    }
}
