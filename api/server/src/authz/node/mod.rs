//! What node agents may do: their own things, and what the pods on their node need.

mod feed;
mod graph;

use api_machinery::rbac::{self, Action, Rule};
use api_machinery::{Object, View};
use parking_lot::RwLock;

use self::graph::{Graph, Thing, Vertex};
use crate::authn::User;

pub(crate) use feed::run;

const PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
/// How the refusal begins of what no pod of the node needs.
pub(super) const UNRELATED: &str = "no relationship found between node";
const LEASES: &str = "kube-node-lease";

/// The name of the node whose agent this user is; `Some("")` when it does not say which.
pub(crate) fn identity(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(PREFIX)?;
    user.groups.iter().any(|group| group == GROUP).then_some(name)
}

/// The Node authorizer.
#[derive(Debug)]
pub(crate) struct Nodes {
    graph: RwLock<Graph>,
    /// What every node may do; the more delicate kinds are decided before.
    rules: Vec<Rule>,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let role = |one: &Object| one.kind() == "ClusterRole" && one.name() == "system:node";
        let found = rbac::policy().into_iter().find(role);
        let json = found.map(|role| role.to_json()).unwrap_or_default();
        Self { graph: RwLock::default(), rules: Rule::all_of(View::new(&json)) }
    }

    /// Whether a user may do something because it is a node; else the reason, empty when there is
    /// nothing to say.
    pub(super) fn allows(&self, user: &User, action: &Action<'_>) -> Result<(), String> {
        let Some(node) = identity(user) else { return Err(String::new()) };
        if node.is_empty() {
            return Err(format!("unknown node for user {:?}", user.name));
        }
        if !action.is_resource {
            return self.by_rules(action);
        }
        let request = Request { nodes: self, node, action };
        match (action.group, action.resource) {
            ("", "secrets") => request.read(Thing::Secret),
            ("", "configmaps") => request.read(Thing::ConfigMap),
            ("", "persistentvolumeclaims") if action.subresource == "status" => {
                request.update_status(Thing::Claim)
            }
            ("", "persistentvolumeclaims") => request.get(Thing::Claim),
            ("", "persistentvolumes") => request.get(Thing::Volume),
            ("", "serviceaccounts") => request.service_account(),
            ("", "nodes") => request.own_node(),
            ("", "pods") => request.pod(),
            ("resource.k8s.io", "resourceclaims") => request.get(Thing::ResourceClaim),
            ("resource.k8s.io", "resourceslices") => request.slice(),
            ("storage.k8s.io", "volumeattachments") => request.get(Thing::Attachment),
            ("storage.k8s.io", "csinodes") => request.csi_node(),
            ("coordination.k8s.io", "leases") => request.lease(),
            ("certificates.k8s.io", "podcertificaterequests") => Err(String::new()),
            _ => self.by_rules(action),
        }
    }

    fn by_rules(&self, action: &Action<'_>) -> Result<(), String> {
        if self.rules.iter().any(|rule| rule.allows(action)) { Ok(()) } else { Err(String::new()) }
    }
}

/// One question of a node.
struct Request<'a> {
    nodes: &'a Nodes,
    node: &'a str,
    action: &'a Action<'a>,
}

fn unless(allowed: bool, why: impl Into<String>) -> Result<(), String> {
    if allowed { Ok(()) } else { Err(why.into()) }
}

impl Request<'_> {
    fn verb_is(&self, verbs: &[&str]) -> bool {
        verbs.contains(&self.action.verb)
    }

    /// Whether the request looks only at what has the node's name in a field.
    fn selects_node_by(&self, field: &str) -> bool {
        let is_own = |one: &api_machinery::selector::FieldRequirement| {
            one.field == field && !one.negated && one.value == self.node
        };
        self.action.fields.iter().any(is_own)
    }

    fn related(&self, thing: Thing) -> Result<(), String> {
        unless(!self.action.name.is_empty(), "No Object name found")?;
        self.reaches(thing)
    }

    fn reaches(&self, thing: Thing) -> Result<(), String> {
        let vertex = Vertex::new(thing, self.action.namespace, self.action.name);
        let reached = self.nodes.graph.read().reaches(self.node, &vertex);
        unless(reached, format!("{UNRELATED} '{}' and this object", self.node))
    }

    fn get(&self, thing: Thing) -> Result<(), String> {
        unless(self.verb_is(&["get"]), "can only get individual resources of this type")?;
        unless(self.action.subresource.is_empty(), "cannot get subresource")?;
        self.related(thing)
    }

    fn read(&self, thing: Thing) -> Result<(), String> {
        let reads = self.verb_is(&["get", "list", "watch"]);
        unless(reads, "can only read resources of this type")?;
        unless(self.action.subresource.is_empty(), "cannot read subresource")?;
        let why = "can only read namespaced object of this type";
        unless(!self.action.namespace.is_empty(), why)?;
        self.related(thing)
    }

    fn update_status(&self, thing: Thing) -> Result<(), String> {
        let why = "can only get/update/patch this type";
        unless(self.verb_is(&["update", "patch"]), why)?;
        self.related(thing)
    }

    fn service_account(&self) -> Result<(), String> {
        if self.action.verb == "get" && self.action.subresource.is_empty() {
            return self.read(Thing::ServiceAccount);
        }
        let names_one = self.action.verb == "create" && !self.action.name.is_empty();
        unless(names_one, "can only create tokens for individual service accounts")?;
        let why = "can only create token subresource of serviceaccount";
        unless(self.action.subresource == "token", why)?;
        self.reaches(Thing::ServiceAccount)
    }

    fn lease(&self) -> Result<(), String> {
        let writes = self.verb_is(&["get", "create", "update", "patch", "delete"]);
        unless(writes, "can only get, create, update, patch, or delete a node lease")?;
        let why = format!("can only access leases in the {LEASES:?} system namespace");
        unless(self.action.namespace == LEASES, why)?;
        let is_own = self.action.verb == "create" || self.action.name == self.node;
        unless(is_own, "can only access node lease with the same name as the requesting node")
    }

    fn csi_node(&self) -> Result<(), String> {
        let writes = self.verb_is(&["get", "create", "update", "patch", "delete"]);
        unless(writes, "can only get, create, update, patch, or delete a CSINode")?;
        unless(self.action.subresource.is_empty(), "cannot authorize CSINode subresources")?;
        let is_own = self.action.verb == "create" || self.action.name == self.node;
        unless(is_own, "can only access CSINode with the same name as the requesting node")
    }

    fn slice(&self) -> Result<(), String> {
        unless(self.action.subresource.is_empty(), "cannot authorize ResourceSlice subresources")?;
        match self.action.verb {
            // Whose it is is checked when its content is known.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(Thing::Slice),
            "watch" | "list" | "deletecollection" => unless(
                self.selects_node_by("spec.nodeName"),
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection".to_owned()),
        }
    }

    fn own_node(&self) -> Result<(), String> {
        let (node, name) = (self.node, self.action.name);
        match (self.action.subresource, self.action.verb) {
            // Whose it is is checked at admission.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") if name == node => Ok(()),
            ("", "get" | "list" | "watch") if name.is_empty() => {
                Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch") => {
                Err(format!("node '{node}' cannot read '{name}', only its own Node object"))
            }
            _ => Err(String::new()),
        }
    }

    fn pod(&self) -> Result<(), String> {
        match (self.action.subresource, self.action.verb) {
            ("", "get") => self.get(Thing::Pod),
            ("", "list" | "watch") if self.selects_node_by("spec.nodeName") => Ok(()),
            ("", "list" | "watch") if !self.action.name.is_empty() => self.related(Thing::Pod),
            ("", "list" | "watch") => {
                Err("can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            // Which pods these are is checked at admission.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Ok(())
            }
            _ => Err(String::new()),
        }
    }
}

#[cfg(test)]
mod tests;
