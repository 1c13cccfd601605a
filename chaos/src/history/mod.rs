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
#[cfg(test)]
mod export_test;
mod form;
mod kind;
mod moment;
mod op;
mod recorder;
mod watch;

pub use export::{write_edn_lines, write_json_lines};
pub use kind::Kind;
pub use op::{
    Action, AdminCall, Event, EventKind, Guard, KeyValue, LeaseCall, LockCall, Op, Outcome, Page,
    Reply, Step, StepReply,
};
pub use recorder::Recorder;
pub use watch::{Asked, Keys, WatchLog, WatchSeen};

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

/// What a store holds that was made of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Which member the backup was taken of.
    pub member: usize,
    /// The revision of the restored store.
    pub revision: i64,
    /// Every live key.
    pub live: Vec<KeyValue>,
}

/// One fault: what was done to which members, and what the harness saw afterwards.
#[derive(Clone, Debug, Default, Serialize)]
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
    /// What was measured that shows its effect, in words; empty when nothing was.
    pub proof: String,
}

/// Everything that one run recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// The workloads that ran: the promises of each must have been checked.
    pub kinds: Vec<Kind>,
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
    /// What was made of backups that were taken meanwhile.
    pub restored: Vec<Restored>,
}

impl History {
    /// The full event log: the first member's. That all members have the same one is a promise
    /// that `checker::converged` checks.
    pub fn log(&self) -> &[Event] {
        self.finals.first().map_or(&[], |state| state.log.as_slice())
    }
}
