//! A read view of the objects that the controllers decide on.

use std::sync::Arc;

use api_client::Store;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{
        ConfigMap, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota,
        Service, ServiceAccount,
    },
    networking::v1::{IPAddress, ServiceCIDR},
    storage::v1::VolumeAttributesClass,
};
use kube::Resource;

use crate::{
    object::controller_of,
    protection::{claims, classes},
};

/// The stores that the informers fill.
#[derive(Clone, Debug)]
pub struct World {
    /// By namespace and name.
    pub deployments: Arc<Store<Deployment>>,
    /// Indexed by [`owner_index`].
    pub replica_sets: Arc<Store<ReplicaSet>>,
    /// Indexed by [`owner_index`], `node:<name>` and `claim:<namespace>/<name>`.
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
    /// By namespace and name.
    pub jobs: Arc<Store<Job>>,
    /// Indexed by the names of their classes of attributes.
    pub claims: Arc<Store<PersistentVolumeClaim>>,
    /// Indexed by the name of their class of attributes.
    pub volumes: Arc<Store<PersistentVolume>>,
    /// By name.
    pub volume_classes: Arc<Store<VolumeAttributesClass>>,
    /// By namespace and name.
    pub services: Arc<Store<Service>>,
    /// By namespace and name.
    pub quotas: Arc<Store<ResourceQuota>>,
    /// By name.
    pub service_cidrs: Arc<Store<ServiceCIDR>>,
    /// By name.
    pub ip_addresses: Arc<Store<IPAddress>>,
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
    values.extend(claims::index(pod));
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
            jobs: Store::new(None),
            claims: Store::new(Some(classes::of_claim)),
            volumes: Store::new(Some(classes::of_volume)),
            volume_classes: Store::new(None),
            services: Store::new(None),
            quotas: Store::new(None),
            service_cidrs: Store::new(None),
            ip_addresses: Store::new(None),
        }
    }

    /// Waits until every store holds its first list. Not for the classes of attributes and the ranges
    /// of addresses: a server before 1.34 does not know them, and with none of them in the store
    /// nothing is decided about any.
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
            self.jobs.synced(),
            self.claims.synced(),
            self.volumes.synced(),
            self.services.synced(),
            self.quotas.synced(),
        );
    }
}
