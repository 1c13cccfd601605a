//! The store: openraft over RocksDB, spoken to in etcd's own v3 protocol.
//!
//! Writes go through one door (`propose`), reads through another (`read`), and one thing travels
//! upward: what was applied is published to the watch hub. [`run`] starts a member and returns when
//! it has stopped; [`Member`] is the same in pieces, for tests.

mod auth;
mod bootstrap;
mod checks;
mod config;
pub mod decoders;
mod digests;
mod error;
mod exec;
mod flags;
mod gateway;
mod header;
mod http;
mod join;
mod lessor;
mod limits;
mod log_place;
mod members;
mod metrics;
mod net;
mod node;
mod pending;
mod propose;
mod raft;
mod read;
mod restore;
mod rpc;
mod serve;
#[cfg(feature = "sim")]
pub mod simulated;
mod state;
mod strict;
mod tls;
mod upkeep;
mod watch;

pub use auth::{JwtOptions, TokenKind};
pub use config::{
    AutoCompaction, Config, ConfigError, InitialState, ListenUrl, TlsFiles, TlsVersion,
};
pub use flags::{Flags, LogFormat, LogOutput, LogRotation, Logs, shared_quota};
pub use node::{Member, run};
pub use restore::{
    Contents, NewCluster, Origin, Plan, RestoreError, check_free, read_folder, restore,
};

/// The etcd version whose interface is spoken; clients choose features by it.
pub const VERSION: &str = "3.6.0";

/// Ends the process: this member is broken, and a restart recovers from its disk.
pub(crate) fn fatal(doing: &str, error: &dyn std::error::Error) -> ! {
    let error = error.to_string();
    let damage = error.contains("Corruption") || error.contains("damaged data");
    let advice = if damage && !error.contains(checks::ADVICE) { checks::ADVICE } else { "" };
    tracing::error!(doing, error, advice, "this member cannot go on");
    #[cfg(feature = "sim")]
    if exec::is_simulated() {
        simulated::fatal(&format!("{doing}: {error}"));
    }
    std::process::abort();
}
