//! The flags of the controller manager, under upstream's names, and what becomes of them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use api_client::{Election, ElectionFlags, leader_election::ElectionError, process};

/// Every controller of this process, by upstream's names.
pub const CONTROLLERS: [&str; 15] = [
    "deployment-controller",
    "replicaset-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
    "volumeattributesclass-protection-controller",
    "ttl-after-finished-controller",
    "resourcequota-controller",
    "service-cidr-controller",
];

/// Command-line flags, as kube-controller-manager names them.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Kubeconfig file with the API server's address and our identity.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Controllers to run: `*` for all, `name` for one, `-name` for all but one.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    /// Leader election.
    #[command(flatten)]
    pub election: ElectionFlags,
    /// Port of /healthz, /livez, /readyz and /metrics.
    #[arg(long, default_value_t = 10257)]
    pub secure_port: u16,
    /// Address of that port.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind_address: std::net::IpAddr,
    /// Serving certificate of that port; without it the port speaks plain HTTP.
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the serving certificate.
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Every controller speaks as a service account of its own, with the rights of its role.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub use_service_account_credentials: bool,
    /// PEM file published to every namespace as the ConfigMap kube-root-ca.crt.
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    /// How long a node may be silent before it counts as unreachable.
    #[arg(long, default_value = "50s", value_parser = process::parse_duration)]
    pub node_monitor_grace_period: Duration,
    /// The same for a node that never reported.
    #[arg(long, default_value = "1m", value_parser = process::parse_duration)]
    pub node_startup_grace_period: Duration,
    /// How often the state of the nodes is looked at.
    #[arg(long, default_value = "5s", value_parser = process::parse_duration)]
    pub node_monitor_period: Duration,
    /// Finished pods kept before the oldest are deleted; 0 keeps all.
    #[arg(long, default_value_t = 12500)]
    pub terminated_pod_gc_threshold: usize,
    /// Deployments worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_deployment_syncs: usize,
    /// ReplicaSets worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_replicaset_syncs: usize,
    /// Namespaces worked on at once.
    #[arg(long, default_value_t = 10)]
    pub concurrent_namespace_syncs: usize,
    /// Objects that the garbage collector works on at once.
    #[arg(long, default_value_t = 20)]
    pub concurrent_gc_syncs: usize,
    /// Namespaces whose ServiceAccount is worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_serviceaccount_syncs: usize,
    /// Finished Jobs worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_ttl_after_finished_syncs: usize,
    /// Quotas worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_resource_quota_syncs: usize,
    /// How often all quotas are measured again.
    #[arg(long, default_value = "5m", value_parser = process::parse_duration)]
    pub resource_quota_sync_period: Duration,
}

/// Why the flags cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// See [`ElectionError`].
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// A controller that does not exist here.
    #[error("--controllers: unknown controller {name:?}; known are {}", CONTROLLERS.join(", "))]
    UnknownController {
        /// What was given.
        name: String,
    },
    /// The root CA cannot be read.
    #[error("--root-ca-file {path}: {reason}")]
    RootCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A number that must not be zero.
    #[error("{flag} must be greater than 0")]
    Zero {
        /// The flag.
        flag: &'static str,
    },
}

/// Checked settings of the controller manager.
#[derive(Debug, Clone)]
pub struct Config {
    /// See [`Flags::kubeconfig`].
    pub kubeconfig: PathBuf,
    /// Names of the controllers to run.
    pub controllers: Vec<&'static str>,
    /// See [`Flags::use_service_account_credentials`].
    pub use_service_account_credentials: bool,
    /// The election to win first.
    pub election: Election,
    /// Address of the health port.
    pub health_address: SocketAddr,
    /// Certificate of the health port.
    pub serving: Option<process::ServingCertificate>,
    /// PEM text of the root CA.
    pub root_ca: Option<String>,
    /// See [`Flags::node_monitor_grace_period`].
    pub node_monitor_grace_period: Duration,
    /// See [`Flags::node_startup_grace_period`].
    pub node_startup_grace_period: Duration,
    /// See [`Flags::node_monitor_period`].
    pub node_monitor_period: Duration,
    /// See [`Flags::terminated_pod_gc_threshold`].
    pub terminated_pod_gc_threshold: usize,
    /// See [`Flags::resource_quota_sync_period`].
    pub resource_quota_sync_period: Duration,
    /// How much each controller does at once.
    pub workers: Workers,
}

/// How many keys of each controller are worked on at once.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// Deployments.
    pub deployment: usize,
    /// ReplicaSets.
    pub replica_set: usize,
    /// Namespaces.
    pub namespace: usize,
    /// Objects of the garbage collector.
    pub garbage_collector: usize,
    /// Namespaces of the ServiceAccount controller.
    pub service_account: usize,
    /// Finished Jobs.
    pub ttl_after_finished: usize,
    /// Quotas.
    pub resource_quota: usize,
}

impl Flags {
    /// Checks everything.
    ///
    /// # Errors
    /// One clear line about the first flag that is wrong.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let counts = [
            ("--concurrent-deployment-syncs", self.concurrent_deployment_syncs),
            ("--concurrent-replicaset-syncs", self.concurrent_replicaset_syncs),
            ("--concurrent-namespace-syncs", self.concurrent_namespace_syncs),
            ("--concurrent-gc-syncs", self.concurrent_gc_syncs),
            ("--concurrent-serviceaccount-syncs", self.concurrent_serviceaccount_syncs),
            ("--concurrent-ttl-after-finished-syncs", self.concurrent_ttl_after_finished_syncs),
            ("--concurrent-resource-quota-syncs", self.concurrent_resource_quota_syncs),
        ];
        if let Some((flag, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Zero { flag });
        }
        let periods = [
            ("--node-monitor-grace-period", self.node_monitor_grace_period),
            ("--node-monitor-period", self.node_monitor_period),
            ("--resource-quota-sync-period", self.resource_quota_sync_period),
        ];
        if let Some((flag, _)) = periods.into_iter().find(|(_, period)| period.is_zero()) {
            return Err(ConfigError::Zero { flag });
        }
        let root_ca = match self.root_ca_file {
            None => None,
            Some(path) => Some(read_root_ca(path)?),
        };
        Ok(Config {
            kubeconfig: self.kubeconfig,
            controllers: select(&self.controllers)?,
            use_service_account_credentials: self.use_service_account_credentials,
            election: self.election.into_election("kube-controller-manager")?,
            health_address: SocketAddr::new(self.bind_address, self.secure_port),
            serving: self
                .tls_cert_file
                .zip(self.tls_private_key_file)
                .map(|(certificate, key)| process::ServingCertificate { certificate, key }),
            root_ca,
            node_monitor_grace_period: self.node_monitor_grace_period,
            node_startup_grace_period: self.node_startup_grace_period,
            node_monitor_period: self.node_monitor_period,
            terminated_pod_gc_threshold: self.terminated_pod_gc_threshold,
            resource_quota_sync_period: self.resource_quota_sync_period,
            workers: Workers {
                deployment: self.concurrent_deployment_syncs,
                replica_set: self.concurrent_replicaset_syncs,
                namespace: self.concurrent_namespace_syncs,
                garbage_collector: self.concurrent_gc_syncs,
                service_account: self.concurrent_serviceaccount_syncs,
                ttl_after_finished: self.concurrent_ttl_after_finished_syncs,
                resource_quota: self.concurrent_resource_quota_syncs,
            },
        })
    }
}

fn read_root_ca(path: PathBuf) -> Result<String, ConfigError> {
    match std::fs::read_to_string(&path) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(text),
        Ok(_) => Err(ConfigError::RootCa { path, reason: "holds no PEM certificate".to_owned() }),
        Err(error) => Err(ConfigError::RootCa { path, reason: error.to_string() }),
    }
}

/// The first entry that names a controller decides about it; `*` decides about the rest.
fn select(wanted: &[String]) -> Result<Vec<&'static str>, ConfigError> {
    for entry in wanted {
        let name = entry.strip_prefix('-').unwrap_or(entry);
        if name != "*" && !CONTROLLERS.contains(&name) {
            return Err(ConfigError::UnknownController { name: name.to_owned() });
        }
    }
    let all = wanted.iter().any(|entry| entry == "*");
    let runs = |name: &str| {
        let decides = |entry: &&String| entry.strip_prefix('-').unwrap_or(entry) == name;
        wanted.iter().find(decides).map_or(all, |entry| !entry.starts_with('-'))
    };
    Ok(CONTROLLERS.into_iter().filter(|name| runs(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(entries: &[&str]) -> Result<Vec<&'static str>, String> {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        select(&entries).map_err(|error| error.to_string())
    }

    #[test]
    fn controllers_are_picked_as_upstream_picks_them() {
        assert_eq!(pick(&["*"]).unwrap().len(), CONTROLLERS.len());
        assert_eq!(pick(&["namespace-controller"]).unwrap(), ["namespace-controller"]);
        let most = pick(&["*", "-namespace-controller"]).unwrap();
        assert!(most.len() == CONTROLLERS.len() - 1 && !most.contains(&"namespace-controller"));
        assert!(pick(&["*", "-nonsense"]).unwrap_err().contains("unknown controller \"nonsense\""));
    }
}
