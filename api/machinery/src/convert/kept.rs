//! What stands in a store, whoever put it there: our JSON, a kube-apiserver's protobuf, and versions
//! of a kind in which earlier releases kept it.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | W1 | A built-in kind comes out in the version in which it is kept now, whatever stands there. |
//! | W2 | What others wrote is given the defaults that it lacks: a kube-apiserver fills them in |
//! |    | whenever it reads, and so does not always write them. |
//! | W3 | A version with other fields than today's, and no conversion here, is refused: never guessed. |

use super::definitions;
use crate::decode::Expected;
use crate::protobuf;
use crate::{Object, ResourceInfo, Status, defaults, kinds};

const DEFINITION: &str = "CustomResourceDefinition";
/// Groups that kinds have moved to since.
const MOVED: (&str, [&str; 2]) = ("extensions", ["apps", "networking.k8s.io"]);

/// An object of the store.
#[derive(Clone, Debug)]
pub struct Kept {
    pub object: Object,
    /// It stands there in a version in which it would not be written now.
    pub is_older: bool,
}

/// Reads a value of the store.
///
/// # Errors
/// It is neither JSON nor protobuf of a known kind, or it is of a version that cannot be read.
pub fn from_store(value: &[u8]) -> Result<Kept, Status> {
    let broken = |why: &dyn std::fmt::Display| Status::internal(&format!("stored object: {why}"));
    let is_message = value.starts_with(&protobuf::MAGIC);
    let mut object: Object = if is_message {
        let named = protobuf::kind_of(value).map_err(|error| broken(&error))?;
        refuse_unreadable((&named.0, &named.1), true).map_err(|why| broken(&why))?;
        protobuf::decode_with(value, type_of).map_err(|error| broken(&error))?
    } else {
        serde_json::from_slice(value).map_err(|error| broken(&error))?
    };
    let Some(row) = row(object.api_version(), object.kind()) else {
        return Ok(Kept { object, is_older: false });
    };
    let kept = row.kept();
    let is_older = object.api_version() != kept.api_version();
    if is_older {
        let named = (object.api_version(), object.kind());
        refuse_unreadable(named, is_message).map_err(|why| broken(&why))?;
        if row.kind == DEFINITION {
            definitions::to_v1(&mut object.0);
        }
        object.set_api_version_and_kind(&row.api_version(), row.kind);
        let expected = Expected { api_version: &kept.api_version(), kind: kept.kind };
        object = super::fitted(super::to(kept, object), expected);
    }
    if is_message || is_older {
        defaults::apply(kept, &mut object);
    }
    Ok(Kept { object, is_older })
}

/// Whether a value whose JSON says this must go through [`from_store`] to be as it is kept now.
#[must_use]
pub fn is_other_version(kept: &ResourceInfo, api_version: &str) -> bool {
    kinds::split_api_version(api_version) != (kept.group, kept.version)
}

/// The row that an object of the store is read with: of its version, or of today's.
fn row(api_version: &str, kind: &str) -> Option<&'static ResourceInfo> {
    if let Some(served) = kinds::find_kind(api_version, kind) {
        return Some(served);
    }
    let (group, version) = kinds::split_api_version(api_version);
    if !version.contains("alpha") && !version.contains("beta") {
        return None;
    }
    let is_of = |of: &str| of == group || group == MOVED.0 && MOVED.1.contains(&of);
    kinds::all().iter().find(|row| row.kind == kind && is_of(row.group))
}

fn type_of(api_version: &str, kind: &str) -> Option<crate::schema::TypeId> {
    let served = kinds::type_of(api_version, kind);
    served.or_else(|| row(api_version, kind).map(ResourceInfo::type_id))
}

/// W3: versions with other fields, in the protobuf, the JSON or both. What is left was compared with
/// what a kube-apiserver 1.36 makes of such objects.
fn refuse_unreadable((api_version, kind): (&str, &str), is_message: bool) -> Result<(), String> {
    if kinds::find_kind(api_version, kind).is_some() {
        return Ok(());
    }
    let is_readable = match kind {
        // A kube-apiserver keeps them as JSON.
        DEFINITION => !is_message,
        "Ingress" | "EndpointSlice" => false,
        "RuntimeClass" | "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
            !api_version.ends_with("/v1alpha1")
        }
        "ResourceClaim" | "ResourceClaimTemplate" | "ResourceSlice" => {
            !api_version.ends_with("/v1beta1")
        }
        "PriorityLevelConfiguration" => is_message || api_version.ends_with("/v1beta3"),
        _ => true,
    };
    if is_readable {
        return Ok(());
    }
    Err(format!("reading {kind} of version {api_version} is not implemented"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(tree: &Value) -> Result<Value, String> {
        let kept = from_store(tree.to_string().as_bytes()).map_err(|status| status.message)?;
        Ok(kept.object.into_value())
    }

    /// The same object as a kube-apiserver's protobuf of that version.
    fn message(tree: &Value, api_version: &str) -> Vec<u8> {
        let bytes = protobuf::encode(tree).unwrap();
        let kind = tree["kind"].as_str().unwrap();
        let raw = protobuf::encode_message(row(api_version, kind).unwrap().type_id(), tree);
        let older = protobuf::envelope(api_version, kind, &raw.unwrap());
        assert_ne!(bytes, older);
        older
    }

    #[test]
    fn older_versions_come_out_as_todays() {
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "b", "creationTimestamp": "2020-01-01T00:00:00Z"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
        let kept = from_store(&message(&budget, "policy/v1beta1")).unwrap();
        assert!(kept.is_older);
        assert_eq!(kept.object.api_version(), "policy/v1");
        assert_eq!(kept.object.at(&["spec", "minAvailable"]), Some(&json!(1)));
        let mut older = budget.clone();
        older["apiVersion"] = "policy/v1beta1".into();
        older["spec"]["unheard"] = "of".into();
        let read = read(&older).unwrap();
        assert_eq!((&read["apiVersion"], &read["spec"]), (&budget["apiVersion"], &budget["spec"]));
        let moved = json!({"apiVersion": "extensions/v1beta1", "kind": "ReplicaSet",
            "metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": {"a": "b"}}}});
        assert_eq!(self::read(&moved).unwrap()["apiVersion"], "apps/v1");
    }

    #[test]
    fn a_definition_of_a_kube_apiserver_is_read() {
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1beta1",
            "kind": "CustomResourceDefinition", "metadata": {"name": "as.x.example.com"},
            "spec": {"group": "x.example.com", "version": "v1", "scope": "Namespaced",
                "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"},
                "validation": {"openAPIV3Schema": {"type": "object"}},
                "versions": [{"name": "v1", "served": true, "storage": true}],
                "conversion": {"strategy": "None"}, "preserveUnknownFields": false},
            "status": {"storedVersions": ["v1"]}});
        let read = read(&definition).unwrap();
        assert_eq!(read["apiVersion"], "apiextensions.k8s.io/v1");
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
        assert_eq!(read["spec"]["versions"], json!([version]));
        assert!(read["spec"].get("preserveUnknownFields").is_none(), "{read}");
    }

    #[test]
    fn other_fields_are_refused_and_other_kinds_left_alone() {
        for (api_version, kind) in [
            ("extensions/v1beta1", "Ingress"),
            ("discovery.k8s.io/v1beta1", "EndpointSlice"),
            ("rbac.authorization.k8s.io/v1alpha1", "Role"),
            ("resource.k8s.io/v1beta1", "ResourceClaim"),
            ("flowcontrol.apiserver.k8s.io/v1beta2", "PriorityLevelConfiguration"),
        ] {
            let tree = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
            let why = format!("reading {kind} of version {api_version} is not implemented");
            assert!(read(&tree).unwrap_err().ends_with(&why), "{kind}");
        }
        let custom = json!({"apiVersion": "example.com/v1beta1", "kind": "Ingress"});
        assert_eq!(read(&custom).unwrap(), custom);
        assert!(from_store(b"k8s\0").is_err() && from_store(b"[]").is_err());
    }

    /// Upstream fills these in when it reads, and so does not always write them.
    #[test]
    fn defaults_that_were_not_written_are_there() {
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"},
            "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        let kept = from_store(&protobuf::encode(&set).unwrap()).unwrap();
        assert!(!kept.is_older);
        let claim = &kept.object.at(&["spec", "volumeClaimTemplates"]).unwrap()[0];
        assert_eq!(
            (&claim["kind"], &claim["apiVersion"]),
            (&json!("PersistentVolumeClaim"), &json!("v1"))
        );
        let claim =
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}});
        let kept = from_store(&protobuf::encode(&claim).unwrap()).unwrap();
        assert_eq!(kept.object.text(&["status", "phase"]), "Pending");
    }
}
