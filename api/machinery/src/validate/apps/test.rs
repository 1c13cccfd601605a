//! Workloads: what upstream refuses, in its words.

use serde_json::{Value, json};

use crate::{Object, kinds, validate};

fn told(errors: &[crate::field::Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn object(version: &str, kind: &str, spec: &Value) -> Object {
    let metadata = json!({"name": "x", "namespace": "default", "resourceVersion": "1"});
    let tree = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
    Object::from_value(tree).unwrap()
}

fn template(labels: Value) -> Value {
    let container = json!({"name": "c", "image": "i", "imagePullPolicy": "Always",
        "terminationMessagePolicy": "File"});
    json!({"metadata": {"labels": labels}, "spec": {"containers": [container],
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30}})
}

fn base(kind: &str) -> Value {
    let selector = json!({"matchLabels": {"a": "b"}});
    let mut spec = json!({"selector": selector, "template": template(json!({"a": "b"}))});
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate":
        {"maxUnavailable": 1, "maxSurge": 0}});
    match kind {
        "Deployment" => spec["strategy"] = rolling,
        "DaemonSet" => spec["updateStrategy"] = rolling,
        "StatefulSet" => {
            spec["podManagementPolicy"] = "OrderedReady".into();
            spec["updateStrategy"] = json!({"type": "OnDelete"});
        }
        "ReplicationController" => {
            spec["selector"] = json!({"a": "b"});
            spec["replicas"] = 1.into();
        }
        _ => {}
    }
    spec
}

fn with(kind: &str, changes: Value) -> Object {
    let mut spec = base(kind);
    for (key, value) in changes.as_object().unwrap() {
        spec[key.as_str()] = value.clone();
    }
    let version = if kind == "ReplicationController" { "v1" } else { "apps/v1" };
    object(version, kind, &spec)
}

fn refusals(kind: &str, changes: Value) -> Vec<String> {
    let object = with(kind, changes);
    let info = kinds::find_kind(object.api_version(), kind).unwrap();
    told(&validate::create(info, &object))
}

const NO_MATCH: &str = "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`";

#[test]
fn good_workloads_pass() {
    for kind in ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController"] {
        assert_eq!(refusals(kind, json!({})), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn a_selector_that_cannot_be_used_hides_the_template() {
    let bad = json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Foo"}]},
        "template": {}});
    let operator = "spec.selector.matchExpressions[0].operator: Invalid value: \"Foo\": not a valid selector operator";
    let shown = "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Foo\"}]}";
    let unusable = format!("{shown}: invalid label selector");
    assert_eq!(refusals("Deployment", bad.clone()), [operator, &unusable]);
    let of_set = refusals("StatefulSet", bad);
    assert_eq!(of_set[..2], [operator.to_owned(), shown.to_owned()]);
}

#[test]
fn selectors_must_be_there_and_match() {
    let none = json!({"selector": null});
    for (kind, changes, want) in [
        ("Deployment", none.clone(), vec!["spec.selector: Required value", NO_MATCH]),
        ("StatefulSet", none.clone(), vec!["spec.selector: Required value", NO_MATCH]),
        ("DaemonSet", none, vec![NO_MATCH]),
        (
            "DaemonSet",
            json!({"selector": {}}),
            vec!["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
        ),
        (
            "ReplicationController",
            json!({"selector": {"a": "x"}, "minReadySeconds": -1}),
            vec![
                "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                NO_MATCH,
            ],
        ),
        ("ReplicationController", json!({"template": null}), vec!["spec.template: Required value"]),
    ] {
        assert_eq!(refusals(kind, changes), want, "{kind}");
    }
}

#[test]
fn pods_of_workloads_run_until_they_are_told_to_end() {
    let mut pods = template(json!({"a": "b"}));
    pods["spec"]["restartPolicy"] = "Never".into();
    pods["spec"]["activeDeadlineSeconds"] = 5.into();
    for (kind, named) in [
        ("Deployment", "ReplicaSet"),
        ("StatefulSet", "StatefulSet"),
        ("DaemonSet", "DaemonSet"),
        ("ReplicationController", "ReplicationController"),
    ] {
        let policy = "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"".to_owned();
        let deadline = format!(
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {named} is not Supported"
        );
        assert_eq!(refusals(kind, json!({"template": pods})), [policy, deadline], "{kind}");
    }
}

#[test]
fn rolling_updates_make_progress() {
    let rolling = |unavailable: Value, surge: Value| {
        json!({"type": "RollingUpdate", "rollingUpdate":
            {"maxUnavailable": unavailable, "maxSurge": surge}})
    };
    for (kind, field, strategy, want) in [
        (
            "Deployment",
            "strategy",
            rolling("0%".into(), 0.into()),
            vec![
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ],
        ),
        (
            "Deployment",
            "strategy",
            rolling("101%".into(), 0.into()),
            vec![
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        ),
        (
            "Deployment",
            "strategy",
            json!({"type": "Foo"}),
            vec![
                "spec.strategy: Unsupported value: {\"Type\":\"Foo\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
            ],
        ),
        (
            "DaemonSet",
            "updateStrategy",
            rolling(1.into(), "5%".into()),
            vec![
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"5%\": may not be set when maxUnavailable is non-zero",
            ],
        ),
        (
            "DaemonSet",
            "updateStrategy",
            rolling(0.into(), 0.into()),
            vec![
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ],
        ),
        (
            "StatefulSet",
            "updateStrategy",
            json!({"type": "OnDelete", "rollingUpdate": {"partition": 2}}),
            vec![
                "spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":2,\"MaxUnavailable\":null}: only allowed for updateStrategy 'RollingUpdate'",
            ],
        ),
    ] {
        assert_eq!(refusals(kind, json!({field: strategy})), want, "{kind}");
    }
}

#[test]
fn a_stateful_set_mounts_the_claims_that_it_makes() {
    let mut pods = template(json!({"a": "b"}));
    pods["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let claim = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let good = json!({"template": pods, "volumeClaimTemplates": [claim]});
    assert_eq!(refusals("StatefulSet", good), Vec::<String>::new());
    let bad = json!({"volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec":
        {"accessModes": ["ReadWriteOncePod", "ReadWriteMany"],
            "resources": {"requests": {"storage": "0"}}}}]});
    assert_eq!(
        refusals("StatefulSet", bad),
        [
            "spec.volumeClaimTemplates[0].spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.volumeClaimTemplates[0].spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
        ]
    );
}

#[test]
fn what_says_which_pods_are_whose_does_not_change() {
    let changed = |kind: &str, changes: Value| {
        let info = kinds::find_kind("apps/v1", kind).unwrap();
        told(&validate::update(info, &with(kind, changes), &with(kind, json!({}))))
    };
    let mut labels = json!({"selector": {"matchLabels": {"a": "c"}}});
    labels["template"] = template(json!({"a": "c"}));
    let immutable =
        "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable";
    for kind in ["Deployment", "ReplicaSet", "DaemonSet"] {
        assert_eq!(changed(kind, labels.clone()), [immutable], "{kind}");
    }
    assert_eq!(changed("StatefulSet", json!({"replicas": 5})), Vec::<String>::new());
    let refused = changed("StatefulSet", json!({"serviceName": "other"}));
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other")
    );
}

#[test]
fn counters_in_a_status_agree() {
    let status = |kind: &str, now: Value, before: Value| {
        let of = |status: Value| {
            let mut object = with(kind, json!({}));
            object.set(&["status"], status);
            object
        };
        let info = kinds::find_kind("apps/v1", kind).unwrap();
        told(&validate::status_update(info, &of(now), &of(before)))
    };
    let more = json!({"replicas": 1, "availableReplicas": 2, "readyReplicas": 1});
    let all = "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas";
    let ready = "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas";
    assert_eq!(status("Deployment", more.clone(), json!({})), [all, ready]);
    assert_eq!(status("ReplicaSet", more, json!({})), [all, ready]);
    let gone = status("DaemonSet", json!({"numberReady": -1}), json!({"collisionCount": 2}));
    assert_eq!(
        gone,
        [
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: 0: cannot be decremented",
        ]
    );
}

#[test]
fn a_revision_has_an_object() {
    let info = kinds::find_kind("apps/v1", "ControllerRevision").unwrap();
    for (data, want) in [
        (json!({}), vec![]),
        (json!(null), vec!["data: Required value: data is mandatory"]),
        (json!([]), vec!["data: Required value: data must be a valid JSON object"]),
    ] {
        let mut object = object("apps/v1", "ControllerRevision", &Value::Null);
        object.set(&["data"], data);
        assert_eq!(told(&validate::create(info, &object)), want);
    }
}
