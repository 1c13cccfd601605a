//! The flow schemas and priority levels that every cluster has: upstream's names and numbers.

use serde_json::{Value, json};

/// Says that a server may put the object's specification right.
pub(super) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
pub(super) const EXEMPT: &str = "exempt";
pub(super) const CATCH_ALL: &str = "catch-all";
const GROUP_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// Name, shares, percent that may be lent, queues and hand.
const QUEUED: [(&str, u32, u32, (u32, u32)); 6] = [
    ("system", 30, 33, (64, 6)),
    ("node-high", 40, 25, (64, 6)),
    ("leader-election", 10, 0, (16, 4)),
    ("workload-high", 40, 50, (128, 6)),
    ("workload-low", 100, 90, (128, 6)),
    ("global-default", 20, 50, (128, 6)),
];
const QUEUE_LENGTH: u32 = 50;

const BY_USER: &str = "ByUser";
const BY_NAMESPACE: &str = "ByNamespace";
const EVERYBODY: &[(&str, &str)] =
    &[("Group", "system:unauthenticated"), ("Group", "system:authenticated")];

/// What a schema is about.
#[derive(Clone, Copy)]
enum About {
    Everything,
    Probes,
    Leases,
    Nodes,
}

/// Name, level, precedence, what tells flows apart, kind and name of the subjects, and its rules.
type Schema =
    (&'static str, &'static str, u32, &'static str, &'static [(&'static str, &'static str)], About);

const SCHEMAS: [Schema; 11] = [
    (EXEMPT, EXEMPT, 1, "", &[("Group", "system:masters")], About::Everything),
    ("probes", EXEMPT, 2, "", EVERYBODY, About::Probes),
    (
        "system-leader-election",
        "leader-election",
        100,
        BY_USER,
        &[
            ("User", "system:kube-controller-manager"),
            ("User", "system:kube-scheduler"),
            ("ServiceAccount", "kube-system"),
        ],
        About::Leases,
    ),
    ("system-node-high", "node-high", 400, BY_USER, &[("Group", "system:nodes")], About::Nodes),
    ("system-nodes", "system", 500, BY_USER, &[("Group", "system:nodes")], About::Everything),
    (
        "kube-controller-manager",
        "workload-high",
        800,
        BY_NAMESPACE,
        &[("User", "system:kube-controller-manager")],
        About::Everything,
    ),
    (
        "kube-scheduler",
        "workload-high",
        800,
        BY_NAMESPACE,
        &[("User", "system:kube-scheduler")],
        About::Everything,
    ),
    (
        "kube-system-service-accounts",
        "workload-high",
        900,
        BY_NAMESPACE,
        &[("ServiceAccount", "kube-system")],
        About::Everything,
    ),
    (
        "service-accounts",
        "workload-low",
        9000,
        BY_USER,
        &[("Group", "system:serviceaccounts")],
        About::Everything,
    ),
    ("global-default", "global-default", 9900, BY_USER, EVERYBODY, About::Everything),
    (CATCH_ALL, CATCH_ALL, 10000, BY_USER, EVERYBODY, About::Everything),
];

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": GROUP_VERSION, "kind": kind, "spec": spec,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}},
    })
}

pub(super) fn levels() -> Vec<Value> {
    let level = |name: &str, spec: &Value| object("PriorityLevelConfiguration", name, spec);
    let none = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
    let reject = json!({"nominalConcurrencyShares": 5, "lendablePercent": 0,
        "limitResponse": {"type": "Reject"}});
    let mut all = vec![
        level(EXEMPT, &json!({"type": "Exempt", "exempt": none})),
        level(CATCH_ALL, &json!({"type": "Limited", "limited": reject})),
    ];
    all.extend(QUEUED.iter().map(|(name, shares, lendable, (queues, hand))| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH});
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing}});
        level(name, &json!({"type": "Limited", "limited": limited}))
    }));
    all
}

pub(super) fn schemas() -> Vec<Value> {
    SCHEMAS.iter().map(schema).collect()
}

fn schema((name, level, precedence, method, subjects, about): &Schema) -> Value {
    let subjects: Vec<Value> = subjects.iter().map(|(kind, name)| subject(kind, name)).collect();
    let mut rule = about.rules();
    rule["subjects"] = subjects.into();
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    });
    if !method.is_empty() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, &spec)
}

fn subject(kind: &str, name: &str) -> Value {
    match kind {
        "User" => json!({"kind": kind, "user": {"name": name}}),
        "Group" => json!({"kind": kind, "group": {"name": name}}),
        // All of a namespace.
        _ => json!({"kind": kind, "serviceAccount": {"namespace": name, "name": "*"}}),
    }
}

impl About {
    fn rules(self) -> Value {
        let all = json!(["*"]);
        let leases = |verbs: Value| {
            json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"],
                "resources": ["leases"], "namespaces": all})
        };
        match self {
            Self::Everything => json!({
                "resourceRules": [{"verbs": all, "apiGroups": all, "resources": all,
                    "clusterScope": true, "namespaces": all}],
                "nonResourceRules": [{"verbs": all, "nonResourceURLs": all}],
            }),
            Self::Probes => json!({"nonResourceRules": [
                {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}),
            Self::Leases => {
                json!({"resourceRules": [leases(json!(["get", "create", "update"]))]})
            }
            Self::Nodes => {
                let nodes = json!({"verbs": all, "apiGroups": [""], "clusterScope": true,
                    "resources": ["nodes", "nodes/status"], "namespaces": all});
                json!({"resourceRules": [nodes, leases(all.clone())]})
            }
        }
    }
}
