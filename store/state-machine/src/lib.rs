//! The store's state machine: multi-version keys, leases, members and alarms over a storage engine.
//!
//! One thread owns the [`StateMachine`] and applies log entries in order; any thread reads through
//! a [`View`]. Nothing here knows the time, rolls dice, waits or talks to a network: the same log
//! makes the same state on every member.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | K1 | The store's revision rises by exactly one for each command that writes. |
//! | K2 | A refused command changes nothing, and does not use up a revision. |
//! | K3 | All changes of an `apply` call, and the id of its last entry, reach the disk together. |
//! | K4 | A read at a revision that is not compacted sees exactly the state as of that revision. |
//! | K5 | Compaction removes only what no readable revision can see. |
//! | L1 | A key is attached to the lease that its newest record names, and to no other. |
//! | A1 | The same log gives the same state, however it was cut into `apply` calls. |

mod auth;
mod check;
mod codec;
mod compact;
pub mod decoders;
mod digest;
mod disk;
mod error;
mod event;
mod export;
mod hash;
mod import;
mod index;
mod keys;
pub mod limits;
mod machine;
mod range;
mod registry;
mod reply;
mod staged;
mod txn;
mod view;

pub use auth::{Access, Auth};
pub use check::{check_delete_range, check_put, check_range, check_txn, txn_is_read_only};
pub use compact::CompactProgress;
pub use digest::{DIGEST_SCHEME, Digest};
pub use disk::Options;
pub use error::{Fault, ReadError, Refusal};
pub use event::{Event, RevisionEvents};
pub use export::{Export, Facts, Written};
pub use import::{Imported, Importer, Restored, Seed, reseed, revisions};
pub use keys::{KeyRange, Revision};
pub use machine::{Applied, Entry, StateMachine, inspect};
pub use registry::LeaseInfo;
pub use reply::Reply;
pub use view::{Hash, Released, Sizes, View};
