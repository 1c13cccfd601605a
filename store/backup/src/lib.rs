//! Backups of a store: etcd's snapshot files, read and written, and the folder that keeps them.
//!
//! Nothing here talks to a member or opens its state: bytes come from and go to the caller.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | B1 | A snapshot file is a bbolt database that etcd's own tools open, check and restore. |
//! | B2 | Reading and writing a snapshot takes memory for a page or a key at a time, not for the file. |
//! | B3 | A damaged file is refused with an error that names the page or the key; it never panics. |
//! | B4 | A backup is listed only when all of it is in the repository. |
//! | B5 | Nothing in a repository is ever changed: objects are named by what they hold. |

pub mod archive;
pub mod bbolt;
mod error;
pub mod etcd;
mod history;
pub mod limits;
mod manifest;
mod repository;
mod snapshot;

pub use error::{Error, Failure};
pub use history::{Summary, examine};
pub use manifest::{FileEntry, Kind, Manifest, MemberEntry, Source};
pub use proto::orlop::store::v1::LeaseRecord;
pub use repository::{Folder, Listed, Objects, Repository, hash_file};
pub use snapshot::{Digest, Plan, Snapshot, plan, write};
