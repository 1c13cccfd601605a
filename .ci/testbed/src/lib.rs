//! What tests stand on: how they say that they skip themselves, the programs that they talk to, and
//! an API server to run clients on. Only tests depend on it, and it depends on none of our crates.

#[cfg(feature = "api")]
pub mod api;
mod binary;
mod skip;

pub use binary::orlop;
pub use skip::{program, skip};
