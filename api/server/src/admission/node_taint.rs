//! TaintNodesByCondition: a new node takes no pods before it has said that it is ready.

use api_machinery::Object;
use serde_json::{Value, json};

use super::{Attributes, Operation};

const KEY: &str = "node.kubernetes.io/not-ready";
const EFFECT: &str = "NoSchedule";

pub(super) fn mutate(asked: &Attributes<'_>, node: &mut Object) {
    if asked.is_of("", "Node") && asked.operation == Operation::Create {
        taint(node);
    }
}

fn taint(node: &mut Object) {
    let held = node.at(&["spec", "taints"]).and_then(Value::as_array);
    let mut taints = held.cloned().unwrap_or_default();
    if !taints.iter().any(|taint| taint["key"] == KEY && taint["effect"] == EFFECT) {
        taints.push(json!({"key": KEY, "effect": EFFECT}));
        node.set(&["spec", "taints"], Value::Array(taints));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_is_tainted_once() {
        let mut node = Object::from_value(json!({"spec": {"taints":
            [{"key": KEY, "effect": "NoExecute"}]}}))
        .unwrap();
        taint(&mut node);
        taint(&mut node);
        let taints = json!([{"key": KEY, "effect": "NoExecute"}, {"key": KEY, "effect": EFFECT}]);
        assert_eq!(node.at(&["spec", "taints"]), Some(&taints));
    }
}
