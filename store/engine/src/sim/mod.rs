//! A small engine for simulations: ordered maps in memory, files that are exactly what would be left,
//! and a disk that fails as it is told.
//!
//! A simulation registers a [`Disk`] for each host's folder; databases that are opened below it are of
//! this engine. It has no threads, no clock and no chance of its own: the same calls with the same dice
//! leave the same bytes.
//!
//! What was written and is not durable is in no file: it is kept in memory until the host's power goes,
//! and then the dice say how much of it had reached the disk. The rules are those of the crate; a
//! record of the log that was torn by that is cut off when the log is opened, and anything else that is
//! not what was written makes opening fail, with the name of the file.

mod disk;
mod engine;
mod files;
mod inner;
mod read;

pub(crate) use crate::memory::batch::Batch;
pub(crate) use disk::disk_of;
pub use disk::{Counts, Disk, Failure, Flip, Operation, Times, register, unregister};
pub(crate) use engine::Engine;
pub(crate) use read::{Cursor, Snapshot};

#[cfg(test)]
#[path = "sim_test.rs"]
mod sim_test;
