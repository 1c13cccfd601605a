//! What a client is told when a request fails: the one map to etcd's codes and messages.

use store_state_machine::{ReadError, Refusal};
use tonic::{Code, Status};

/// Why a request failed. Clients tell errors apart by the exact message, which is etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// Refused by the state machine; nothing happened.
    Refused(Refusal),
    /// No leader is known; nothing happened.
    NoLeader,
    /// The leader changed; a write may have happened.
    LeaderChanged,
    /// No outcome in time; a write may have happened.
    Timeout,
    /// No outcome in time and no leader for a while; a write may have happened.
    TimeoutLeaderFailed,
    /// Too much waits already; nothing happened.
    TooManyRequests,
    /// The request is larger than allowed.
    TooLarge,
    /// This member is stopping.
    Stopped,
    /// This member does not lead.
    NotLeader,
    /// The member asked for is not there.
    MemberNotFound,
    /// The member asked for is not a learner.
    MemberNotLearner,
    /// The learner is not yet close enough behind the leader.
    LearnerNotReady,
    /// The peer URLs are not URLs.
    MemberBadUrls,
    /// Another member has the peer URL.
    PeerUrlExists,
    /// There are as many learners as there may be.
    TooManyLearners,
    /// Too few members would have started for a quorum after the change.
    MemberNotEnoughStarted,
    /// The change would risk the quorum.
    Unhealthy,
    /// Leadership cannot go there.
    BadTransferee,
    /// A learner serves nothing but Status and serializable reads.
    NotSupportedForLearner,
    /// The token is unknown, over, or not signed as it must be.
    InvalidAuthToken,
    /// This member has only the public key of tokens.
    TokensOnlyChecked,
    /// bcrypt would look at a part of the password only.
    PasswordTooLong,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn refusal(refusal: Refusal) -> (Code, &'static str) {
    use Code::{
        DataLoss, FailedPrecondition, InvalidArgument, NotFound, OutOfRange, PermissionDenied,
        ResourceExhausted, Unknown,
    };
    match refusal {
        Refusal::EmptyKey => (InvalidArgument, "etcdserver: key is not provided"),
        Refusal::KeyNotFound => (InvalidArgument, "etcdserver: key not found"),
        Refusal::ValueProvided => (InvalidArgument, "etcdserver: value is provided"),
        Refusal::LeaseProvided => (InvalidArgument, "etcdserver: lease is provided"),
        Refusal::TooManyOps => (InvalidArgument, "etcdserver: too many operations in txn request"),
        Refusal::DuplicateKey => {
            (InvalidArgument, "etcdserver: duplicate key given in txn request")
        }
        Refusal::InvalidSortOption => (InvalidArgument, "etcdserver: invalid sort option"),
        Refusal::Compacted => {
            (OutOfRange, "etcdserver: mvcc: required revision has been compacted")
        }
        Refusal::FutureRevision => {
            (OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        }
        Refusal::NoSpace => (ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        Refusal::LeaseNotFound => (NotFound, "etcdserver: requested lease not found"),
        Refusal::LeaseExists => (FailedPrecondition, "etcdserver: lease already exists"),
        Refusal::LeaseTtlTooLarge => (OutOfRange, "etcdserver: too large lease TTL"),
        Refusal::MemberNotFound => (NotFound, "etcdserver: member not found"),
        Refusal::MemberExists => (FailedPrecondition, "etcdserver: member ID already exist"),
        Refusal::PeerUrlExists => (FailedPrecondition, "etcdserver: Peer URLs already exists"),
        Refusal::Corrupt => (DataLoss, "etcdserver: corrupt cluster"),
        Refusal::ClusterIdMismatch => (FailedPrecondition, "etcdserver: cluster ID mismatch"),
        Refusal::UnknownCommand => (FailedPrecondition, "etcdserver: not capable"),
        Refusal::RootUserNotFound => (FailedPrecondition, "etcdserver: root user does not exist"),
        Refusal::RootRoleNotGranted => {
            (FailedPrecondition, "etcdserver: root user does not have root role")
        }
        Refusal::UserExists => (FailedPrecondition, "etcdserver: user name already exists"),
        Refusal::UserEmpty => (InvalidArgument, "etcdserver: user name is empty"),
        Refusal::UserNotFound => (FailedPrecondition, "etcdserver: user name not found"),
        Refusal::RoleExists => (FailedPrecondition, "etcdserver: role name already exists"),
        Refusal::RoleNotFound => (FailedPrecondition, "etcdserver: role name not found"),
        Refusal::RoleEmpty => (InvalidArgument, "etcdserver: role name is empty"),
        Refusal::AuthFailed => {
            (InvalidArgument, "etcdserver: authentication failed, invalid user ID or password")
        }
        // etcd has no code for this one, and no text of its server.
        Refusal::NoPasswordUser => {
            (Unknown, "auth: authentication failed, password was given for no password user")
        }
        Refusal::PermissionNotGiven => (InvalidArgument, "etcdserver: permission not given"),
        Refusal::PermissionDenied => (PermissionDenied, "etcdserver: permission denied"),
        Refusal::RoleNotGranted => {
            (FailedPrecondition, "etcdserver: role is not granted to the user")
        }
        Refusal::PermissionNotGranted => {
            (FailedPrecondition, "etcdserver: permission is not granted to the role")
        }
        Refusal::AuthNotEnabled => {
            (FailedPrecondition, "etcdserver: authentication is not enabled")
        }
        Refusal::AuthOldRevision => (InvalidArgument, "etcdserver: revision of auth store is old"),
        Refusal::InvalidAuthManagement => (InvalidArgument, "etcdserver: invalid auth management"),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use Code::{
            FailedPrecondition, InvalidArgument, NotFound, Unauthenticated, Unavailable, Unknown,
        };
        let (code, message) = match error {
            Error::Refused(why) => refusal(why),
            Error::NoLeader => (Unavailable, "etcdserver: no leader"),
            Error::LeaderChanged => (Unavailable, "etcdserver: leader changed"),
            Error::Timeout => (Unavailable, "etcdserver: request timed out"),
            Error::TimeoutLeaderFailed => (
                Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            // etcd sends this one with the code Unknown; clients know it by its text.
            Error::TooManyRequests => (Unknown, "etcdserver: too many requests"),
            Error::TooLarge => (InvalidArgument, "etcdserver: request is too large"),
            Error::Stopped => (Unavailable, "etcdserver: server stopped"),
            Error::NotLeader => (FailedPrecondition, "etcdserver: not leader"),
            Error::MemberNotFound => (NotFound, "etcdserver: member not found"),
            Error::MemberNotLearner => {
                (FailedPrecondition, "etcdserver: can only promote a learner member")
            }
            Error::LearnerNotReady => (
                FailedPrecondition,
                "etcdserver: can only promote a learner member which is in sync with leader",
            ),
            Error::MemberBadUrls => (InvalidArgument, "etcdserver: given member URLs are invalid"),
            Error::PeerUrlExists => (FailedPrecondition, "etcdserver: Peer URLs already exists"),
            Error::TooManyLearners => {
                (FailedPrecondition, "etcdserver: too many learner members in cluster")
            }
            // This one, too, comes with the code Unknown.
            Error::MemberNotEnoughStarted => {
                (Unknown, "etcdserver: re-configuration failed due to not enough started members")
            }
            Error::Unhealthy => (Unavailable, "etcdserver: unhealthy cluster"),
            Error::BadTransferee => (FailedPrecondition, "etcdserver: bad leader transferee"),
            Error::NotSupportedForLearner => {
                (FailedPrecondition, "etcdserver: rpc not supported for learner")
            }
            Error::InvalidAuthToken => (Unauthenticated, "etcdserver: invalid auth token"),
            Error::TokensOnlyChecked => {
                (Unknown, "auth: token signing attempted with verify-only key")
            }
            Error::PasswordTooLong => (Unknown, "bcrypt: password length exceeds 72 bytes"),
        };
        Self::new(code, message)
    }
}

/// The status for a read that failed. A fault ends the process.
pub(crate) fn read_failed(error: ReadError) -> Status {
    match error {
        ReadError::Refused(refusal) => Error::Refused(refusal).into(),
        ReadError::Failed(fault) => crate::fatal("reading the state", &fault),
    }
}
