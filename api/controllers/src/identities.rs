//! Whom each controller speaks as: the process, or a service account of its own with upstream's name.

use std::{collections::HashMap, sync::Arc};

use api_client::{Accounts, process, process::SetUpError};
use futures::future::join_all;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, context::Context};

/// The account of a controller, to which upstream's policy binds its role.
fn account(controller: &'static str) -> &'static str {
    match controller {
        "serviceaccount-controller" => "service-account-controller",
        "root-ca-certificate-publisher-controller" => "root-ca-cert-publisher",
        "garbage-collector-controller" => "generic-garbage-collector",
        "node-lifecycle-controller" | "taint-eviction-controller" => "node-controller",
        "pod-garbage-collector-controller" => "pod-garbage-collector",
        "persistentvolumeclaim-protection-controller" => "pvc-protection-controller",
        "persistentvolume-protection-controller" => "pv-protection-controller",
        "service-cidr-controller" => "service-cidrs-controller",
        same => same,
    }
}

/// Gives out accounts, if each controller is to have one.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub(crate) async fn accounts(
    config: &Config,
    client: &Client,
) -> Result<Option<Accounts>, SetUpError> {
    if !config.use_service_account_credentials {
        return Ok(None);
    }
    let bare = process::connect_as_nobody(&config.kubeconfig).await?;
    Ok(Some(Accounts::new(client.clone(), bare)))
}

/// What each controller works with.
pub(crate) struct Contexts {
    shared: Arc<Context>,
    own: HashMap<&'static str, Arc<Context>>,
}

impl Contexts {
    /// Waits for the tokens of all accounts; `None` when the term ends first.
    pub(crate) async fn of(
        shared: Arc<Context>,
        accounts: Option<&Accounts>,
        term: &CancellationToken,
    ) -> Option<Self> {
        let mut own = HashMap::new();
        if let Some(accounts) = accounts {
            let names = || shared.config.controllers.iter().copied();
            let clients = names().map(|name| accounts.client(account(name), term));
            for (name, client) in names().zip(join_all(clients).await) {
                own.insert(name, Arc::new(shared.speaking_as(client?)));
            }
        }
        Some(Self { shared, own })
    }

    /// What a controller works with.
    pub(crate) fn get(&self, controller: &str) -> &Arc<Context> {
        self.own.get(controller).unwrap_or(&self.shared)
    }
}
