//! The flags of the scheduler, under upstream's names, and what becomes of them.

use std::{net::SocketAddr, path::PathBuf};

use api_client::{Election, ElectionFlags, leader_election::ElectionError, process};

/// Command-line flags, as kube-scheduler names them.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Kubeconfig file with the API server's address and our identity.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Leader election.
    #[command(flatten)]
    pub election: ElectionFlags,
    /// Port of /healthz, /livez, /readyz and /metrics.
    #[arg(long, default_value_t = 10259)]
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
    /// Not supported: refused with an error.
    #[arg(long, hide = true)]
    pub config: Option<PathBuf>,
}

/// Why the flags cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// See [`ElectionError`].
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// Scheduler profiles are not read.
    #[error(
        "--config {path} is not supported: this scheduler has one fixed profile, leave the flag out"
    )]
    ConfigFile {
        /// The file.
        path: PathBuf,
    },
}

/// Checked settings of the scheduler.
#[derive(Debug, Clone)]
pub struct Config {
    /// See [`Flags::kubeconfig`].
    pub kubeconfig: PathBuf,
    /// The election to win first.
    pub election: Election,
    /// Address of the health port.
    pub health_address: SocketAddr,
    /// Certificate of the health port.
    pub serving: Option<process::ServingCertificate>,
}

impl Flags {
    /// Checks everything.
    ///
    /// # Errors
    /// One clear line about the first flag that is wrong.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        if let Some(path) = self.config {
            return Err(ConfigError::ConfigFile { path });
        }
        Ok(Config {
            kubeconfig: self.kubeconfig,
            election: self.election.into_election("kube-scheduler")?,
            health_address: SocketAddr::new(self.bind_address, self.secure_port),
            serving: self
                .tls_cert_file
                .zip(self.tls_private_key_file)
                .map(|(certificate, key)| process::ServingCertificate { certificate, key }),
        })
    }
}
