//! Every flag that means something here: etcd's names and defaults.
//!
//! `mod.rs` gives each its environment variable, and switches the form `--name=false`.

use std::{path::PathBuf, time::Duration};

use super::values::go_duration;

/// The member itself.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Member")]
pub(super) struct Member {
    /// Human-readable name of this member
    #[arg(long, default_value = "default")]
    pub(super) name: String,
    /// Data directory [default: ${name}.etcd]
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// Folder of the raft log, if it lies elsewhere than in the data directory
    #[arg(long)]
    pub(super) wal_dir: Option<PathBuf>,
    /// Log entries between two flushes of the state [default: 100000]
    #[arg(long)]
    pub(super) snapshot_count: Option<u64>,
    /// Milliseconds between heartbeats
    #[arg(long, default_value_t = 100)]
    pub(super) heartbeat_interval: u64,
    /// Milliseconds without a heartbeat before an election
    #[arg(long, default_value_t = 1000)]
    pub(super) election_timeout: u64,
    /// URLs to serve peers on, separated by commas
    #[arg(long, default_value = "http://localhost:2380")]
    pub(super) listen_peer_urls: String,
    /// URLs to serve clients on, separated by commas [default: http://localhost:2379]
    #[arg(long)]
    pub(super) listen_client_urls: Option<String>,
    /// URLs to serve the clients' HTTP on; then the client URLs serve gRPC alone
    #[arg(long)]
    pub(super) listen_client_http_urls: Option<String>,
    /// Bytes that the store may take before puts are refused; deletes and compaction never are. 0 means
    /// the default, half of what its disk has for it, which is logged at the start; a negative number
    /// means no limit
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub(super) quota_backend_bytes: i64,
    /// Operations in one transaction
    #[arg(long, default_value_t = 128)]
    pub(super) max_txn_ops: usize,
    /// Bytes of the largest client request
    #[arg(long, default_value_t = 1_572_864)]
    pub(super) max_request_bytes: usize,
    /// Streams that one client connection may have open at once
    #[arg(long)]
    pub(super) max_concurrent_streams: Option<u32>,
    /// Time without a sign of a client before it is pinged (0: never)
    #[arg(long, default_value = "2h", value_parser = go_duration)]
    pub(super) grpc_keepalive_interval: Duration,
    /// Time that a pinged client has to answer (0: for ever)
    #[arg(long, default_value = "20s", value_parser = go_duration)]
    pub(super) grpc_keepalive_timeout: Duration,
    /// Lets other processes listen on the same ports
    #[arg(long)]
    pub(super) socket_reuse_port: bool,
    /// Serves etcd's JSON gateway below /v3/
    #[arg(long, default_value = "true")]
    pub(super) enable_grpc_gateway: bool,
    /// Feature gates, as `Name=true,...`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) feature_gates: String,
}

/// How the cluster is formed, and how it keeps itself.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Clustering")]
pub(super) struct Clustering {
    /// This member's peer URLs to tell the rest of the cluster
    #[arg(long, default_value = "http://localhost:2380")]
    pub(super) initial_advertise_peer_urls: String,
    /// The members at the start, as `name=url,...` [default: this member alone]
    #[arg(long)]
    pub(super) initial_cluster: Option<String>,
    /// `new`, or `existing` for a member that was added to a running cluster
    #[arg(long, default_value = "new")]
    pub(super) initial_cluster_state: String,
    /// Tells clusters with equal URLs apart
    #[arg(long, default_value = "etcd-cluster")]
    pub(super) initial_cluster_token: String,
    /// This member's client URLs to tell clients [default: http://localhost:2379, unless
    /// --listen-client-urls is given]
    #[arg(long)]
    pub(super) advertise_client_urls: Option<String>,
    /// Refuses changes of the membership that would risk the quorum
    #[arg(long, default_value = "true")]
    pub(super) strict_reconfig_check: bool,
    /// `periodic` or `revision`
    #[arg(long, default_value = "periodic")]
    pub(super) auto_compaction_mode: String,
    /// History to keep: hours or a duration such as 5m, or a number of revisions; 0 is off
    #[arg(long, default_value = "0")]
    pub(super) auto_compaction_retention: String,
    /// Learners that the cluster may have at once
    #[arg(long, default_value_t = 1)]
    pub(super) max_learners: usize,
    #[arg(long, hide = true)]
    pub(super) discovery_srv: Option<String>,
    #[arg(long, hide = true)]
    pub(super) discovery_endpoints: Option<String>,
    #[arg(long, hide = true)]
    pub(super) discovery_token: Option<String>,
    #[arg(long, hide = true)]
    pub(super) force_new_cluster: bool,
}

/// TLS towards clients and peers, and who may speak HTTP.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Security")]
pub(super) struct Security {
    /// Certificate for clients
    #[arg(long)]
    pub(super) cert_file: Option<PathBuf>,
    /// Key of the certificate for clients
    #[arg(long)]
    pub(super) key_file: Option<PathBuf>,
    /// Demands certificates of clients
    #[arg(long)]
    pub(super) client_cert_auth: bool,
    /// Revoked client certificates
    #[arg(long)]
    pub(super) client_crl_file: Option<PathBuf>,
    /// Names of which a client certificate must have one, separated by commas
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) client_cert_allowed_hostname: String,
    /// Authorities that sign client certificates
    #[arg(long)]
    pub(super) trusted_ca_file: Option<PathBuf>,
    /// Makes a certificate for clients, if none is given
    #[arg(long)]
    pub(super) auto_tls: bool,
    /// Certificate for peers, both as server and as client
    #[arg(long)]
    pub(super) peer_cert_file: Option<PathBuf>,
    /// Key of the certificate for peers
    #[arg(long)]
    pub(super) peer_key_file: Option<PathBuf>,
    /// Demands certificates of peers
    #[arg(long)]
    pub(super) peer_client_cert_auth: bool,
    /// Certificate as client of peers, if it is another one
    #[arg(long)]
    pub(super) peer_client_cert_file: Option<PathBuf>,
    /// Key of the certificate as client of peers
    #[arg(long)]
    pub(super) peer_client_key_file: Option<PathBuf>,
    /// Authorities that sign peer certificates
    #[arg(long)]
    pub(super) peer_trusted_ca_file: Option<PathBuf>,
    /// Common names of which a peer certificate must have one, separated by commas
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) peer_cert_allowed_cn: String,
    /// Names of which a peer certificate must have one, separated by commas
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) peer_cert_allowed_hostname: String,
    /// Takes a peer certificate from any address, whatever addresses it names
    #[arg(long)]
    pub(super) peer_skip_client_san_verification: bool,
    /// Makes a certificate for peers, if none is given
    #[arg(long)]
    pub(super) peer_auto_tls: bool,
    /// Years that certificates made here are valid
    #[arg(long, default_value_t = 1)]
    pub(super) self_signed_cert_validity: u32,
    /// Revoked peer certificates
    #[arg(long)]
    pub(super) peer_crl_file: Option<PathBuf>,
    /// Cipher suites of TLS 1.2, separated by commas [default: all that are safe]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) cipher_suites: String,
    /// The lowest TLS version: TLS1.2 or TLS1.3
    #[arg(long, default_value = "TLS1.2")]
    pub(super) tls_min_version: String,
    /// The highest TLS version: TLS1.2 or TLS1.3 [default: the highest there is]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) tls_max_version: String,
    /// How users are known: `simple`, or `jwt,pub-key=...,priv-key=...,sign-method=...,ttl=...`
    #[arg(long, default_value = "simple")]
    pub(super) auth_token: String,
    /// Cost of hashing a password, from 4 to 31
    #[arg(long, default_value_t = 10)]
    pub(super) bcrypt_cost: u32,
    /// Seconds that a simple token is good for after its last use
    #[arg(long, default_value_t = 300)]
    pub(super) auth_token_ttl: u32,
    /// Web origins that may use the HTTP API, separated by commas; * means all
    #[arg(long, default_value = "*")]
    pub(super) cors: String,
    /// Host names under which HTTP without TLS is answered, separated by commas; * means all
    #[arg(long, default_value = "*")]
    pub(super) host_whitelist: String,
}

/// What can be seen of the member from outside.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Monitoring and logs")]
pub(super) struct Monitoring {
    /// `basic`, or `extensive` for the times of gRPC calls
    #[arg(long, default_value = "basic")]
    pub(super) metrics: String,
    /// More URLs to serve metrics and health on, separated by commas
    #[arg(long)]
    pub(super) listen_metrics_urls: Option<String>,
    /// debug, info, warn, error, panic or fatal
    #[arg(long, default_value = "info")]
    pub(super) log_level: String,
    /// `json` as etcd writes it, or `console` for people
    #[arg(long, default_value = "json")]
    pub(super) log_format: String,
    /// `stderr`, `stdout` or files, separated by commas [default: stderr]
    #[arg(long, default_value = "default", hide_default_value = true)]
    pub(super) log_outputs: String,
    /// Begins a new log file when one is large
    #[arg(long)]
    pub(super) enable_log_rotation: bool,
    /// When to begin a new log file, and how many to keep
    #[arg(long, default_value = super::LOG_ROTATION)]
    pub(super) log_rotation_config_json: String,
    /// A call that takes longer is logged
    #[arg(long, default_value = "300ms", value_parser = go_duration)]
    pub(super) warning_unary_request_duration: Duration,
    /// How often the log is told the time left of leases that last longer: a new leader goes on from
    /// there
    #[arg(long, default_value = "5m", value_parser = go_duration)]
    pub(super) lease_checkpoint_interval: Duration,
    /// Time between progress notifications of an idle watch
    #[arg(long, default_value = "10m", value_parser = go_duration)]
    pub(super) watch_progress_notify_interval: Duration,
    /// Time between two comparisons of all the members' keys (0: never); what they apply is compared
    /// every few seconds in any case
    #[arg(long, default_value = "10m", value_parser = go_duration)]
    pub(super) corrupt_check_time: Duration,
    /// Time after a compaction until the members' data are compared (0: not because of it)
    #[arg(long, default_value = "1m", value_parser = go_duration)]
    pub(super) compact_hash_check_time: Duration,
    /// Compares this member's data with its peers' before it serves
    #[arg(long)]
    pub(super) experimental_initial_corrupt_check: bool,
    /// A YAML file with all settings: then no other flag and no environment variable counts
    #[arg(long)]
    pub(super) config_file: Option<PathBuf>,
}
