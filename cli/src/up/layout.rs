//! Where everything of a cluster is: hosts, addresses, ports, files. Values only, nothing is touched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::pki::Pair;
use crate::limits;

/// What was asked for, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Store members, and so control-plane hosts. Odd.
    pub(crate) members: u8,
    pub(crate) nodes: u16,
    /// The first three numbers of every address with the dot after them: `127.0.0.`.
    pub(crate) host_prefix: String,
    pub(crate) api_port: u16,
    pub(crate) store_client_port: u16,
}

impl Shape {
    /// Refuses what can not work, saying what would.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        check_members(self.members)?;
        if self.nodes > limits::NODES_MAX {
            bail!(
                "--nodes {} is more than the {} that one machine is let run",
                self.nodes,
                limits::NODES_MAX
            );
        }
        let numbers: Vec<&str> = self.host_prefix.split('.').collect();
        let well_formed = numbers.len() == 4
            && numbers[0] == "127"
            && numbers[3].is_empty()
            && numbers[1..3].iter().all(|number| number.parse::<u8>().is_ok());
        if !well_formed {
            bail!("--host-prefix {:?} is not of the form 127.X.Y.", self.host_prefix);
        }
        if self.api_port == 0 || self.store_client_port == 0 {
            bail!("a port of 0 is not a port to be found at: give one between 1 and 65535");
        }
        if self.store_client_port == u16::MAX {
            bail!("--store-client-port 65535 leaves no port for the members to talk to each other");
        }
        let mut seen = BTreeSet::new();
        for (what, port) in self.ports_of_a_host() {
            if !seen.insert(port) {
                bail!("port {port} would serve twice on each host ({what}): choose another");
            }
        }
        Ok(())
    }

    fn ports_of_a_host(&self) -> [(&'static str, u16); 5] {
        [
            ("store, clients", self.store_client_port),
            ("store, members", self.store_peer_port()),
            ("apiserver", self.api_port),
            ("controller-manager", CONTROLLER_MANAGER_PORT),
            ("scheduler", SCHEDULER_PORT),
        ]
    }

    /// Where members talk to each other: the port after the clients' one, as etcd's own.
    pub(crate) fn store_peer_port(&self) -> u16 {
        self.store_client_port.saturating_add(1)
    }
}

/// The member set is odd: an even one tolerates no more losses than one member less would.
pub(crate) fn check_members(members: u8) -> anyhow::Result<()> {
    match members {
        1 | 3 | 5 => Ok(()),
        0 => bail!("--members 0: a control plane needs a store; choose 1, 3 or 5"),
        even if even % 2 == 0 => bail!(
            "--members {even} is even: the member set is odd, because {even} members survive no \
             more losses than {}; choose 1, 3 or 5",
            even - 1
        ),
        many => bail!("--members {many} is too many for one machine: choose 1, 3 or 5"),
    }
}

/// The secure ports of upstream's components.
pub(crate) const CONTROLLER_MANAGER_PORT: u16 = 10257;
pub(crate) const SCHEDULER_PORT: u16 = 10259;
pub(crate) const KUBELET_PORT: u16 = 10250;

/// A control-plane host: one loopback address with a member, an API server and the two managers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    /// From 1.
    pub(crate) number: u16,
    pub(crate) address: String,
}

/// Every path and address of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Absolute.
    pub(crate) dir: PathBuf,
    pub(crate) shape: Shape,
}

impl Layout {
    pub(crate) fn hosts(&self) -> Vec<Host> {
        (1..=u16::from(self.shape.members)).map(|n| self.machine("host", 10, n)).collect()
    }

    pub(crate) fn nodes(&self) -> Vec<Host> {
        (1..=self.shape.nodes).map(|n| self.machine("node", 20, n)).collect()
    }

    fn machine(&self, what: &str, base: u16, number: u16) -> Host {
        Host {
            name: format!("{what}-{number}"),
            number,
            address: format!("{}{}", self.shape.host_prefix, base + number),
        }
    }

    pub(crate) fn store_client_url(&self, host: &Host) -> String {
        format!("https://{}:{}", host.address, self.shape.store_client_port)
    }

    pub(crate) fn store_peer_url(&self, host: &Host) -> String {
        format!("https://{}:{}", host.address, self.shape.store_peer_port())
    }

    /// Where clients reach the API whatever host is gone: the load balancer.
    pub(crate) fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.shape.api_port)
    }

    /// Every address that this cluster listens on, with the part that does.
    pub(crate) fn listeners(&self) -> Vec<(String, String, u16)> {
        let mut all = vec![(
            "the API's load balancer".to_owned(),
            "127.0.0.1".to_owned(),
            self.shape.api_port,
        )];
        for host in self.hosts() {
            for (what, port) in self.shape.ports_of_a_host() {
                all.push((format!("{} of {}", what, host.name), host.address.clone(), port));
            }
        }
        for node in self.nodes() {
            all.push((format!("the agent of {}", node.name), node.address.clone(), KUBELET_PORT));
        }
        all
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    pub(crate) fn ca(&self) -> Pair {
        Pair::at(&self.pki(), "ca")
    }

    pub(crate) fn store_ca(&self) -> Pair {
        Pair::at(&self.pki().join("etcd"), "ca")
    }

    pub(crate) fn token_key(&self) -> PathBuf {
        self.pki().join("sa.key")
    }

    pub(crate) fn token_public_key(&self) -> PathBuf {
        self.pki().join("sa.pub")
    }

    pub(crate) fn admin(&self) -> Pair {
        Pair::at(&self.pki(), "admin")
    }

    /// The store's client certificate of this command, as `apiserver-etcd-client` is of an API
    /// server.
    pub(crate) fn store_admin(&self) -> Pair {
        Pair::at(&self.pki().join("etcd"), "healthcheck-client")
    }

    /// A machine's own folder: its certificates, kubeconfigs and data.
    pub(crate) fn home(&self, host: &Host) -> PathBuf {
        self.dir.join(&host.name)
    }

    /// Where its member of the store keeps everything.
    pub(crate) fn store_data(&self, host: &Host) -> PathBuf {
        self.home(host).join("store")
    }

    pub(crate) fn pair(&self, host: &Host, stem: &str) -> Pair {
        Pair::at(&self.home(host).join("pki"), stem)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub(crate) fn kubeconfig_of(&self, host: &Host, who: &str) -> PathBuf {
        self.home(host).join(format!("{who}.kubeconfig"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Pods that a node runs without being told by the API.
    pub(crate) fn manifests(&self, node: &Host) -> PathBuf {
        self.home(node).join("manifests")
    }

    pub(crate) fn containerd_home(&self, node: &Host) -> PathBuf {
        self.home(node).join("containerd")
    }

    /// The folder that sockets are in: the cluster's own when its path is short enough for a socket
    /// address (108 bytes), else one under `/tmp` named after it.
    pub(crate) fn sockets(&self) -> PathBuf {
        socket_folder(&self.dir)
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.sockets().join("control.sock")
    }

    /// The addresses of a node's pods. Clusters on other loopback addresses get other ranges, so
    /// that two can run side by side.
    pub(crate) fn pod_cidr(&self, node: &Host) -> String {
        let numbers: Vec<u16> =
            self.shape.host_prefix.split('.').filter_map(|number| number.parse().ok()).collect();
        let second = match numbers.as_slice() {
            [127, 0, 0] => 244,
            others => 128 + others.iter().map(|number| number * 7).sum::<u16>() % 100,
        };
        format!("10.{second}.{}.0/24", node.number)
    }

    /// The bridge of a node's pods: its name is unique on the machine, and at most 15 bytes.
    pub(crate) fn bridge(&self, node: &Host) -> String {
        format!("orlop{}n{}", &short_digest(&self.dir)[..6], node.number)
    }
}

fn socket_folder(dir: &Path) -> PathBuf {
    let inside = dir.join("run");
    if inside.as_os_str().len() + limits::SOCKET_NAME_BYTES_MAX < limits::SOCKET_PATH_BYTES_MAX {
        return inside;
    }
    PathBuf::from(format!("/tmp/orlop-{}", short_digest(dir)))
}

/// Tells folders apart in names that must be short.
fn short_digest(dir: &Path) -> String {
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            members: 3,
            nodes: 1,
            host_prefix: "127.0.0.".to_owned(),
            api_port: 6443,
            store_client_port: 2379,
        }
    }

    #[test]
    fn the_member_set_is_odd_and_the_refusal_says_what_to_choose() {
        for good in [1, 3, 5] {
            assert!(check_members(good).is_ok());
        }
        for bad in [0, 2, 4, 6, 7, 9] {
            let refusal = check_members(bad).unwrap_err().to_string();
            assert!(refusal.contains("choose 1, 3 or 5"), "{refusal}");
        }
    }

    #[test]
    fn hosts_and_nodes_have_the_addresses_of_the_brief() {
        let layout = Layout { dir: PathBuf::from("/srv/a"), shape: shape() };
        let hosts = layout.hosts();
        assert_eq!(
            hosts.iter().map(|h| h.address.as_str()).collect::<Vec<_>>(),
            ["127.0.0.11", "127.0.0.12", "127.0.0.13"]
        );
        assert_eq!(layout.nodes()[0].address, "127.0.0.21");
        assert_eq!(layout.store_peer_url(&hosts[0]), "https://127.0.0.11:2380");
        let mut seen = BTreeSet::new();
        assert!(layout.listeners().iter().all(|(_, ip, port)| seen.insert((ip.clone(), *port))));
        assert_eq!(seen.len(), 1 + 3 * 5 + 1);
    }

    #[test]
    fn a_long_folder_still_has_names_that_are_short_enough() {
        let deep = PathBuf::from(format!("/srv/{}", "x".repeat(120)));
        for dir in [PathBuf::from("/srv/a"), deep] {
            let layout = Layout { dir, shape: Shape { nodes: 50, ..shape() } };
            let path = layout.control_socket();
            assert!(path.as_os_str().len() < limits::SOCKET_PATH_BYTES_MAX);
            let node = layout.nodes().pop().unwrap();
            assert!(layout.bridge(&node).len() <= 15, "the kernel's limit for links");
            assert_eq!(layout.pod_cidr(&node), "10.244.50.0/24");
        }
    }

    #[test]
    fn ports_that_collide_are_refused() {
        assert!(shape().check().is_ok());
        assert!(Shape { api_port: 2380, ..shape() }.check().is_err());
        assert!(Shape { api_port: 10257, ..shape() }.check().is_err());
        assert!(Shape { host_prefix: "10.0.0.".to_owned(), ..shape() }.check().is_err());
    }
}
