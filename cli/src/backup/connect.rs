//! Which store, and as whom.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use store_client::{Config, Tls};

use crate::up::folder;

/// Flags of commands that talk to a store.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Connect {
    /// The store's client URLs; without this, the members of the `orlop up` cluster in --dir
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    endpoints: Vec<String>,
    /// The authority that signed the members' certificates
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Our certificate, where members ask for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A user with the role root and its password, where the store has users
    #[arg(long, value_name = "NAME:PASSWORD", env = "ORLOP_BACKUP_USER", hide_env_values = true)]
    pub(super) user: Option<String>,
    #[command(flatten)]
    dir: crate::Dir,
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

impl Connect {
    /// For a client of the store.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        if self.endpoints.is_empty() {
            let layout = folder::find(&self.dir.dir).context("no --endpoints are given")?;
            let urls = layout.hosts().into_iter().map(|host| layout.store_client_url(&host));
            let pair = layout.store_admin();
            let tls = Tls {
                ca: read(&layout.store_ca().certificate)?,
                identity: Some((read(&pair.certificate)?, read(&pair.key)?)),
            };
            return Ok(Config::new(urls).with_tls(tls));
        }
        let endpoints = self
            .endpoints
            .iter()
            .map(|one| if one.contains("://") { one.clone() } else { format!("http://{one}") });
        let config = Config::new(endpoints);
        let Some(ca) = &self.cacert else { return Ok(config) };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            _ => None,
        };
        Ok(config.with_tls(Tls { ca: read(ca)?, identity }))
    }
}
