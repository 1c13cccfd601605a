//! DefaultTolerationSeconds: pods stay for five minutes on a node that is away or not ready.

use api_machinery::Object;
use serde_json::{Value, json};

use super::Attributes;

const AWAY_SECONDS: i64 = 300;

pub(super) fn mutate(asked: &Attributes<'_>, pod: &mut Object) {
    if asked.is_of("", "Pod") {
        add(pod);
    }
}

fn add(pod: &mut Object) {
    let held = pod.at(&["spec", "tolerations"]).and_then(Value::as_array);
    let mut tolerations = held.cloned().unwrap_or_default();
    let count = tolerations.len();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let is_tolerated = tolerations[..count].iter().any(|one| {
            let of_key = matches!(one["key"].as_str(), None | Some("")) || one["key"] == key;
            let of_effect =
                matches!(one["effect"].as_str(), None | Some("")) || one["effect"] == "NoExecute";
            of_key && of_effect
        });
        if !is_tolerated {
            tolerations.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": AWAY_SECONDS,
            }));
        }
    }
    if tolerations.len() > count {
        pod.set(&["spec", "tolerations"], Value::Array(tolerations));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_added_unless_the_pod_has_them() {
        for (held, count) in [
            (json!(null), 2),
            (json!([{"operator": "Exists"}]), 1),
            (json!([{"operator": "Exists", "effect": "NoSchedule"}]), 3),
            (json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]), 2),
        ] {
            let mut pod = Object::from_value(json!({"spec": {"tolerations": held}})).unwrap();
            for _ in 0..2 {
                add(&mut pod);
                let list = pod.at(&["spec", "tolerations"]).and_then(Value::as_array).unwrap();
                assert_eq!(list.len(), count);
            }
        }
    }
}
