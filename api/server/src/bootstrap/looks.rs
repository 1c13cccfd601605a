//! When to look at the objects of a kind: at first, whenever one changes, and after a failure.

use std::time::Duration;

use api_machinery::ResourceInfo;

use crate::state::Server;
use crate::watch_cache::{Filter, Start, Subscription};

/// After a failure, and after a stream that ended.
const RETRY: Duration = Duration::from_secs(1);

/// The looks at one kind.
#[derive(Debug)]
pub(super) struct Looks<'a> {
    server: &'a Server,
    kind: &'static ResourceInfo,
    changes: Option<Subscription>,
    has_failed: bool,
}

impl<'a> Looks<'a> {
    pub(super) fn at(server: &'a Server, kind: &'static ResourceInfo) -> Self {
        Self { server, kind, changes: None, has_failed: false }
    }

    /// The last look came to nothing: there is another one in a while.
    pub(super) fn failed(&mut self) {
        self.has_failed = true;
        self.changes = None;
    }

    /// Waits until it is time to look; false when the server stops.
    pub(super) async fn wait(&mut self) -> bool {
        if let Some(changes) = &mut self.changes {
            let change = tokio::select! {
                () = self.server.shutdown.cancelled() => return false,
                change = changes.queue.recv() => change,
            };
            if change.is_some() {
                // One look is enough for all that has changed by now.
                while changes.queue.try_recv().is_ok() {}
                return true;
            }
            self.failed();
        }
        loop {
            if self.has_failed {
                tokio::select! {
                    () = self.server.shutdown.cancelled() => return false,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
            let prefix = self.server.storage.prefix(self.kind, "");
            let (cache, seen) = (self.server.caches.of(self.kind), self.server.caches.revision());
            self.changes = cache.subscribe(&prefix, Filter::default(), Start::Now, seen).ok();
            self.has_failed = self.changes.is_none();
            if !self.has_failed {
                return true;
            }
        }
    }
}
