//! What can be wrong with a backup.

use std::io;
use std::path::Path;

/// Why a backup cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{context}: {source}")]
    Io {
        /// What was done, with the path.
        context: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no bbolt database, or its head is damaged.
    #[error("not a snapshot of etcd: {0}")]
    NotDatabase(String),
    /// The bytes do not have the checksum that they came with.
    #[error("the file is damaged: its sha-256 is {found}, and must be {expected}")]
    Digest {
        /// As written at its end, or in the manifest.
        expected: String,
        /// As computed.
        found: String,
    },
    /// A page is damaged.
    #[error("page {page}: {problem}")]
    Page {
        /// Its number in the file.
        page: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A bucket holds what cannot be in it.
    #[error("bucket {bucket:?}: {problem}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What is wrong.
        problem: String,
    },
    /// The content does not fit the layout that was planned for it.
    #[error("the content changed while it was written")]
    Changed,
    /// The repository does not have what was asked for, or has something else.
    #[error("{0}")]
    Repository(String),
}

impl Error {
    /// An error of the file system, with the path.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let context = format!("{what} {}", path.display());
        move |source| Self::Io { context, source }
    }

    pub(crate) fn page(page: u64, problem: impl Into<String>) -> Self {
        Self::Page { page, problem: problem.into() }
    }

    pub(crate) fn bucket(bucket: &str, problem: impl Into<String>) -> Self {
        Self::Bucket { bucket: bucket.to_owned(), problem: problem.into() }
    }
}

/// An error of the caller's, or of this crate: what functions return that call back.
pub trait Failure: From<Error> {}

impl<E: From<Error>> Failure for E {}
