//! The decision about a pod on a node with NoExecute taints: stay, go now, or go at a given time.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may stay for ever.
    Stay,
    /// It goes at this time, which may have passed.
    GoAt(Timestamp),
}

/// True when this toleration covers this taint.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |text: &Option<String>| text.as_deref().filter(|t| !t.is_empty()).map(str::to_owned);
    if set(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    let key = set(&toleration.key);
    if key.as_ref().is_some_and(|key| *key != taint.key) {
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

/// Decides for one pod. A pod that tolerates every taint stays for the shortest of its limits, counted from
/// when the taint was put there; a pod that does not tolerate one of them goes now.
///
/// The defaults of 300 s are put into pods by admission, so that a pod without them really tolerates nothing.
#[must_use]
pub fn fate(pod: &Pod, taints: &[Taint], now: Timestamp) -> Fate {
    let executing = taints.iter().filter(|taint| taint.effect == "NoExecute");
    let tolerations =
        pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
    let mut end: Option<Timestamp> = None;
    for taint in executing {
        let matching: Vec<_> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if matching.is_empty() {
            return Fate::GoAt(now);
        }
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let limits = matching.iter().filter_map(|toleration| toleration.toleration_seconds);
        if let Some(seconds) = limits.min() {
            let at = since
                .checked_add(SignedDuration::from_secs(seconds.max(0)))
                .unwrap_or(Timestamp::MAX);
            end = Some(end.map_or(at, |end| end.min(at)));
        }
    }
    end.map_or(Fate::Stay, Fate::GoAt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_decide_when_a_pod_goes() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let taints: Vec<Taint> = serde_json::from_value(serde_json::json!([
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"},
            {"key": "other", "effect": "NoSchedule"},
        ]))
        .unwrap();
        let cases = [
            (serde_json::json!([]), Fate::GoAt(at(120))),
            (serde_json::json!([{"operator": "Exists"}]), Fate::Stay),
            (serde_json::json!([{"key": "other", "operator": "Exists"}]), Fate::GoAt(at(120))),
            (
                serde_json::json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
                Fate::GoAt(at(400)),
            ),
            (
                serde_json::json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 0}]),
                Fate::GoAt(at(100)),
            ),
            (
                serde_json::json!([{"key": "node.kubernetes.io/unreachable", "value": "x"}]),
                Fate::GoAt(at(120)),
            ),
        ];
        for (tolerations, expected) in cases {
            let pod = serde_json::json!({"spec": {"containers": [], "tolerations": tolerations}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(fate(&pod, &taints, at(120)), expected, "{tolerations}");
            assert_eq!(fate(&pod, &taints[1..], at(120)), Fate::Stay, "NoSchedule evicts nobody");
        }
    }
}
