//! What a simulated world decides instead of the machine: how long its disks take, and what happens
//! when a member cannot go on. One world per process; whoever decides knows which member asks.

use std::{sync::OnceLock, time::Duration};

/// How long a write of the raft log takes.
#[derive(Debug, Clone, Copy)]
pub struct WriteTimes {
    /// Until it is on disk.
    pub before: Duration,
    /// From then on, until it is told.
    pub after: Duration,
}

/// What the world decides.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// The time that the next write of the log takes.
    pub log_write: fn() -> WriteTimes,
    /// The time before the next step of the apply loop.
    pub apply: fn() -> Duration,
    /// A snapshot took the place of the member's state.
    pub installed: fn(),
    /// The member ends at once, for this reason.
    pub fatal: fn(&str),
}

static WORLD: OnceLock<World> = OnceLock::new();

/// Says who decides; the first call counts.
pub fn decide_by(world: World) {
    let _first: Result<(), World> = WORLD.set(world);
}

/// A member's state at one instant, for laws that hold at every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// The leader, as far as the member knows.
    pub leader: Option<u64>,
    /// Of the last log entry that it applied.
    pub applied_index: u64,
    /// Of the last write that it applied.
    pub revision: i64,
    /// What was compacted.
    pub compact_revision: i64,
    /// Digest of all that it applied: how many entries, and what they did.
    pub digest: (u64, u64),
}

pub(crate) fn log_write() -> WriteTimes {
    let none = WriteTimes { before: Duration::ZERO, after: Duration::ZERO };
    WORLD.get().map_or(none, |world| (world.log_write)())
}

pub(crate) fn apply_time() -> Duration {
    WORLD.get().map_or(Duration::ZERO, |world| (world.apply)())
}

pub(crate) fn installed() {
    if let Some(world) = WORLD.get() {
        (world.installed)();
    }
}

/// Ends the member whose code is running. The task that found out goes no further; the others of the
/// same member may for an instant, as threads may while a process is being aborted.
pub(crate) fn fatal(message: &str) -> ! {
    if let Some(world) = WORLD.get() {
        (world.fatal)(message);
    }
    std::panic::resume_unwind(Box::new("the simulated process ends"))
}
