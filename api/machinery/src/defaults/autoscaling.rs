//! Defaults of `autoscaling`.

use serde_json::{Value, json};

use super::{Tree, child, conversion, ensure, is_empty, set};
use crate::ResourceInfo;

pub(super) fn apply(info: &ResourceInfo, map: &mut Tree) {
    if info.version == "v1" {
        if let Some(spec) = ensure(map, "spec") {
            set(spec, "minReplicas", 1);
        }
        return;
    }
    conversion::autoscaler_annotations(map);
    let Some(spec) = ensure(map, "spec") else { return };
    set(spec, "minReplicas", 1);
    if is_empty(spec, "metrics") {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".to_owned(), json!([metric]));
    }
    if let Some(behavior) = child(spec, "behavior") {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        rules(behavior, "scaleDown", &json!([percent]));
        rules(behavior, "scaleUp", &json!([pods, percent]));
        // Going down, the window is a flag of the controller.
        if let Some(up) = child(behavior, "scaleUp") {
            set(up, "stabilizationWindowSeconds", 0);
        }
    }
}

fn rules(behavior: &mut Tree, direction: &str, policies: &Value) {
    let Some(rules) = ensure(behavior, direction) else { return };
    set(rules, "selectPolicy", "Max");
    if is_empty(rules, "policies") {
        rules.insert("policies".to_owned(), policies.clone());
    }
}
