//! Keeps the raft log short in bytes. openraft counts its entries, and entries can be large: without this
//! a hundred thousand transactions of a megabyte would fill a disk before the first snapshot is due.

use openraft::async_runtime::WatchReceiver as _;

use super::{Log, Node};
use crate::{exec, limits};

/// Decides what may be deleted: after every so many bytes what was there after the ones before them, so
/// that a member that lags a little is served from the log.
#[derive(Debug)]
struct Marks {
    every: u64,
    /// What had been written, and applied, when the last mark was made.
    written: u64,
    applied: u64,
}

impl Marks {
    fn new(every: u64, written: u64) -> Self {
        Self { every, written, applied: 0 }
    }

    /// The entry up to which the log may go, if another mark is due.
    fn due(&mut self, written: u64, applied: u64) -> Option<u64> {
        if written.saturating_sub(self.written) < self.every {
            return None;
        }
        self.written = written;
        Some(std::mem::replace(&mut self.applied, applied)).filter(|upto| *upto > 0)
    }
}

/// Deletes what is old and too much, until raft ends.
pub(crate) async fn run(raft: Node, log: Log) {
    let mut marks = Marks::new(limits::LOG_BYTES_KEPT, log.written_bytes());
    let mut wanted = None;
    loop {
        exec::rest(limits::LOG_LOOK_EVERY).await;
        let (applied, snapshot) = {
            let metrics = raft.metrics();
            let now = metrics.borrow_watched();
            (now.last_applied.map_or(0, |id| id.index), now.snapshot.map_or(0, |id| id.index))
        };
        wanted = marks.due(log.written_bytes(), applied).or(wanted);
        let Some(upto) = wanted else { continue };
        // Nothing is deleted that no snapshot has.
        let done = if snapshot < upto {
            raft.trigger().snapshot().await
        } else {
            wanted = None;
            tracing::info!(upto, "the log is large: its older half is deleted");
            raft.trigger().purge_log(upto).await
        };
        if done.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_two_times_what_is_to_be_kept_is_kept() {
        let mut marks = Marks::new(1000, 0);
        assert_eq!(marks.due(999, 50), None, "not enough yet");
        assert_eq!(marks.due(1000, 51), None, "all of it is the newest part");
        assert_eq!(marks.due(1999, 99), None);
        assert_eq!(marks.due(2500, 120), Some(51), "what was there at the mark before");
        assert_eq!(marks.due(3499, 200), None, "counted from where the mark was made");
        assert_eq!(marks.due(3500, 201), Some(120));
    }

    #[test]
    fn what_a_log_held_when_it_was_opened_goes_after_twice_the_bytes() {
        let mut marks = Marks::new(1000, 0);
        assert_eq!(marks.due(1000, 7_000_000), None);
        assert_eq!(marks.due(2000, 7_000_100), Some(7_000_000));
    }
}
