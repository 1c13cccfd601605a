//! What a member is told at its start: checked values only.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A member's checked configuration; made by [`crate::Flags::into_config`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The member's name, unique in its cluster.
    pub name: String,
    /// Where the member keeps everything.
    pub data_dir: PathBuf,
    /// Where clients are served.
    pub listen_client: Vec<ListenUrl>,
    /// Where peers are served.
    pub listen_peer: Vec<ListenUrl>,
    /// The client URLs that other members tell their clients.
    pub advertise_client_urls: Vec<String>,
    /// The peer URLs that other members use.
    pub advertise_peer_urls: Vec<String>,
    /// The members at the start of the cluster: names and their peer URLs.
    pub initial_cluster: Vec<(String, Vec<String>)>,
    /// Whether the cluster is made new, or joined.
    pub initial_state: InitialState,
    /// Tells clusters with equal URLs apart.
    pub initial_token: String,
    /// TLS towards clients.
    pub client_tls: TlsFiles,
    /// TLS between members.
    pub peer_tls: TlsFiles,
    /// Time between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// Time without a heartbeat after which members elect a leader.
    pub election: Duration,
    /// Log entries between two flushes of the state.
    pub snapshot_count: u64,
    /// Bytes of one client request.
    pub max_request_bytes: usize,
    /// Operations in one transaction.
    pub max_txn_ops: usize,
    /// Bytes that the store may take; 0 means no limit.
    pub quota_bytes: u64,
    /// Compacts old revisions by itself.
    pub auto_compaction: AutoCompaction,
    /// Time between two progress notifications of an idle watch.
    pub watch_progress_interval: Duration,
}

impl Config {
    /// How long a proposal may take before the client is told that it timed out.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election
    }

    /// The shortest lease, in seconds: one and a half election timeouts.
    #[must_use]
    pub fn lease_ttl_min(&self) -> i64 {
        i64::try_from((self.election.as_millis() * 3).div_ceil(2000)).unwrap_or(i64::MAX)
    }
}

/// One URL to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenUrl {
    /// The address.
    pub address: SocketAddr,
    /// True for `https`.
    pub secure: bool,
}

/// Whether the cluster is made new, or joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialState {
    /// Every initial member starts with an empty data directory.
    New,
    /// The member was added to a running cluster.
    Existing,
}

/// When old revisions are compacted without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never.
    Off,
    /// Keeps this much time of history.
    Periodic(Duration),
    /// Keeps this many revisions.
    Revisions(i64),
}

/// PEM files of one side of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The authorities that may sign the other side's certificate.
    pub ca: Option<PathBuf>,
    /// Demands a certificate of the other side.
    pub require_client_cert: bool,
}

/// Why the flags cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {problem}")]
pub struct ConfigError {
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What is wrong with it.
    pub problem: String,
}
