//! Which compactions somebody asked for, and whether one of them is why a watch was cancelled.

use crate::history::{Action, History, WatchSeen};

/// Compactions by the time when they were sent.
pub(super) struct Compactions {
    /// When, and the highest revision that was asked for up to then.
    highest: Vec<(u64, i64)>,
    /// When a revision was asked for first, by revision.
    first: Vec<(i64, u64)>,
}

impl Compactions {
    pub(super) fn of(history: &History) -> Self {
        let mut first: Vec<(i64, u64)> = Vec::new();
        for op in &history.ops {
            if let Action::Compact { revision } = op.action
                && !matches!(op.outcome, crate::history::Outcome::Refused(_))
            {
                first.push((revision, op.invoked_ns));
            }
        }
        let mut highest: Vec<(u64, i64)> = first.iter().map(|(at, sent)| (*sent, *at)).collect();
        highest.sort_unstable();
        let mut most = 0;
        for (_, revision) in &mut highest {
            most = most.max(*revision);
            *revision = most;
        }
        first.sort_unstable();
        Self { highest, first }
    }

    /// The highest revision that may have been compacted by a time; 0 when none was.
    pub(super) fn asked_by(&self, time_ns: u64) -> i64 {
        let end = self.highest.partition_point(|(sent_ns, _)| *sent_ns <= time_ns);
        end.checked_sub(1).map_or(0, |last| self.highest[last].1)
    }

    /// Whether a compaction is why a watch was cancelled that needs what was at a revision.
    pub(super) fn explain(
        &self,
        needs: Option<i64>,
        seen: &WatchSeen,
        reason: &str,
    ) -> Result<(), String> {
        let compacted = seen.compact_revision;
        if compacted == 0 {
            return Err(format!("cancelled: {reason:?}"));
        }
        let place = self.first.partition_point(|(revision, _)| *revision < compacted);
        let asked = self.first.get(place);
        if !asked.is_some_and(|(at, sent_ns)| *at == compacted && *sent_ns <= seen.time_ns) {
            return Err(format!("cancelled as compacted to {compacted}, which nobody asked for"));
        }
        match needs {
            Some(needs) if needs < compacted => Ok(()),
            needs => Err(format!(
                "cancelled as compacted to {compacted}, though {needs:?} is the first that it needs"
            )),
        }
    }
}
