//! A cluster of real processes on loopback addresses of its own.

mod binary;
mod process;

pub use binary::Launcher;
pub use process::Process;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;

use crate::client::{MemberClient, MemberStatus};
use crate::disk::{Disk, Lost};
use crate::history::{Action, Outcome, Step};
use crate::limits;

/// Members, their processes and folders. Dropping it kills every process; the folder goes too
/// unless [`Cluster::keep`] was called.
#[derive(Debug)]
pub struct Cluster {
    launcher: Launcher,
    members: Vec<Member>,
    /// Unmounted after the members have ended and before the folder goes.
    disk: Option<Disk>,
    dir: Option<tempfile::TempDir>,
    token: String,
}

#[derive(Debug)]
struct Member {
    name: String,
    address: String,
    process: Option<Process>,
}

impl Cluster {
    /// Starts `size` members and waits until each serves a linearizable read.
    pub async fn start(launcher: Launcher, size: usize) -> anyhow::Result<Self> {
        Self::start_in(folder()?, None, launcher, size).await
    }

    /// The same, with the data of all members on a disk that can misbehave ([`Cluster::disk`]),
    /// mounted by [`Disk::mount`] or [`Disk::mount_volatile`].
    pub async fn start_on_disk(
        mount: fn(&Path, &Path) -> anyhow::Result<Disk>,
        launcher: Launcher,
        size: usize,
    ) -> anyhow::Result<Self> {
        let dir = folder()?;
        let [backing, mountpoint] = disk_folders(dir.path());
        std::fs::create_dir(&backing)?;
        std::fs::create_dir(&mountpoint)?;
        let disk = mount(&backing, &mountpoint)?;
        Self::start_in(dir, Some(disk), launcher, size).await
    }

    async fn start_in(
        dir: tempfile::TempDir,
        disk: Option<Disk>,
        launcher: Launcher,
        size: usize,
    ) -> anyhow::Result<Self> {
        ensure!(size % 2 == 1, "a cluster has an odd number of members, not {size}");
        let members = free_addresses(size)?
            .into_iter()
            .enumerate()
            .map(|(index, address)| Member { name: format!("m{index}"), address, process: None })
            .collect();
        let token = format!("chaos-{}-{}", std::process::id(), rand::rng().random::<u32>());
        let mut cluster = Self { launcher, members, disk, dir: Some(dir), token };
        for member in 0..size {
            cluster.spawn(member)?;
        }
        for member in 0..size {
            cluster.wait_serving(member, limits::BRING_UP_DEADLINE).await?;
        }
        Ok(cluster)
    }

    /// Number of members.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The client URL of a member.
    pub fn url(&self, member: usize) -> String {
        format!("http://{}:2379", self.members[member].address)
    }

    /// The client URLs of all members.
    pub fn urls(&self) -> Vec<String> {
        (0..self.size()).map(|member| self.url(member)).collect()
    }

    /// Process ids of the members that run.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|m| m.process.as_ref().map(Process::id)).collect()
    }

    /// What the members were started from.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// The folder with data and logs.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("only keep() takes it, by value").path()
    }

    /// The disk that all data is on, if the cluster was started on one.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Starts a member on the data that it has.
    pub fn spawn(&mut self, member: usize) -> anyhow::Result<()> {
        let peers = self
            .members
            .iter()
            .map(|m| format!("{}=http://{}:2380", m.name, m.address))
            .collect::<Vec<_>>()
            .join(",");
        let name = &self.members[member].name;
        let address = &self.members[member].address;
        let client = format!("http://{address}:2379");
        let peer = format!("http://{address}:2380");
        let data = self.disk.as_ref().map_or(self.dir(), Disk::mountpoint).join(name);
        let arguments = [
            ("--name", name.clone()),
            ("--data-dir", data.display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", peers),
            ("--initial-cluster-state", "new".to_owned()),
            ("--initial-cluster-token", self.token.clone()),
        ]
        .map(|(flag, value)| format!("{flag}={value}"));
        let log = self.log_file(member);
        let process = Process::spawn(&self.launcher, &arguments, &log)
            .with_context(|| format!("member {member} did not start"))?;
        self.members[member].process = Some(process);
        Ok(())
    }

    /// Ends a member at once with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        match self.members[member].process.take() {
            Some(process) => process.kill(),
            None => bail!("member {member} does not run"),
        }
    }

    /// Takes the power from all members and their disk, which must be a volatile one, and gives it
    /// back to the disk: what was synced is there for members that are started again.
    pub fn cut_power(&mut self, lost: Lost) -> anyhow::Result<()> {
        let disk = self.disk.take().context("the members' data is on no disk that loses any")?;
        disk.cut_power(lost)?;
        for member in &mut self.members {
            member.process = None;
        }
        drop(disk);
        let [backing, mountpoint] = disk_folders(self.dir());
        self.disk = Some(Disk::mount_volatile(&backing, &mountpoint)?);
        Ok(())
    }

    /// Stops a member's process with SIGSTOP: it keeps its sockets and does nothing.
    pub fn pause(&self, member: usize) -> anyhow::Result<()> {
        self.running(member)?.pause()
    }

    /// Lets a paused member go on.
    pub fn resume(&self, member: usize) -> anyhow::Result<()> {
        self.running(member)?.resume()
    }

    fn running(&self, member: usize) -> anyhow::Result<&Process> {
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
        self.members.clear();
        let dir = self.dir.take().expect("keep() is the only taker");
        dir.keep()
    }

    fn log_file(&self, member: usize) -> PathBuf {
        self.dir().join(format!("{}.log", self.members[member].name))
    }

    fn tail(&self, member: usize) -> String {
        let log = std::fs::read(self.log_file(member)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// A new folder for a cluster's data and logs.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("orlop-chaos-").tempdir();
    folder.context("no folder for the cluster's data")
}

/// The folder behind a cluster's disk, and that which it is mounted on.
fn disk_folders(dir: &Path) -> [PathBuf; 2] {
    ["backing", "disk"].map(|name| dir.join(name))
}

/// Loopback addresses that nobody else uses, one a member. Own addresses and not own ports: a port
/// that is free now can be taken by any outgoing connection while its member is down.
fn free_addresses(count: usize) -> anyhow::Result<Vec<String>> {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let net =
            format!("127.{}.{}", rand::rng().random_range(64..250), rand::rng().random::<u8>());
        let addresses: Vec<String> = (1..=count).map(|host| format!("{net}.{host}")).collect();
        let is_free = |address: &String| {
            [2379_u16, 2380]
                .iter()
                .all(|port| std::net::TcpListener::bind((address.as_str(), *port)).is_ok())
        };
        if addresses.iter().all(is_free) {
            return Ok(addresses);
        }
    }
    bail!("no free loopback addresses in 127.64.0.0 to 127.249.255.255")
}
