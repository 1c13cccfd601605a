//! One member of a server, etcd or ours, as a process with a folder of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

/// Tells a process of ours that it ends with the one that started it.
const SUPERVISOR: &str = "ORLOP_SUPERVISOR_PID";

/// Steps come one after the other, to several servers at once: more threads of one wait for each other.
const ONE_THREAD: [(&str, &str); 2] = [("GOMAXPROCS", "1"), ("TOKIO_WORKER_THREADS", "1")];

/// Nobody's password is to be safe here.
const CHEAP_PASSWORDS: &str = "--bcrypt-cost=4";

/// What a server is started from.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    before: Vec<String>,
    after: Vec<String>,
}

impl Launcher {
    /// Our own store. Its log is synchronised as always: the folder decides what that costs.
    #[must_use]
    pub fn orlop(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            before: vec!["store".to_owned()],
            after: vec!["--log-level=warn".to_owned(), CHEAP_PASSWORDS.to_owned()],
        }
    }

    /// Real etcd, which does not wait for its disk: nothing here outlives the process.
    #[must_use]
    pub fn etcd(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            before: Vec::new(),
            after: ["--log-level=error", "--unsafe-no-fsync", CHEAP_PASSWORDS]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    /// Adds a flag of etcd's that both understand.
    #[must_use]
    pub fn with(mut self, flag: &str) -> Self {
        self.after.push(flag.to_owned());
        self
    }
}

/// A running member. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub struct Server {
    launcher: Launcher,
    child: Child,
    url: String,
    peer: String,
    dir: TempDir,
}

fn free_url() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(format!("http://{}", listener.local_addr()?))
}

/// Memory, where there is such a folder: the comparison is not about disks.
fn folder() -> anyhow::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let made = tempfile::Builder::new().prefix("orlop-differential-").tempdir_in(base);
    made.context("no folder for a server")
}

fn spawn(launcher: &Launcher, dir: &Path, (url, peer): (&str, &str)) -> anyhow::Result<Child> {
    let data = dir.join("data");
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    Command::new(&launcher.program)
        .args(&launcher.before)
        .args(["--name=one", "--initial-cluster-state=new"])
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=one={peer}"))
        .args(&launcher.after)
        .env(SUPERVISOR, std::process::id().to_string())
        .envs(ONE_THREAD)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", launcher.program.display()))
}

impl Server {
    /// Starts a member that is a cluster of its own. It need not serve yet.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(launcher: &Launcher) -> anyhow::Result<Self> {
        let dir = folder()?;
        let (url, peer) = (free_url()?, free_url()?);
        let child = spawn(launcher, dir.path(), (&url, &peer))?;
        Ok(Self { launcher: launcher.clone(), child, url, peer, dir })
    }

    /// Kills the process, and starts it again on the data that it has.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.launcher, self.dir.path(), (&self.url, &self.peer))?;
        Ok(())
    }

    /// What it was started from.
    #[must_use]
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// Where clients reach it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An error, with its last words, when the process has ended.
    ///
    /// # Errors
    /// See above.
    pub fn ensure_alive(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        let status = ended.map(|status| status.to_string()).unwrap_or_default();
        ensure!(ended.is_none(), "the server ended ({status}):\n{}", self.last_words());
        Ok(())
    }

    /// The end of what it logged.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself: then both only fail.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
