//! B15: how long a control plane takes from nothing to ready, and what it costs while nothing
//! happens.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::Rng as _;

use super::figures::{Comparison, Round};
use super::flags::ApiFlags;
use super::processes;
use super::server::{self, Server, Side};
use crate::bench::measure::{self, Meter};
use crate::bench::versus::goal::Goal::AtMost;
use crate::cluster::{Launcher, Process};
use crate::limits;

const SECONDS: &str = "s to ready";
/// Of all processes, with each page that they share counted once: they are one binary.
const MEMORY: &str = "memory MiB";
const CPU: &str = "CPU, % of a core";

/// Starts of an empty control plane of each kind.
const STARTS: usize = 5;
const QUICK_STARTS: usize = 1;

pub(super) async fn run(flags: &ApiFlags) -> anyhow::Result<Vec<Comparison>> {
    let starts = if flags.quick { QUICK_STARTS } else { STARTS };
    let mut pair = Comparison::new(
        "B15",
        "a store of one member and an API server, started empty, to /readyz".to_owned(),
        vec![(SECONDS, AtMost(1.0))],
    );
    let mut whole = Comparison::new(
        "B15",
        "orlop up --nodes 0 in an empty folder, to /readyz".to_owned(),
        vec![(SECONDS, AtMost(1.0))],
    );
    for start in 1..=starts {
        super::progress(&format!("B15: start {start}/{starts}"));
        if let Some((store, api)) = server::peer_programs(flags) {
            pair.push(Side::Peer, started(Side::Peer, &store, &api).await?);
        }
        let (store, api) = server::own_programs(flags)?;
        pair.push(Side::Orlop, started(Side::Orlop, &store, &api).await?);
        let up = Up::start(flags).await?;
        whole.push(Side::Orlop, ready(up.ready_after));
        up.stop().await?;
    }
    super::progress(&format!("B15: idle for {} s", flags.idle));
    Ok(vec![pair, whole, idle(flags).await?])
}

async fn started(side: Side, store: &Launcher, api: &Launcher) -> anyhow::Result<Round> {
    let server = Server::start(side, store, api).await?;
    Ok(ready(server.ready_after().context("it was just started")?))
}

fn ready(after: Duration) -> Round {
    Round { figures: vec![(SECONDS, after.as_secs_f64())], ..Round::default() }
}

/// Memory and CPU time of three members, API servers, controllers and schedulers with no work.
async fn idle(flags: &ApiFlags) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison::new(
        "B15",
        "orlop up --nodes 0, three members, idle".to_owned(),
        vec![(MEMORY, AtMost(150.0)), (CPU, AtMost(1.0))],
    );
    let up = Up::start(flags).await?;
    tokio::time::sleep(Duration::from_secs(flags.idle.min(limits::BENCH_API_SETTLE_S))).await;
    let pids = processes::family(up.process.id());
    let meter = Meter::start(&pids)?;
    tokio::time::sleep(Duration::from_secs(flags.idle)).await;
    let usage = meter.stop()?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let shares: u64 =
        pids.iter().map(|pid| processes::share_kib(*pid)).sum::<anyhow::Result<u64>>()?;
    let anonymous = usage.memory.iter().map(|memory| memory.anon_kib).sum();
    let cpu_us = usage.server_cpu_us.unwrap_or_default() as f64;
    let figures = vec![
        (MEMORY, mib(shares)),
        ("of it anonymous", mib(anonymous)),
        ("sum of RSS", mib(measure::rss_kib_of(&pids)?)),
        (CPU, cpu_us / usage.seconds / 1e4),
        ("processes", pids.len() as f64),
    ];
    comparison.push(Side::Orlop, Round { figures, ..Round::default() });
    up.stop().await?;
    Ok(comparison)
}

/// A whole control plane of ours.
#[derive(Debug)]
struct Up {
    process: Process,
    ready_after: Duration,
    _dir: tempfile::TempDir,
}

impl Up {
    async fn start(flags: &ApiFlags) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("orlop-bench-up-").tempdir()?;
        let launcher = Launcher {
            program: server::own_program(flags)?,
            arguments: vec!["up".to_owned()],
            extra: Vec::new(),
        };
        let [net, subnet] = [rand::rng().random_range(64..214), rand::rng().random::<u8>()];
        // The supervisor's own address is everybody's: its port must be nobody's.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = dir.path().join("cluster");
        let arguments = [
            format!("--dir={}", folder.display()),
            "--nodes=0".to_owned(),
            format!("--host-prefix=127.{net}.{subnet}."),
            format!("--api-port={port}"),
            "--json".to_owned(),
        ];
        let began = Instant::now();
        let log = dir.path().join("up.log");
        let mut process = Process::spawn(&launcher, &arguments, &log)?;
        let server = named(&folder.join("kubeconfig"), began).await?;
        server.wait_ready(began, || process.exited().is_none()).await?;
        Ok(Self { process, ready_after: began.elapsed(), _dir: dir })
    }

    /// Ends in order, so that nothing is left of it.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.process.terminate()?;
        let began = Instant::now();
        while self.process.exited().is_none() {
            let within = limits::BRING_UP_DEADLINE;
            anyhow::ensure!(began.elapsed() < within, "it does not stop within {within:?}");
            tokio::time::sleep(limits::BENCH_POLL_INTERVAL).await;
        }
        Ok(())
    }
}

/// The server of a kubeconfig that somebody is about to write.
async fn named(path: &Path, began: Instant) -> anyhow::Result<Server> {
    loop {
        let tried = Server::of_kubeconfig(Side::Orlop, path).await;
        match tried {
            Ok(server) => return Ok(server),
            Err(error) if began.elapsed() > limits::BRING_UP_DEADLINE => return Err(error),
            Err(_) => tokio::time::sleep(limits::BENCH_POLL_INTERVAL).await,
        }
    }
}
