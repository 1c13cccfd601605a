//! Two stores on one machine, three members each, loaded in turns: only the ratio of rounds that
//! stand side by side means something on a machine that does other things too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, ensure};

use super::operation::Kind;
use super::report::Summary;
use super::{LoadFlags, VersusFlags, generate, measure};
use crate::cluster::{Cluster, Launcher};
use crate::limits;

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
    tokio::time::sleep(limits::BENCH_IDLE_SETTLE).await;
    writeln!(out, "* RSS of idle members, MiB: etcd {}; orlop {}", rss(&peer)?, rss(&ours)?)?;
    for (kind, clients) in plan(&flags.clients)? {
        writeln!(out, "\n## {}, {clients} clients\n", kind.name())?;
        writeln!(
            out,
            "| round | store | ops/s | p50 ms | p99 ms | failed | server CPU us/op | generator CPU \
             us/op | RSS MiB |\n|---|---|---|---|---|---|---|---|---|"
        )?;
        let mut ratios = Vec::new();
        let mut spent = BTreeMap::new();
        for round in 0..flags.rounds {
            let theirs = generate(kind, &load(flags, &peer, clients)).await.context("etcd")?;
            let threads = measure::cpu_us_by_thread(&ours.pids())?;
            let own = generate(kind, &load(flags, &ours, clients)).await.context("orlop")?;
            for (name, us) in measure::cpu_us_by_thread(&ours.pids())? {
                *spent.entry(name.clone()).or_insert(0) +=
                    us.saturating_sub(threads.get(&name).copied().unwrap_or(0));
            }
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
        writeln!(out, "\norlop's CPU time by thread: {}", shares(&spent))?;
    }
    writeln!(out, "\nLoad of the machine at the end: {}", load_average())?;
    if let Some(path) = &flags.report {
        std::fs::write(path, &out).with_context(|| path.display().to_string())?;
    }
    Ok(out)
}

/// What is measured, with how many clients.
fn plan(clients: &[usize]) -> anyhow::Result<Vec<(Kind, usize)>> {
    ensure!(!clients.is_empty() && !clients.contains(&0), "at least one client");
    let others = clients.iter().copied().filter(|count| *count <= 64).max();
    let others = others.or_else(|| clients.iter().copied().min()).context("at least one client")?;
    let kinds = [
        Kind::Range { serializable: false },
        Kind::Range { serializable: true },
        Kind::Txn { puts: 64 },
    ];
    let puts = clients.iter().map(|count| (Kind::Put, *count));
    Ok(puts.chain(kinds.map(|kind| (kind, others))).collect())
}

fn rss(cluster: &Cluster) -> anyhow::Result<String> {
    let memory = cluster.pids().into_iter().map(measure::memory);
    let memory: Vec<String> = memory
        .map(|memory| Ok((memory?.rss_kib / 1024).to_string()))
        .collect::<anyhow::Result<_>>()?;
    Ok(memory.join(" + "))
}

/// The threads that used most, largest first, in hundredths of all.
fn shares(spent: &BTreeMap<String, u64>) -> String {
    const LISTED_MAX: usize = 8;
    let all = spent.values().sum::<u64>().max(1);
    let mut threads: Vec<(&String, u64)> =
        spent.iter().map(|(name, us)| (name, us * 100 / all)).collect();
    threads.sort_by_key(|(_, share)| std::cmp::Reverse(*share));
    let listed = threads.iter().filter(|(_, share)| *share > 0).take(LISTED_MAX);
    listed.map(|(name, share)| format!("{name} {share} %")).collect::<Vec<_>>().join(", ")
}

fn load(flags: &VersusFlags, cluster: &Cluster, clients: usize) -> LoadFlags {
    LoadFlags {
        endpoints: cluster.urls(),
        clients,
        conns: clients.min(CONNECTIONS_MAX),
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
        output: None,
    }
}

fn header(flags: &VersusFlags, orlop: &std::path::Path) -> anyhow::Result<String> {
    let mut out = String::new();
    writeln!(out, "# orlop store beside etcd\n")?;
    writeln!(
        out,
        "Three members each on one machine, both running all the time, loaded in turns: {} rounds \
         of {} s, key 28 B, value 256 B, through all members, without TLS. Native disk, no \
         pinning.\n",
        flags.rounds, flags.seconds
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
