//! The volume with an account's token, the authority to trust and the namespace's name.

use std::collections::HashSet;

use api_machinery::Object;
use serde_json::{Value, json};

use crate::registry::generated_name;

const PREFIX: &str = "kube-api-access-";
/// Where clients look for it.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and some seconds, by which the server knows who did not choose this lifetime.
const TOKEN_SECONDS: i64 = 3607;

/// Mounts the volume in every container that has nothing mounted there.
pub(super) fn mount(pod: &mut Object) {
    let volumes = pod.at(&["spec", "volumes"]).and_then(Value::as_array);
    let names = || volumes.into_iter().flatten().filter_map(|volume| volume["name"].as_str());
    let held = names().find(|name| name.starts_with(PREFIX)).map(str::to_owned);
    let is_new = held.is_none();
    let name = held.unwrap_or_else(|| {
        let taken: HashSet<&str> = names().collect();
        let mut name = generated_name(PREFIX);
        while taken.contains(name.as_str()) {
            name = generated_name(PREFIX);
        }
        name
    });
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
    let mut is_needed = false;
    for list in ["initContainers", "containers"] {
        for container in containers(pod, list).filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert(Value::Null);
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if !mounts.iter().any(|one| one["mountPath"] == MOUNT_PATH) {
                mounts.push(mount.clone());
                is_needed = true;
            }
        }
    }
    if is_new && is_needed {
        let mut volumes =
            pod.at(&["spec", "volumes"]).and_then(Value::as_array).cloned().unwrap_or_default();
        volumes.push(volume(&name));
        pod.set(&["spec", "volumes"], volumes.into());
    }
}

fn containers<'a>(pod: &'a mut Object, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let spec = pod.0.get_mut("spec").and_then(|spec| spec.get_mut(list));
    spec.and_then(Value::as_array_mut).into_iter().flatten()
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
            "defaultMode": 0o644,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(spec: Value) -> Value {
        let mut pod = Object::from_value(json!({"spec": spec})).unwrap();
        mount(&mut pod);
        pod.into_value()["spec"].take()
    }

    #[test]
    fn every_container_mounts_the_token_once() {
        let spec = mounted(json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "c", "volumeMounts": null},
                {"name": "own", "volumeMounts": [{"name": "v", "mountPath": MOUNT_PATH}]}],
        }));
        let name = spec["volumes"][0]["name"].as_str().unwrap();
        assert!(name.starts_with(PREFIX) && name.len() == PREFIX.len() + 5, "{name}");
        let mount = json!([{"name": name, "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"][0]["name"], "v");
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(mounted(spec.clone()), spec, "a second time changes nothing");
    }

    #[test]
    fn a_pod_that_mounts_something_there_gets_no_volume() {
        let spec = json!({"containers": [
            {"name": "own", "volumeMounts": [{"name": "v", "mountPath": MOUNT_PATH}]}]});
        assert_eq!(mounted(spec.clone()), spec);
    }

    #[test]
    fn a_volume_with_the_prefix_is_taken_for_the_tokens() {
        let spec = json!({"volumes": [{"name": "kube-api-access-mine", "emptyDir": {}}],
            "containers": [{"name": "c"}]});
        let spec = mounted(spec);
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-mine");
    }
}
