//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use store_client::Client;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admission::policy::Policies;
use crate::admission::{Ledger, LookedUp};
use crate::audit::Audit;
use crate::authn::{Authenticator, LastModes, Tokens};
use crate::authz::{Nodes, Rbac};
use crate::bootstrap::FirstRounds;
use crate::config::Config;
use crate::custom::Kinds;
use crate::discovery::Documents;
use crate::flow_control::FlowControl;
use crate::kubelet::Kubelets;
use crate::limits::WHOLE_LISTS_MAX;
use crate::metrics::Metrics;
use crate::storage::Storage;
use crate::watch_cache::Caches;

/// The parts of the server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    /// `host:port` as clients reach it.
    pub(crate) address: String,
    pub(crate) storage: Arc<Storage>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) custom: Kinds,
    pub(crate) openapi: Documents,
    pub(crate) authenticator: Authenticator,
    pub(crate) rbac: Rbac,
    pub(crate) policies: Policies,
    pub(crate) nodes: Nodes,
    /// Whether everything is there that must be from the start.
    pub(crate) is_bootstrapped: AtomicBool,
    /// Whether the APIServices of this server have been made.
    pub(crate) has_api_services: AtomicBool,
    pub(crate) first_rounds: FirstRounds,
    pub(crate) kubelets: Kubelets,
    pub(crate) metrics: Metrics,
    pub(crate) limit_ranges: LookedUp,
    pub(crate) quotas: Arc<Ledger>,
    pub(crate) flow_control: Arc<FlowControl>,
    /// Places of the long lists that are made as a whole.
    pub(crate) whole_lists: Arc<Semaphore>,
    pub(crate) audit: Option<Arc<Audit>>,
    pub(crate) shutdown: CancellationToken,
}

impl Server {
    /// Makes the parts; nothing runs yet but the store's revision reader.
    pub(crate) fn new(
        config: Config,
        address: String,
        store: Client,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let seats = config.readonly_inflight_max + config.mutating_inflight_max;
        let metrics = Metrics::new();
        let audit = config.audit.as_ref().map(|audit| Audit::open(audit, &metrics.audit));
        let storage = Storage::on(store, &config.store, &metrics);
        let caches = Caches::new();
        Ok(Arc::new(Self {
            address,
            limit_ranges: LookedUp::default(),
            flow_control: FlowControl::new(seats, caches.clone(), metrics.flow.clone()),
            quotas: Ledger::new(storage.clone(), caches.clone()),
            storage,
            caches,
            custom: Kinds::default(),
            openapi: Documents::default(),
            authenticator: Authenticator {
                front_proxy: config.front_proxy.clone(),
                tokens: config.tokens.clone(),
                service_accounts: Tokens::new(&config.service_accounts)
                    .map_err(anyhow::Error::msg)?,
                bootstrap_tokens: config.bootstrap_tokens,
                anonymous: config.anonymous,
                last_modes: LastModes::default(),
            },
            rbac: Rbac::default(),
            policies: Policies::default(),
            nodes: Nodes::new(),
            is_bootstrapped: AtomicBool::new(false),
            has_api_services: AtomicBool::new(false),
            first_rounds: FirstRounds::default(),
            kubelets: Kubelets::new(&config.kubelet)?,
            metrics,
            whole_lists: Arc::new(Semaphore::new(WHOLE_LISTS_MAX)),
            audit: audit.transpose()?.map(Arc::new),
            shutdown,
            config,
        }))
    }
}
