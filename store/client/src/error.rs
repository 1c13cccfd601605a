//! Errors that say whether the write happened.

use std::error::Error as _;

use tonic::{Code, Status};

/// Whether a call that failed took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Surely not.
    No,
    /// Nobody here can know: the answer was lost, or the member gave up waiting.
    Unknown,
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// The revision asked for is below the compacted one (0 when the server did not name it).
    #[error("required revision has been compacted (compact revision {compact_revision})")]
    Compacted {
        /// The store's compact revision.
        compact_revision: i64,
    },
    /// A member said no. It did not happen.
    #[error("{message}")]
    Refused {
        /// gRPC's code.
        code: Code,
        /// The server's words.
        message: String,
    },
    /// No member could be reached, or none has a leader. It did not happen.
    #[error("store unavailable: {message}")]
    Unavailable {
        /// What the last attempt said.
        message: String,
    },
    /// The outcome is unknown.
    #[error("outcome unknown: {message}")]
    Unknown {
        /// What the last attempt said.
        message: String,
    },
}

/// etcd's words for a read below the compacted revision.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
/// etcd's refusals with code Unavailable that come before anything was proposed.
const NOT_PROPOSED: [&str; 3] =
    ["etcdserver: no leader", "etcdserver: not leader", "etcdserver: not capable"];

impl Error {
    /// Whether the call took effect (S1).
    pub fn happened(&self) -> Happened {
        match self {
            Self::Unknown { .. } => Happened::Unknown,
            Self::Config(_)
            | Self::Compacted { .. }
            | Self::Refused { .. }
            | Self::Unavailable { .. } => Happened::No,
        }
    }

    pub(crate) fn from_status(status: &Status) -> Self {
        let message = status.message().to_owned();
        // A member's own words come without a cause. With one the connection ended, whatever code
        // that is told as: "enhance your calm" looks like an exhausted store.
        if status.source().is_some() && !never_sent(status) {
            return Self::Unknown { message: with_causes(status) };
        }
        match status.code() {
            Code::OutOfRange if message == COMPACTED => Self::Compacted { compact_revision: 0 },
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::Refused { code: status.code(), message },
            Code::Unavailable if never_sent(status) || NOT_PROPOSED.contains(&message.as_str()) => {
                Self::Unavailable { message: with_causes(status) }
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Unknown { message: with_causes(status) },
        }
    }
}

/// Whether the call failed before a connection stood, so that no byte of it left.
fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The message with what lies beneath it: "transport error" alone helps nobody.
fn with_causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_connection_is_no_refusal() {
        for code in [Code::ResourceExhausted, Code::PermissionDenied, Code::Internal] {
            let mut ended = Status::new(code, "h2 protocol error: error reading a body");
            ended.set_source(std::sync::Arc::new(std::io::Error::other("GOAWAY")));
            let error = Error::from_status(&ended);
            assert_eq!(error.happened(), Happened::Unknown, "{error:?}");
        }
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert_eq!(Error::from_status(&full).happened(), Happened::No);
    }

    #[test]
    fn a_refusal_did_not_happen_and_a_lost_answer_is_unknown() {
        let refused =
            Error::from_status(&Status::invalid_argument("etcdserver: key is not provided"));
        assert_eq!(refused.happened(), Happened::No);

        let no_leader = Error::from_status(&Status::unavailable("etcdserver: no leader"));
        assert_eq!(no_leader.happened(), Happened::No, "refused before it was proposed");

        let changed = Error::from_status(&Status::unavailable("etcdserver: leader changed"));
        assert_eq!(changed.happened(), Happened::Unknown);

        let timed_out = Error::from_status(&Status::unavailable("etcdserver: request timed out"));
        assert_eq!(timed_out.happened(), Happened::Unknown);
    }

    #[test]
    fn compacted_is_told_apart_from_other_ranges() {
        assert!(matches!(
            Error::from_status(&Status::out_of_range(COMPACTED)),
            Error::Compacted { .. }
        ));
        assert!(matches!(
            Error::from_status(&Status::out_of_range(
                "etcdserver: mvcc: required revision is a future revision"
            )),
            Error::Refused { .. }
        ));
    }
}
