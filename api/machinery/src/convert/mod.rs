//! One stored object in several API versions: pure functions from one version to another.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | V1 | A kind is kept in one version ([`ResourceInfo::kept`]); others are made of that one. |
//! | V2 | What a version has no field for is carried in annotations: nothing is lost on the way. |
//! | V3 | Of the metadata only those annotations change; managed fields name their own version. |

mod autoscaling;
mod definitions;
mod events;
mod go_json;
mod kept;

pub use kept::{Kept, from_store, is_other_version};

use crate::decode::{self, Expected, FieldValidation};
use crate::selector::Fields;
use crate::{Object, ResourceInfo};

/// An object in the version of `info`. It says itself which version it is in now.
#[must_use]
pub fn to(info: &ResourceInfo, mut object: Object) -> Object {
    let wanted = info.api_version();
    if object.api_version() == wanted {
        return object;
    }
    let between = (info.kind, object.api_version(), wanted.as_str());
    match between {
        ("Event", "v1", "events.k8s.io/v1") => events::to_new(&mut object.0),
        ("Event", "events.k8s.io/v1", "v1") => events::to_core(&mut object.0),
        ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1") => {
            autoscaling::to_v1(&mut object);
        }
        ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2") => {
            autoscaling::to_v2(&mut object);
        }
        // Versions with the same fields.
        _ => {}
    }
    object.set_api_version_and_kind(&wanted, info.kind);
    fitted(object, Expected { api_version: &wanted, kind: info.kind })
}

/// Zero values as the version's Go type writes them.
fn fitted(object: Object, expected: Expected<'_>) -> Object {
    let tree = object.clone().into_value();
    match decode::value(tree, expected, FieldValidation::Ignore) {
        Ok(decoded) => decoded.object,
        // It fitted the version that it comes from, so that only a wrong value can be in the way:
        // better shown as it is than not at all.
        Err(_) => object,
    }
}

/// Gives a field selector the names of the kept version.
#[must_use]
pub fn selector(info: &ResourceInfo, mut fields: Fields) -> Fields {
    if info.kept_as.is_some() && info.kind == "Event" {
        for one in &mut fields.0 {
            one.field = events::core_label(&one.field);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kinds;

    /// Converts, and shows what is not metadata.
    fn converted(tree: &Value, api_version: &str) -> Object {
        let object = Object::from_value(tree.clone()).unwrap();
        let info = kinds::find_kind(api_version, object.kind()).unwrap();
        to(info, object)
    }

    #[test]
    fn an_event_has_two_names_for_most_of_its_fields() {
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "e"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"},
            "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r",
            "regarding": {"kind": "Pod"}, "related": {"kind": "Node"}, "note": "n",
            "type": "Normal", "deprecatedSource": {"host": "h"},
            "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
            "deprecatedLastTimestamp": null, "deprecatedCount": 3});
        let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"},
            "reportingComponent": "c", "reportingInstance": "i", "action": "a", "reason": "r",
            "involvedObject": {"kind": "Pod"}, "related": {"kind": "Node"}, "message": "n",
            "type": "Normal", "source": {"host": "h"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": null, "count": 3});
        let mut shown = converted(&new, "v1");
        shown.remove(&["metadata", "creationTimestamp"]);
        assert_eq!(shown.into_value(), core);
        let mut shown = converted(&core, "events.k8s.io/v1");
        shown.remove(&["metadata", "creationTimestamp"]);
        assert_eq!(shown.into_value(), new);
    }

    /// The texts are those of a kube-apiserver 1.36.
    #[test]
    fn an_autoscaler_of_v1_carries_what_v2_has_fields_for() {
        let text = include_str!("autoscaler_v2.json");
        let newer: Value = serde_json::from_str(text).unwrap();
        let older: Value = serde_json::from_str(include_str!("autoscaler_v1.json")).unwrap();
        assert_eq!(converted(&newer, "autoscaling/v1").into_value(), older);
        assert_eq!(converted(&older, "autoscaling/v2").into_value(), newer);
    }

    #[test]
    fn an_autoscaler_of_v1_without_metrics_looks_at_the_processor() {
        let older = |annotations: Value, percent: Value| {
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "h", "annotations": annotations},
                "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": percent,
                    "scaleTargetRef": {"kind": "Deployment", "name": "x"}}})
        };
        let cpu = |percent: i64| {
            json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": percent}}})
        };
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "q"},
            "target": {"type": "AverageValue", "averageValue": "1"}}});
        let carried = r#"[{"type":"Pods","pods":{"metricName":"q","targetAverageValue":"1000m"}}]"#;
        let name = "autoscaling.alpha.kubernetes.io/metrics";
        for (annotations, percent, metrics) in [
            (json!({"a": "b"}), Value::Null, json!([cpu(80)])),
            (json!({}), json!(7), json!([cpu(7)])),
            (json!({name: carried}), Value::Null, json!([pods])),
            (json!({name: carried}), json!(7), json!([pods, cpu(7)])),
            (json!({name: "[{\"type\":1}]"}), Value::Null, json!([cpu(80)])),
            (json!({name: "{"}), json!(0), json!([cpu(0)])),
        ] {
            let newer = converted(&older(annotations.clone(), percent), "autoscaling/v2");
            assert_eq!(newer.at(&["spec", "metrics"]), Some(&metrics), "{annotations}");
            assert!(newer.annotations().keys().all(|key| key == "a"), "{annotations}");
        }
    }
}
