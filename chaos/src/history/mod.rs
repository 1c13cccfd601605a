//! What the clients did and saw. Checkers look at nothing else, so a history can be kept, read
//! again and judged again.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | H1 | An operation is recorded before it is sent; its outcome only after the answer is here. |
//! | H2 | All times are nanoseconds of one monotonic clock in one process. |
//! | H3 | Every written value is unique in the history, so a value names its writer. |
//! | H4 | An outcome is `Refused` only if the operation certainly did not happen. |

mod export;
mod op;
mod recorder;

pub use export::write_json_lines;
pub use op::{
    Action, Event, EventKind, Guard, KeyValue, Op, Outcome, Reply, Step, StepReply, WatchSeen,
};
pub use recorder::Recorder;

use serde::Serialize;

/// A member's state at the end, read after all faults were healed and all clients had stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FinalState {
    /// Which member was asked.
    pub member: usize,
    /// The store's revision in the answer.
    pub revision: i64,
    /// Every live key.
    pub live: Vec<KeyValue>,
    /// Every event from the first revision on, as a new watch with previous values delivers them.
    pub log: Vec<Event>,
    /// Hash of keys and history at `revision`; `None` when the member does not offer one.
    pub hash: Option<u32>,
}

/// One fault: what was done to which members, and what the harness saw afterwards.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// What was done, in words ("kill leader").
    pub name: String,
    /// The members it was done to.
    pub members: Vec<usize>,
    /// When it took hold, in nanoseconds of the history's clock.
    pub injected_ns: u64,
    /// When healing began: the members were started again or continued.
    pub healed_ns: u64,
    /// When every healed member served a linearizable read; `None` when it never did.
    pub recovered_ns: Option<u64>,
    /// The leader before; `None` when none was known.
    pub leader_before: Option<usize>,
    /// The leader after recovery.
    pub leader_after: Option<usize>,
    /// The raft term before and after.
    pub term_before: u64,
    /// See `term_before`.
    pub term_after: u64,
}

/// Everything that one watcher was told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WatchLog {
    /// Number of the watcher.
    pub watcher: usize,
    /// What it is, in words ("on member 1").
    pub name: String,
    /// Every response, in order of arrival, over all its streams.
    pub seen: Vec<WatchSeen>,
}

impl WatchLog {
    /// Responses that say nothing but how far the stream is.
    pub fn progress_answers(&self) -> usize {
        let says_only_progress =
            |seen: &&WatchSeen| seen.events.is_empty() && !seen.created && seen.canceled.is_none();
        self.seen.iter().filter(says_only_progress).count()
    }
}

/// Everything that one run recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// The store's revision before the first operation (1 for an empty store).
    pub base_revision: i64,
    /// Operations in order of invocation: an operation's index is its place.
    pub ops: Vec<Op>,
    /// What the watchers saw while the faults happened.
    pub watches: Vec<WatchLog>,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// State of every member at the end.
    pub finals: Vec<FinalState>,
}

impl History {
    /// The full event log: the first member's. That all members have the same one is a promise
    /// that `checker::converged` checks.
    pub fn log(&self) -> &[Event] {
        self.finals.first().map_or(&[], |state| state.log.as_slice())
    }
}
