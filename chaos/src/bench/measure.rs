//! CPU time and memory of processes, from /proc.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// What processes used while something was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// How long it was measured.
    pub seconds: f64,
    /// CPU time of all servers together; `None` when no process was named.
    pub server_cpu_us: Option<u64>,
    /// The same by names of threads.
    pub server_cpu_us_by_thread: BTreeMap<String, u64>,
    /// CPU time of the load generator.
    pub generator_cpu_us: u64,
    /// Memory of each server at the end.
    pub memory: Vec<Memory>,
}

/// A measurement that is under way.
#[derive(Debug)]
pub(super) struct Meter {
    start: Instant,
    pids: Vec<u32>,
    servers_us: u64,
    own_us: u64,
    threads: BTreeMap<String, u64>,
}

impl Meter {
    /// Begins, with the servers' process ids.
    pub(super) fn start(pids: &[u32]) -> anyhow::Result<Self> {
        Ok(Self {
            pids: pids.to_vec(),
            threads: cpu_us_by_thread(pids)?,
            servers_us: cpu_us_of(pids)?,
            own_us: cpu_us(std::process::id())?,
            start: Instant::now(),
        })
    }

    /// Ends.
    pub(super) fn stop(self) -> anyhow::Result<Usage> {
        let seconds = self.start.elapsed().as_secs_f64();
        let servers = cpu_us_of(&self.pids)?.saturating_sub(self.servers_us);
        let generator_cpu_us = cpu_us(std::process::id())?.saturating_sub(self.own_us);
        let mut threads = cpu_us_by_thread(&self.pids)?;
        for (name, us) in &mut threads {
            *us = us.saturating_sub(self.threads.get(name).copied().unwrap_or(0));
        }
        threads.retain(|_, us| *us > 0);
        let memory = self.pids.iter().map(|pid| memory(*pid)).collect::<Result<_, _>>()?;
        Ok(Usage {
            seconds,
            server_cpu_us: (!self.pids.is_empty()).then_some(servers),
            server_cpu_us_by_thread: threads,
            generator_cpu_us,
            memory,
        })
    }
}

/// CPU time that a process and its ended threads have used, in microseconds.
fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is not there"))?;
    // The name, in parentheses, may hold blanks; user and system time are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')').context("a stat line has a name")?;
    ticks_us(rest)
}

fn ticks_us(rest: &str) -> anyhow::Result<u64> {
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|at| fields.get(*at).and_then(|field| field.parse::<u64>().ok()))
        .sum::<Option<u64>>()
        .context("a stat line has CPU times")?;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel knows its tick")?;
    Ok(ticks * 1_000_000 / u64::try_from(a_second)?)
}

/// CPU time of several processes together.
fn cpu_us_of(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().map(|pid| cpu_us(*pid)).sum()
}

/// CPU time of the threads of several processes by the threads' names, in microseconds: where a
/// server's time goes, without a profiler. Threads that ended are not in it.
fn cpu_us_by_thread(pids: &[u32]) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut by_name = BTreeMap::new();
    for pid in pids {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end while it is looked at.
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
            let (head, rest) = stat.rsplit_once(')').context("a stat line has a name")?;
            let (_, name) = head.split_once('(').context("a stat line has a name")?;
            // Workers of one pool differ in their last digits only.
            let name = name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '-');
            *by_name.entry(name.to_owned()).or_default() += ticks_us(rest)?;
        }
    }
    Ok(by_name)
}

/// Memory of one process, in KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// The process.
    pub pid: u32,
    /// All pages that are in memory.
    pub rss_kib: u64,
    /// Those of them that no file backs.
    pub anon_kib: u64,
}

/// All pages of several processes that are in memory now, in KiB.
pub(super) fn rss_kib_of(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().map(|pid| Ok(memory(*pid)?.rss_kib)).sum()
}

/// Memory of a process now.
pub(super) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is not there"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.with_context(|| format!("process {pid} has no {name}"))
    };
    Ok(Memory { pid, rss_kib: field("VmRSS:")?, anon_kib: field("RssAnon:")? })
}
