//! What objects cost under a quota, and what limit ranges give and refuse.

use serde_json::json;

use super::*;

const NOW: &str = "2026-01-01T00:01:00Z";

fn cost(group: &str, resource: &str, object: &Value) -> Value {
    let object = Object::from_value(object.clone()).unwrap();
    to_value(&usage(group, resource, &object, NOW.parse().unwrap()))
}

fn container(requests: Value, limits: Value) -> Value {
    json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
}

#[test]
fn pods_cost_what_upstreams_evaluator_says() {
    let cpu = container(json!({"cpu": "1m"}), json!({"cpu": "2m"}));
    let dongle = |n: &str| json!({"example.com/dongle": n});
    let big = |cpu: &str, memory: &str, dongle: &str| json!({"cpu": cpu, "memory": memory, "example.com/dongle": dongle});
    let grace = json!({"deletionTimestamp": "2026-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 30});
    let going = json!({"deletionTimestamp": NOW, "deletionGracePeriodSeconds": 30});
    for (case, pod, expected) in [
        (
            "init container",
            json!({"spec": {"initContainers": [cpu]}}),
            json!({"requests.cpu": "1m", "limits.cpu": "2m", "cpu": "1m", "pods": "1"}),
        ),
        (
            "ephemeral storage",
            json!({"spec": {"containers": [container(
                json!({"ephemeral-storage": "32Mi"}), json!({"ephemeral-storage": "64Mi"}))]}}),
            json!({"ephemeral-storage": "32Mi", "requests.ephemeral-storage": "32Mi",
                "limits.ephemeral-storage": "64Mi", "pods": "1"}),
        ),
        (
            "huge pages",
            json!({"spec": {"containers": [container(
                json!({"hugepages-2Mi": "100Mi"}), json!({}))]}}),
            json!({"hugepages-2Mi": "100Mi", "requests.hugepages-2Mi": "100Mi", "pods": "1"}),
        ),
        (
            "extended",
            json!({"spec": {"containers": [container(dongle("3"), dongle("3"))]}}),
            json!({"requests.example.com/dongle": "3", "pods": "1"}),
        ),
        (
            "device class",
            json!({"spec": {"containers": [container(
                json!({"deviceclass.resource.kubernetes.io/dongle": "3"}), json!({}))]}}),
            json!({"requests.deviceclass.resource.kubernetes.io/dongle": "3", "pods": "1"}),
        ),
        (
            "ended",
            json!({"spec": {"containers": [cpu]}, "status": {"phase": "Succeeded"}}),
            json!({}),
        ),
        (
            "the greatest init step",
            json!({"spec": {
            "initContainers": [
                container(big("4", "100M", "4"), big("8", "200M", "4")),
                container(big("1", "50M", "2"), big("2", "100M", "2")),
            ],
            "containers": [
                container(big("1", "50M", "1"), big("2", "100M", "1")),
                container(big("2", "25M", "2"), big("5", "50M", "2")),
            ]}}),
            json!({"requests.cpu": "4", "requests.memory": "100M", "limits.cpu": "8",
                "limits.memory": "200M", "cpu": "4", "memory": "100M",
                "requests.example.com/dongle": "4", "pods": "1"}),
        ),
        ("overdue", json!({"metadata": grace, "spec": {"containers": [cpu]}}), json!({})),
        (
            "going",
            json!({"metadata": going, "spec": {"containers": [cpu]}}),
            json!({"requests.cpu": "1m", "limits.cpu": "2m", "cpu": "1m", "pods": "1"}),
        ),
    ] {
        let mut expected = expected;
        expected["count/pods"] = "1".into();
        assert_eq!(cost("", "pods", &pod), expected, "{case}");
    }
}

#[test]
fn whole_pods_sidecars_and_resizes_cost_what_upstreams_evaluator_says() {
    let cpu = container(json!({"cpu": "1m"}), json!({"cpu": "2m"}));
    for (case, pod, expected) in [
        (
            "overhead",
            json!({"spec": {"overhead": {"cpu": "1", "memory": "1Mi"},
                "containers": [container(json!({"cpu": "1"}), json!({"cpu": "2"}))]}}),
            json!({"requests.cpu": "2", "limits.cpu": "3", "cpu": "2", "memory": "1Mi",
                "requests.memory": "1Mi", "pods": "1"}),
        ),
        (
            "whole pod",
            json!({"spec": {"resources": {"requests": {"memory": "1Mi"},
                "limits": {"memory": "2Mi"}}, "containers": [cpu]}}),
            json!({"requests.cpu": "1m", "limits.cpu": "2m", "cpu": "1m", "pods": "1",
                "requests.memory": "1Mi", "limits.memory": "2Mi", "memory": "1Mi"}),
        ),
        (
            "sidecar",
            json!({"spec": {
                "initContainers": [
                    {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                    container(json!({"cpu": "4"}), json!({})),
                ],
                "containers": [container(json!({"cpu": "2"}), json!({}))]}}),
            json!({"requests.cpu": "5", "cpu": "5", "pods": "1"}),
        ),
        (
            "under a resize",
            json!({"spec": {"containers": [container(json!({"cpu": "1"}), json!({"cpu": "1"}))]},
                "status": {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "3"},
                    "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]}}),
            json!({"requests.cpu": "3", "cpu": "3", "limits.cpu": "2", "pods": "1"}),
        ),
        (
            "an infeasible resize",
            json!({"spec": {"containers": [container(json!({"cpu": "9"}), json!({"cpu": "9"}))]},
                "status": {
                    "conditions": [{"type": "PodResizePending", "reason": "Infeasible"}],
                    "containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "1"},
                        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]}}),
            json!({"requests.cpu": "2", "cpu": "2", "limits.cpu": "2", "pods": "1"}),
        ),
    ] {
        let mut expected = expected;
        expected["count/pods"] = "1".into();
        assert_eq!(cost("", "pods", &pod), expected, "{case}");
    }
}

#[test]
fn services_cost_what_upstreams_evaluator_says() {
    for (spec, balancers, ports) in [
        (json!({"type": "ClusterIP", "ports": [{"port": 1}]}), "0", "0"),
        (json!({"type": "ExternalName"}), "0", "0"),
        (json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}), "0", "2"),
        (json!({"type": "LoadBalancer"}), "1", "0"),
        (json!({"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}), "1", "2"),
        (
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                "ports": [{"port": 1}, {"port": 2, "nodePort": 30000}]}),
            "1",
            "1",
        ),
    ] {
        let expected = json!({"count/services": "1", "services": "1",
            "services.loadbalancers": balancers, "services.nodeports": ports});
        assert_eq!(cost("", "services", &json!({"spec": spec})), expected, "{spec}");
    }
}

#[test]
fn claims_cost_what_upstreams_evaluator_says() {
    let claim = |size: &str, class: Value, given: Value| {
        json!({"spec": {"resources": {"requests": {"storage": size}}, "storageClassName": class},
            "status": {"allocatedResources": {"storage": given}}})
    };
    for (case, claim, storage, class) in [
        ("plain", claim("10Gi", json!(null), json!(null)), "10Gi", None),
        ("of a class", claim("10Gi", json!("gold"), json!(null)), "10Gi", Some("gold")),
        ("not whole", claim("1001m", json!("gold"), json!(null)), "2", Some("gold")),
        ("given more", claim("5G", json!(null), json!("10G")), "10G", None),
        ("given less", claim("10G", json!(null), json!("5G")), "10G", None),
    ] {
        let mut expected = json!({"count/persistentvolumeclaims": "1",
            "persistentvolumeclaims": "1", "requests.storage": storage});
        if let Some(class) = class {
            let prefix = format!("{class}.storageclass.storage.k8s.io/");
            expected[format!("{prefix}persistentvolumeclaims")] = "1".into();
            expected[format!("{prefix}requests.storage")] = storage.into();
        }
        assert_eq!(cost("", "persistentvolumeclaims", &claim), expected, "{case}");
    }
    let mut old = claim("1", json!("gold"), json!(null));
    old["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"] = "silver".into();
    let cost = cost("", "persistentvolumeclaims", &old);
    assert_eq!(cost["silver.storageclass.storage.k8s.io/requests.storage"], "1");
}

#[test]
fn claims_of_devices_cost_the_most_that_each_class_can_give() {
    let one = |class: &str, mode: &str, count: i64| json!({"deviceClassName": class, "allocationMode": mode, "count": count});
    let claim = json!({"spec": {"devices": {"requests": [
        {"name": "a", "exactly": one("gpu", "ExactCount", 2)},
        {"name": "b", "exactly": one("nic", "All", 0)},
        {"name": "c", "firstAvailable": [
            one("gpu", "ExactCount", 1), one("gpu", "ExactCount", 4), one("fpga", "Other", 9)]},
        {"name": "d"},
    ]}}});
    let expected = json!({"count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "6",
        "nic.deviceclass.resource.k8s.io/devices": "32",
        "fpga.deviceclass.resource.k8s.io/devices": "0"});
    assert_eq!(cost("resource.k8s.io", "resourceclaims", &claim), expected);
}

#[test]
fn every_name_is_measured_by_its_kind_alone() {
    let kinds = [
        ("", "pods"),
        ("", "services"),
        ("", "persistentvolumeclaims"),
        ("", "configmaps"),
        ("", "events"),
        ("apps", "deployments"),
        ("resource.k8s.io", "resourceclaims"),
    ];
    for (name, expected) in [
        ("cpu", Some("pods")),
        ("pods", Some("pods")),
        ("count/pods", Some("pods")),
        ("limits.memory", Some("pods")),
        ("hugepages-2Mi", Some("pods")),
        ("requests.hugepages-1Gi", Some("pods")),
        ("requests.example.com/dongle", Some("pods")),
        ("requests.deviceclass.resource.kubernetes.io/gpu", Some("pods")),
        ("example.com/dongle", None),
        ("limits.example.com/dongle", None),
        ("requests.storage", Some("persistentvolumeclaims")),
        ("gold.storageclass.storage.k8s.io/requests.storage", Some("persistentvolumeclaims")),
        ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", Some("persistentvolumeclaims")),
        ("gold.storageclass.storage.k8s.io/other", None),
        ("services.nodeports", Some("services")),
        ("configmaps", Some("configmaps")),
        ("count/configmaps", Some("configmaps")),
        ("count/deployments.apps", Some("deployments")),
        ("deployments", None),
        ("count/events", None),
        ("gpu.deviceclass.resource.k8s.io/devices", Some("resourceclaims")),
    ] {
        let mut found = kinds.iter().filter(|(group, kind)| is_measured_by(group, kind, name));
        assert_eq!(found.next().map(|(_, resource)| *resource), expected, "{name}");
        assert_eq!(found.next(), None, "{name} by two kinds");
    }
}

#[test]
fn a_quota_is_about_objects_of_which_all_scopes_hold() {
    let best = json!({"spec": {"containers": [{"name": "c"}]}});
    let short = json!({"spec": {"activeDeadlineSeconds": 5, "containers": [
        {"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
    let high = json!({"spec": {"priorityClassName": "high"}});
    let across = json!({"spec": {"affinity": {"podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"namespaces": ["other"]}}]}}}});
    let by = |scope: &str, operator: &str, values: Value| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": scope, "operator": operator, "values": values}]}})
    };
    let none = json!(null);
    for (spec, pod, expected) in [
        (json!({}), &best, true),
        (json!({"scopes": ["BestEffort"]}), &best, true),
        (json!({"scopes": ["BestEffort", "NotTerminating"]}), &best, true),
        (json!({"scopes": ["BestEffort", "Terminating"]}), &best, false),
        (json!({"scopes": ["NotBestEffort", "Terminating"]}), &short, true),
        (json!({"scopes": ["BestEffort"]}), &short, false),
        (json!({"scopes": ["PriorityClass"]}), &high, true),
        (json!({"scopes": ["PriorityClass"]}), &best, false),
        (by("PriorityClass", "In", json!(["low", "high"])), &high, true),
        (by("PriorityClass", "In", json!(["low"])), &high, false),
        (by("PriorityClass", "NotIn", json!(["low"])), &high, true),
        (by("PriorityClass", "NotIn", json!(["low"])), &best, true),
        (by("PriorityClass", "In", json!(["low"])), &best, false),
        (by("PriorityClass", "Exists", none.clone()), &high, true),
        (by("PriorityClass", "DoesNotExist", none.clone()), &high, false),
        (by("PriorityClass", "DoesNotExist", none.clone()), &best, true),
        (by("CrossNamespacePodAffinity", "Exists", none.clone()), &across, true),
        (by("CrossNamespacePodAffinity", "Exists", none.clone()), &best, false),
        (by("VolumeAttributesClass", "Exists", none.clone()), &high, false),
    ] {
        let case = format!("{spec} {pod}");
        let pod = Object::from_value(pod.clone()).unwrap();
        assert_eq!(matches_scopes(&spec, "", "pods", &pod), expected, "{case}");
    }
    let claim = |value: Value| Object::from_value(value).unwrap();
    let gold = claim(json!({"spec": {"volumeAttributesClassName": "silver"},
        "status": {"currentVolumeAttributesClassName": "gold"}}));
    let plain = claim(json!({"spec": {}}));
    for (spec, claim, expected) in [
        (by("VolumeAttributesClass", "In", json!(["gold"])), &gold, true),
        (by("VolumeAttributesClass", "In", json!(["bronze"])), &gold, false),
        (by("VolumeAttributesClass", "NotIn", json!(["gold"])), &gold, true),
        (by("VolumeAttributesClass", "NotIn", json!(["gold"])), &plain, true),
        (by("VolumeAttributesClass", "Exists", none), &plain, false),
        (json!({"scopes": ["BestEffort"]}), &plain, false),
    ] {
        let found = matches_scopes(&spec, "", "persistentvolumeclaims", claim);
        assert_eq!(found, expected, "{spec}");
    }
    let spec = json!({"scopes": ["BestEffort"]});
    assert!(!matches_scopes(&spec, "", "services", &plain), "no scope is about services");
}

#[test]
fn the_status_has_the_names_of_the_specification_and_changes_only_when_it_must() {
    let quota = |hard: Value, status: Value| {
        Object::from_value(json!({"spec": {"hard": hard}, "status": status})).unwrap()
    };
    let measured = amounts(Some(&json!({"pods": "2", "cpu": "1500m", "services": "1"})));
    let new = quota(json!({"pods": "5", "cpu": "2"}), json!({}));
    let expected =
        json!({"hard": {"pods": "5", "cpu": "2"}, "used": {"pods": "2", "cpu": "1500m"}});
    assert_eq!(status(&new, &measured), Some(expected.clone()));
    let same = quota(json!({"pods": "5", "cpu": "2000m"}), expected.clone());
    assert_eq!(status(&same, &measured), None, "amounts are compared, not texts");
    let less = quota(json!({"pods": "5"}), expected);
    assert_eq!(
        status(&less, &measured),
        Some(json!({"hard": {"pods": "5"}, "used": {"pods": "2"}}))
    );
    let unknown = json!({"hard": {"count/a.b": "1"}, "used": {"count/a.b": "1"}});
    let kept = quota(json!({"count/a.b": "1"}), unknown);
    assert_eq!(status(&kept, &measured), None, "W4: what cannot be measured is kept");
}
