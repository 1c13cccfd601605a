//! Everything that a history has, in the order of its clock.

use super::{Fault, FinalState, History, Op, Restored, WatchLog, WatchSeen};

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment<'a> {
    /// What ran, and the store's revision before the first operation.
    Base(&'a History),
    Invoked(&'a Op),
    Injected(&'a Fault),
    Healed(&'a Fault),
    /// The members serve again, or it was given up.
    Recovered(&'a Fault),
    Watched(&'a WatchLog, &'a WatchSeen),
    Completed(&'a Op),
    Final(&'a FinalState),
    Restored(&'a Restored),
}

impl Moment<'_> {
    /// Among those at the same time: what is sent comes before what is answered, so that the order
    /// of lines never says "after" where the clock does not.
    fn rank(&self) -> u8 {
        match self {
            Self::Base(_) => 0,
            Self::Invoked(_) => 1,
            Self::Injected(_) => 2,
            Self::Healed(_) => 3,
            Self::Recovered(_) => 4,
            Self::Watched(..) => 5,
            Self::Completed(_) => 6,
            Self::Final(_) => 7,
            Self::Restored(_) => 8,
        }
    }
}

/// All moments with their times, sorted. An operation without an answer has no completion.
pub(super) fn moments(history: &History) -> Vec<(u64, Moment<'_>)> {
    let mut all = vec![(0, Moment::Base(history))];
    for op in &history.ops {
        all.push((op.invoked_ns, Moment::Invoked(op)));
        if op.completed_ns != u64::MAX {
            all.push((op.completed_ns, Moment::Completed(op)));
        }
    }
    for fault in &history.faults {
        all.push((fault.injected_ns, Moment::Injected(fault)));
        all.push((fault.healed_ns, Moment::Healed(fault)));
        let recovered = fault.recovered_ns.unwrap_or(fault.healed_ns);
        all.push((recovered, Moment::Recovered(fault)));
    }
    for watch in &history.watches {
        all.extend(watch.seen.iter().map(|seen| (seen.time_ns, Moment::Watched(watch, seen))));
    }
    let end = all.iter().map(|(time_ns, _)| *time_ns).max().unwrap_or(0);
    all.extend(history.finals.iter().map(|state| (end, Moment::Final(state))));
    all.extend(history.restored.iter().map(|state| (end, Moment::Restored(state))));
    all.sort_by_key(|(time_ns, moment)| (*time_ns, moment.rank()));
    all
}
