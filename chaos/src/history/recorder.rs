//! Where clients write down what they do, while it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
// Not the standard library's: under simulation time is the runtime's.
use tokio::time::Instant;

use super::{Action, Op, Outcome};
use crate::limits;

/// The shared notebook: one clock, one list.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    start: Instant,
    ops: Mutex<Vec<Op>>,
    acknowledged: AtomicU64,
    acknowledged_writes: AtomicU64,
    processes: AtomicUsize,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                start: Instant::now(),
                ops: Mutex::new(Vec::new()),
                acknowledged: AtomicU64::new(0),
                acknowledged_writes: AtomicU64::new(0),
                processes: AtomicUsize::new(0),
            }),
        }
    }
}

impl Recorder {
    /// Nanoseconds since the history began (H2).
    pub fn now_ns(&self) -> u64 {
        nanoseconds(self.inner.start.elapsed())
    }

    /// A number for a sequential process that nobody had before.
    pub fn new_process(&self) -> usize {
        self.inner.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes down an operation that is about to be sent (H1) and returns its index; `None` when
    /// the history is full.
    pub fn invoke(&self, process: usize, member: usize, action: Action) -> Option<usize> {
        let mut ops = self.inner.ops.lock();
        let index = ops.len();
        if index >= limits::HISTORY_OPERATIONS_MAX {
            return None;
        }
        ops.push(Op {
            index,
            process,
            member,
            invoked_ns: self.now_ns(),
            completed_ns: u64::MAX,
            action,
            outcome: Outcome::Unknown("not answered".to_owned()),
        });
        Some(index)
    }

    /// Writes down how it ended.
    pub fn complete(&self, index: usize, outcome: Outcome) {
        let now = self.now_ns();
        let is_ok = matches!(&outcome, Outcome::Ok(_));
        let wrote = matches!(&outcome, Outcome::Ok(reply) if reply.wrote());
        let mut ops = self.inner.ops.lock();
        ops[index].completed_ns = now;
        ops[index].outcome = outcome;
        drop(ops);
        if is_ok {
            self.inner.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        if wrote {
            self.inner.acknowledged_writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Operations acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.inner.acknowledged.load(Ordering::Relaxed)
    }

    /// Writes acknowledged so far.
    pub fn acknowledged_writes(&self) -> u64 {
        self.inner.acknowledged_writes.load(Ordering::Relaxed)
    }

    /// The operations that were sent since a time.
    pub fn ops_since(&self, since_ns: u64) -> Vec<Op> {
        let ops = self.inner.ops.lock();
        let from = ops.partition_point(|op| op.invoked_ns < since_ns);
        ops[from..].to_vec()
    }

    /// The operations so far.
    pub fn ops(&self) -> Vec<Op> {
        self.inner.ops.lock().clone()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
