//! Flags of `orlop bench`, apart from those of the table (`versus/flags.rs`).

use std::path::PathBuf;

use super::api::ApiFlags;
use super::versus::VersusFlags;
use crate::limits;

/// Flags of `orlop bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// What is loaded
    #[command(subcommand)]
    pub target: Target,
}

/// What is loaded.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Target {
    /// Any etcd v3 endpoint
    #[command(subcommand)]
    Store(Box<Workload>),
    /// Any Kubernetes API server, or two in turns: the table
    Api(Box<ApiFlags>),
}

/// What the clients do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Workload {
    /// Write single keys
    Put(LoadFlags),
    /// Read single keys, or many at once (they are written first)
    Range(RangeFlags),
    /// Write several keys in one transaction
    Txn(TxnFlags),
    /// Write keys that many watchers watch, and time the way to them
    Watch(WatchFlags),
    /// Keep leases alive
    Lease(LeaseFlags),
    /// What a Kubernetes cluster does: leases and pods compared and swapped, lists, watchers
    Mixed(MixedFlags),
    /// Start three members of two stores on this machine and load them in turns: the table
    Versus(VersusFlags),
}

/// Where the servers are, and how the figures are printed.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerFlags {
    /// Client URLs; connections are spread over them
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// Connections that the clients share
    #[arg(long, default_value_t = 8)]
    pub conns: usize,
    /// Process ids of the servers: report their CPU time and memory
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Certificate authority of the servers
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Client certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Client key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Print JSON: the same as -o json
    #[arg(long)]
    pub json: bool,
    /// Print in this format
    #[arg(short, long, value_parser = ["json"], value_name = "FORMAT")]
    pub output: Option<String>,
}

impl ServerFlags {
    /// Servers without TLS.
    pub fn plain(endpoints: Vec<String>, conns: usize, pids: Vec<u32>) -> Self {
        Self {
            endpoints,
            conns,
            pids,
            cacert: None,
            cert: None,
            key: None,
            json: false,
            output: None,
        }
    }

    /// Whether a program reads the figures.
    pub fn wants_json(&self) -> bool {
        self.json || self.output.is_some()
    }
}

/// How much, and how fast.
#[derive(Clone, Debug, clap::Args)]
pub struct PaceFlags {
    /// Operations under way at the same time
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Operations to measure; with --duration, at most this many
    #[arg(long, default_value_t = 100_000)]
    pub total: u64,
    /// Stop measuring after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,
    /// Operations before measuring begins
    #[arg(long, default_value_t = 2_000)]
    pub warm_up: u64,
    /// Operations a second that are due, whether or not earlier ones are done; latency counts
    /// from when an operation was due
    #[arg(long)]
    pub rate: Option<u64>,
    /// Seed of what is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl PaceFlags {
    /// As many operations as the clients can in a time, in a closed loop.
    pub fn for_seconds(clients: usize, seconds: u64) -> Self {
        Self {
            clients,
            total: u64::MAX,
            duration: Some(seconds),
            warm_up: 2_000,
            rate: None,
            seed: 1,
        }
    }
}

/// How much, and on which keys.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadFlags {
    /// The servers
    #[command(flatten)]
    pub server: ServerFlags,
    /// The pace
    #[command(flatten)]
    pub pace: PaceFlags,
    /// What every key begins with
    #[arg(long, default_value = "bench/")]
    pub prefix: String,
    /// Bytes of a key, its prefix included
    #[arg(long, default_value_t = 28)]
    pub key_size: usize,
    /// Bytes of a value: random ones, at most 4 MiB
    #[arg(long, default_value_t = 256, value_parser = value_size)]
    pub val_size: usize,
    /// Number of different keys
    #[arg(long, default_value_t = 100_000)]
    pub key_space: u64,
    /// Number of the first key; those before it are left alone
    #[arg(long, default_value_t = 0)]
    pub first_key: u64,
    /// Go through the keys in order, not at random
    #[arg(long)]
    pub sequential_keys: bool,
}

/// Flags of `range`.
#[derive(Clone, Debug, clap::Args)]
pub struct RangeFlags {
    /// The common flags
    #[command(flatten)]
    pub load: LoadFlags,
    /// Read what the member has, without asking the others
    #[arg(long)]
    pub serializable: bool,
    /// Read all keys with the prefix at once, not one key
    #[arg(long)]
    pub whole_prefix: bool,
    /// Read the first so many keys with the prefix at once
    #[arg(long, value_name = "KEYS", conflicts_with = "count_only")]
    pub limit: Option<u64>,
    /// Ask only how many keys have the prefix
    #[arg(long, conflicts_with = "keys_only")]
    pub count_only: bool,
    /// Read the keys with the prefix without their values
    #[arg(long)]
    pub keys_only: bool,
    /// The keys are there from an earlier run with the same --prefix and --key-space
    #[arg(long)]
    pub no_fill: bool,
}

/// Flags of `txn`.
#[derive(Clone, Debug, clap::Args)]
pub struct TxnFlags {
    /// The common flags
    #[command(flatten)]
    pub load: LoadFlags,
    /// Keys written by one transaction
    #[arg(long, default_value_t = 64)]
    pub puts: usize,
}

/// Flags of `watch`.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchFlags {
    /// The servers
    #[command(flatten)]
    pub server: ServerFlags,
    /// Watchers, all of the keys that are written
    #[arg(long, default_value_t = 1_000)]
    pub watchers: usize,
    /// Streams that the watchers share; these share the connections
    #[arg(long, default_value_t = 10)]
    pub streams: usize,
    /// Keys written; each is told to every watcher
    #[arg(long, default_value_t = 1_000)]
    pub puts: u64,
    /// Keys written a second, whether or not earlier ones were told
    #[arg(long, default_value_t = 100)]
    pub rate: u64,
    /// Instead of a rate: write as fast as watchers follow, with so many keys not yet told to all
    #[arg(long, value_name = "PUTS", conflicts_with = "rate")]
    pub window: Option<u32>,
    /// Bytes of a value, at least the 8 of its time
    #[arg(long, default_value_t = 1_024)]
    pub val_size: usize,
    /// Seconds to wait at the end for events that are still missing
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub drain: u64,
}

/// Flags of `lease`.
#[derive(Clone, Debug, clap::Args)]
pub struct LeaseFlags {
    /// The servers
    #[command(flatten)]
    pub server: ServerFlags,
    /// The pace
    #[command(flatten)]
    pub pace: PaceFlags,
    /// Leases, granted before and revoked after
    #[arg(long, default_value_t = 1_000)]
    pub leases: u64,
    /// Seconds that a lease lives without being kept alive
    #[arg(long, default_value_t = 600)]
    pub ttl: i64,
}

/// Flags of `mixed`.
#[derive(Clone, Debug, clap::Args)]
pub struct MixedFlags {
    /// The servers
    #[command(flatten)]
    pub server: ServerFlags,
    /// The pace
    #[command(flatten)]
    pub pace: PaceFlags,
    /// Leases of nodes, 512 B each, compared and swapped
    #[arg(long, default_value_t = 1_000)]
    pub leases: u64,
    /// Pods, 4 KiB each, compared and swapped, and listed
    #[arg(long, default_value_t = 10_000)]
    pub pods: u64,
    /// Other objects, 256 B each, that lie beside them
    #[arg(long, default_value_t = 89_000)]
    pub others: u64,
    /// Watchers of whole kinds of objects
    #[arg(long, default_value_t = 20)]
    pub watchers: usize,
    /// Seconds between two compactions; each forgets what is older than the one before
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub compact_every: u64,
}

/// Larger values than this no etcd takes, and the load generator has no random bytes for.
fn value_size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|error| format!("{error}"))?;
    let max = limits::BENCH_NOISE_BYTES;
    if size <= max { Ok(size) } else { Err(format!("at most {max} bytes")) }
}
