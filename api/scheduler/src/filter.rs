//! The rules that say on which nodes a pod can run, with upstream's words for why not.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

use crate::{
    resources::Amounts,
    snapshot::{HostPort, NodeInfo},
};

/// What the rules need to know of a pod, worked out once for all nodes.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The pod's spec.
    pub spec: &'a PodSpec,
    /// What it asks for.
    pub requests: Amounts,
    /// Host ports it asks for.
    pub ports: std::collections::BTreeSet<HostPort>,
}

impl<'a> Wanted<'a> {
    /// None for a pod without a spec.
    #[must_use]
    pub fn of(pod: &'a Pod) -> Option<Self> {
        Some(Self {
            spec: pod.spec.as_ref()?,
            requests: crate::resources::requests(pod, false),
            ports: crate::snapshot::host_ports(pod),
        })
    }
}

type Rule = fn(&Wanted<'_>, &Node, &NodeInfo) -> Vec<String>;

/// The rules in upstream's order: the first that objects speaks for the node.
const RULES: [Rule; 6] = [unschedulable, node_name, taints, affinity, ports, resources];

/// Why the pod cannot run on this node; empty when it can.
#[must_use]
pub fn objections(wanted: &Wanted<'_>, node: &Node, info: &NodeInfo) -> Vec<String> {
    RULES
        .iter()
        .map(|rule| rule(wanted, node, info))
        .find(|why| !why.is_empty())
        .unwrap_or_default()
}

fn unless(fits: bool, why: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![why.to_owned()] }
}

fn unschedulable(wanted: &Wanted<'_>, node: &Node, _: &NodeInfo) -> Vec<String> {
    let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    unless(!closed || tolerated(wanted.spec, &taint), "node(s) were unschedulable")
}

fn node_name(wanted: &Wanted<'_>, node: &Node, _: &NodeInfo) -> Vec<String> {
    let asked = wanted.spec.node_name.as_deref().filter(|name| !name.is_empty());
    let fits = asked.is_none_or(|name| node.metadata.name.as_deref() == Some(name));
    unless(fits, "node(s) didn't match the requested node name")
}

/// True when this toleration covers this taint.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &'_ Option<String>| text.clone().filter(|t| !t.is_empty());
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || given(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "" | "Equal" => {
            toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
        }
        "Exists" => true,
        _ => false,
    }
}

/// True when any toleration of the pod covers this taint.
#[must_use]
pub fn tolerated(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint))
}

fn taints(wanted: &Wanted<'_>, node: &Node, _: &NodeInfo) -> Vec<String> {
    let all = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let repels = |taint: &&Taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerated(wanted.spec, taint)
    };
    let found = all.into_iter().flatten().find(repels);
    unless(found.is_none(), "node(s) had untolerated taint(s)")
}

fn affinity(wanted: &Wanted<'_>, node: &Node, _: &NodeInfo) -> Vec<String> {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected = wanted
        .spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affinity = wanted.spec.affinity.as_ref().and_then(|all| all.node_affinity.as_ref());
    let required =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let attracted = required
        .is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)));
    unless(selected && attracted, "node(s) didn't match Pod's node affinity/selector")
}

/// True when a term selects this node. A term that asks for nothing selects nothing.
#[must_use]
pub fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    if labels.clone().next().is_none() && fields.clone().next().is_none() {
        return false;
    }
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|all| all.get(key));
    let field = |key: &str| node.metadata.name.as_ref().filter(|_| key == "metadata.name");
    labels.clone().all(|requirement| meets(requirement, label(&requirement.key)))
        && fields.clone().all(|requirement| meets(requirement, field(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let listed =
        value.is_some_and(|value| requirement.values.iter().flatten().any(|other| other == value));
    let compare = |order: std::cmp::Ordering| {
        let limit = requirement.values.iter().flatten().next();
        let numbers = value.zip(limit).and_then(|(value, limit)| {
            Some((value.parse::<i64>().ok()?, limit.parse::<i64>().ok()?))
        });
        numbers.is_some_and(|(value, limit)| value.cmp(&limit) == order)
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(std::cmp::Ordering::Greater),
        "Lt" => compare(std::cmp::Ordering::Less),
        _ => false,
    }
}

fn ports(wanted: &Wanted<'_>, _: &Node, info: &NodeInfo) -> Vec<String> {
    const ANY: &str = "0.0.0.0";
    let clash = |a: &HostPort, b: &HostPort| {
        a.0 == b.0 && a.2 == b.2 && (a.1 == b.1 || a.1 == ANY || b.1 == ANY)
    };
    let taken = wanted.ports.iter().any(|port| {
        info.pods.values().flat_map(|share| &share.ports).any(|other| clash(port, other))
    });
    unless(!taken, "node(s) didn't have free ports for the requested pod ports")
}

fn resources(wanted: &Wanted<'_>, _: &Node, info: &NodeInfo) -> Vec<String> {
    let mut why = Vec::new();
    let room = info.allocatable.get("pods").copied().unwrap_or(0);
    if i64::try_from(info.pods.len()).unwrap_or(i64::MAX) >= room {
        why.push("Too many pods".to_owned());
    }
    for (name, amount) in wanted.requests.iter().filter(|(_, amount)| **amount > 0) {
        let total = info.allocatable.get(name).copied().unwrap_or(0);
        let used = info.requested.get(name).copied().unwrap_or(0);
        if *amount > total.saturating_sub(used) {
            why.push(format!("Insufficient {name}"));
        }
    }
    why
}
