//! The agent's flags, named as the kubelet's, and what they amount to once checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::image_gc;
use crate::logs::rotate;
use crate::quantity::milli;
use crate::spec::resources::CgroupDriver;

/// Command-line flags of the node agent.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Kubeconfig of the API; without it only static pods run.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the node; the machine's host name by default.
    #[arg(long, alias = "node-name")]
    pub hostname_override: Option<String>,
    /// Address of the node, as others reach it.
    #[arg(long, default_value = "127.0.0.1")]
    pub node_ip: IpAddr,
    /// Folder of pods and volumes.
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// Socket of the container runtime.
    #[arg(long, alias = "cri-endpoint", default_value = "unix:///run/containerd/containerd.sock")]
    pub container_runtime_endpoint: String,
    /// What runs the containers: `containerd` (any CRI runtime) or `fake` (only pretends).
    #[arg(long, default_value = "containerd", value_parser = ["containerd", "fake"])]
    pub runtime: String,
    /// Folder of manifests of static pods.
    #[arg(long)]
    pub pod_manifest_path: Option<PathBuf>,
    /// How cgroups are laid out.
    #[arg(long, default_value = "cgroupfs", value_parser = ["cgroupfs", "systemd"])]
    pub cgroup_driver: String,
    /// Addresses of pods on this node.
    #[arg(long)]
    pub pod_cidr: Option<String>,
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0")]
    pub address: IpAddr,
    /// Port to serve on.
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    /// Port of the plain health check on the loopback address; 0 turns it off.
    #[arg(long, default_value_t = 10248)]
    pub healthz_port: u16,
    /// Certificate of the server.
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the server.
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Authority of clients that may ask the server.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// Most pods on this node.
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// Labels of the node when it is registered: `key=value,…`.
    #[arg(long, value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// Taints of the node when it is registered: `key=value:Effect,…`.
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// Seconds between looks at the node's own status.
    #[arg(long, default_value = "10s")]
    pub node_status_update_frequency: String,
    /// Resolver configuration of the machine, which pods start from.
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Length at which a container's log is rotated, such as `10Mi`; negative: never.
    #[arg(long, default_value = "10Mi", allow_hyphen_values = true)]
    pub container_log_max_size: String,
    /// Most files of one container's log, rotated ones included; at least 2.
    #[arg(long, default_value_t = 5)]
    pub container_log_max_files: usize,
    /// Percent of the disk in use at which unused images are removed; 100: never.
    #[arg(long, default_value_t = 85)]
    pub image_gc_high_threshold: u8,
    /// Percent of the disk in use at which the removal of images ends.
    #[arg(long, default_value_t = 80)]
    pub image_gc_low_threshold: u8,
    /// Image of the sandbox: the runtime has its own setting, this keeps it from being removed.
    #[arg(long, default_value = "orlop.local/pause:1")]
    pub pod_infra_container_image: String,
    /// Folder of container logs.
    #[arg(long, default_value = "/var/log/pods")]
    pub log_dir: PathBuf,
    /// Addresses of the cluster's DNS.
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<String>,
    /// Domain of the cluster's services.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
}

/// Why the flags cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--{flag}: {why}")]
pub struct ConfigError {
    flag: &'static str,
    why: String,
}

/// Checked settings of one agent.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) node_name: String,
    pub(crate) node_ip: String,
    pub(crate) root: PathBuf,
    pub(crate) log_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) is_fake: bool,
    pub(crate) manifests: Option<PathBuf>,
    pub(crate) driver: CgroupDriver,
    pub(crate) pod_cidr: Option<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) port: u16,
    pub(crate) healthz_port: u16,
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) max_pods: u32,
    pub(crate) node_labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Value>,
    pub(crate) status_period: Duration,
    pub(crate) cluster_dns: Vec<String>,
    pub(crate) cluster_domain: String,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) log_policy: rotate::Policy,
    pub(crate) image_policy: image_gc::Policy,
}

impl Flags {
    /// Checks the flags.
    ///
    /// # Errors
    /// Names the flag that is wrong and why.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let refuse = |flag, why: &str| ConfigError { flag, why: why.to_owned() };
        if self.kubeconfig.is_none() && self.pod_manifest_path.is_none() {
            return Err(refuse("kubeconfig", "needed, unless --pod-manifest-path is given"));
        }
        if !self.root_dir.is_absolute() {
            return Err(refuse("root-dir", "must be an absolute path"));
        }
        if !self.log_dir.is_absolute() {
            return Err(refuse("log-dir", "must be an absolute path"));
        }
        let socket = self
            .container_runtime_endpoint
            .strip_prefix("unix://")
            .unwrap_or(&self.container_runtime_endpoint);
        if !socket.starts_with('/') {
            return Err(refuse(
                "container-runtime-endpoint",
                "must be unix:// and an absolute path",
            ));
        }
        let is_fake = self.runtime == "fake";
        if is_fake && self.pod_cidr.as_deref().and_then(crate::runtime::Fake::new).is_none() {
            return Err(refuse(
                "pod-cidr",
                "the fake runtime needs an IPv4 range such as 10.244.1.0/24",
            ));
        }
        let mut node_labels = BTreeMap::new();
        for pair in &self.node_labels {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| refuse("node-labels", "must be key=value"))?;
            node_labels.insert(key.to_owned(), value.to_owned());
        }
        let mut taints = Vec::new();
        for text in &self.register_with_taints {
            let (key, effect) = text
                .split_once(':')
                .ok_or_else(|| refuse("register-with-taints", "must be key=value:Effect"))?;
            let (key, value) = key.split_once('=').unwrap_or((key, ""));
            taints.push(json!({"key": key, "value": value, "effect": effect}));
        }
        let seconds =
            self.node_status_update_frequency.trim_end_matches('s').parse().ok().filter(|s| *s > 0);
        let seconds = seconds.ok_or_else(|| {
            refuse("node-status-update-frequency", "must be seconds, such as 10s")
        })?;
        let log_policy = self.log_policy()?;
        let image_policy = self.image_policy()?;
        let node_name = match self.hostname_override {
            Some(name) => name,
            None => nix::unistd::gethostname()
                .ok()
                .and_then(|n| n.into_string().ok())
                .ok_or_else(|| refuse("hostname-override", "the machine has no name; give one"))?,
        };
        Ok(Config {
            kubeconfig: self.kubeconfig,
            node_name: node_name.to_lowercase(),
            node_ip: self.node_ip.to_string(),
            root: self.root_dir,
            log_dir: self.log_dir,
            socket: socket.into(),
            is_fake,
            manifests: self.pod_manifest_path,
            driver: if self.cgroup_driver == "systemd" {
                CgroupDriver::Systemd
            } else {
                CgroupDriver::Cgroupfs
            },
            pod_cidr: self.pod_cidr,
            listen: SocketAddr::new(self.address, self.port),
            port: self.port,
            healthz_port: self.healthz_port,
            tls: self.tls_cert_file.zip(self.tls_private_key_file),
            client_ca: self.client_ca_file,
            max_pods: self.max_pods,
            node_labels,
            taints,
            status_period: Duration::from_secs(seconds),
            cluster_dns: self.cluster_dns,
            cluster_domain: self.cluster_domain,
            resolv_conf: self.resolv_conf,
            log_policy,
            image_policy,
        })
    }

    fn log_policy(&self) -> Result<rotate::Policy, ConfigError> {
        let refuse = |flag, why: &str| ConfigError { flag, why: why.to_owned() };
        let bytes = milli(&self.container_log_max_size)
            .map_err(|error| refuse("container-log-max-size", &error.to_string()))?;
        if self.container_log_max_files < 2 {
            return Err(refuse("container-log-max-files", "must be at least 2"));
        }
        Ok(rotate::Policy {
            // A negative length is one that no log reaches.
            bytes_max: u64::try_from(bytes / 1000).unwrap_or(u64::MAX),
            files_max: self.container_log_max_files,
        })
    }

    fn image_policy(&self) -> Result<image_gc::Policy, ConfigError> {
        let (high, low) = (self.image_gc_high_threshold, self.image_gc_low_threshold);
        let refuse = |flag, why: &str| ConfigError { flag, why: why.to_owned() };
        if high > 100 {
            return Err(refuse("image-gc-high-threshold", "must be in the range 0 to 100"));
        }
        if low > high {
            let why = "must not be higher than --image-gc-high-threshold";
            return Err(refuse("image-gc-low-threshold", why));
        }
        Ok(image_gc::Policy {
            high_percent: high,
            low_percent: low,
            sandbox_image: self.pod_infra_container_image.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
        let always = ["x", "--kubeconfig=k", "--hostname-override=n1"];
        let all = always.iter().chain(arguments);
        <Cli as clap::Parser>::try_parse_from(all).unwrap().flags.into_config()
    }

    #[test]
    fn logs_and_images_are_kept_as_long_as_a_kubelet_keeps_them() {
        let kept = config(&[]).unwrap();
        assert_eq!(kept.log_policy, rotate::Policy { bytes_max: 10 << 20, files_max: 5 });
        assert_eq!((kept.image_policy.high_percent, kept.image_policy.low_percent), (85, 80));
        let never = config(&["--container-log-max-size=-1", "--image-gc-high-threshold=100"]);
        assert_eq!(never.unwrap().log_policy.bytes_max, u64::MAX);
        for (flag, why) in [
            ("--container-log-max-files=1", "--container-log-max-files: must be at least 2"),
            ("--container-log-max-size=x", "--container-log-max-size: \"x\" is not a quantity"),
            (
                "--image-gc-high-threshold=70",
                "--image-gc-low-threshold: must not be higher than --image-gc-high-threshold",
            ),
            (
                "--image-gc-high-threshold=101",
                "--image-gc-high-threshold: must be in the range 0 to 100",
            ),
        ] {
            assert_eq!(config(&[flag]).unwrap_err().to_string(), why);
        }
    }
}
