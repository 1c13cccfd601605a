//! Somebody who uses the API all the time, and knows how long it did not answer.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Cluster, run};

/// Between two commands.
const PAUSE: Duration = Duration::from_millis(150);

/// Writes and reads by turns with kubectl until it is asked what it saw.
pub(crate) struct Witness {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What a witness saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// ConfigMaps that kubectl said are created.
    pub(crate) written: Vec<String>,
    /// The longest time from one command that worked to the end of the next that did.
    pub(crate) longest: Duration,
    /// What kubectl said when it failed.
    pub(crate) errors: Vec<String>,
}

impl Witness {
    /// Starts one; what it writes has names that begin with `prefix`.
    pub(crate) fn start(cluster: &Cluster, prefix: &str) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (stop, prefix) = (Arc::clone(&ended), prefix.to_owned());
        let (read, write) = (cluster.kubectl_command(), cluster.kubectl_command());
        let thread = std::thread::spawn(move || watch(&stop, &prefix, read, write));
        Self { ended, thread: Some(thread) }
    }

    pub(crate) fn end(mut self) -> Seen {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // A test that failed in between has ended its cluster too.
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn watch(stop: &AtomicBool, prefix: &str, mut read: Command, write: Command) -> Seen {
    read.args(["get", "nodes,deployments", "--request-timeout=2s"]);
    let mut seen = Seen { written: Vec::new(), longest: Duration::ZERO, errors: Vec::new() };
    let mut last = Instant::now();
    let mut heard = |output: &std::process::Output, seen: &mut Seen| {
        seen.longest = seen.longest.max(last.elapsed());
        if output.status.success() {
            last = Instant::now();
        } else {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            seen.errors.push(said);
        }
        output.status.success()
    };
    while !stop.load(Ordering::Relaxed) {
        heard(&run(&mut read), &mut seen);
        let name = format!("{prefix}-{}", seen.written.len() + seen.errors.len());
        let mut create = again(&write);
        create.args(["create", "configmap", &name, "--request-timeout=2s"]);
        if heard(&run(&mut create), &mut seen) {
            seen.written.push(name);
        }
        std::thread::sleep(PAUSE);
    }
    seen
}

/// The same command once more, to be given other arguments.
fn again(command: &Command) -> Command {
    let mut other = Command::new(command.get_program());
    other.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}
