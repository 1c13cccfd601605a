//! The highest revision that anybody knew of at a moment: what comes later must not be below it.

use crate::history::History;

/// Who knew of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The store as it was before the first operation.
    Start,
    /// An acknowledged operation, by index.
    Op(usize),
    /// A watcher that was told an event, by number.
    Watcher(usize),
}

impl Source {
    /// The operation to show in a counter-example.
    pub(crate) fn op(self) -> Option<usize> {
        match self {
            Self::Op(index) => Some(index),
            Self::Start | Self::Watcher(_) => None,
        }
    }

    pub(crate) fn describe(self) -> String {
        match self {
            Self::Start => "the store before the run".to_owned(),
            Self::Op(index) => format!("operation {index}"),
            Self::Watcher(number) => format!("watcher {number}"),
        }
    }
}

/// Running maximum of known revisions over time.
#[derive(Debug)]
pub(crate) struct Floor {
    base: i64,
    known: Vec<(u64, i64, Source)>,
}

impl Floor {
    pub(crate) fn of(history: &History) -> Self {
        let mut known = Vec::new();
        for op in &history.ops {
            if let Some(reply) = op.reply() {
                known.push((op.completed_ns, reply.revision, Source::Op(op.index)));
            }
        }
        for watch in &history.watches {
            for seen in &watch.seen {
                if let Some(event) = seen.events.last() {
                    let source = Source::Watcher(watch.watcher);
                    known.push((seen.time_ns, event.kv.mod_revision, source));
                }
            }
        }
        known.sort_by_key(|(time, revision, _)| (*time, *revision));
        let mut highest = (history.base_revision, Source::Start);
        for entry in &mut known {
            if entry.1 > highest.0 {
                highest = (entry.1, entry.2);
            } else {
                (entry.1, entry.2) = highest;
            }
        }
        Self { base: history.base_revision, known }
    }

    /// When somebody first knew of a revision, or of a later one; `None` when nobody ever did.
    pub(crate) fn first_known_ns(&self, revision: i64) -> Option<u64> {
        let place = self.known.partition_point(|(_, known, _)| *known < revision);
        self.known.get(place).map(|(time_ns, _, _)| *time_ns)
    }

    /// The highest revision that was known strictly before `time_ns`, and to whom.
    pub(crate) fn before(&self, time_ns: u64) -> (i64, Source) {
        let end = self.known.partition_point(|(time, _, _)| *time < time_ns);
        match end.checked_sub(1) {
            Some(last) => (self.known[last].1, self.known[last].2),
            None => (self.base, Source::Start),
        }
    }
}
