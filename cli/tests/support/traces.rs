//! What a cluster and its pods have on the machine outside of their folder, and what is left of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cluster, run};

/// What the kernel holds for pods that run.
#[derive(Debug)]
pub(crate) struct Traces {
    /// The pods' UIDs: their control groups are named after them.
    uids: Vec<String>,
    /// Files of network namespaces.
    namespaces: Vec<PathBuf>,
    /// The host's ends of the pods' links.
    links: Vec<String>,
    /// The link that they hang on, and the name of the pods' network.
    bridge: String,
}

impl Traces {
    /// Those of all pods of a cluster, on its first node.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let uids =
            cluster.kubectl(&["get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}"]);
        let uids: Vec<String> = uids.split_whitespace().map(str::to_owned).collect();
        let bridge = bridge(&cluster.dir());
        let links = names(&Path::new("/sys/class/net").join(&bridge).join("brif"));
        Self { namespaces: namespaces(&uids), uids, links, bridge }
    }

    /// How many pods these are, network and control groups included.
    pub(crate) fn pods(&self) -> usize {
        let grouped = self.uids.iter().filter(|uid| !groups(uid).is_empty()).count();
        self.uids.len().min(self.namespaces.len()).min(self.links.len()).min(grouped)
    }

    /// What is still there of it; empty when the pods are gone as if they had never been.
    pub(crate) fn left(&self, cluster: &Cluster) -> Vec<String> {
        let mut left = Vec::new();
        let there = self.namespaces.iter().filter(|path| path.exists());
        left.extend(there.map(|path| path.display().to_string()));
        left.extend(
            self.links.iter().filter(|link| is_link(link)).map(|link| format!("link {link}")),
        );
        left.extend(self.uids.iter().flat_map(|uid| groups(uid)));
        // Rules and addresses are marked with the network's name, that no other cluster has.
        let rules = run(Command::new("iptables").args(["-w", "5", "-t", "nat", "-S"]));
        assert!(rules.status.success(), "{}", String::from_utf8_lossy(&rules.stderr));
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        left.extend(rules.lines().filter(|rule| rule.contains(&self.bridge)).map(str::to_owned));
        let leases = cluster.dir().join("node-1/containerd/ipam").join(&self.bridge);
        left.extend(names(&leases).into_iter().filter(|name| name.starts_with("10.")));
        left.extend(names(&cluster.dir().join("node-1/kubelet/pods")));
        left
    }
}

/// What an ended cluster must not leave: processes, mounts, its nodes' link.
pub(crate) fn of_an_ended(cluster: &Cluster) -> Vec<String> {
    let dir = cluster.dir().display().to_string();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mut left: Vec<String> =
        mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect();
    let bridge = bridge(&cluster.dir());
    left.extend(is_link(&bridge).then(|| format!("link {bridge}")));
    left.extend(processes(&cluster.dir()));
    left
}

/// Processes that were started for a cluster's folder and live.
pub(crate) fn processes(dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    let line = |pid: &u32| {
        let read = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid}: {}", String::from_utf8_lossy(&read).replace('\0', " "))
    };
    all_processes().iter().map(line).filter(|line| line.contains(&dir)).collect()
}

fn all_processes() -> Vec<u32> {
    names(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn is_link(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// The name of the first node's bridge, from the configuration of its network.
fn bridge(dir: &Path) -> String {
    let config = dir.join("node-1/containerd/cni/10-orlop.conflist");
    let list: serde_json::Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    list["plugins"][0]["bridge"].as_str().unwrap().to_owned()
}

/// The files of the network namespaces that the pods' processes are in.
fn namespaces(uids: &[String]) -> Vec<PathBuf> {
    let in_a_pod = |pid: &u32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        uids.iter().any(|uid| groups.contains(&format!("pod{uid}")))
    };
    // Its number is the inode of each file that stands for it.
    let number = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|data| data.ino());
    let numbers: BTreeSet<u64> =
        all_processes().into_iter().filter(in_a_pod).filter_map(number).collect();
    let folder = Path::new("/run/netns");
    let files = names(folder).into_iter().map(|name| folder.join(name));
    files
        .filter(|file| fs::metadata(file).is_ok_and(|data| numbers.contains(&data.ino())))
        .collect()
}

/// Control groups of a pod, in every hierarchy.
fn groups(uid: &str) -> Vec<String> {
    let root = Path::new("/sys/fs/cgroup");
    let mut trees = vec![root.join("kubepods")];
    trees.extend(names(root).into_iter().map(|name| root.join(name).join("kubepods")));
    let mut found = Vec::new();
    for tree in trees {
        for class in [tree.clone(), tree.join("burstable"), tree.join("besteffort")] {
            let group = class.join(format!("pod{uid}"));
            found.extend(group.exists().then(|| group.display().to_string()));
        }
    }
    found
}
