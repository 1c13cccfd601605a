//! DefaultIngressClass, DefaultStorageClass: who names no class gets the one marked as the default.

use api_machinery::{Object, Status};
use serde_json::Value;

use super::{Attributes, Operation, lookup};

pub(super) fn mutate(asked: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    if asked.operation != Operation::Create || has_class(object) {
        return Ok(());
    }
    if asked.is_of("", "PersistentVolumeClaim") {
        let marks = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        let of = ("storage.k8s.io", "storageclasses");
        if let Some(class) = lookup::default_class(asked.server, of, &marks)? {
            object.set(&["spec", "storageClassName"], class.into());
        }
    }
    if asked.is_of("networking.k8s.io", "Ingress") {
        let marks = ["ingressclass.kubernetes.io/is-default-class"];
        let of = ("networking.k8s.io", "ingressclasses");
        if let Some(class) = lookup::default_class(asked.server, of, &marks)? {
            object.set(&["spec", "ingressClassName"], class.into());
        }
    }
    Ok(())
}

/// No class at all is a class too, when it is said: `storageClassName: ""`.
fn has_class(object: &Object) -> bool {
    let (field, annotation) = match object.kind() {
        "Ingress" => ("ingressClassName", "kubernetes.io/ingress.class"),
        _ => ("storageClassName", "volume.beta.kubernetes.io/storage-class"),
    };
    object.at(&["spec", field]).is_some_and(|class| !class.is_null())
        || object.at(&["metadata", "annotations", annotation]).is_some_and(Value::is_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_can_be_named_in_two_ways_and_declined() {
        for (tree, wanted) in [
            (json!({"kind": "Ingress", "spec": {}}), false),
            (json!({"kind": "Ingress", "spec": {"ingressClassName": null}}), false),
            (json!({"kind": "Ingress", "spec": {"ingressClassName": "a"}}), true),
            (
                json!({"kind": "Ingress", "metadata": {"annotations":
                {"kubernetes.io/ingress.class": ""}}}),
                true,
            ),
            (json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": ""}}), true),
            (
                json!({"kind": "PersistentVolumeClaim", "metadata": {"annotations":
                {"volume.beta.kubernetes.io/storage-class": "a"}}}),
                true,
            ),
            (json!({"kind": "PersistentVolumeClaim"}), false),
        ] {
            assert_eq!(has_class(&Object::from_value(tree.clone()).unwrap()), wanted, "{tree}");
        }
    }
}
