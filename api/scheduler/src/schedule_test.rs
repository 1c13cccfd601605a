//! Which node a pod gets, and what is said when it gets none.

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::{
    schedule::{Decision, schedule},
    snapshot::{Share, Snapshot},
};

fn node(name: &str, change: impl FnOnce(&mut Value)) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"name": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    });
    change(&mut node);
    serde_json::from_value(node).unwrap()
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn cluster(nodes: &[Node]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.put_node(node);
    }
    snapshot
}

fn message(snapshot: &Snapshot, pod: &Pod) -> String {
    match schedule(snapshot, pod) {
        Decision::Unschedulable { message } => message,
        Decision::Bind { node } => format!("on {node}"),
    }
}

#[test]
fn every_rule_names_its_reason() {
    let taint = json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]);
    let not_a = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["a"]}]}]}}});
    type Case = (Box<dyn FnOnce(&mut Value)>, Box<dyn FnOnce(&mut Value)>, &'static str);
    let cases: Vec<Case> = vec![
        (Box::new(|_| {}), Box::new(|_| {}), "on a"),
        (
            Box::new(|n| n["spec"]["unschedulable"] = json!(true)),
            Box::new(|_| {}),
            "0/1 nodes are available: 1 node(s) were unschedulable.",
        ),
        (
            Box::new(move |n| n["spec"]["taints"] = taint),
            Box::new(|_| {}),
            "0/1 nodes are available: 1 node(s) had untolerated taint(s).",
        ),
        (
            Box::new(|n| n["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}])),
            Box::new(|p| p["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}])),
            "on a",
        ),
        (
            Box::new(|_| {}),
            Box::new(|p| p["spec"]["nodeSelector"] = json!({"name": "b"})),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            Box::new(|_| {}),
            Box::new(move |p| p["spec"]["affinity"] = not_a),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            Box::new(|_| {}),
            Box::new(|p| {
                p["spec"]["containers"][0]["resources"]["requests"] =
                    json!({"cpu": "5", "memory": "9Gi", "example.com/gpu": "1"});
            }),
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/gpu, 1 Insufficient memory.",
        ),
        (
            Box::new(|n| n["status"]["allocatable"]["pods"] = json!("0")),
            Box::new(|_| {}),
            "0/1 nodes are available: 1 Too many pods.",
        ),
    ];
    for (index, (change_node, change_pod, expected)) in cases.into_iter().enumerate() {
        let snapshot = cluster(&[node("a", change_node)]);
        assert_eq!(message(&snapshot, &pod("p", change_pod)), expected, "case {index}");
    }
    assert_eq!(
        message(&Snapshot::default(), &pod("p", |_| {})),
        "no nodes available to schedule pods"
    );
}

#[test]
fn reasons_are_counted_over_the_nodes() {
    let snapshot = cluster(&[
        node("a", |n| n["spec"]["unschedulable"] = json!(true)),
        node("b", |n| n["status"]["allocatable"]["cpu"] = json!("500m")),
        node("c", |n| n["status"]["allocatable"]["cpu"] = json!("500m")),
    ]);
    assert_eq!(
        message(&snapshot, &pod("p", |_| {})),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
    );
}

#[test]
fn host_ports_clash_on_the_same_address_only() {
    let port = |ip: &'static str| {
        move |p: &mut Value| {
            p["spec"]["containers"][0]["ports"] =
                json!([{"containerPort": 80, "hostPort": 80, "hostIP": ip}]);
        }
    };
    let mut snapshot = cluster(&[node("a", |_| {})]);
    snapshot.place("one", "a", Share::of(&pod("one", port("127.0.0.1"))));
    let clash =
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(message(&snapshot, &pod("p", port("127.0.0.1"))), clash);
    assert_eq!(message(&snapshot, &pod("p", port(""))), clash, "any address clashes with each");
    assert_eq!(message(&snapshot, &pod("p", port("127.0.0.2"))), "on a");
}

#[test]
fn assumed_pods_fill_nodes_until_nothing_fits_and_leave_room_when_they_go() {
    let mut snapshot = cluster(&[node("a", |_| {}), node("b", |_| {})]);
    let mut per_node = std::collections::BTreeMap::<String, usize>::new();
    for index in 0..8 {
        let name = format!("p{index}");
        let pod = pod(&name, |p| {
            p["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": "r", "uid": "r", "controller": true}]);
        });
        let Decision::Bind { node } = schedule(&snapshot, &pod) else { panic!("pod {index} fits") };
        *per_node.entry(node.clone()).or_default() += 1;
        snapshot.place(&name, &node, Share::of(&pod));
    }
    assert_eq!(per_node.into_values().collect::<Vec<_>>(), [4, 4], "spread evenly");
    assert_eq!(
        message(&snapshot, &pod("p", |_| {})),
        "0/2 nodes are available: 2 Insufficient cpu."
    );
    assert!(snapshot.displace("p3"));
    assert!(message(&snapshot, &pod("p", |_| {})).starts_with("on "));
}

#[test]
fn preferences_decide_between_equal_nodes() {
    let snapshot = cluster(&[
        node("a", |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "PreferNoSchedule"}])),
        node("b", |_| {}),
    ]);
    for index in 0..10 {
        assert_eq!(message(&snapshot, &pod(&format!("p{index}"), |_| {})), "on b");
    }
    let snapshot = cluster(&[node("a", |_| {}), node("b", |_| {})]);
    let prefers_a = |p: &mut Value| {
        p["spec"]["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "name", "operator": "In", "values": ["a"]}]}}]}});
    };
    for index in 0..10 {
        assert_eq!(message(&snapshot, &pod(&format!("p{index}"), prefers_a)), "on a");
    }
}

#[test]
fn pods_of_a_node_that_comes_later_count() {
    let mut snapshot = Snapshot::default();
    let big = pod("big", |p| {
        p["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "4"});
    });
    snapshot.place("big", "a", Share::of(&big));
    snapshot.put_node(&node("a", |_| {}));
    assert_eq!(
        message(&snapshot, &pod("p", |_| {})),
        "0/1 nodes are available: 1 Insufficient cpu."
    );
}
