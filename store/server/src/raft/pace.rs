//! When the apply thread does a step of a compaction, and when what there is to apply.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// How long the apply thread does other things after a step of a compaction that took so long.
fn rest_after(step: Duration, busy: bool) -> Duration {
    let (times_busy, times_idle) = limits::COMPACTION_RESTS;
    let times = if busy { times_busy } else { times_idle };
    (step * times).min(limits::COMPACTION_REST_MAX)
}

/// When the apply thread turns to a compaction.
pub(super) struct Pace {
    pub(super) compacting: bool,
    /// When the compaction under way made its first step.
    pub(super) since: Option<Instant>,
    /// When its next step is due.
    due: Instant,
    /// Whether there was something to apply since the last one.
    pub(super) busy: bool,
}

/// What the apply thread does next.
pub(super) enum Next {
    /// The job that comes.
    Job,
    /// The job that comes until then, or else a step of a compaction.
    JobUntil(Instant),
    Step,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { compacting: true, since: None, due: Instant::now(), busy: false }
    }

    pub(super) fn next(&self) -> Next {
        if !self.compacting {
            return Next::Job;
        }
        // A step that is due goes first: a compaction must end while there is load, too. Two steps
        // never follow each other while something waits to be applied.
        if self.busy && self.due <= Instant::now() { Next::Step } else { Next::JobUntil(self.due) }
    }

    /// A step took so long, and was perhaps the last one.
    pub(super) fn stepped(&mut self, took: Duration, done: bool) {
        self.compacting = !done;
        self.due = Instant::now() + rest_after(took, self.busy);
        self.busy = false;
    }
}
