//! Fuzz targets: what clients, peers and disks give the store, as functions of bytes.
//!
//! Each target takes any bytes. It makes of them what somebody could send or a disk could hold, gives
//! that to the functions that the store uses, and panics when a law does not hold. The programs of
//! libFuzzer in `cargo-fuzz/` call the targets; so does the test that replays `corpus/`.
//!
//! | Rule | What always holds, whatever the bytes are |
//! |------|-------------------------------------------|
//! | Z1 | A decoder refuses what it does not understand; it never panics, hangs, or asks for memory that its input does not pay for. |
//! | Z2 | What was understood is the same after it was written and read again. |
//! | Z3 | A refused command changes nothing. |
//! | Z4 | A state is the same after it was closed and opened again, and on a member that took the log in other pieces. |
//! | Z5 | What is refused before it enters the log is refused by apply as well. |
#![expect(clippy::panic, reason = "a law that does not hold is a finding")]

mod apply;
mod documents;
mod flags;
mod laws;
mod peer;
mod requests;
mod scratch;
pub mod seeds;
mod snapshot;
mod state;
mod wal;
mod watch;

pub use apply::apply;
pub use documents::documents;
pub use flags::flags;
pub use peer::peer;
pub use requests::requests;
pub use snapshot::snapshot;
pub use state::state;
pub use wal::wal;
pub use watch::watch;

/// All of them.
pub const TARGETS: [testbed::fuzz::Target; 9] = [
    ("apply", apply),
    ("documents", documents),
    ("flags", flags),
    ("peer", peer),
    ("requests", requests),
    ("snapshot", snapshot),
    ("state", state),
    ("wal", wal),
    ("watch", watch),
];
