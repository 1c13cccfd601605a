//! What a member is told at its start: checked values only.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::auth::TokenKind;

/// A member's checked configuration; made by [`crate::Flags::into_config`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The member's name, unique in its cluster.
    pub name: String,
    /// Where the member keeps everything.
    pub data_dir: PathBuf,
    /// Where the raft log lies, if not in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// Where clients are served.
    pub listen_client: Vec<ListenUrl>,
    /// Where clients are served HTTP alone; then the others are served gRPC alone.
    pub listen_client_http: Vec<ListenUrl>,
    /// Where only metrics and health are served.
    pub listen_metrics: Vec<ListenUrl>,
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
    /// Time between two comparisons of all the members' keys; zero: never. What they apply is compared
    /// in any case.
    pub corrupt_check_every: Duration,
    /// Time after a compaction until the members' data are compared; zero: not because of it.
    pub compact_check_after: Duration,
    /// Compares this member's data with its peers' before it serves.
    pub initial_corrupt_check: bool,
    /// Learners that the cluster may have at once.
    pub max_learners: usize,
    /// Refuses changes of the membership that would risk the quorum.
    pub strict_reconfig_check: bool,
    /// Streams that one client connection may have open at once.
    pub max_concurrent_streams: u32,
    /// Time without a sign of a client before it is pinged, and the time that it has to answer.
    pub client_keepalive: Option<(Duration, Duration)>,
    /// Lets other processes listen on the same ports.
    pub reuse_port: bool,
    /// Serves the JSON gateway.
    pub gateway: bool,
    /// Web origins that may use the HTTP API; none, or `*`: all.
    pub cors: Vec<String>,
    /// Host names under which HTTP without TLS is answered; none, or `*`: all.
    pub host_whitelist: Vec<String>,
    /// Measures the time of every gRPC call.
    pub extensive_metrics: bool,
    /// A call that takes longer is logged.
    pub slow_request: Duration,
    /// How often the log is told the time left of a lease.
    pub lease_checkpoint_every: Duration,
    /// What the user should know about what was asked for; logged at the start.
    pub notes: Vec<String>,
    /// The tokens that users get for their passwords.
    pub auth_token: TokenKind,
    /// The cost of hashing a password: each step doubles the time.
    pub bcrypt_cost: u32,
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

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2.
    V1_2,
    /// 1.3.
    V1_3,
}

/// PEM files of one side of TLS, and what is asked of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The certificate chain as a client, if it is another one.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// The authorities that may sign the other side's certificate.
    pub ca: Option<PathBuf>,
    /// Demands a certificate of the other side. Naming authorities demands one as well.
    pub require_client_cert: bool,
    /// Certificates that were revoked, in PEM or DER.
    pub crl: Option<PathBuf>,
    /// Common names of which the other side's certificate must have one; none: any.
    pub allowed_cn: Vec<String>,
    /// Names of which the other side's certificate must have one; none: any.
    pub allowed_hostname: Vec<String>,
    /// The other side's certificate, if it names addresses, must name the one it comes from.
    pub check_address: bool,
    /// Makes a certificate that is valid for so many years, if none is given.
    pub self_signed_years: Option<u32>,
    /// The lowest and the highest version that is spoken.
    pub versions: (TlsVersion, TlsVersion),
    /// Names of the cipher suites for TLS 1.2; none: all.
    pub cipher_suites: Vec<String>,
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            client_cert: None,
            client_key: None,
            ca: None,
            require_client_cert: false,
            crl: None,
            allowed_cn: Vec::new(),
            allowed_hostname: Vec::new(),
            check_address: false,
            self_signed_years: None,
            versions: (TlsVersion::V1_2, TlsVersion::V1_3),
            cipher_suites: Vec::new(),
        }
    }
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
