//! What the server says about pods, as kube-apiserver 1.36 was seen to say it.

use serde_json::{Value, json};

use crate::{Object, kinds, validate};

fn pod(spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "resourceVersion": "1"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn object(value: Value) -> Object {
    let info = kinds::find("", "v1", "pods").unwrap();
    let mut object = Object::from_value(value).unwrap();
    crate::defaults::apply(info, &mut object);
    object
}

fn texts(errors: &[crate::field::Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn refusals(value: Value) -> Vec<String> {
    let info = kinds::find("", "v1", "pods").unwrap();
    texts(&validate::create(info, &object(value)))
}

fn changed(spec: Value, change: impl FnOnce(&mut Value)) -> (Object, Object) {
    let old = pod(spec);
    let mut new = old.clone();
    change(&mut new);
    (object(new), object(old))
}

fn update(spec: Value, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let (new, old) = changed(spec, change);
    texts(&validate::update(kinds::find("", "v1", "pods").unwrap(), &new, &old))
}

#[test]
fn containers_are_told_what_is_wrong_in_them() {
    let container = |fields: Value| {
        let mut one = json!({"name": "c", "image": "i"});
        one.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        pod(json!({"containers": [one]}))
    };
    for (fields, want) in [
        (
            json!({"livenessProbe": {"httpGet": {"port": 0}, "exec": {"command": ["x"]}}}),
            vec![
                "spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
            ],
        ),
        (
            json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
            vec![
                "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ],
        ),
        (
            json!({"volumeMounts": [{"name": "z", "mountPath": "/a", "subPath": "/b"}]}),
            vec![
                "spec.containers[0].volumeMounts[0].name: Not found: \"z\"",
                "spec.containers[0].volumeMounts.subPath: Invalid value: \"/b\": must be a relative path",
            ],
        ),
        (
            json!({"resources": {"limits": {"example.com/x": "1500m"}}}),
            vec![
                "spec.containers[0].resources.limits[example.com/x]: Invalid value: \"1500m\": must be an integer",
                "spec.containers[0].resources.requests[example.com/x]: Invalid value: \"1500m\": must be an integer",
            ],
        ),
        (
            json!({"resources": {"requests": {"hugepages-2Mi": "3Mi"}}}),
            vec![
                "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
                "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
            ],
        ),
        (
            json!({"env": [{"name": "a=b", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}),
            vec![
                "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"x\": error converting fieldPath: field label not supported: x",
            ],
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "p"}}}),
            vec![
                "spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"RuntimeDefault\",\"LocalhostProfile\":\"p\"}: can only be set when seccomp type is Localhost",
            ],
        ),
        (json!({"securityContext": {"privileged": true}}), vec![]),
    ] {
        assert_eq!(refusals(container(fields)), want);
    }
}

#[test]
fn the_rest_of_a_pod_is_told_what_is_wrong_in_it() {
    for (spec, want) in [
        (
            json!({"initContainers": [{"name": "c", "image": "i", "lifecycle": {}}]}),
            vec![
                "spec.initContainers[0].name: Duplicate value: \"c\"",
                "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (
            json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
            vec!["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        (
            json!({"volumes": [{"name": "v", "nfs": {"server": "s"}, "iscsi": {}}]}),
            vec![
                "spec.volumes[0].nfs.path: Required value",
                "spec.volumes[0].nfs.path: Invalid value: \"\": must be an absolute path",
                "spec.volumes[0].iscsi: Forbidden: may not specify more than 1 volume type",
            ],
        ),
        (
            json!({"dnsPolicy": "None"}),
            vec![
                "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
            ],
        ),
        (
            json!({"hostAliases": [{"ip": "010.0.0.1"}, {"ip": "::ffff:1.2.3.4"}]}),
            vec![
                "spec.hostAliases[0].ip: Invalid value: \"010.0.0.1\": must not have leading 0s",
                "spec.hostAliases[1].ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address",
            ],
        ),
        (
            json!({"tolerations": [{"key": "a", "operator": "Gt"}, {"key": "a", "tolerationSeconds": 5}]}),
            vec![
                "spec.tolerations[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
                "spec.tolerations[1].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            ],
        ),
        (
            json!({"hostname": "a.b"}),
            vec!["spec.hostname: Invalid value: \"a.b\": must not contain dots"],
        ),
        (
            json!({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}, "hostPID": true}),
            vec![
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            ],
        ),
        (
            json!({"nodeName": "n", "schedulingGates": [{"name": "g"}]}),
            vec![
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
    ] {
        assert_eq!(refusals(pod(spec)), want);
    }
}

#[test]
fn an_update_changes_little() {
    assert_eq!(
        update(json!({}), |pod| pod["spec"]["containers"][0]["image"] = "j".into()),
        [""; 0]
    );
    assert_eq!(
        update(json!({"tolerations": [{"key": "a"}]}), |pod| pod["spec"]["tolerations"] =
            json!([])),
        [
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
        ]
    );
    let told = update(json!({}), |pod| pod["spec"]["schedulingGates"] = json!([{"name": "g"}]));
    assert_eq!(
        told,
        [
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"
        ]
    );
    let told = update(json!({"activeDeadlineSeconds": 5}), |pod| {
        pod["spec"]["activeDeadlineSeconds"] = 6.into();
    });
    assert_eq!(
        told,
        [
            "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"
        ]
    );
}

#[test]
fn a_gated_pod_may_be_told_more_about_its_node_but_not_less() {
    let gated = json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "b"}});
    let more = |pod: &mut Value| pod["spec"]["nodeSelector"]["c"] = "d".into();
    assert_eq!(update(gated.clone(), more), [""; 0]);
    let other = |pod: &mut Value| pod["spec"]["nodeSelector"]["a"] = "d".into();
    assert_eq!(
        update(gated, other),
        [
            "spec.nodeSelector: Invalid value: {\"a\":\"d\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        ]
    );
}

#[test]
fn what_was_let_in_once_does_not_stop_an_update() {
    let old = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b c"}}}]});
    assert_eq!(update(old, |pod| pod["metadata"]["labels"] = json!({"x": "y"})), [""; 0]);
}

#[test]
fn ephemeral_containers_are_only_added() {
    let debugger = json!({"name": "d", "image": "i"});
    let (new, old) = changed(json!({}), |pod| {
        pod["spec"]["ephemeralContainers"] = json!([debugger]);
    });
    assert!(validate::ephemeral_containers_update(&new, &old).is_empty());
    let told = texts(&validate::ephemeral_containers_update(&old, &new));
    assert_eq!(
        told,
        [
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"
        ]
    );
}

#[test]
fn a_resize_changes_cpu_and_memory_and_not_the_class() {
    let sized = |cpu: &str| {
        json!({"containers": [{"name": "c", "image": "i", "resources":
            {"requests": {"cpu": cpu, "memory": "1Gi"}}}]})
    };
    let bigger = |pod: &mut Value| pod["spec"]["containers"] = sized("2")["containers"].clone();
    let (new, old) = changed(sized("1"), bigger);
    assert_eq!(texts(&validate::resize_update(&new, &old)), [""; 0]);
    let (new, old) = changed(sized("1"), |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({});
    });
    assert_eq!(
        texts(&validate::resize_update(&new, &old)),
        [
            "spec: Invalid value: \"\": Pod QOS Class may not change as a result of resizing",
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ]
    );
    let (new, old) = changed(sized("1"), |pod| pod["spec"]["containers"][0]["image"] = "j".into());
    assert_eq!(
        texts(&validate::resize_update(&new, &old)),
        ["spec: Forbidden: only cpu and memory resources are mutable"]
    );
}

#[test]
fn a_container_that_ended_stays_so_unless_it_is_restarted() {
    let info = kinds::find("", "v1", "pods").unwrap();
    let with_state = |policy: &str, state: Value| {
        let mut pod = pod(json!({"restartPolicy": policy}));
        pod["status"] = json!({"containerStatuses": [{"name": "c", "state": state}]});
        object(pod)
    };
    let ended = json!({"terminated": {"exitCode": 0}});
    for (policy, want) in [
        ("Always", vec![]),
        (
            "OnFailure",
            vec![
                "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            ],
        ),
    ] {
        let new = with_state(policy, json!({"running": {}}));
        let old = with_state(policy, ended.clone());
        assert_eq!(texts(&validate::status_update(info, &new, &old)), want);
    }
}
