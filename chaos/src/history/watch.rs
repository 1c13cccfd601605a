//! What a watcher asked for, and what it was told.

use serde::Serialize;

use super::{Event, EventKind};

/// Keys that somebody looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Keys {
    /// Every key.
    #[default]
    All,
    /// This key.
    One(String),
    /// Every key that starts with the prefix.
    Under(String),
}

impl Keys {
    /// Whether a key is one of them.
    pub fn have(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == key,
            Self::Under(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// What a watcher wants to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Events on these keys,
    pub keys: Keys,
    /// from this revision on; 0 is from now on.
    pub start_revision: i64,
    /// No puts.
    pub no_put: bool,
    /// No deletes.
    pub no_delete: bool,
    /// The state before each event.
    pub prev_kv: bool,
    /// Large responses in pieces.
    pub fragment: bool,
    /// From time to time how far it is, unasked.
    pub progress_notify: bool,
}

impl Asked {
    /// Every event on every key from a revision on, with the state before it.
    pub fn everything(start_revision: i64) -> Self {
        Self { start_revision, prev_kv: true, ..Self::default() }
    }

    /// Whether no event is left out.
    pub fn is_everything(&self) -> bool {
        self.keys == Keys::All && !self.no_put && !self.no_delete
    }

    /// Whether it is to be told an event.
    pub fn wants(&self, event: &Event) -> bool {
        let filtered = match event.kind {
            EventKind::Put => self.no_put,
            EventKind::Delete => self.no_delete,
        };
        !filtered && self.keys.have(&event.kv.key)
    }
}

/// Everything that one watcher was told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WatchLog {
    /// Number of the watcher.
    pub watcher: usize,
    /// What it is, in words ("on member 1").
    pub name: String,
    /// What it wants.
    pub asked: Asked,
    /// Every response, in order of arrival, over all its streams.
    pub seen: Vec<WatchSeen>,
    /// Whether it ended before the run did. One that did not must have been told everything.
    pub ended: bool,
}

impl WatchLog {
    /// Responses that say nothing but how far the stream is.
    pub fn progress_answers(&self) -> usize {
        self.seen.iter().filter(|seen| seen.says_only_progress()).count()
    }
}

/// One response on a watch stream.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WatchSeen {
    /// When it arrived.
    pub time_ns: u64,
    /// Number of the stream, over the watcher's life.
    pub stream: usize,
    /// The member that sent it.
    pub member: usize,
    /// The first revision that this stream was asked for.
    pub start_revision: i64,
    /// The revision in the header.
    pub revision: i64,
    /// A reason if the watch was cancelled by the server.
    pub canceled: Option<String>,
    /// With a cancellation: the compacted revision that was the reason, or 0.
    pub compact_revision: i64,
    /// Whether this answers the creation of the watch (such a response promises no progress).
    pub created: bool,
    /// Whether the next response goes on with this one.
    pub fragment: bool,
    /// The events in it; none means progress only.
    pub events: Vec<Event>,
}

impl WatchSeen {
    /// Whether it says nothing but how far the stream is.
    pub fn says_only_progress(&self) -> bool {
        self.events.is_empty() && !self.created && !self.fragment && self.canceled.is_none()
    }
}
