//! Defaults of `apps`.

use serde_json::json;

use super::Scalar::{Number, Text};
use super::{Table, Tree};
use super::{conversion, core, ensure, fill, fill_zero, items, pod, set, set_zero, text};

pub(super) fn apply(kind: &str, map: &mut Tree) {
    let change: fn(&mut Tree) = match kind {
        "Deployment" => deployment,
        "DaemonSet" => daemon_set,
        "StatefulSet" => stateful_set,
        "ReplicaSet" => |spec| set(spec, "replicas", 1),
        _ => return,
    };
    if let Some(spec) = ensure(map, "spec") {
        change(spec);
        pod::template(spec);
    }
}

const DEPLOYMENT: &Table = &[
    ("replicas", Number(1)),
    ("revisionHistoryLimit", Number(10)),
    ("progressDeadlineSeconds", Number(600)),
];

fn deployment(spec: &mut Tree) {
    fill(spec, DEPLOYMENT);
    let Some(strategy) = ensure(spec, "strategy") else { return };
    set_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = ensure(strategy, "rollingUpdate")
    {
        fill(rolling, &[("maxUnavailable", Text("25%")), ("maxSurge", Text("25%"))]);
    }
}

fn daemon_set(spec: &mut Tree) {
    set(spec, "revisionHistoryLimit", 10);
    let Some(strategy) = ensure(spec, "updateStrategy") else { return };
    set_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = ensure(strategy, "rollingUpdate")
    {
        fill(rolling, &[("maxUnavailable", Number(1)), ("maxSurge", Number(0))]);
    }
    conversion::rolling_update(strategy, &["maxUnavailable", "maxSurge"]);
}

const STATEFUL_SET: &Table = &[("replicas", Number(1)), ("revisionHistoryLimit", Number(10))];
const CLAIM_RETENTION: &Table = &[("whenDeleted", Text("Retain")), ("whenScaled", Text("Retain"))];

fn stateful_set(spec: &mut Tree) {
    fill(spec, STATEFUL_SET);
    set_zero(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            set_zero(strategy, "type", "RollingUpdate");
            set(strategy, "rollingUpdate", json!({}));
        }
        conversion::rolling_update(strategy, &["partition"]);
    }
    if let Some(retention) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
        fill_zero(retention, CLAIM_RETENTION);
    }
    for claim in items(spec, "volumeClaimTemplates") {
        conversion::claim_template(claim);
        core::persistent_volume_claim(claim);
    }
}
