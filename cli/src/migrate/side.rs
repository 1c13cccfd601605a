//! The two stores of a migration, and the keys that are meant.

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use store_client::rpc::{RangeRequest, RangeResponse};
use store_client::{Client, Error, prefix_end};
use tokio::time::Instant;

use crate::connect::Said;
use crate::limits;

/// Where the keys come from.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct From {
    /// The source's client URLs
    #[arg(long, value_delimiter = ',', value_name = "URLS", required = true)]
    from: Vec<String>,
    /// The authority that signed the source's certificates
    #[arg(long, value_name = "FILE")]
    from_cacert: Option<PathBuf>,
    /// Our certificate, where the source asks for one
    #[arg(long, value_name = "FILE", requires = "from_key")]
    from_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "from_cert")]
    from_key: Option<PathBuf>,
    /// A user of the source who may read all that is copied
    #[arg(long, value_name = "NAME:PASSWORD", env = "ORLOP_FROM_USER", hide_env_values = true)]
    from_user: Option<String>,
}

/// Where the keys go.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct To {
    /// The target's client URLs
    #[arg(long, value_delimiter = ',', value_name = "URLS", required = true)]
    to: Vec<String>,
    /// The authority that signed the target's certificates
    #[arg(long, value_name = "FILE")]
    to_cacert: Option<PathBuf>,
    /// Our certificate, where the target asks for one
    #[arg(long, value_name = "FILE", requires = "to_key")]
    to_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "to_cert")]
    to_key: Option<PathBuf>,
    /// A user of the target who may write there
    #[arg(long, value_name = "NAME:PASSWORD", env = "ORLOP_TO_USER", hide_env_values = true)]
    to_user: Option<String>,
}

/// One store, and the keys of it that are meant.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// `source` or `target`, for messages.
    pub(super) name: &'static str,
    pub(super) client: Client,
    pub(super) keys: Keys,
}

/// The keys that are copied, without the migration's own.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) first: Bytes,
    pub(super) end: Bytes,
    /// The migration's own key on the target.
    pub(super) mark: Bytes,
    /// Whether these are all keys.
    pub(super) all: bool,
}

/// What the marks of migrations begin with; the prefix that is copied follows.
const MARK: &str = "orlop/store/migrate/";

impl Keys {
    pub(super) fn with_prefix(prefix: &str) -> Self {
        let prefix = prefix.as_bytes();
        Self {
            first: if prefix.is_empty() {
                Bytes::from_static(b"\0")
            } else {
                prefix.to_vec().into()
            },
            end: prefix_end(prefix),
            mark: [MARK.as_bytes(), prefix].concat().into(),
            all: prefix.is_empty(),
        }
    }

    /// Whether the mark lies among the keys that are copied.
    pub(super) fn hold_mark(&self) -> bool {
        self.mark >= self.first && (self.end == b"\0"[..] || self.mark < self.end)
    }
}

/// What a store says of itself at once.
pub(super) struct Now {
    pub(super) cluster_id: u64,
    pub(super) revision: i64,
    pub(super) count: i64,
}

impl Side {
    pub(super) fn source(flags: &From, keys: Keys) -> anyhow::Result<Self> {
        let said = Said {
            flags: "--from-",
            endpoints: &flags.from,
            cacert: flags.from_cacert.as_ref(),
            cert: flags.from_cert.as_ref(),
            key: flags.from_key.as_ref(),
            user: flags.from_user.as_deref(),
        };
        Ok(Self { name: "source", client: Client::new(&said.config()?)?, keys })
    }

    pub(super) fn target(flags: &To, keys: Keys) -> anyhow::Result<Self> {
        let said = Said {
            flags: "--to-",
            endpoints: &flags.to,
            cacert: flags.to_cacert.as_ref(),
            cert: flags.to_cert.as_ref(),
            key: flags.to_key.as_ref(),
            user: flags.to_user.as_deref(),
        };
        Ok(Self { name: "target", client: Client::new(&said.config()?)?, keys })
    }

    /// Its revision and how many of the keys there are, by a linearizable read.
    pub(super) async fn now(&self) -> anyhow::Result<Now> {
        let Keys { first, end, .. } = &self.keys;
        let request = RangeRequest {
            key: first.clone(),
            range_end: end.clone(),
            count_only: true,
            ..RangeRequest::default()
        };
        let response = patiently(self.name, || self.client.range(request.clone())).await?;
        let header = response.header.context("an answer without a header")?;
        let revision = header.revision;
        Ok(Now { cluster_id: header.cluster_id, revision, count: response.count })
    }

    /// Its revision alone, asked for once.
    pub(super) async fn revision(&self) -> Result<i64, Error> {
        let key = self.keys.first.clone();
        let request = RangeRequest { key, count_only: true, ..RangeRequest::default() };
        let response = self.client.range(request).await?;
        Ok(response.header.map_or(0, |header| header.revision))
    }

    /// One key as it is now.
    pub(super) async fn get(&self, key: &Bytes) -> anyhow::Result<RangeResponse> {
        let request = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        patiently(self.name, || self.client.range(request.clone())).await
    }
}

/// Asks again while a store is away, for as long as a migration waits. Only for what may be done
/// twice.
pub(super) async fn patiently<T, F>(name: &str, mut call: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let until = Instant::now() + limits::MIGRATE_PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(Error::Unavailable { .. } | Error::Unknown { .. }) if Instant::now() < until => {
                tokio::time::sleep(limits::MIGRATE_ASK_AGAIN).await;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("the {name} cannot be used"));
            }
        }
    }
}
