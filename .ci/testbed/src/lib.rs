//! What tests stand on: how they say that they skip themselves, the programs that they talk to, and
//! an API server to run clients on, and what fuzz targets share. Only tests depend on it, and it depends on none of our crates.

#[cfg(feature = "api")]
pub mod api;
mod binary;
pub mod fuzz;
pub mod http2;
mod ports;
mod skip;

pub use binary::orlop;
pub use ports::{free_port, free_url};
pub use skip::{program, skip};
