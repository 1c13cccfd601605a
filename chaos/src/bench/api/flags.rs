//! Flags of `orlop bench api`.

use std::path::PathBuf;

use anyhow::ensure;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum ApiRow {
    /// Pods created, read, patched, applied and deleted
    B10,
    /// Lists of many pods, and the memory they take
    B11,
    /// Watchers of pods that change
    B12,
    /// From nothing to ready, and what an idle control plane costs
    B15,
}

/// Flags of `orlop bench api`.
#[derive(Clone, Debug, clap::Args)]
pub struct ApiFlags {
    /// An administrator of the API server to load; without it a member and a server of --orlop
    /// are started for the time of the run
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// An administrator of another API server, which takes turns with the first
    #[arg(long, value_name = "FILE", conflicts_with_all = ["peer_apiserver", "peer_etcd"])]
    pub peer: Option<PathBuf>,
    /// Start this kube-apiserver as the other one; with --peer-etcd
    #[arg(long, value_name = "PROGRAM", requires = "peer_etcd")]
    pub peer_apiserver: Option<PathBuf>,
    /// The etcd of --peer-apiserver
    #[arg(long, value_name = "PROGRAM", requires = "peer_apiserver")]
    pub peer_etcd: Option<PathBuf>,
    /// The orlop binary; this one when not given
    #[arg(long, value_name = "PROGRAM")]
    pub orlop: Option<PathBuf>,
    /// Process id of the API server of --kubeconfig; without it, who listens on its port here
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Process ids of its store, for the CPU time of both together
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub store_pids: Vec<u32>,
    /// Process id of the API server of --peer; without it, who listens on its port here
    #[arg(long, value_name = "PID")]
    pub peer_pid: Option<u32>,
    /// Process ids of its store
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub peer_store_pids: Vec<u32>,
    /// Rows to measure
    #[arg(
        long,
        value_delimiter = ',',
        ignore_case = true,
        value_enum,
        default_value = "b10,b11,b12,b15"
    )]
    pub rows: Vec<ApiRow>,
    /// Rounds of each server, in turns; one more before them is not counted
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Requests of each kind in a round of row b10
    #[arg(long, default_value_t = 2_000)]
    pub requests: u64,
    /// Requests of row b10 under way at the same time
    #[arg(long, default_value_t = 16)]
    pub workers: usize,
    /// HTTP/2 connections that they share
    #[arg(long, default_value_t = 4)]
    pub conns: usize,
    /// Pods of row b11: the least of these are listed, and memory is read at each number
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    pub pods: Vec<u64>,
    /// Lists of each form in a round of row b11
    #[arg(long, default_value_t = 3)]
    pub lists: u64,
    /// Seconds in which nobody asks for the pods of row b11, before memory is read again; 0 for not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    pub rest: u64,
    /// Watchers of row b12: one measurement for each of these numbers
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    pub watchers: Vec<usize>,
    /// Connections that they share
    #[arg(long, default_value_t = 100)]
    pub watch_conns: usize,
    /// Events in a round of row b12, of all watchers together, about
    #[arg(long, default_value_t = 200_000)]
    pub events: u64,
    /// Patches a second in the part of row b12 that is about lag
    #[arg(long, default_value_t = 20)]
    pub rate: u64,
    /// Seconds that an idle control plane is looked at in row b15
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub idle: u64,
    /// One short round of everything with few objects: to see that it runs, not to quote
    #[arg(long)]
    pub quick: bool,
    /// Also write the report to this file, and all figures to one with the ending .json beside it
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print JSON: the same as -o json
    #[arg(long)]
    pub json: bool,
    /// Print in this format
    #[arg(short, long, value_parser = ["json"], value_name = "FORMAT")]
    pub output: Option<String>,
}

impl ApiFlags {
    /// With what `--quick` means, and checked.
    pub(super) fn settled(mut self) -> anyhow::Result<Self> {
        if self.quick {
            (self.rounds, self.requests, self.lists) = (1, 64, 1);
            (self.pods, self.watchers, self.watch_conns) = (vec![600], vec![20], 2);
            (self.events, self.idle, self.rest) = (400, 2, 0);
        }
        ensure!(self.rounds > 0 && self.requests > 0 && self.lists > 0, "at least one of each");
        ensure!(self.workers > 0 && self.conns > 0 && self.watch_conns > 0, "at least one of each");
        ensure!(self.rate > 0 && self.idle > 0, "at least one patch and one second");
        let positive = self.pods.iter().all(|pods| *pods > 0)
            && self.watchers.iter().all(|watchers| *watchers > 0);
        ensure!(positive, "at least one pod and one watcher");
        self.pods.sort_unstable();
        self.rows.sort_unstable();
        self.rows.dedup();
        Ok(self)
    }

    /// Whether a program reads the figures.
    pub(super) fn wants_json(&self) -> bool {
        self.json || self.output.is_some()
    }
}
