//! Long bodies that are let go of when their client does not take them.
//!
//! A connection with many streams never asks a body for more whose stream its client has stopped
//! reading: what the body holds (all items of a list as they were) would be kept as long as that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use crate::body::Pull;
use crate::limits::{LIST_CHUNK_BYTES, WRITE_STALL_TIMEOUT};

struct Shared {
    source: Mutex<Option<Box<dyn Pull>>>,
    pulls: AtomicU64,
}

/// A body that ends as a broken one when nobody has taken anything of it for a while.
pub(crate) struct Expiring(Arc<Shared>);

impl Expiring {
    pub(crate) fn new(source: Box<dyn Pull>) -> Self {
        let shared = Shared { source: Mutex::new(Some(source)), pulls: AtomicU64::new(0) };
        let shared = Arc::new(shared);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(expire(Arc::downgrade(&shared)));
        }
        Self(shared)
    }
}

/// Ends with the body, or ends it.
async fn expire(shared: Weak<Shared>) {
    let mut before = 0;
    loop {
        tokio::time::sleep(WRITE_STALL_TIMEOUT).await;
        let Some(shared) = shared.upgrade() else { return };
        let now = shared.pulls.load(Ordering::Relaxed);
        if now == before {
            drop(shared.source.lock().take());
            return;
        }
        before = now;
    }
}

impl Pull for Expiring {
    fn pull(&mut self) -> Option<Bytes> {
        self.0.pulls.fetch_add(1, Ordering::Relaxed);
        self.0.source.lock().as_mut()?.pull()
    }

    fn is_broken(&self) -> bool {
        self.0.source.lock().as_ref().is_none_or(|source| source.is_broken())
    }
}

/// A long body that is there as a whole, and its place among the few that may be.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl Pull for Held {
    fn pull(&mut self) -> Option<Bytes> {
        let size = self.bytes.len().min(LIST_CHUNK_BYTES);
        (size > 0).then(|| self.bytes.split_to(size))
    }
}
