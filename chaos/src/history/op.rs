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
    /// The lease that it ends with; 0 when with none.
    pub lease: i64,
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
    /// The same, and the key is gone when the lease is.
    PutLeased { key: String, value: String, lease: i64 },
    /// Deletes a key, asking for the previous value.
    Delete { key: String },
    /// Reads a key.
    Get { key: String },
    /// Reads every key that starts with the prefix.
    List { prefix: String },
}

impl Step {
    /// The key, value and lease of a put.
    pub fn put(&self) -> Option<(&str, &str, i64)> {
        match self {
            Self::Put { key, value } => Some((key, value, 0)),
            Self::PutLeased { key, value, lease } => Some((key, value, *lease)),
            Self::Delete { .. } | Self::Get { .. } | Self::List { .. } => None,
        }
    }

    /// The key, where it is about one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Put { key, .. }
            | Self::PutLeased { key, .. }
            | Self::Delete { key }
            | Self::Get { key } => Some(key),
            Self::List { .. } => None,
        }
    }
}

/// A part of a list: keys with a prefix, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// What the keys start with.
    pub prefix: String,
    /// Only keys behind this one; empty for all.
    pub after: String,
    /// So many of them, at most.
    pub limit: i64,
    /// As they were at this revision; 0 for as they are.
    pub revision: i64,
}

/// What is asked about a lease, whose number the client chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LeaseCall {
    /// A new one that ends when it is not renewed for so long.
    Grant { lease: i64, ttl_s: i64 },
    /// Ends it.
    Revoke { lease: i64 },
    /// Renews it.
    KeepAlive { lease: i64 },
    /// Asks how long it has.
    TimeToLive { lease: i64 },
}

impl LeaseCall {
    /// The lease that it is about.
    pub fn lease(self) -> i64 {
        match self {
            Self::Grant { lease, .. }
            | Self::Revoke { lease }
            | Self::KeepAlive { lease }
            | Self::TimeToLive { lease } => lease,
        }
    }
}

/// What is asked of the lock service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum LockCall {
    /// Waits for the lock, in the name of a lease.
    Lock { name: String, lease: i64 },
    /// Gives it back, by the key that the lock was given as.
    Unlock { key: String },
}

/// What the administrator of users asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AdminCall {
    /// A new user, whose password is its name.
    AddUser { user: String },
    /// A new role, which may do nothing.
    AddRole { role: String },
    /// The user may do what the role may.
    GrantRole { user: String, role: String },
    /// No longer.
    RevokeRole { user: String, role: String },
    /// The role may read keys with the prefix, and write them.
    Permit { role: String, prefix: String, write: bool },
    /// No longer.
    Forbid { role: String, prefix: String },
    /// From now on only users may do things, and only what their roles may.
    Enable,
    /// From now on everybody may do everything.
    Disable,
    /// Asks whether it is enabled, and how often users and roles were changed.
    Status,
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// A single step, by the store's own single-operation calls.
    Single { step: Step, serializable: bool },
    /// A transaction.
    Txn { guards: Vec<Guard>, then: Vec<Step>, otherwise: Vec<Step> },
    /// A single step as this user, who may not do everything.
    As { user: String, step: Step },
    /// A part of a list.
    Page(Page),
    /// Forgets what was before a revision.
    Compact { revision: i64 },
    /// Something about a lease.
    Lease(LeaseCall),
    /// Something of the lock service.
    Lock(LockCall),
    /// A change of users and roles.
    Admin(AdminCall),
}

impl Action {
    /// Whether the answer's revision may lawfully be older than what was acknowledged before.
    pub fn is_serializable(&self) -> bool {
        match self {
            Self::Single { serializable, .. } => *serializable,
            // These are answered by the member itself, or by the leader for it, with what revision
            // the member had.
            Self::Lease(LeaseCall::KeepAlive { .. } | LeaseCall::TimeToLive { .. })
            | Self::Admin(AdminCall::Status) => true,
            Self::Txn { .. }
            | Self::As { .. }
            | Self::Page(_)
            | Self::Compact { .. }
            | Self::Lease(LeaseCall::Grant { .. } | LeaseCall::Revoke { .. })
            | Self::Lock(_)
            | Self::Admin(_) => false,
        }
    }

    /// The kind, as reports name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Single { step, .. } => match step {
                Step::Put { .. } | Step::PutLeased { .. } => "put",
                Step::Delete { .. } => "delete",
                Step::Get { .. } => "get",
                Step::List { .. } => "list",
            },
            Self::Txn { .. } => "txn",
            Self::As { .. } => "as-user",
            Self::Page(_) => "page",
            Self::Compact { .. } => "compact",
            Self::Lease(LeaseCall::Grant { .. }) => "grant",
            Self::Lease(LeaseCall::Revoke { .. }) => "revoke",
            Self::Lease(LeaseCall::KeepAlive { .. }) => "keep-alive",
            Self::Lease(LeaseCall::TimeToLive { .. }) => "time-to-live",
            Self::Lock(LockCall::Lock { .. }) => "lock",
            Self::Lock(LockCall::Unlock { .. }) => "unlock",
            Self::Admin(_) => "admin",
        }
    }

    /// What must hold for the first branch of a transaction.
    pub fn guards(&self) -> &[Guard] {
        match self {
            Self::Txn { guards, .. } => guards,
            Self::Single { .. }
            | Self::As { .. }
            | Self::Page(_)
            | Self::Compact { .. }
            | Self::Lease(_)
            | Self::Lock(_)
            | Self::Admin(_) => &[],
        }
    }

    /// The steps that run when the guards hold (`succeeded`) or do not hold.
    pub fn steps(&self, succeeded: bool) -> &[Step] {
        match self {
            Self::Single { step, .. } | Self::As { step, .. } => std::slice::from_ref(step),
            Self::Txn { then, otherwise, .. } => {
                if succeeded {
                    then
                } else {
                    otherwise
                }
            }
            Self::Page(_)
            | Self::Compact { .. }
            | Self::Lease(_)
            | Self::Lock(_)
            | Self::Admin(_) => &[],
        }
    }

    /// Whether all that it does and answers is in its steps.
    pub fn is_of_steps(&self) -> bool {
        matches!(self, Self::Single { .. } | Self::As { .. } | Self::Txn { .. })
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
    /// A part of a list: whether there is more behind it, and how many keys have the prefix and are
    /// not before it.
    Page { found: Vec<KeyValue>, more: bool, count: i64 },
    /// A lease: how long it still has, and how long it was granted for. Not above 0 when it is gone.
    Lease { ttl_s: i64, granted_s: i64 },
    /// A lock, with the key that holds it.
    Locked { key: String },
    /// Whether only users may do things, and how often users and roles were changed.
    Users { enabled: bool, revision: u64 },
}

impl StepReply {
    /// What a read found; nothing for what is no read.
    pub fn found(&self) -> &[KeyValue] {
        match self {
            Self::Read { found } | Self::Page { found, .. } => found,
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::Lease { .. }
            | Self::Locked { .. }
            | Self::Users { .. } => &[],
        }
    }
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
    /// The first key that its first step read.
    pub fn first_found(&self) -> Option<&KeyValue> {
        self.steps.first()?.found().first()
    }

    /// Whether this answer claims that something was changed, and so owns its revision.
    pub fn wrote(&self) -> bool {
        self.steps.iter().any(|step| match step {
            StepReply::Put { .. } => true,
            StepReply::Delete { previous } => !previous.is_empty(),
            StepReply::Read { .. }
            | StepReply::Page { .. }
            | StepReply::Lease { .. }
            | StepReply::Locked { .. }
            | StepReply::Users { .. } => false,
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
