//! A cluster of real processes, on loopback addresses or hosts of its own, each member's data in a
//! folder or on a disk of its own that can misbehave.

mod binary;
mod member;
mod process;
mod setup;

pub use binary::Launcher;
pub use process::Process;
pub use setup::Setup;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use self::member::Member;
use crate::client::{MemberClient, MemberStatus};
use crate::disk::{Disk, Lost, Taken};
use crate::history::{Action, Outcome, Step};
use crate::limits;
use crate::topo::Topo;

/// Members, their processes and folders. Dropping it kills every process; the folder goes too
/// unless [`Cluster::keep`] was called.
#[derive(Debug)]
pub struct Cluster {
    launcher: Launcher,
    /// Their disks are unmounted after they have ended and before the folder goes.
    members: Vec<Member>,
    dir: tempfile::TempDir,
    topo: Option<Arc<Topo>>,
    token: String,
}

impl Cluster {
    /// Starts `size` members and waits until each serves a linearizable read.
    pub async fn start(launcher: Launcher, size: usize) -> anyhow::Result<Self> {
        Self::bring_up(Setup::new(launcher, size)).await
    }

    /// The same, with each member's data on a disk that can misbehave ([`Cluster::disk`]), mounted
    /// by [`Disk::mount`] or [`Disk::mount_volatile`].
    pub async fn start_on_disk(
        mount: fn(&Path, &Path) -> anyhow::Result<Disk>,
        launcher: Launcher,
        size: usize,
    ) -> anyhow::Result<Self> {
        Self::bring_up(Setup { mount: Some(mount), ..Setup::new(launcher, size) }).await
    }

    /// Starts what a set-up says, and waits until each member serves a linearizable read.
    pub async fn bring_up(setup: Setup) -> anyhow::Result<Self> {
        let size = setup.size;
        let mut cluster = setup.made()?;
        for member in 0..size {
            cluster.spawn(member)?;
        }
        for member in 0..size {
            cluster.wait_serving(member, limits::BRING_UP_DEADLINE).await?;
        }
        Ok(cluster)
    }

    /// Number of members, spare ones not counted.
    pub fn size(&self) -> usize {
        self.members.iter().filter(|member| !member.is_spare).count()
    }

    /// Number of spare members.
    pub fn spares(&self) -> usize {
        self.members.len() - self.size()
    }

    /// The client URL of a member.
    pub fn url(&self, member: usize) -> String {
        format!("http://{}:2379", self.members[member].address)
    }

    /// The URL that a member's peers know it by.
    pub fn peer_url(&self, member: usize) -> String {
        format!("http://{}:2380", self.members[member].address)
    }

    /// What a member calls itself.
    pub fn name(&self, member: usize) -> &str {
        &self.members[member].name
    }

    /// The client URLs of all members.
    pub fn urls(&self) -> Vec<String> {
        (0..self.size()).map(|member| self.url(member)).collect()
    }

    /// Process ids of the members that run.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|m| m.process.as_ref().map(Process::id)).collect()
    }

    /// The process id of a member that runs.
    pub fn pid(&self, member: usize) -> Option<u32> {
        self.members[member].process.as_ref().map(Process::id)
    }

    /// What the members were started from.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// The folder with data and logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The disk that a member's data is on, if the cluster was started on disks.
    pub fn disk(&self, member: usize) -> Option<&Disk> {
        self.members[member].disk.as_ref()
    }

    /// Where a member's data is.
    pub fn data_dir(&self, member: usize) -> PathBuf {
        self.members[member].data_dir(self.dir())
    }

    /// Starts a member on the data that it has.
    pub fn spawn(&mut self, member: usize) -> anyhow::Result<()> {
        let here = &self.members[member];
        ensure!(here.process.is_none(), "member {member} runs already");
        let initial = here.initial.clone().unwrap_or_else(|| self.founders());
        let arguments = here.arguments(&here.data_dir(self.dir()), &initial, &self.token);
        let log = self.log_file(member);
        let start = || Process::spawn_with(&self.launcher, &arguments, &log, &here.environment);
        let started = match (&self.topo, here.host) {
            (Some(topo), Some(host)) => topo.host(host).run(start)?,
            (_, None) | (None, _) => start(),
        };
        let process = started.with_context(|| format!("member {member} did not start"))?;
        self.members[member].process = Some(process);
        Ok(())
    }

    /// All members of the beginning, as the flag wants them.
    fn founders(&self) -> member::Initial {
        let founders = self.members.iter().filter(|member| !member.is_spare);
        let peers: Vec<String> = founders.map(Member::named_peer_url).collect();
        member::Initial { peers: peers.join(","), state: "new" }
    }

    /// From its next start on a member joins a cluster that runs, of these members and itself. Give
    /// each as `name=url`.
    pub fn joins(&mut self, member: usize, others: &[String]) {
        let mut peers = others.to_vec();
        peers.push(self.members[member].named_peer_url());
        let initial = member::Initial { peers: peers.join(","), state: "existing" };
        self.members[member].initial = Some(initial);
    }

    /// Ends a member at once with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        match self.take_process(member) {
            Some(process) => process.kill(),
            None => bail!("member {member} does not run"),
        }
    }

    /// A member's process, which is the caller's now: dropping it kills it.
    pub fn take_process(&mut self, member: usize) -> Option<Process> {
        self.members[member].process.take()
    }

    /// How a member's process ended, if it did; then the member has none any more.
    pub fn reap(&mut self, member: usize) -> Option<ExitStatus> {
        let status = self.members[member].process.as_mut().and_then(Process::exited)?;
        self.members[member].process = None;
        Some(status)
    }

    /// Takes the power from members and their disks, which must be volatile ones, and gives it back
    /// to the disks: what was synced is there for members that are started again.
    pub fn cut_power(&mut self, members: &[usize], lost: Lost) -> anyhow::Result<Taken> {
        let mut taken = Taken::default();
        for member in members {
            let disk = self.disk(*member).context("this member's data is on no disk")?;
            let here = disk.cut_power(lost)?;
            taken.files += here.files;
            taken.changes += here.changes;
        }
        for member in members {
            self.members[*member].process = None;
            self.mount_anew(*member, false)?;
        }
        Ok(taken)
    }

    /// Removes all data of a member that does not run, and gives it a new disk.
    pub fn wipe(&mut self, member: usize) -> anyhow::Result<()> {
        ensure!(self.members[member].process.is_none(), "member {member} runs");
        self.mount_anew(member, true)
    }

    fn mount_anew(&mut self, member: usize, is_empty: bool) -> anyhow::Result<()> {
        let dir = self.dir.path().to_owned();
        self.members[member].mount_anew(&dir, is_empty)
    }

    /// Stops a member's process with SIGSTOP: it keeps its sockets and does nothing.
    pub fn pause(&self, member: usize) -> anyhow::Result<()> {
        self.running(member)?.pause()
    }

    /// Lets a paused member go on.
    pub fn resume(&self, member: usize) -> anyhow::Result<()> {
        self.running(member)?.resume()
    }

    /// The process of a member.
    pub fn running(&self, member: usize) -> anyhow::Result<&Process> {
        let process = self.members[member].process.as_ref();
        process.with_context(|| format!("member {member} does not run"))
    }

    /// What a member says about itself.
    pub async fn status(&self, member: usize) -> anyhow::Result<MemberStatus> {
        MemberClient::new(&self.url(member))?.status().await
    }

    /// The member that says it leads, with its term. Of several (an old one that does not know
    /// yet) the one with the highest term; `None` when nobody leads.
    pub async fn leader(&self) -> Option<(usize, u64)> {
        let mut best: Option<(usize, u64)> = None;
        for member in 0..self.size() {
            if let Ok(status) = self.status(member).await
                && status.leader_id == status.member_id
                && status.leader_id != 0
                && best.is_none_or(|(_, term)| status.term > term)
            {
                best = Some((member, status.term));
            }
        }
        best
    }

    /// Waits until somebody leads.
    pub async fn wait_leader(&self, deadline: Duration) -> anyhow::Result<(usize, u64)> {
        let start = Instant::now();
        loop {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            ensure!(start.elapsed() < deadline, "no leader within {deadline:?}");
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
    }

    /// Waits until a member serves a linearizable read: it runs, and knows what is committed.
    pub async fn wait_serving(&mut self, member: usize, deadline: Duration) -> anyhow::Result<()> {
        let mut client = MemberClient::new(&self.url(member))?;
        let step = Step::Get { key: "chaos/no-such-key".to_owned() };
        let read = Action::Single { step, serializable: false };
        let start = Instant::now();
        loop {
            let reason = match client.execute(&read).await {
                Outcome::Ok(_) => return Ok(()),
                Outcome::Refused(reason) | Outcome::Unknown(reason) => reason,
            };
            let process = self.members[member].process.as_mut();
            if let Some(status) = process.and_then(Process::exited) {
                bail!("member {member} ended: {status}; its last words:\n{}", self.tail(member));
            }
            if start.elapsed() >= deadline {
                bail!(
                    "member {member} serves nothing within {deadline:?} ({reason}); its last \
                     words:\n{}",
                    self.tail(member)
                );
            }
            tokio::time::sleep(limits::POLL_INTERVAL).await;
        }
    }

    /// Whether any member's process ended without being asked to, and which.
    pub fn crashed(&mut self) -> Option<String> {
        for index in 0..self.members.len() {
            let process = self.members[index].process.as_mut();
            if let Some(status) = process.and_then(Process::exited) {
                return Some(format!("member {index} ended: {status}\n{}", self.tail(index)));
            }
        }
        None
    }

    /// Ends all processes and keeps the folder; returns where it is.
    pub fn keep(mut self) -> PathBuf {
        self.keep_folder()
    }

    /// Keeps the folder of a run that could not be finished; the error says where it is.
    pub fn kept_after(self, error: anyhow::Error, seed: u64) -> anyhow::Error {
        let dir = self.keep();
        error.context(format!(
            "the run (seed {seed}) could not be finished; data and logs are in {}",
            dir.display()
        ))
    }

    /// The same, for who does not own it.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.members.clear();
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }

    /// Where a member's output goes.
    pub fn log_file(&self, member: usize) -> PathBuf {
        self.dir().join(format!("{}.log", self.members[member].name))
    }

    /// The last lines of a member's output.
    pub fn tail(&self, member: usize) -> String {
        let log = std::fs::read(self.log_file(member)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}
