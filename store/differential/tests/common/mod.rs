//! What the tests of this crate share.

use store_differential::Launcher;

/// Our store, from the binary of this build.
pub(crate) fn ours() -> Launcher {
    Launcher::orlop(&testbed::orlop(&["proto", "store"]))
}
