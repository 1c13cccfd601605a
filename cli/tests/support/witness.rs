//! Somebody who uses the API all the time, and knows how long it did not answer.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Cluster, run};

/// Between two commands.
const PAUSE: Duration = Duration::from_millis(150);
/// Commands that show, by twos, how long one takes when nothing is wrong.
const CALM_CALLS: usize = 3;

/// Writes and reads with kubectl until it is asked what it saw. Both at the same time: one that
/// hangs is not yet the silence of all.
pub(crate) struct Witness {
    /// The longest that kubectl took before anything was wrong.
    pub(crate) usual: Duration,
    prefix: String,
    began: Instant,
    stop: Stop,
    reads: JoinHandle<Vec<Call>>,
    writes: JoinHandle<Vec<Call>>,
}

/// What a witness saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// ConfigMaps that kubectl said are created.
    pub(crate) written: Vec<String>,
    /// The longest time in which neither a read nor a write came to a good end.
    pub(crate) longest: Duration,
    /// What kubectl said when it failed.
    pub(crate) errors: Vec<String>,
}

/// One run of kubectl.
#[derive(Debug)]
struct Call {
    began: Instant,
    ended: Instant,
    error: Option<String>,
}

/// Ends the threads when it is dropped: a test that failed in between has ended its cluster too.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Witness {
    /// Starts one, while nothing is wrong yet; what it writes has names that begin with `prefix`.
    pub(crate) fn start(cluster: &Cluster, prefix: &str) -> Self {
        let usual = usual(cluster);
        let (reader, writer) = (cluster.kubectl_command(), cluster.kubectl_command());
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        let (no_reads, no_writes) = (Arc::clone(&stop.0), Arc::clone(&stop.0));
        let began = Instant::now();
        let reads = std::thread::spawn(move || {
            calls(|_| reading(&reader), |_| !no_reads.load(Ordering::Relaxed))
        });
        let names = prefix.to_owned();
        let writes = std::thread::spawn(move || {
            let create = |number| creating(&writer, &name(&names, number));
            calls(create, |_| !no_writes.load(Ordering::Relaxed))
        });
        Self { usual, prefix: prefix.to_owned(), began, stop, reads, writes }
    }

    pub(crate) fn end(self) -> Seen {
        let Self { usual: _, prefix, began, stop, reads, writes } = self;
        let asked = Instant::now();
        drop(stop);
        let (reads, writes) = (reads.join().unwrap(), writes.join().unwrap());
        let all = || reads.iter().chain(&writes);
        let good = all().filter(|call| call.error.is_none()).map(|call| call.ended);
        let mut times: Vec<Instant> = good.filter(|ended| *ended < asked).collect();
        times.extend([began, asked]);
        times.sort();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        let is_written =
            |(number, call): (usize, &Call)| call.error.is_none().then(|| name(&prefix, number));
        let written = writes.iter().enumerate().filter_map(is_written).collect();
        let errors = all().filter_map(|call| call.error.clone()).collect();
        Seen { written, longest, errors }
    }
}

/// How long kubectl takes when nothing is wrong: the slowest of a few, two at a time as a witness
/// has them.
fn usual(cluster: &Cluster) -> Duration {
    let threads = [cluster.kubectl_command(), cluster.kubectl_command()].map(|kubectl| {
        std::thread::spawn(move || calls(|_| reading(&kubectl), |done| done < CALM_CALLS))
    });
    let calls: Vec<Call> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let good = calls.iter().filter(|call| call.error.is_none());
    let slowest = good.map(|call| call.ended - call.began).max();
    slowest.expect("kubectl works before anything is wrong")
}

/// One command after the other, while it is to go on. Both closures are given how many there were.
fn calls(command: impl Fn(usize) -> Command, goes_on: impl Fn(usize) -> bool) -> Vec<Call> {
    let mut calls = Vec::new();
    while goes_on(calls.len()) {
        let mut command = command(calls.len());
        let began = Instant::now();
        let output = run(&mut command);
        let ended = Instant::now();
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let error = (!output.status.success()).then(said);
        calls.push(Call { began, ended, error });
        std::thread::sleep(PAUSE);
    }
    calls
}

fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number}")
}

fn reading(kubectl: &Command) -> Command {
    let mut read = again(kubectl);
    read.args(["get", "nodes,deployments", "--request-timeout=2s"]);
    read
}

fn creating(kubectl: &Command, name: &str) -> Command {
    let mut create = again(kubectl);
    create.args(["create", "configmap", name, "--request-timeout=2s"]);
    create
}

/// The same command once more, to be given other arguments.
fn again(command: &Command) -> Command {
    let mut other = Command::new(command.get_program());
    other.args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}
