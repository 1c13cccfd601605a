//! What the core, storage and networking groups refuse, word for word, and what may change.

use serde_json::json;

use crate::status::Status;
use crate::{Object, defaults, kinds, validate};

/// Refusals, word for word: an object, what it is told, an empty line.
const REFUSALS: &str = include_str!("../refusals_test.txt");

#[test]
fn refusals_read_word_for_word_as_upstreams() {
    let lines: Vec<&str> =
        REFUSALS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for pair in lines.chunks(2) {
        let mut object = Object::from_value(serde_json::from_str(pair[0]).unwrap()).unwrap();
        let info = kinds::find_kind(object.api_version(), object.kind()).unwrap();
        if info.namespaced && object.namespace().is_empty() {
            object.set_namespace("default");
        }
        defaults::apply(info, &mut object);
        let errors = validate::create(info, &object);
        let told = Status::invalid(&info.group_kind(), object.name(), &errors).message;
        assert_eq!(told, pair[1], "{}", pair[0]);
    }
}

fn told(plural: &str, old: serde_json::Value, change: (&[&str], serde_json::Value)) -> Vec<String> {
    let info = kinds::find("", "v1", plural).unwrap();
    let mut old = Object::from_value(old).unwrap();
    old.set_name("x");
    old.set_resource_version(1);
    let mut new = old.clone();
    new.set(change.0, change.1);
    validate::update(info, &new, &old).iter().map(ToString::to_string).collect()
}

#[test]
fn a_claim_grows_only_when_it_is_bound_and_the_refusal_shows_the_difference() {
    let claim = |phase: &str| {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": phase,
            "capacity": {"storage": "1Gi"}}})
    };
    let size: &[&str] = &["spec", "resources", "requests", "storage"];
    assert_eq!(told("persistentvolumeclaims", claim("Bound"), (size, json!("2Gi"))), [""; 0]);
    assert_eq!(
        told("persistentvolumeclaims", claim("Bound"), (size, json!("512Mi"))),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    let pending = told("persistentvolumeclaims", claim("Pending"), (size, json!("2Gi")));
    assert_eq!(
        pending,
        ["spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
@@ -6,7 +6,7 @@
  \"Resources\": {
   \"Limits\": null,
   \"Requests\": {
-   \"storage\": \"1Gi\"
+   \"storage\": \"2Gi\"
   }
  },
  \"VolumeName\": \"\",
"]
    );
}

#[test]
fn what_must_stay_stays() {
    let secret = json!({"type": "Opaque", "immutable": true, "data": {"a": "Yg=="}});
    let service = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1",
        "clusterIPs": ["10.0.0.1"], "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}});
    for (plural, old, path, value, wanted) in [
        (
            "secrets",
            secret.clone(),
            &["type"][..],
            json!("other"),
            "type: Invalid value: \"other\": field is immutable",
        ),
        (
            "secrets",
            secret,
            &["data", "a"][..],
            json!("Yw=="),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "services",
            service,
            &["spec", "clusterIPs"][..],
            json!(["10.0.0.2"]),
            "spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`",
        ),
        (
            "resourcequotas",
            json!({"spec": {"scopes": ["BestEffort"]}}),
            &["spec", "scopes"][..],
            json!(["NotBestEffort"]),
            "spec.scopes: Invalid value: [\"NotBestEffort\"]: field is immutable",
        ),
        (
            "nodes",
            json!({"spec": {"providerID": "a"}}),
            &["spec", "providerID"][..],
            json!("b"),
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ),
    ] {
        let mut old = old;
        if plural != "nodes" {
            old["metadata"] = json!({"namespace": "default"});
        }
        assert_eq!(told(plural, old, (path, value)).first().map(String::as_str), Some(wanted));
    }
}
