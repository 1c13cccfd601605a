//! Which secrets a pod refers to, and which of them it may.

use std::collections::HashSet;

use api_machinery::Object;
use serde_json::Value;

/// What the static pod of a node may not refer to.
pub(super) fn mirror(pod: &Object) -> Result<(), &'static str> {
    if !pod.text(&["spec", "serviceAccountName"]).is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if has_secrets(pod) {
        return Err("a mirror pod may not reference secrets");
    }
    let mut sources =
        items(pod, "volumes").flat_map(|volume| list(&volume["projected"]["sources"]));
    if sources.any(|source| source["serviceAccountToken"].is_object()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn items<'a>(pod: &'a Object, field: &str) -> impl Iterator<Item = &'a Value> {
    pod.at(&["spec", field]).into_iter().flat_map(list)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn has_secrets(pod: &Object) -> bool {
    let is_named = |name: &Value| !text(name).is_empty();
    let pulls = items(pod, "imagePullSecrets").any(|secret| is_named(&secret["name"]));
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let mut containers = lists.into_iter().flat_map(|field| items(pod, field));
    let reads = containers.any(|container| {
        list(&container["env"]).any(|one| is_named(&one["valueFrom"]["secretKeyRef"]["name"]))
            || list(&container["envFrom"]).any(|one| is_named(&one["secretRef"]["name"]))
    });
    let mounts = items(pod, "volumes").any(|volume| {
        is_named(&volume["secret"]["secretName"])
            || is_named(&volume["azureFile"]["secretName"])
            || is_named(&volume["csi"]["nodePublishSecretRef"]["name"])
            || ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"]
                .iter()
                .any(|kind| is_named(&volume[*kind]["secretRef"]["name"]))
            || list(&volume["projected"]["sources"]).any(|one| is_named(&one["secret"]["name"]))
    });
    pulls || reads || mounts
}

fn names<'a>(account: &'a Object, field: &str) -> HashSet<&'a str> {
    account.at(&[field]).into_iter().flat_map(list).map(|secret| text(&secret["name"])).collect()
}

/// Every secret of a pod must be one of its account's.
pub(super) fn of_pod(pod: &Object, account: &Object) -> Result<(), String> {
    let (mountable, owner) = (names(account, "secrets"), account.name());
    for volume in items(pod, "volumes").filter(|volume| volume["secret"].is_object()) {
        let secret = text(&volume["secret"]["secretName"]);
        if !mountable.contains(secret) {
            return Err(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {owner} does not reference that secret"
            ));
        }
    }
    of_containers(items(pod, "initContainers"), "init container", &mountable, owner)?;
    of_containers(items(pod, "containers"), "container", &mountable, owner)?;
    let pullable = names(account, "imagePullSecrets");
    for (index, secret) in items(pod, "imagePullSecrets").enumerate() {
        let name = text(&secret["name"]);
        if !pullable.contains(name) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{name}\" is not allowed because service account {owner} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// Those of ephemeral containers too.
pub(super) fn of_ephemeral(pod: &Object, account: &Object) -> Result<(), String> {
    let mountable = names(account, "secrets");
    let containers = items(pod, "ephemeralContainers");
    of_containers(containers, "ephemeral container", &mountable, account.name())
}

fn of_containers<'a>(
    containers: impl Iterator<Item = &'a Value>,
    what: &str,
    mountable: &HashSet<&str>,
    owner: &str,
) -> Result<(), String> {
    for container in containers {
        let name = text(&container["name"]);
        for variable in list(&container["env"]) {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            let secret = text(&reference["name"]);
            if reference.is_object() && !mountable.contains(secret) {
                let variable = text(&variable["name"]);
                return Err(format!(
                    "{what} {name} with envVar {variable} referencing secret.secretName=\"{secret}\" is not allowed because service account {owner} does not reference that secret"
                ));
            }
        }
        for source in list(&container["envFrom"]) {
            let secret = text(&source["secretRef"]["name"]);
            if source["secretRef"].is_object() && !mountable.contains(secret) {
                return Err(format!(
                    "{what} {name} with envFrom referencing secret.secretName=\"{secret}\" is not allowed because service account {owner} does not reference that secret"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::from_value(tree).unwrap()
    }

    #[test]
    fn a_strict_account_names_every_secret_of_its_pods() {
        let account = object(json!({"metadata": {"name": "strict"},
            "secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}]}));
        for (spec, why) in [
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "mine"}}],
                "imagePullSecrets": [{"name": "pull"}]}),
                "",
            ),
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "foo"}}]}),
                "volume with secret.secretName=\"foo\" is not allowed because service account strict does not reference that secret",
            ),
            (
                json!({"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "foo"}}]}]}),
                "init container i with envFrom referencing secret.secretName=\"foo\" is not allowed because service account strict does not reference that secret",
            ),
            (
                json!({"containers": [{"name": "c", "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "foo", "key": "k"}}}]}]}),
                "container c with envVar B referencing secret.secretName=\"foo\" is not allowed because service account strict does not reference that secret",
            ),
            (
                json!({"imagePullSecrets": [{"name": "pull"}, {"name": "mine"}]}),
                "imagePullSecrets[1].name=\"mine\" is not allowed because service account strict does not reference that imagePullSecret",
            ),
        ] {
            let told = of_pod(&object(json!({"spec": spec})), &account);
            assert_eq!(told.err().unwrap_or_default(), why);
        }
    }

    #[test]
    fn a_mirror_pod_refers_to_nothing_of_the_api() {
        for (spec, why) in [
            (json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}]}), ""),
            (json!({"serviceAccountName": "a"}), "a mirror pod may not reference service accounts"),
            (
                json!({"volumes": [{"name": "v", "rbd": {"secretRef": {"name": "s"}}}]}),
                "a mirror pod may not reference secrets",
            ),
            (
                json!({"volumes": [{"name": "v", "projected": {"sources": [
                {"serviceAccountToken": {"path": "p"}}]}}]}),
                "a mirror pod may not use ServiceAccountToken volume projections",
            ),
        ] {
            let told = mirror(&object(json!({"spec": spec})));
            assert_eq!(told.err().unwrap_or_default(), why);
        }
    }
}
