//! What a cluster is made of: where its members run, and what their data is on.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;

use super::member::{Member, Mount};
use super::{Cluster, Launcher};
use crate::topo::Topo;

/// Members that were not started yet.
#[derive(Debug)]
pub struct Setup {
    /// What they are started from.
    pub launcher: Launcher,
    /// How many; odd.
    pub size: usize,
    /// Members beyond these, which are not of the cluster at its begin.
    pub spares: usize,
    /// Member N is on host N + 1; without one all are on loopback addresses.
    pub topo: Option<Arc<Topo>>,
    /// Each member's data is on a disk that this mounts; without it, in a plain folder.
    pub mount: Option<Mount>,
    /// The folder that all data is in, while they run; a temporary one otherwise.
    pub parent: Option<PathBuf>,
    /// Variables in the environment of each member; beyond its end there are none.
    pub environment: Vec<Vec<(String, String)>>,
}

impl Setup {
    /// On loopback addresses and in plain folders.
    pub fn new(launcher: Launcher, size: usize) -> Self {
        Self {
            launcher,
            size,
            spares: 0,
            topo: None,
            mount: None,
            parent: None,
            environment: Vec::new(),
        }
    }

    /// The cluster, with folders and disks and without processes.
    pub(super) fn made(self) -> anyhow::Result<Cluster> {
        let size = self.size;
        ensure!(size % 2 == 1, "a cluster has an odd number of members, not {size}");
        let parent = self.parent.unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new().prefix("orlop-chaos-").tempdir_in(parent);
        let dir = dir.context("no folder for the cluster's data")?;
        let addresses = match &self.topo {
            Some(topo) => {
                let hosts = 1..=size + self.spares;
                hosts.map(|host| topo.host(host).address().to_string()).collect()
            }
            None => free_addresses(size + self.spares)?,
        };
        let mut members = Vec::new();
        for (index, address) in addresses.into_iter().enumerate() {
            let mut member = Member {
                name: format!("m{index}"),
                address,
                host: self.topo.is_some().then_some(index + 1),
                is_spare: index >= size,
                initial: None,
                environment: self.environment.get(index).cloned().unwrap_or_default(),
                process: None,
                disk: None,
                mount: self.mount,
            };
            member.mount_anew(dir.path(), false)?;
            members.push(member);
        }
        let token = format!("chaos-{}-{}", std::process::id(), rand::rng().random::<u32>());
        Ok(Cluster { launcher: self.launcher, members, dir, topo: self.topo, token })
    }
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
