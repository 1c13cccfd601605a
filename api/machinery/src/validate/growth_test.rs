//! A body of 3 MiB is looked at in seconds, whatever is in its lists: rules that compared each item
//! with all others took minutes of a thread. `examples/growth.rs` looks for more of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::limits::REQUEST_BODY_BYTES_MAX;
use crate::{Object, Status, kinds, validate};

/// Many times what it takes in a debug build on a busy machine, and a fraction of what it took.
const DEADLINE: Duration = Duration::from_secs(30);

/// As many items as go into a body.
fn filled(item: impl Fn(usize) -> Value) -> Value {
    let count = REQUEST_BODY_BYTES_MAX / (item(100_000).to_string().len() + 1);
    (0..count).map(item).collect()
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "spec": spec})
}

fn bodies() -> Vec<Value> {
    let name = |index: usize| format!("n{index}");
    let owner = |index| {
        json!({"apiVersion": "v1", "kind": "Pod", "name": name(index), "uid": "u",
        "controller": true})
    };
    let container = |fields: Value| {
        let mut one = json!({"name": "c", "image": "i"});
        one.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        pod(json!({"containers": [one]}))
    };
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "ownerReferences": filled(owner)}}),
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": {
            "scopes": filled(|_| json!("x"))}}),
        pod(json!({"containers": filled(|index| json!({"name": name(index), "image": "i"}))})),
        pod(json!({"containers": [], "topologySpreadConstraints": filled(|index| {
            json!({"maxSkew": 1, "topologyKey": name(index), "whenUnsatisfiable": "DoNotSchedule"})
        })})),
        pod(json!({"containers": [], "tolerations": filled(|_| json!({"operator": "Exists"}))})),
        pod(json!({"containers": [], "volumes": filled(|index| {
            json!({"name": name(index), "emptyDir": {}})
        })})),
        container(json!({"resources": {"claims": filled(|index| json!({"name": name(index)}))}})),
        container(json!({"volumeMounts": filled(|index| {
            json!({"name": "v", "mountPath": name(index)})
        })})),
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "spec": {"usages": filled(|index| json!(name(index)))}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p",
            "allowedTopologies": filled(|_| json!({}))}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "spec": {
            "drivers": filled(|_| json!({"name": "d", "nodeID": "n"}))}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "webhooks": filled(|index| json!({"name": name(index)}))}),
    ]
}

#[test]
fn no_list_of_a_body_is_looked_at_once_for_each_of_its_items() {
    for body in bodies() {
        let mut object = Object::from_value(body).unwrap();
        object.set_name("x");
        let info = kinds::find_kind(object.api_version(), object.kind()).unwrap();
        let started = Instant::now();
        let errors = validate::create(info, &object);
        let status = Status::invalid(&info.group_kind(), "x", &errors);
        let again = validate::update(info, &object, &object);
        let took = started.elapsed();
        assert!(took < DEADLINE, "{} took {took:?}", object.kind());
        assert!(!errors.is_empty() && !status.message.is_empty(), "{}", object.kind());
        drop(again);
    }
}
