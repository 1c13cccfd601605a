//! The nodes and what is on them, with what has been assumed since; kept up to date event by event.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | S1 | A pod counts on one node at most, from the moment it is assumed there until it ends. |

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::resources::{self, Amounts};

/// `(protocol, host IP, port)` that a pod takes from its node.
pub type HostPort = (String, String, i32);

/// What one pod takes from its node.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// What it asks for.
    pub requests: Amounts,
    /// The same for scoring: pods that ask for nothing count a little.
    pub scored: Amounts,
    /// Ports of the node.
    pub ports: BTreeSet<HostPort>,
    /// The uid of its controller.
    pub owner: Option<String>,
}

impl Share {
    /// The share of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let owners = pod.metadata.owner_references.iter().flatten();
        Self {
            requests: resources::requests(pod, false),
            scored: resources::requests(pod, true),
            ports: host_ports(pod),
            owner: owners
                .filter(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone())
                .next(),
        }
    }
}

/// The host ports that a pod asks for.
#[must_use]
pub fn host_ports(pod: &Pod) -> BTreeSet<HostPort> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars =
        sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let text = |value: &Option<String>, default: &str| {
                value.as_deref().filter(|v| !v.is_empty()).unwrap_or(default).to_owned()
            };
            Some((text(&port.protocol, "TCP"), text(&port.host_ip, "0.0.0.0"), number))
        })
        .collect()
}

/// One node and what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; none while only its pods are known.
    pub node: Option<Node>,
    /// What it offers.
    pub allocatable: Amounts,
    /// What its pods ask for.
    pub requested: Amounts,
    /// The same for scoring.
    pub scored: Amounts,
    /// Its pods by uid.
    pub pods: HashMap<String, Share>,
}

/// All nodes by name.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<String, NodeInfo>,
    places: HashMap<String, String>,
}

impl Snapshot {
    /// The nodes that exist, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node, &NodeInfo)> {
        self.nodes
            .iter()
            .filter_map(|(name, info)| Some((name.as_str(), info.node.as_ref()?, info)))
    }

    /// A node was added or changed.
    pub fn put_node(&mut self, node: &Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let info = self.nodes.entry(name).or_default();
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        info.allocatable = resources::amounts(allocatable);
        info.node = Some(node.clone());
    }

    /// A node is gone; its pods still count until they are gone too.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.node = None;
            if info.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// A pod is on this node, really or by assumption.
    pub fn place(&mut self, uid: &str, node: &str, share: Share) {
        self.displace(uid);
        let info = self.nodes.entry(node.to_owned()).or_default();
        resources::add(&mut info.requested, &share.requests);
        resources::add(&mut info.scored, &share.scored);
        info.pods.insert(uid.to_owned(), share);
        self.places.insert(uid.to_owned(), node.to_owned());
    }

    /// A pod is on no node any more. True when it was on one.
    pub fn displace(&mut self, uid: &str) -> bool {
        let Some(name) = self.places.remove(uid) else { return false };
        let Some(info) = self.nodes.get_mut(&name) else { return false };
        if let Some(share) = info.pods.remove(uid) {
            resources::subtract(&mut info.requested, &share.requests);
            resources::subtract(&mut info.scored, &share.scored);
        }
        if info.pods.is_empty() && info.node.is_none() {
            self.nodes.remove(&name);
        }
        true
    }
}
