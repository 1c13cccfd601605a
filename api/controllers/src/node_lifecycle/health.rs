//! The decision about a node's health: silent for too long is Unknown, and conditions become taints.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Taint},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use tokio::time::Instant;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// `(condition, status, taint)`: what a condition of a node keeps away.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// When we last saw a sign of life, by our own clock: the node's clock is never compared to ours.
#[derive(Clone, Debug)]
pub struct Seen {
    heartbeat: Option<Time>,
    renewed: Option<Timestamp>,
    at: Instant,
}

pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Takes in what the caches show now: a new heartbeat or a newer lease counts as a sign of life.
#[must_use]
pub fn observe(before: Option<Seen>, node: &Node, lease: Option<&Lease>, now: Instant) -> Seen {
    let heartbeat = condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.clone());
    let renewed =
        lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref()).map(|time| time.0);
    let Some(before) = before else { return Seen { heartbeat, renewed, at: now } };
    let alive = before.heartbeat != heartbeat || renewed > before.renewed;
    Seen {
        heartbeat,
        renewed: renewed.max(before.renewed),
        at: if alive { now } else { before.at },
    }
}

/// How long a node may stay silent: the second if it never said anything.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// After it was heard.
    pub monitor: Duration,
    /// From the start.
    pub startup: Duration,
}

/// The node with its conditions set to Unknown when it was silent for too long; none when nothing changes.
#[must_use]
pub fn judge(
    node: &Node,
    seen: &Seen,
    grace: Grace,
    now: Instant,
    wall: Timestamp,
) -> Option<Node> {
    let ready = condition(node, "Ready");
    let allowed = if ready.is_some() { grace.monitor } else { grace.startup };
    if now.duration_since(seen.at) <= allowed {
        return None;
    }
    if ready.is_some_and(|ready| ready.status == "Unknown") {
        return None;
    }
    let mut node = node.clone();
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(api_client::api_time(wall)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(api_client::api_time(wall));
            }
            Some(_) => {}
        }
    }
    Some(node)
}

/// The taints that a node should have; none when it has them. Taints of others stay as they are.
#[must_use]
pub fn taints(node: &Node, wall: Timestamp) -> Option<Vec<Taint>> {
    let ours = |taint: &Taint| {
        let known =
            TAINTS.iter().any(|(_, _, key)| *key == taint.key) || taint.key == UNSCHEDULABLE;
        let executes = matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
        (known && taint.effect == "NoSchedule") || (executes && taint.effect == "NoExecute")
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, status, key) in TAINTS {
        if condition(node, kind).is_some_and(|condition| condition.status == status) {
            wanted.push((key, "NoSchedule"));
            if kind == "Ready" {
                wanted.push((key, "NoExecute"));
            }
        }
    }
    let spec = node.spec.clone().unwrap_or_default();
    if spec.unschedulable == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let old = spec.taints.unwrap_or_default();
    let is = |taint: &Taint, want: &(&str, &str)| taint.key == want.0 && taint.effect == want.1;
    // Upstream leaves the not-ready taint of a node that never reported: admission put it there.
    let silent = condition(node, "Ready").is_none();
    let mut next: Vec<Taint> = old
        .iter()
        .filter(|t| !ours(t) || wanted.iter().any(|w| is(t, w)) || (silent && t.key == NOT_READY))
        .cloned()
        .collect();
    for want in wanted {
        if !next.iter().any(|taint| is(taint, &want)) {
            next.push(Taint {
                key: want.0.to_owned(),
                effect: want.1.to_owned(),
                time_added: Some(api_client::api_time(wall)),
                value: None,
            });
        }
    }
    (next != old).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: serde_json::Value) -> Node {
        serde_json::from_value(json).unwrap()
    }

    fn ready(status: &str) -> Node {
        node(serde_json::json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": status, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}}))
    }

    fn lease(second: u32) -> Lease {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "n"}, "spec": {
            "renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}}))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_unknown_only_after_both_heartbeat_and_lease_were_silent() {
        let second = Duration::from_secs(1);
        let (grace, wall) =
            (Grace { monitor: 50 * second, startup: 60 * second }, Timestamp::UNIX_EPOCH);
        let start = Instant::now();
        let node = ready("True");
        let seen = observe(None, &node, Some(&lease(1)), start);
        let seen = observe(Some(seen), &node, Some(&lease(2)), start + 40 * second);
        assert!(judge(&node, &seen, grace, start + 60 * second, wall).is_none(), "the lease moved");
        let seen = observe(Some(seen), &node, Some(&lease(1)), start + 80 * second);
        let unknown = judge(&node, &seen, grace, start + 91 * second, wall).unwrap();
        let condition = condition(&unknown, "Ready").unwrap();
        assert_eq!(condition.status, "Unknown");
        assert_eq!(condition.message.as_deref(), Some("Kubelet stopped posting node status."));
        assert!(judge(&unknown, &seen, grace, start + 500 * second, wall).is_none(), "said once");
    }

    #[test]
    fn conditions_become_taints_and_go_away_with_them() {
        let keys = |taints: Option<Vec<Taint>>| {
            let show = |taint: &Taint| format!("{}:{}", taint.key, taint.effect);
            taints.map(|all| all.iter().map(show).collect::<Vec<_>>())
        };
        let wall = Timestamp::UNIX_EPOCH;
        assert_eq!(taints(&ready("True"), wall), None);
        assert_eq!(
            keys(taints(&ready("Unknown"), wall)).unwrap(),
            [
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute"
            ]
        );
        let mut back = ready("True");
        back.spec.get_or_insert_default().taints = taints(&ready("False"), wall);
        back.spec.as_mut().unwrap().taints.as_mut().unwrap().push(Taint {
            key: "mine".into(),
            effect: "NoExecute".into(),
            ..Taint::default()
        });
        assert_eq!(keys(taints(&back, wall)).unwrap(), ["mine:NoExecute"]);
        let mut cordoned = ready("True");
        cordoned.spec.get_or_insert_default().unschedulable = Some(true);
        assert_eq!(
            keys(taints(&cordoned, wall)).unwrap(),
            ["node.kubernetes.io/unschedulable:NoSchedule"]
        );
    }
}
