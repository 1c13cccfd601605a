//! What nodes may do, request by request.

use std::collections::BTreeSet;

use api_machinery::selector::Fields;

use super::graph::Says;
use super::*;

fn user(name: &str, groups: &[&str]) -> User {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    User { name: name.to_owned(), groups, ..User::default() }
}

/// `VERB RESOURCE[.GROUP][/SUBRESOURCE] [NAMESPACE]/[NAME] [SELECTOR]`.
fn asked(nodes: &Nodes, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let (resource, subresource) = words[1].split_once('/').unwrap_or((words[1], ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (namespace, name) = words[2].split_once('/').unwrap();
    let fields = Fields::parse_any(words.get(3).unwrap_or(&"")).unwrap().0;
    let action = Action {
        verb: words[0],
        is_resource: true,
        group,
        resource,
        subresource,
        namespace,
        name,
        fields: &fields,
        ..Action::default()
    };
    let node = user("system:node:n1", &[GROUP]);
    match nodes.allows(&node, &action) {
        Ok(()) => "yes".to_owned(),
        Err(why) => format!("no: {why}"),
    }
}

#[test]
fn nodes_may_do_what_upstreams_may() {
    let nodes = Nodes::new();
    let uses: BTreeSet<Vertex> = [
        (Thing::Secret, "s"),
        (Thing::ConfigMap, "c"),
        (Thing::Claim, "pvc"),
        (Thing::ServiceAccount, "sa"),
    ]
    .map(|(thing, name)| Vertex::new(thing, "a", name))
    .into();
    let says = Says::On { node: "n1".to_owned(), uses };
    nodes.graph.write().set(Vertex::new(Thing::Pod, "a", "p"), Some(says));
    let unrelated = "no: no relationship found between node 'n1' and this object";
    for (line, wanted) in [
        ("get secrets a/s", "yes"),
        ("list secrets a/s", "yes"),
        ("get secrets a/other", unrelated),
        ("list secrets a/", "no: No Object name found"),
        ("list secrets /", "no: can only read namespaced object of this type"),
        ("delete secrets a/s", "no: can only read resources of this type"),
        ("get configmaps a/c", "yes"),
        ("get persistentvolumeclaims a/pvc", "yes"),
        ("update persistentvolumeclaims/status a/pvc", "yes"),
        ("get persistentvolumeclaims/status a/pvc", "no: can only get/update/patch this type"),
        ("list persistentvolumeclaims a/", "no: can only get individual resources of this type"),
        ("get persistentvolumes /v", unrelated),
        ("create serviceaccounts/token a/sa", "yes"),
        ("create serviceaccounts/token a/other", unrelated),
        ("get serviceaccounts a/sa", "yes"),
        (
            "update serviceaccounts a/sa",
            "no: can only create tokens for individual service accounts",
        ),
        ("get pods a/p", "yes"),
        ("get pods a/q", unrelated),
        ("list pods / spec.nodeName=n1", "yes"),
        (
            "list pods / spec.nodeName=n2",
            "no: can only list/watch pods with spec.nodeName field selector",
        ),
        ("create pods a/", "yes"),
        ("update pods a/p", "no: "),
        ("patch pods/status a/x", "yes"),
        ("create pods/eviction a/x", "yes"),
        ("get pods/log a/p", "no: "),
        ("get nodes /n1", "yes"),
        ("get nodes /n2", "no: node 'n1' cannot read 'n2', only its own Node object"),
        ("list nodes /", "no: node 'n1' cannot read all nodes, only its own Node object"),
        ("patch nodes/status /n2", "yes"),
        ("delete nodes /n1", "no: "),
        ("update leases.coordination.k8s.io kube-node-lease/n1", "yes"),
        (
            "update leases.coordination.k8s.io kube-node-lease/n2",
            "no: can only access node lease with the same name as the requesting node",
        ),
        (
            "get leases.coordination.k8s.io a/n1",
            "no: can only access leases in the \"kube-node-lease\" system namespace",
        ),
        ("create csinodes.storage.k8s.io /", "yes"),
        (
            "get csinodes.storage.k8s.io /n2",
            "no: can only access CSINode with the same name as the requesting node",
        ),
        ("list services /", "yes"),
        ("list deployments.apps a/", "no: "),
        ("create events a/", "yes"),
        ("list resourceslices.resource.k8s.io / spec.nodeName=n1", "yes"),
        (
            "list resourceslices.resource.k8s.io /",
            "no: can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        ("create resourceslices.resource.k8s.io /", "yes"),
        ("create certificatesigningrequests.certificates.k8s.io /", "yes"),
    ] {
        assert_eq!(asked(&nodes, line), wanted, "{line}");
    }
}

#[test]
fn only_a_named_node_of_the_group_is_one() {
    let nodes = Nodes::new();
    let action =
        Action { verb: "list", is_resource: true, resource: "services", ..Action::default() };
    assert_eq!(nodes.allows(&user("system:node:n1", &[]), &action), Err(String::new()));
    assert_eq!(nodes.allows(&user("ann", &[GROUP]), &action), Err(String::new()));
    let unnamed = nodes.allows(&user("system:node:", &[GROUP]), &action).unwrap_err();
    assert_eq!(unnamed, "unknown node for user \"system:node:\"");
}
