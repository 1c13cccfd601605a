//! Why the engine did not do what it was asked for.

use std::io;

/// A failure of this member's disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files do not hold what was written to them; the text names the file where that is known.
    #[error("{0}")]
    Damaged(String),
    /// A file operation failed.
    #[error("{context}: {source}")]
    File {
        /// What was being done, with the path.
        context: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The engine could not work on its files, or has given up.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(crate) fn file(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::File { context, source }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Damaged(_) => io::ErrorKind::InvalidData,
            Error::File { source, .. } => source.kind(),
            Error::Refused(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error.to_string())
    }
}
