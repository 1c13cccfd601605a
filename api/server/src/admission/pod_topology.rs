//! PodTopologyLabels: a pod carries the zone and the region of its node as labels.

use api_machinery::{Object, Status};

use super::{Attributes, Operation, lookup};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Takes a pod that comes with its node, or the binding that gives it one.
pub(super) fn mutate(asked: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    let is_pod = asked.kind.group.is_empty() && asked.kind.kind == "Pod";
    if !is_pod || asked.operation != Operation::Create {
        return Ok(());
    }
    let node = match asked.subresource {
        "" => object.text(&["spec", "nodeName"]),
        "binding" if object.text(&["target", "kind"]) == "Node" => object.text(&["target", "name"]),
        _ => return Ok(()),
    };
    if node.is_empty() {
        return Ok(());
    }
    // A node that is not known has no place.
    let Some(node) = lookup::cached(asked.server, ("", "nodes"), ("", node))? else {
        return Ok(());
    };
    copy(object, &node);
    Ok(())
}

fn copy(object: &mut Object, node: &Object) {
    for label in LABELS {
        if let Some(value) = node.at(&["metadata", "labels", label]) {
            object.set(&["metadata", "labels", label], value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_place_is_copied_and_it_wins() {
        let node = json!({"metadata": {"labels": {LABELS[0]: "z", LABELS[1]: "r", "x": "y"}}});
        let pod = json!({"metadata": {"labels": {LABELS[0]: "other"}}});
        let (node, mut pod) = (Object::from_value(node).unwrap(), Object::from_value(pod).unwrap());
        copy(&mut pod, &node);
        let wanted = json!({"metadata": {"labels": {LABELS[0]: "z", LABELS[1]: "r"}}});
        assert_eq!(pod.into_value(), wanted);
    }
}
