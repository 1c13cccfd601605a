//! Processes of the parts: started from one thread, logging to files, ending with the supervisor.
//!
//! The kernel's parent-death signal goes out when the *thread* that started a process ends. So one
//! thread starts them all and lives as long as the supervisor does.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::probe::Probe;
use crate::limits;

/// Set for every process that the supervisor starts: its process id. See [`end_with_supervisor`].
const SUPERVISOR: &str = "ORLOP_SUPERVISOR_PID";

/// The kinds of parts, in the order in which they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Store,
    ApiServer,
    ControllerManager,
    Scheduler,
    Containerd,
    Node,
}

impl Kind {
    /// As in `orlop NAME`, logs and `orlop status`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::ApiServer => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Containerd => "containerd",
            Self::Node => "node",
        }
    }
}

/// One process to keep running.
#[derive(Clone)]
pub(crate) struct Spec {
    /// `host-1`, `node-2`.
    pub(crate) host: String,
    pub(crate) kind: Kind,
    /// Where it serves, for people.
    pub(crate) address: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) log: PathBuf,
    pub(crate) probe: Option<Probe>,
}

impl Spec {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.host, self.kind.name())
    }
}

struct Request {
    spec: Arc<Spec>,
    reply: oneshot::Sender<anyhow::Result<Child>>,
}

/// The thread that starts processes.
#[derive(Clone)]
pub(crate) struct Spawner {
    requests: SyncSender<Request>,
}

impl Spawner {
    /// Must be called inside the runtime that will wait for the processes.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (requests, inbox) = sync_channel::<Request>(64);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                for Request { spec, reply } in inbox {
                    // A caller that went away drops the child, and that kills it.
                    drop(reply.send(spawn(&spec)));
                }
            })
            .context("cannot start a thread")?;
        Ok(Self { requests })
    }

    pub(crate) async fn spawn(&self, spec: Arc<Spec>) -> anyhow::Result<Child> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { spec, reply }).ok().context("the spawner is busy")?;
        answer.await.context("the spawner has ended")?
    }
}

fn spawn(spec: &Spec) -> anyhow::Result<Child> {
    let log = open_log(&spec.log)?;
    let errors = log.try_clone().context("cannot use the log file twice")?;
    let mut command = Command::from({
        let mut command = std::process::Command::new(&spec.program);
        // Its own group: Ctrl-C in the terminal is the supervisor's to handle, and a group can be
        // killed with everything that the part itself started.
        command.process_group(0);
        command
    });
    command
        .args(&spec.arguments)
        .env(SUPERVISOR, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", spec.program.display()))
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let say = || format!("cannot open the log {}", path.display());
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > limits::LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.1")).with_context(say)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).with_context(say)
}

/// The last line of a log, when it is the one in which a process said why it ends.
pub(crate) fn last_error(path: &Path) -> Option<String> {
    let text = log_end(path)?;
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    last.starts_with("error: ").then(|| last.to_owned())
}

/// The last line of a log that says something; its error line when there is one.
pub(crate) fn last_words(path: &Path) -> Option<String> {
    let text = log_end(path)?;
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().take(20).find(|line| line.starts_with("error: "));
    error.or_else(|| lines().next()).map(str::to_owned)
}

fn log_end(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limits::LOG_TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(limits::LOG_TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Called first thing in every process: one that a supervisor started is killed when that ends,
/// however it ends.
pub(crate) fn end_with_supervisor() -> anyhow::Result<()> {
    let Some(supervisor) = std::env::var_os(SUPERVISOR) else { return Ok(()) };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot be tied to the supervisor")?;
    // It may have ended before the line above; then nobody would send the signal.
    let parent = nix::unistd::getppid().to_string();
    anyhow::ensure!(supervisor.to_str() == Some(&parent), "the supervisor has ended");
    Ok(())
}

/// Becomes `program`, keeping the tie to the supervisor: for parts that are not this binary.
pub(crate) fn become_program(command: &[OsString]) -> anyhow::Error {
    let Some((program, arguments)) = command.split_first() else {
        return anyhow::anyhow!("no program is named");
    };
    let error = std::process::Command::new(program).args(arguments).env_remove(SUPERVISOR).exec();
    anyhow::Error::new(error).context(format!("cannot run {}", program.display()))
}

/// Asks a process that has not been waited for to end.
pub(crate) fn terminate(child: &Child) {
    if let Some(pid) = pid(child) {
        // It may have ended by itself: waiting for it tells.
        let _ = kill(pid, Signal::SIGTERM);
    }
}

/// Ends a process that has not been waited for, and all of its group.
pub(crate) fn kill_group(child: &Child) {
    if let Some(pid) = pid(child) {
        let _ = killpg(pid, Signal::SIGKILL);
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_error_line_when_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "starting\nerror: no disk\n\n").unwrap();
        assert_eq!(last_words(&path).unwrap(), "error: no disk");
        assert_eq!(last_error(&path).unwrap(), "error: no disk");
        fs::write(&path, "starting\nstopped\n").unwrap();
        assert_eq!(last_words(&path).unwrap(), "stopped");
        assert_eq!(last_error(&path), None);
        fs::write(&path, "").unwrap();
        assert_eq!(last_words(&path), None);
    }

    #[test]
    fn a_log_that_has_grown_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host-1-store.log");
        File::create(&path).unwrap().set_len(limits::LOG_BYTES_MAX + 1).unwrap();
        assert_eq!(open_log(&path).unwrap().metadata().unwrap().len(), 0);
        assert!(folder.path().join("host-1-store.log.1").exists());
    }
}
