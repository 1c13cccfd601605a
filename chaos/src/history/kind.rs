//! The workloads by name.

use serde::{Deserialize, Serialize};

/// One kind of work that clients do. A history says which were in its mix, because each brings
/// promises that must then have been checked.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Get, put and compare-and-swap of single keys, new ones all the time
    Register,
    /// Appends to shared lists, and reads of several of them
    Append,
    /// Reads, writes, deletes and transactions over a few keys
    RwTxn,
    /// Watchers of every shape, beside somebody who compacts
    Watch,
    /// Additions to sets that one key each holds, and reads
    Set,
    /// Leases with keys, renewed, left to expire or revoked
    Lease,
    /// What a Kubernetes API server does to its store
    Kube,
    /// Locks of the lock service, and fenced writes to what they guard
    Lock,
    /// Users who read and write while what they may do is changed
    Auth,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Register,
        Self::Append,
        Self::RwTxn,
        Self::Watch,
        Self::Set,
        Self::Lease,
        Self::Kube,
        Self::Lock,
        Self::Auth,
    ];

    /// Its name, as flags and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Append => "append",
            Self::RwTxn => "rw-txn",
            Self::Watch => "watch",
            Self::Set => "set",
            Self::Lease => "lease",
            Self::Kube => "kube",
            Self::Lock => "lock",
            Self::Auth => "auth",
        }
    }

    /// Kinds of operations of which some must have been acknowledged, or it was not at work.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Register => &["put", "get", "txn"],
            Self::Append => &["txn"],
            Self::Watch => &["compact"],
            Self::Set => &["get", "txn"],
            Self::Lease => &["grant", "keep-alive", "put", "get"],
            Self::Lock => &["lock", "unlock", "txn"],
            Self::Auth => &["admin", "as-user"],
            Self::Kube => &["txn", "page", "get", "compact", "grant"],
            Self::RwTxn => &["put", "delete", "get", "list", "txn"],
        }
    }
}
