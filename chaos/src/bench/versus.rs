//! Two stores on one machine, three members each, loaded in turns: only the ratio of rounds that
//! stand side by side means something on a machine that does other things too.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::operation::Kind;
use super::report::Summary;
use super::{LoadFlags, VersusFlags, generate};
use crate::cluster::{Cluster, Launcher};

const MEMBERS: usize = 3;
const CONNECTIONS_MAX: usize = 9;

/// Runs the rounds and returns the report, in markdown.
pub(super) async fn run(flags: &VersusFlags) -> anyhow::Result<String> {
    let orlop = match &flags.orlop {
        Some(path) => path.clone(),
        None => std::env::current_exe()?,
    };
    let ours = Cluster::start(Launcher::orlop(&orlop), MEMBERS).await.context("orlop")?;
    let peer = Cluster::start(Launcher::etcd(&flags.etcd), MEMBERS).await.context("etcd")?;
    let mut out = header(flags, &orlop)?;
    let kinds = [
        Kind::Put,
        Kind::Range { serializable: false },
        Kind::Range { serializable: true },
        Kind::Txn { puts: 64 },
    ];
    for kind in kinds {
        writeln!(out, "\n## {}\n", kind.name())?;
        writeln!(
            out,
            "| round | store | ops/s | p50 ms | p99 ms | failed | server CPU us/op | generator CPU \
             us/op | RSS MiB |\n|---|---|---|---|---|---|---|---|---|"
        )?;
        let mut ratios = Vec::new();
        for round in 0..flags.rounds {
            let theirs = generate(kind, &load(flags, &peer)).await.context("etcd")?;
            let own = generate(kind, &load(flags, &ours)).await.context("orlop")?;
            row(&mut out, round, "etcd", &theirs)?;
            row(&mut out, round, "orlop", &own)?;
            let cpu = own
                .server_cpu_us_per_operation()
                .zip(theirs.server_cpu_us_per_operation())
                .map_or(f64::NAN, |(own, theirs)| own / theirs);
            ratios.push((own.throughput() / theirs.throughput(), cpu));
        }
        let (speed, cpu): (Vec<f64>, Vec<f64>) = ratios.into_iter().unzip();
        writeln!(
            out,
            "\norlop / etcd: operations/s {}; server CPU {}",
            spread(speed),
            spread(cpu)
        )?;
    }
    writeln!(out, "\nLoad of the machine at the end: {}", load_average())?;
    if let Some(path) = &flags.report {
        std::fs::write(path, &out).with_context(|| path.display().to_string())?;
    }
    Ok(out)
}

fn load(flags: &VersusFlags, cluster: &Cluster) -> LoadFlags {
    LoadFlags {
        endpoints: cluster.urls(),
        clients: flags.clients,
        conns: flags.clients.min(CONNECTIONS_MAX),
        total: u64::MAX,
        duration: Some(flags.seconds),
        warm_up: 2_000,
        key_size: 28,
        val_size: 256,
        key_space: 20_000,
        sequential_keys: false,
        rate: None,
        seed: 1,
        pids: cluster.pids(),
        cacert: None,
        cert: None,
        key: None,
        json: false,
    }
}

fn header(flags: &VersusFlags, orlop: &std::path::Path) -> anyhow::Result<String> {
    let mut out = String::new();
    writeln!(out, "# orlop store beside etcd\n")?;
    writeln!(
        out,
        "Three members each on one machine, both running all the time, loaded in turns: {} rounds \
         of {} s, {} clients, key 28 B, value 256 B, through all members, without TLS. Native \
         disk, no pinning.\n",
        flags.rounds, flags.seconds, flags.clients
    )?;
    writeln!(out, "* etcd: {}", version(&flags.etcd, "--version"))?;
    writeln!(out, "* orlop: {}", version(orlop, "version"))?;
    let cpus = std::thread::available_parallelism()?;
    writeln!(out, "* machine: {cpus} CPUs; load at the start: {}", load_average())?;
    Ok(out)
}

fn version(program: &std::path::Path, word: &str) -> String {
    match std::process::Command::new(program).arg(word).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().unwrap_or("unknown").to_owned()
        }
        Err(error) => format!("unknown ({error})"),
    }
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .map_or_else(|error| format!("unknown ({error})"), |text| text.trim().to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn row(out: &mut String, round: usize, name: &str, summary: &Summary) -> std::fmt::Result {
    let per_operation = |us: u64| us as f64 / summary.operations.max(1) as f64;
    let rss: Vec<String> =
        summary.memory.iter().map(|memory| (memory.rss_kib / 1024).to_string()).collect();
    writeln!(
        out,
        "| {} | {name} | {:.0} | {:.2} | {:.2} | {} | {:.1} | {:.1} | {} |",
        round + 1,
        summary.throughput(),
        summary.latency_us.p50 as f64 / 1e3,
        summary.latency_us.p99 as f64 / 1e3,
        summary.failed,
        summary.server_cpu_us_per_operation().unwrap_or(f64::NAN),
        per_operation(summary.generator_cpu_us),
        rss.join(" + ")
    )
}

fn spread(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
    let least = ratios.first().copied().unwrap_or(f64::NAN);
    let most = ratios.last().copied().unwrap_or(f64::NAN);
    format!("median {median:.2} ({least:.2} to {most:.2})")
}
