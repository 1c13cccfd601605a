//! What new pods get: a service account, a priority, tolerations of nodes that are away for a while.

use api_machinery::{Object, ResourceInfo, Status, kinds};
use serde_json::{Value, json};

use crate::state::Server;

/// Pods that stand for a static pod of a node (upstream's mirror pods).
const MIRROR: &str = "kubernetes.io/config.mirror";
const AWAY_SECONDS: i64 = 300;

/// The account's name, which must exist; its pull secrets when the pod names none. The token
/// volume comes with TokenRequest.
pub(super) async fn service_account(
    server: &Server,
    info: &ResourceInfo,
    pod: &mut Object,
) -> Result<(), Status> {
    if pod.annotations().contains_key(MIRROR) {
        return Ok(());
    }
    if pod.text(&["spec", "serviceAccountName"]).is_empty() {
        pod.set(&["spec", "serviceAccountName"], "default".into());
    }
    let (namespace, name) =
        (pod.namespace().to_owned(), pod.text(&["spec", "serviceAccountName"]).to_owned());
    pod.set(&["spec", "serviceAccount"], name.clone().into());
    let accounts = kinds::find("", "v1", "serviceaccounts").ok_or_else(Status::no_such_path)?;
    let key = server.storage.key(accounts, &namespace, &name);
    let account = match server.caches.of(accounts).get(&key) {
        Some(version) => Some(version.object()?),
        None => server.storage.get(accounts, &namespace, &name).await?.map(|found| found.object),
    };
    let Some(account) = account else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        return Err(Status::forbidden(&info.group_resource(), pod.name(), &why));
    };
    let has_own = pod
        .at(&["spec", "imagePullSecrets"])
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if let (false, Some(secrets)) = (has_own, account.at(&["imagePullSecrets"])) {
        pod.set(&["spec", "imagePullSecrets"], secrets.clone());
    }
    Ok(())
}

/// The number behind the priority class. Only the two built-in classes exist so far.
pub(super) fn priority(info: &ResourceInfo, pod: &mut Object) -> Result<(), Status> {
    let priority = match pod.text(&["spec", "priorityClassName"]) {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        other => {
            let why = format!("no PriorityClass with name {other} was found");
            return Err(Status::forbidden(&info.group_resource(), pod.name(), &why));
        }
    };
    let given = pod.at(&["spec", "priority"]).and_then(Value::as_i64);
    if given.is_some_and(|given| given != priority) {
        let why = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name",
            given.unwrap_or_default()
        );
        return Err(Status::forbidden(&info.group_resource(), pod.name(), &why));
    }
    pod.set(&["spec", "priority"], priority.into());
    if pod.text(&["spec", "preemptionPolicy"]).is_empty() {
        pod.set(&["spec", "preemptionPolicy"], "PreemptLowerPriority".into());
    }
    Ok(())
}

/// Pods stay for five minutes on a node that is not ready or not reachable.
pub(super) fn tolerations(pod: &mut Object) {
    let held = pod.at(&["spec", "tolerations"]).and_then(Value::as_array);
    let mut tolerations = held.cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let is_tolerated = tolerations.iter().any(|one| {
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
    pod.set(&["spec", "tolerations"], Value::Array(tolerations));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_added_unless_the_pod_has_them() {
        let mut pod = Object::default();
        tolerations(&mut pod);
        let added = pod.at(&["spec", "tolerations"]).and_then(Value::as_array).unwrap().len();
        assert_eq!(added, 2);
        tolerations(&mut pod);
        let again = pod.at(&["spec", "tolerations"]).and_then(Value::as_array).unwrap().len();
        assert_eq!(again, 2);
        let mut all = Object::default();
        all.set(&["spec", "tolerations"], json!([{"operator": "Exists"}]));
        tolerations(&mut all);
        assert_eq!(all.at(&["spec", "tolerations"]).and_then(Value::as_array).unwrap().len(), 1);
    }
}
