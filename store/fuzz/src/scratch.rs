//! Folders for targets that need files: in memory where the machine has such a place, since nothing
//! here is about disks that are slow.

use std::path::Path;

use store_state_machine::{Options, StateMachine};

/// A folder that is removed when it is dropped.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::Builder::new().prefix("store-fuzz").tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a folder can be made")
}

/// Little memory: a target opens many states.
pub(crate) fn options() -> Options {
    Options { block_cache_bytes: 1 << 16, write_buffer_bytes: 1 << 16, background_jobs: 1 }
}

/// An empty state.
pub(crate) fn state(dir: &Path) -> StateMachine {
    StateMachine::open(dir, &options()).expect("a new state can be made")
}
