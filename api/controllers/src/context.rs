//! What every controller's shell works with: the client, the world, the event recorder.

use api_client::{Recorder, is_conflict, is_not_found};
use k8s_openapi::{NamespaceResourceScope, Resource};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};
use serde::de::DeserializeOwned;

use crate::{config::Config, world::World};

/// The hands of the controllers.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// The caches.
    pub world: World,
    /// Events of this process.
    pub recorder: Recorder,
    /// The flags.
    pub config: Config,
}

impl Context {
    /// The same with another identity.
    #[must_use]
    pub fn speaking_as(&self, client: Client) -> Self {
        Self {
            client,
            world: self.world.clone(),
            recorder: self.recorder.clone(),
            config: self.config.clone(),
        }
    }

    /// Asks the server itself whether this very object is there and not on its way out: no cache may say so.
    pub async fn still_alive<K>(&self, object: &K) -> Result<bool, kube::Error>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let fresh = api.get_opt(meta.name.as_deref().unwrap_or_default()).await?;
        Ok(fresh.is_some_and(|fresh| {
            fresh.meta().uid == meta.uid && fresh.meta().deletion_timestamp.is_none()
        }))
    }

    /// Deletes this very object (by uid); one that is gone already is fine.
    pub async fn delete<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>
            + Resource
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let how = DeleteParams {
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(meta.name.as_deref().unwrap_or_default(), &how).await {
            Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
