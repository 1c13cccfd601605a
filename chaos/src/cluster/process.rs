//! One process of a member, with signals sent to its own id and nothing else.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Launcher;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a member; its output is added to `log`.
    pub fn spawn(launcher: &Launcher, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        Self::spawn_with(launcher, arguments, log, &[])
    }

    /// The same, with variables in its environment.
    pub fn spawn_with(
        launcher: &Launcher,
        arguments: &[String],
        log: &Path,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(&launcher.program)
            .args(&launcher.arguments)
            .args(arguments)
            .args(&launcher.extra)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", launcher.program.display()))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("SIGKILL")?;
        self.child.wait().context("waiting for a killed process")?;
        Ok(())
    }

    /// SIGTERM: asks it to end in order.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Whether the kernel says that it is stopped, and has not ended.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // The state follows the name, which is in brackets and may contain anything.
        let state = stat.ok().and_then(|stat| stat.rsplit(") ").next()?.chars().next());
        state == Some('T')
    }

    /// SIGSTOP.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id is small")?;
        kill(Pid::from_raw(pid), signal).with_context(|| signal.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is fine: then both calls only fail.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
