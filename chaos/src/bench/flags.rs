//! Flags of `orlop bench`.

use std::path::PathBuf;

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
    Store(Workload),
}

/// What the clients do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Workload {
    /// Write single keys
    Put(LoadFlags),
    /// Read single keys (they are written first)
    Range(RangeFlags),
    /// Write several keys in one transaction
    Txn(TxnFlags),
    /// Start three members of two stores on this machine and load them in turns
    Versus(VersusFlags),
}

/// How much, and on what.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadFlags {
    /// Client URLs; connections are spread over them
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// Operations under way at the same time
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Connections that the clients share
    #[arg(long, default_value_t = 8)]
    pub conns: usize,
    /// Operations to measure; with --duration, at most this many
    #[arg(long, default_value_t = 100_000)]
    pub total: u64,
    /// Stop measuring after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,
    /// Operations before measuring begins
    #[arg(long, default_value_t = 2_000)]
    pub warm_up: u64,
    /// Bytes of a key
    #[arg(long, default_value_t = 28)]
    pub key_size: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    pub val_size: usize,
    /// Number of different keys
    #[arg(long, default_value_t = 100_000)]
    pub key_space: u64,
    /// Go through the keys in order, not at random
    #[arg(long)]
    pub sequential_keys: bool,
    /// Operations a second that are due, whether or not earlier ones are done; latency counts
    /// from when an operation was due
    #[arg(long)]
    pub rate: Option<u64>,
    /// Seed of the random keys
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
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

impl LoadFlags {
    /// Whether a program reads the figures.
    pub fn wants_json(&self) -> bool {
        self.json || self.output.is_some()
    }
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

/// Flags of `versus`.
#[derive(Clone, Debug, clap::Args)]
pub struct VersusFlags {
    /// The orlop binary; this one when not given
    #[arg(long, value_name = "PATH")]
    pub orlop: Option<PathBuf>,
    /// The etcd binary to compare with
    #[arg(long, value_name = "PATH")]
    pub etcd: PathBuf,
    /// Rounds of each store, in turns
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Operations under way at the same time; several numbers load puts with each of them, reads
    /// and transactions with the largest that is at most 64
    #[arg(long, value_delimiter = ',', default_value = "64")]
    pub clients: Vec<usize>,
    /// Also write the report to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}
