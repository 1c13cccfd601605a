//! Work that may take a processor for long, done without keeping the other tasks of its thread waiting.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does `work` here and now; on a runtime with several threads the others take over what this one
/// would have done.
pub(crate) fn working<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
