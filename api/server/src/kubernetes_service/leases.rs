//! Who serves the API: one key per server under `masterleases/`, each on a lease of its own, so
//! that the key of a server that dies goes by itself (upstream's layout).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_machinery::Status;
use bytes::Bytes;
use serde_json::json;
use store_client::{Error, rpc};

use crate::limits::STORE_PAGE_KEYS;
use crate::storage::{self, Storage};

const PREFIX: &str = "masterleases/";

/// This server's lease, and a look at those of all.
#[derive(Debug)]
pub(super) struct Leases {
    storage: Arc<Storage>,
    address: IpAddr,
    ttl: Duration,
    held: Option<i64>,
}

impl Leases {
    pub(super) fn new(storage: Arc<Storage>, address: IpAddr, ttl: Duration) -> Self {
        Self { storage, address, ttl, held: None }
    }

    fn key(&self) -> String {
        self.storage.raw_key(&format!("{PREFIX}{}", self.address))
    }

    /// Says that this server is there, for another time to live.
    pub(super) async fn refresh(&mut self) -> Result<(), Status> {
        if let Some(id) = self.held {
            let kept = self.storage.client().lease_keep_alive_once(id).await;
            let lives = kept.map_err(|error| storage::status(&error))?.ttl > 0;
            // Somebody may have taken the key away although the lease lives.
            if lives && self.storage.get_raw(&self.key()).await?.is_some() {
                return Ok(());
            }
        }
        let ttl_s = i64::try_from(self.ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let granted = self.storage.client().lease_grant(ttl_s).await;
        let id = granted.map_err(|error| storage::status(&error))?.id;
        let value = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {},
            "subsets": [{"addresses": [{"ip": self.address.to_string()}]}],
        });
        let request = rpc::PutRequest {
            key: Bytes::from(self.key()),
            value: Bytes::from(value.to_string()),
            lease: id,
            ..rpc::PutRequest::default()
        };
        self.storage.client().put(request).await.map_err(|error| storage::status(&error))?;
        self.held = Some(id);
        Ok(())
    }

    /// The addresses of all servers, sorted.
    pub(super) async fn list(&self) -> Result<Vec<String>, Status> {
        let prefix = self.storage.raw_key(PREFIX);
        let page = self.storage.page(&prefix, "", STORE_PAGE_KEYS, 0).await;
        let page = page.map_err(|error| storage::status(&error))?;
        let mut addresses = Vec::new();
        for raw in &page.values {
            let object = storage::decode(raw.value()?)?;
            let address = object
                .at(&["subsets"])
                .and_then(|subsets| subsets[0]["addresses"][0]["ip"].as_str().map(str::to_owned));
            addresses.extend(address.filter(|address| !address.is_empty()));
        }
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    /// Says that this server goes.
    pub(super) async fn give_back(&mut self) -> Result<(), Status> {
        let Some(id) = self.held.take() else { return Ok(()) };
        match self.storage.client().lease_revoke(id).await {
            Ok(_) => Ok(()),
            // It has ended by itself.
            Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(storage::status(&error)),
        }
    }
}
