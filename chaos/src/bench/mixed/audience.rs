//! Watchers of whole kinds of objects: they must be told of every change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;

use super::TOLD_DEADLINE;
use super::registry::{Object, Registry};
use crate::bench::watchers::WatchStream;
use crate::bench::wire::Connection;
use crate::bench::{MixedFlags, ServerFlags};
use crate::limits;

/// All watchers. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Audience {
    seats: Vec<(Object, Arc<AtomicU64>)>,
    readers: JoinSet<anyhow::Error>,
}

impl Audience {
    /// Opens them, each on a stream of its own, on connections that nobody else uses.
    pub(super) async fn open(flags: &MixedFlags) -> anyhow::Result<Self> {
        let server = ServerFlags { conns: flags.server.endpoints.len(), ..flags.server.clone() };
        let mut connections = Connection::open_all(&server).await?;
        let (mut seats, mut readers) = (Vec::new(), JoinSet::new());
        for watcher in 0..flags.watchers {
            let object = Object::ALL[watcher % Object::ALL.len()];
            let place = watcher / Object::ALL.len() % connections.len();
            let connection = &mut connections[place];
            let stream = WatchStream::open(connection, &[object.prefix()]).await?;
            let told = Arc::new(AtomicU64::new(0));
            readers.spawn(follow(stream, Arc::clone(&told)));
            seats.push((object, told));
        }
        Ok(Self { seats, readers })
    }

    /// Waits until every watcher was told every change; returns what went wrong.
    pub(super) async fn wait_told(mut self, registry: &Registry) -> anyhow::Result<Vec<String>> {
        let start = Instant::now();
        let missing = |(object, told): &(Object, Arc<AtomicU64>)| {
            registry.changes(*object).saturating_sub(told.load(Ordering::Acquire))
        };
        let mut left: u64 = self.seats.iter().map(missing).sum();
        while left > 0 && start.elapsed() < TOLD_DEADLINE {
            tokio::time::sleep(limits::BENCH_POLL_INTERVAL).await;
            left = self.seats.iter().map(missing).sum();
        }
        let mut wrong = Vec::new();
        if left > 0 {
            wrong.push(format!("{left} events were not told to watchers"));
        }
        while let Some(broken) = self.readers.try_join_next() {
            wrong.push(format!("a watcher: {:#}", broken?));
        }
        Ok(wrong)
    }
}

/// Counts events until the stream breaks.
async fn follow(mut stream: WatchStream, told: Arc<AtomicU64>) -> anyhow::Error {
    loop {
        match stream.next(|_| ()).await {
            Ok(events) => {
                told.fetch_add(events, Ordering::AcqRel);
            }
            Err(error) => return error,
        }
    }
}
