//! One operation: what was asked, what was answered, and when.

use serde::Serialize;

/// A key as the store returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Revision that created it.
    pub create_revision: i64,
    /// Revision that last changed it.
    pub mod_revision: i64,
    /// Number of changes since it was created.
    pub version: i64,
}

/// What an event did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum EventKind {
    /// The key was written.
    Put,
    /// The key was deleted.
    Delete,
}

/// One change of one key, as a watch delivers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Written or deleted.
    pub kind: EventKind,
    /// The new state; for a delete only key and mod_revision are set.
    pub kv: KeyValue,
    /// The state before; `None` when the key did not exist.
    pub previous: Option<KeyValue>,
}

/// "The key's mod_revision equals this": zero means that the key does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// The key.
    pub key: String,
    /// The expected mod_revision.
    pub mod_revision: i64,
}

/// One operation inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Writes a key, asking for the previous value.
    Put { key: String, value: String },
    /// Deletes a key, asking for the previous value.
    Delete { key: String },
    /// Reads a key.
    Get { key: String },
    /// Reads every key that starts with the prefix.
    List { prefix: String },
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// A single step, by the store's own single-operation calls.
    Single { step: Step, serializable: bool },
    /// A transaction.
    Txn { guards: Vec<Guard>, then: Vec<Step>, otherwise: Vec<Step> },
}

impl Action {
    /// Whether the answer may lawfully be older than what was acknowledged before.
    pub fn is_serializable(&self) -> bool {
        matches!(self, Self::Single { serializable: true, .. })
    }

    /// The steps that run when the guards hold (`succeeded`) or do not hold.
    pub fn steps(&self, succeeded: bool) -> &[Step] {
        match self {
            Self::Single { step, .. } => std::slice::from_ref(step),
            Self::Txn { then, otherwise, .. } => {
                if succeeded {
                    then
                } else {
                    otherwise
                }
            }
        }
    }
}

/// What one step answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum StepReply {
    /// A put, with what it replaced.
    Put { previous: Option<KeyValue> },
    /// A delete, with what it removed.
    Delete { previous: Vec<KeyValue> },
    /// A read.
    Read { found: Vec<KeyValue> },
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// The revision in the answer's header.
    pub revision: i64,
    /// Whether the guards held; true when there were none.
    pub succeeded: bool,
    /// One answer for each step of the branch that ran.
    pub steps: Vec<StepReply>,
}

impl Reply {
    /// Whether this answer claims that something was changed, and so owns its revision.
    pub fn wrote(&self) -> bool {
        self.steps.iter().any(|step| match step {
            StepReply::Put { .. } => true,
            StepReply::Delete { previous } => !previous.is_empty(),
            StepReply::Read { .. } => false,
        })
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Acknowledged.
    Ok(Reply),
    /// Certainly did not happen, and never will.
    Refused(String),
    /// May have happened, may happen later, or never.
    Unknown(String),
}

/// One operation of one client.
#[derive(Clone, Debug, Serialize)]
pub struct Op {
    /// Its place in the history.
    pub index: usize,
    /// The sequential process that issued it. A client whose operation ended unknown goes on as
    /// another process, because that operation may still be under way.
    pub process: usize,
    /// The member it was sent to.
    pub member: usize,
    /// When it was about to be sent.
    pub invoked_ns: u64,
    /// When its answer was here.
    pub completed_ns: u64,
    /// What was asked.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
}

impl Op {
    /// The answer of an acknowledged operation.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.outcome {
            Outcome::Ok(reply) => Some(reply),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// The answer of an acknowledged operation that changed something.
    pub fn write(&self) -> Option<&Reply> {
        self.reply().filter(|reply| reply.wrote())
    }
}

/// One response on a watch stream.
#[derive(Clone, Debug, Serialize)]
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
    /// Whether this answers the creation of the watch (such a response promises no progress).
    pub created: bool,
    /// The events in it; none means progress only.
    pub events: Vec<Event>,
}
