//! The two ways to fail: a refusal is the same on every member, a fault is this member's alone.

use proto::orlop::store::v1::Refusal as Wire;
use store_engine::Error;

/// Why a command or a read was not carried out. Every member refuses the same commands for the
/// same reason; the server turns each into etcd's code and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A key is required.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a missing key, or an operation without content.
    #[error("key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// A transaction is longer than the limit.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// A transaction would write a key twice.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// A sort order or target that does not exist.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// The revision is below the compacted one.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision is above the current one.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The NOSPACE alarm is raised.
    #[error("database space exceeded")]
    NoSpace,
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The lease id is taken.
    #[error("lease already exists")]
    LeaseExists,
    /// Above [`crate::limits::LEASE_TTL_MAX`].
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// No such member, or one that was removed for good.
    #[error("member not found")]
    MemberNotFound,
    /// The member id is taken.
    #[error("member ID already exist")]
    MemberExists,
    /// Another member is reached at that URL.
    #[error("Peer URLs already exists")]
    PeerUrlExists,
    /// The CORRUPT alarm is raised.
    #[error("corrupt cluster")]
    Corrupt,
    /// The command names another cluster.
    #[error("cluster ID mismatch")]
    ClusterIdMismatch,
    /// The command has no content that this version knows, or lacks what its proposer must fill in.
    #[error("unknown command")]
    UnknownCommand,
    /// Auth cannot be enabled without the user `root`.
    #[error("root user does not exist")]
    RootUserNotFound,
    /// Auth cannot be enabled without a user `root` that has the role `root`.
    #[error("root user does not have root role")]
    RootRoleNotGranted,
    /// The user name is taken.
    #[error("user name already exists")]
    UserExists,
    /// A user is required: none was named, or the caller did not say who it is.
    #[error("user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("user name not found")]
    UserNotFound,
    /// The role name is taken.
    #[error("role name already exists")]
    RoleExists,
    /// No such role.
    #[error("role name not found")]
    RoleNotFound,
    /// A role name is required.
    #[error("role name is empty")]
    RoleEmpty,
    /// Unknown user or wrong password.
    #[error("authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A password for a user that has none, or a hash that cannot be read.
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// The permission to grant is missing.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The user may not do that.
    #[error("permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have the permission.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Only while auth is enabled are there tokens.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// Users or roles have changed since the caller was identified: it must ask again.
    #[error("revision of auth store is old")]
    AuthOldRevision,
    /// The user or role `root` would be lost, or the range of a permission is empty.
    #[error("invalid auth management")]
    InvalidAuthManagement,
}

/// Pairs of our own and the wire's refusals, for both directions.
const WIRE: [(Refusal, Wire); 36] = [
    (Refusal::EmptyKey, Wire::EmptyKey),
    (Refusal::KeyNotFound, Wire::KeyNotFound),
    (Refusal::ValueProvided, Wire::ValueProvided),
    (Refusal::LeaseProvided, Wire::LeaseProvided),
    (Refusal::TooManyOps, Wire::TooManyOps),
    (Refusal::DuplicateKey, Wire::DuplicateKey),
    (Refusal::InvalidSortOption, Wire::InvalidSortOption),
    (Refusal::Compacted, Wire::Compacted),
    (Refusal::FutureRevision, Wire::FutureRevision),
    (Refusal::NoSpace, Wire::NoSpace),
    (Refusal::LeaseNotFound, Wire::LeaseNotFound),
    (Refusal::LeaseExists, Wire::LeaseExists),
    (Refusal::LeaseTtlTooLarge, Wire::LeaseTtlTooLarge),
    (Refusal::MemberNotFound, Wire::MemberNotFound),
    (Refusal::MemberExists, Wire::MemberExists),
    (Refusal::PeerUrlExists, Wire::PeerUrlExists),
    (Refusal::Corrupt, Wire::Corrupt),
    (Refusal::ClusterIdMismatch, Wire::ClusterIdMismatch),
    (Refusal::UnknownCommand, Wire::UnknownCommand),
    (Refusal::RootUserNotFound, Wire::RootUserNotFound),
    (Refusal::RootRoleNotGranted, Wire::RootRoleNotGranted),
    (Refusal::UserExists, Wire::UserExists),
    (Refusal::UserEmpty, Wire::UserEmpty),
    (Refusal::UserNotFound, Wire::UserNotFound),
    (Refusal::RoleExists, Wire::RoleExists),
    (Refusal::RoleNotFound, Wire::RoleNotFound),
    (Refusal::RoleEmpty, Wire::RoleEmpty),
    (Refusal::AuthFailed, Wire::AuthFailed),
    (Refusal::NoPasswordUser, Wire::NoPasswordUser),
    (Refusal::PermissionNotGiven, Wire::PermissionNotGiven),
    (Refusal::PermissionDenied, Wire::PermissionDenied),
    (Refusal::RoleNotGranted, Wire::RoleNotGranted),
    (Refusal::PermissionNotGranted, Wire::PermissionNotGranted),
    (Refusal::AuthNotEnabled, Wire::AuthNotEnabled),
    (Refusal::AuthOldRevision, Wire::AuthOldRevision),
    (Refusal::InvalidAuthManagement, Wire::InvalidAuthManagement),
];

impl Refusal {
    /// The form that travels between members.
    #[must_use]
    pub fn to_wire(self) -> Wire {
        WIRE.iter().find(|(own, _)| *own == self).map_or(Wire::Unspecified, |(_, wire)| *wire)
    }

    /// None for a refusal that this version does not know.
    #[must_use]
    pub fn from_wire(wire: Wire) -> Option<Self> {
        WIRE.iter().find(|(_, theirs)| *theirs == wire).map(|(own, _)| *own)
    }
}

/// This member cannot go on: its disk failed or its data is damaged. The process must stop; after a
/// fault the [`crate::StateMachine`] takes no further entries.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The engine could not work on its files.
    #[error("{0}")]
    Disk(String),
    /// A file operation failed.
    #[error("{context}: {source}")]
    File {
        /// What was being done, with the path.
        context: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Stored bytes do not mean what they must.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// An earlier fault left memory and disk apart.
    #[error("the state machine has failed before")]
    Broken,
}

/// Why a read, or a command on its way through apply, has no result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request cannot be answered; every member says so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This member cannot go on.
    #[error(transparent)]
    Failed(#[from] Fault),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Damaged(what) => Self::Damaged(what),
            Error::File { context, source } => Self::File { context, source },
            Error::Refused(what) => Self::Disk(what),
        }
    }
}

impl Fault {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(crate) fn file(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::File { context, source }
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, WIRE};

    #[test]
    fn every_refusal_survives_the_wire() {
        for (own, _) in WIRE {
            assert_eq!(Refusal::from_wire(own.to_wire()), Some(own));
        }
    }
}
