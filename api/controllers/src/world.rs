//! A read view of the objects that the controllers decide on.

use std::sync::Arc;

use api_client::Store;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount},
};
use kube::Resource;

use crate::object::controller_of;

/// The stores that the informers fill.
#[derive(Clone, Debug)]
pub struct World {
    /// By namespace and name.
    pub deployments: Arc<Store<Deployment>>,
    /// Indexed by [`owner_index`].
    pub replica_sets: Arc<Store<ReplicaSet>>,
    /// Indexed by [`owner_index`] and `node:<name>`.
    pub pods: Arc<Store<Pod>>,
    /// By name.
    pub nodes: Arc<Store<Node>>,
    /// The heartbeats in kube-node-lease.
    pub node_leases: Arc<Store<Lease>>,
    /// By name.
    pub namespaces: Arc<Store<Namespace>>,
    /// By namespace and name.
    pub service_accounts: Arc<Store<ServiceAccount>>,
    /// Only those called kube-root-ca.crt.
    pub root_ca_maps: Arc<Store<ConfigMap>>,
}

/// Where an object is found by its owner: `uid:<controller>`, or `orphans:<namespace>`.
pub fn owner_index<K: Resource>(object: &K) -> Vec<String> {
    let meta = object.meta();
    vec![match controller_of(meta) {
        Some(owner) => format!("uid:{}", owner.uid),
        None => format!("orphans:{}", meta.namespace.as_deref().unwrap_or_default()),
    }]
}

fn pod_index(pod: &Pod) -> Vec<String> {
    let mut values = owner_index(pod);
    if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        values.push(format!("node:{node}"));
    }
    values
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            deployments: Store::new(None),
            replica_sets: Store::new(Some(owner_index)),
            pods: Store::new(Some(pod_index)),
            nodes: Store::new(None),
            node_leases: Store::new(None),
            namespaces: Store::new(None),
            service_accounts: Store::new(None),
            root_ca_maps: Store::new(None),
        }
    }

    /// Waits until every store holds its first list.
    pub async fn synced(&self) {
        tokio::join!(
            self.deployments.synced(),
            self.replica_sets.synced(),
            self.pods.synced(),
            self.nodes.synced(),
            self.node_leases.synced(),
            self.namespaces.synced(),
            self.service_accounts.synced(),
            self.root_ca_maps.synced(),
        );
    }
}
