//! Which store, and as whom.

use std::path::PathBuf;

use anyhow::Context as _;
use store_client::{Config, Tls};

use crate::connect::{self, Said, read};
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
    user: Option<String>,
    #[command(flatten)]
    dir: crate::Dir,
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
            let config = Config::new(urls).with_tls(tls);
            return Ok(match &self.user {
                Some(text) => config.with_user(connect::user("--user", text)?),
                None => config,
            });
        }
        let said = Said {
            flags: "--",
            endpoints: &self.endpoints,
            cacert: self.cacert.as_ref(),
            cert: self.cert.as_ref(),
            key: self.key.as_ref(),
            user: self.user.as_deref(),
        };
        said.config()
    }
}
