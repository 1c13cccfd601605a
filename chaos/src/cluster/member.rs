//! One member: its flags, its folder or disk, its process.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Process;
use crate::disk::Disk;

/// What mounts a member's disk: the folder behind it, and that which it is mounted on.
pub(super) type Mount = fn(&Path, &Path) -> anyhow::Result<Disk>;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: String,
    /// Of the cluster's topology, if it has one.
    pub(super) host: Option<usize>,
    /// Not of the cluster when it begins.
    pub(super) is_spare: bool,
    /// None: it is a founder.
    pub(super) initial: Option<Initial>,
    pub(super) environment: Vec<(String, String)>,
    /// Ends before its disk does.
    pub(super) process: Option<Process>,
    pub(super) disk: Option<Disk>,
    pub(super) mount: Option<Mount>,
}

/// Which cluster a member starts or joins.
#[derive(Clone, Debug)]
pub(super) struct Initial {
    pub(super) peers: String,
    pub(super) state: &'static str,
}

impl Member {
    /// As `--initial-cluster` has it.
    pub(super) fn named_peer_url(&self) -> String {
        format!("{}=http://{}:2380", self.name, self.address)
    }

    /// Where its data is, below the cluster's folder.
    pub(super) fn data_dir(&self, dir: &Path) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.mountpoint().join("data"),
            None => dir.join(&self.name),
        }
    }

    /// Its flags.
    pub(super) fn arguments(&self, data: &Path, initial: &Initial, token: &str) -> Vec<String> {
        let client = format!("http://{}:2379", self.address);
        let peer = format!("http://{}:2380", self.address);
        [
            ("--name", self.name.clone()),
            ("--data-dir", data.display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", initial.peers.clone()),
            ("--initial-cluster-state", initial.state.to_owned()),
            ("--initial-cluster-token", token.to_owned()),
        ]
        .map(|(flag, value)| format!("{flag}={value}"))
        .to_vec()
    }

    /// Unmounts its disk, empties the folder behind it if wanted, and mounts it again. Without a
    /// disk it only empties the folder.
    pub(super) fn mount_anew(&mut self, dir: &Path, is_empty: bool) -> anyhow::Result<()> {
        drop(self.disk.take());
        let [backing, mountpoint] =
            ["backing", "disk"].map(|kind| dir.join(format!("{}-{kind}", self.name)));
        let data = if self.mount.is_some() { &backing } else { &self.data_dir(dir) };
        if is_empty && data.exists() {
            std::fs::remove_dir_all(data).context("cannot remove a member's data")?;
        }
        if let Some(mount) = self.mount {
            std::fs::create_dir_all(&backing)?;
            std::fs::create_dir_all(&mountpoint)?;
            self.disk = Some(mount(&backing, &mountpoint)?);
        }
        Ok(())
    }
}
