//! What is told of pods and of their templates, in upstream's words and order.

use serde_json::{Value, json};

use super::{create, status_update, update};
use crate::{Object, ResourceInfo, kinds};

const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const PROFILE: &str = "container.apparmor.security.beta.kubernetes.io/";
const NAME: &str =
    "which can result in surprising behavior; a DNS label is recommended: [must not contain dots]";

fn read(object: Value) -> (&'static ResourceInfo, Object) {
    let of = |field: &str| object[field].as_str().unwrap().to_owned();
    let info = kinds::find_kind(&of("apiVersion"), &of("kind")).unwrap();
    (info, Object::from_value(object).unwrap())
}

fn told(object: Value) -> Vec<String> {
    let (info, object) = read(object);
    let mut told = Vec::new();
    create(info, &object, &mut told);
    told
}

fn told_of_change(new: Value, old: Value) -> Vec<String> {
    let ((info, new), (_, old)) = (read(new), read(old));
    let mut told = Vec::new();
    update(info, &new, &old, &mut told);
    told
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

fn workload(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "w", "generation": 1},
        "spec": spec})
}

fn annotated(annotations: Value, spec: Value) -> Value {
    let template = json!({"metadata": {"annotations": annotations}, "spec": spec});
    workload("apps/v1", "Deployment", json!({"template": template}))
}

#[test]
fn of_a_usual_pod_nothing_is_told() {
    let usual = json!({
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "terminationGracePeriodSeconds": 0,
        "hostAliases": [{"ip": "1.2.3.4"}, {"ip": "2001:db8::1"}],
        "imagePullSecrets": [{"name": "a"}, {"name": "b"}],
        "topologySpreadConstraints": [{"topologyKey": "k", "labelSelector": {}}],
        "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "k", "labelSelector": {}}]}},
        "volumes": [
            {"name": "a", "emptyDir": {}},
            {"name": "b", "configMap": {"name": "c", "items": [
                {"key": "k", "path": "p"}, {"key": "l", "path": "pp/q"}, {"key": "m", "path": "pp/r"}]}},
            {"name": "c", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "r", "items": [{"key": "c", "path": "ca.crt"}]}},
                {"configMap": {"name": "all"}},
                {"downwardAPI": {"items": [{"path": "namespace"}]}}]}},
        ],
        "containers": [
            {"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"},
                {"name": "A", "value": "$(A):2"}],
             "ports": [{"name": "p", "containerPort": 80, "protocol": "TCP"},
                {"name": "q", "containerPort": 80, "protocol": "UDP"}],
             "resources": {"limits": {"cpu": "500m", "memory": "10Pi"},
                "requests": {"memory": "1.5Gi", "ephemeral-storage": "1e3"}}},
        ],
    });
    assert_eq!(told(pod(usual)), Vec::<String>::new());
}

#[test]
fn a_name_that_is_no_hostname_is_told_of_where_it_becomes_one() {
    let named = |mut object: Value| {
        object["metadata"]["name"] = "st.w".into();
        told(object)
    };
    let of_pod = format!("metadata.name: this is used in the Pod's hostname, {NAME}");
    assert_eq!(named(pod(json!({}))), [of_pod]);
    let of_others = format!("metadata.name: this is used in Pod names and hostnames, {NAME}");
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
    ] {
        assert_eq!(named(workload(api_version, kind, json!({}))), [of_others.as_str()], "{kind}");
    }
    for (api_version, kind) in [
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("v1", "PodTemplate"),
        ("v1", "Node"),
    ] {
        assert!(named(workload(api_version, kind, json!({}))).is_empty(), "{kind}");
    }
}

#[test]
fn each_kind_tells_of_its_template_where_it_stands() {
    let template = json!({"spec": {"imagePullSecrets": [{}]}});
    let what = "spec.imagePullSecrets[0].name: invalid empty name \"\"";
    assert_eq!(told(pod(template["spec"].clone())), [what]);
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
    ] {
        let object = workload(api_version, kind, json!({"template": template}));
        assert_eq!(told(object), [format!("spec.template.{what}")], "{kind}");
    }
    let object = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t"},
        "template": template});
    assert_eq!(told(object), [format!("template.{what}")]);
    let spec = json!({"jobTemplate": {"spec": {"template": template}}});
    let object = workload("batch/v1", "CronJob", spec);
    assert_eq!(told(object), [format!("spec.jobTemplate.spec.template.{what}")]);
}

#[test]
fn a_change_is_told_of_when_it_counts() {
    let spec = |secrets: Value| json!({"template": {"spec": {"imagePullSecrets": secrets}}});
    let (bad, good) = (spec(json!([{}])), spec(json!([])));
    let what = "spec.template.spec.imagePullSecrets[0].name: invalid empty name \"\"";
    let counted = |mut object: Value| {
        object["metadata"]["generation"] = 2.into();
        object
    };
    let deployment = |spec: &Value| workload("apps/v1", "Deployment", spec.clone());
    assert_eq!(told_of_change(counted(deployment(&bad)), deployment(&bad)), [what]);
    assert!(told_of_change(deployment(&bad), deployment(&bad)).is_empty());

    // Its template counts, and nothing else.
    let daemons = |spec: &Value| workload("apps/v1", "DaemonSet", spec.clone());
    assert!(told_of_change(counted(daemons(&bad)), daemons(&bad)).is_empty());
    assert_eq!(told_of_change(counted(daemons(&bad)), daemons(&good)), [what]);

    // Upstream takes the old for the new one.
    let controller = |spec: &Value| workload("v1", "ReplicationController", spec.clone());
    assert_eq!(told_of_change(counted(controller(&good)), controller(&bad)), [what]);
    assert!(told_of_change(counted(controller(&bad)), controller(&good)).is_empty());

    let secrets = json!({"imagePullSecrets": [{}]});
    assert!(told_of_change(counted(pod(secrets)), pod(json!({}))).is_empty());
}

#[test]
fn the_status_of_a_pod_is_told_of_its_addresses() {
    let ips = json!([{"ip": "2001:db8::1"}, {"ip": "2001:DB8::1"}]);
    let status = |kind: &str| {
        let (info, object) = read(json!({"apiVersion": "v1", "kind": kind, "metadata": {},
            "status": {"podIPs": ips, "hostIPs": ips}}));
        let mut told = Vec::new();
        status_update(info, &object, &mut told);
        told
    };
    let what =
        "IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")";
    let both = [format!("status.podIPs[1].ip: {what}"), format!("status.hostIPs[1].ip: {what}")];
    assert_eq!(status("Pod"), both);
    assert!(status("Node").is_empty());
}

#[test]
fn where_a_pod_runs_is_told_of_in_upstreams_order() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let old = json!({"matchExpressions": [
        {"key": "beta.kubernetes.io/os", "operator": "In", "values": ["-bad-"]}]});
    let near = json!({required: [{}, {"labelSelector": {}}],
        preferred: [{"podAffinityTerm": {"labelSelector": {}}}, {"podAffinityTerm": {}}]});
    let spec = json!({
        "nodeSelector": {"beta.kubernetes.io/arch": "x"},
        "affinity": {
            "nodeAffinity": {required: {"nodeSelectorTerms": [old]},
                preferred: [{"preference": old}]},
            "podAffinity": near, "podAntiAffinity": near,
        },
        "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/region"}],
        "terminationGracePeriodSeconds": -3,
    });
    let os = "beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead";
    let node = "spec.affinity.nodeAffinity";
    let preference = format!("{node}.{preferred}[0].preference.matchExpressions[0]");
    let value = crate::validate::names::label_value("-bad-").remove(0);
    let none = "labelSelector: a null labelSelector results in matching no pod";
    let mut wanted = vec![
        "spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; \
         use \"kubernetes.io/arch\" instead"
            .to_owned(),
        format!("{node}.{required}.nodeSelectorTerms[0].matchExpressions[0].key: {os}"),
        format!("{preference}.key: {os}"),
        format!("{preference}.values[0]: -bad- is invalid, {value}"),
        "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/region \
         is deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
            .to_owned(),
        format!("spec.topologySpreadConstraints[0].{none}"),
        "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will \
         be treated as 1"
            .to_owned(),
    ];
    for side in ["podAffinity", "podAntiAffinity"] {
        let side = format!("spec.affinity.{side}");
        wanted.push(format!("{side}.{required}[0].{none}"));
        wanted.push(format!("{side}.{preferred}[1].podAffinityTerm.{none}"));
    }
    assert_eq!(told(pod(spec)), wanted);
}

#[test]
fn annotations_that_became_fields_are_told_of_while_the_field_is_not_set() {
    let annotations = json!({
        "scheduler.alpha.kubernetes.io/critical-pod": "",
        "security.alpha.kubernetes.io/sysctls": "",
        "security.alpha.kubernetes.io/unsafe-sysctls": "",
        "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
        format!("{CONTAINER}c"): "runtime/default",
        format!("{PROFILE}c"): "runtime/default",
        format!("{CONTAINER}other"): "runtime/default",
    });
    let path = |key: &str| format!("spec.template.metadata.annotations[{key}]");
    let gone = |key: &str, since: &str, field: &str| {
        format!("{}: non-functional in v1.{since}+; use the \"{field}\" field instead", path(key))
    };
    let always = [
        gone("scheduler.alpha.kubernetes.io/critical-pod", "16", "priorityClassName"),
        gone("security.alpha.kubernetes.io/sysctls", "11", "sysctls"),
        gone("security.alpha.kubernetes.io/unsafe-sysctls", "11", "sysctls"),
    ];
    let of_pod = gone("seccomp.security.alpha.kubernetes.io/pod", "27", "seccompProfile");
    let seccomp = gone(&format!("{CONTAINER}c"), "27", "seccompProfile");
    let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
    let app_armor = format!("{}: {why}", path(&format!("{PROFILE}c")));
    let profile = |kind: &str| json!({"type": kind});
    for (whole, own, more) in [
        (json!({}), json!({}), vec![&of_pod, &seccomp, &app_armor]),
        (json!({"seccompProfile": profile("Unconfined")}), json!({}), vec![&seccomp, &app_armor]),
        (
            json!({"appArmorProfile": profile("RuntimeDefault")}),
            json!({"seccompProfile": profile("Unconfined")}),
            vec![&of_pod],
        ),
        (
            json!({"appArmorProfile": profile("Unconfined")}),
            json!({}),
            vec![&of_pod, &seccomp, &app_armor],
        ),
        (json!({}), json!({"appArmorProfile": profile("RuntimeDefault")}), vec![&of_pod, &seccomp]),
    ] {
        let spec = json!({"securityContext": whole,
            "containers": [{"name": "c", "securityContext": own}]});
        let wanted: Vec<&String> = always.iter().chain(more).collect();
        let told: Vec<String> = told(annotated(annotations.clone(), spec));
        assert_eq!(told.iter().collect::<Vec<_>>(), wanted, "{whole} {own}");
    }
    // Of a pod it is told elsewhere.
    let mut alone = pod(json!({"containers": [{"name": "c"}]}));
    alone["metadata"]["annotations"] = json!({format!("{PROFILE}c"): "unconfined"});
    assert!(told(alone).is_empty());
}

#[test]
fn plugins_that_are_gone_and_parts_of_bytes_are_told_of() {
    let claim = json!({"volumeClaimTemplate": {"spec": {"resources": {
        "requests": {"storage": "1500m"}, "limits": {"storage": "0.5"}}}}});
    let volumes = json!([
        {"name": "a", "photonPersistentDisk": {}}, {"name": "b", "gitRepo": {}},
        {"name": "c", "scaleIO": {}}, {"name": "d", "flocker": {}}, {"name": "e", "storageos": {}},
        {"name": "f", "quobyte": {}}, {"name": "g", "glusterfs": {}}, {"name": "h", "cephfs": {}},
        {"name": "i", "rbd": {}}, {"name": "j", "ephemeral": claim},
    ]);
    let bytes = |path: &str, shown: &str| {
        format!("spec.{path}: fractional byte value \"{shown}\" is invalid, must be an integer")
    };
    let claim = "volumes[9].ephemeral.volumeClaimTemplate.spec.resources";
    let wanted = [
        "spec.volumes[0].photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
        "spec.volumes[1].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
        "spec.volumes[2].scaleIO: deprecated in v1.16, non-functional in v1.22+",
        "spec.volumes[3].flocker: deprecated in v1.22, non-functional in v1.25+",
        "spec.volumes[4].storageOS: deprecated in v1.22, non-functional in v1.25+",
        "spec.volumes[5].quobyte: deprecated in v1.22, non-functional in v1.25+",
        "spec.volumes[6].glusterfs: deprecated in v1.25, non-functional in v1.26+",
        "spec.volumes[7].cephfs: deprecated in v1.28, non-functional in v1.31+",
        "spec.volumes[8].rbd: deprecated in v1.28, non-functional in v1.31+",
        &bytes(&format!("{claim}.requests[storage]"), "1500m"),
        &bytes(&format!("{claim}.limits[storage]"), "500m"),
    ];
    assert_eq!(told(pod(json!({"volumes": volumes}))), wanted);

    let both = json!({"memory": "1500m", "ephemeral-storage": "100e-3"});
    let container = json!({"resources": {"limits": both, "requests": both}});
    let wanted = [
        bytes("overhead[memory]", "1500m"),
        bytes("overhead[ephemeral-storage]", "100e-3"),
        bytes("initContainers[0].resources.limits[memory]", "1500m"),
        bytes("initContainers[0].resources.requests[memory]", "1500m"),
        bytes("initContainers[0].resources.limits[ephemeral-storage]", "100e-3"),
        bytes("initContainers[0].resources.requests[ephemeral-storage]", "100e-3"),
    ];
    let spec = json!({"overhead": both, "initContainers": [container], "containers": []});
    assert_eq!(told(pod(spec)), wanted);
}

#[test]
fn files_of_a_volume_in_each_others_way_are_told_of() {
    let items = |paths: &[&str]| -> Vec<Value> {
        paths.iter().map(|path| json!({"key": "k", "path": path})).collect()
    };
    for (volume, wanted) in [
        (
            json!({"configMap": {"name": "cm", "items": items(&["p", "p/q", "pq", ""])}}),
            vec!["(ConfigMap \"cm\"): overlapping paths: \"p/q\" with \"p\""],
        ),
        (
            json!({"secret": {"secretName": "se", "items": items(&["p/q/", "p", "p"])}}),
            vec![
                "(Secret \"se\"): overlapping paths: \"p\" with \"p/q\"",
                "(Secret \"se\"): overlapping paths: \"p\" with \"p/q\"",
                "(Secret \"se\"): overlapping paths: \"p\" with \"p\"",
            ],
        ),
        (
            json!({"downwardAPI": {"items": items(&["l", "l/a"])}}),
            vec!["(DownwardAPI): overlapping paths: \"l/a\" with \"l\""],
        ),
        (
            json!({"projected": {"sources": [
                {"configMap": {"name": "x", "items": items(&["p"])}},
                {"secret": {"name": "y", "items": items(&["p/"])}},
                {"serviceAccountToken": null},
                {"serviceAccountToken": {"path": "p"}},
                {"downwardAPI": {"items": items(&["p/q"])}}]}}),
            vec![
                "(Projected): overlapping paths: \"p\" (Secret \"y\") with \"p\" (ConfigMap \"x\")",
                "(Projected) has no sources provided",
                "(Projected): overlapping paths: \"p\" (ServiceAccountToken) with \"p\" (ConfigMap \"x\")",
                "(Projected): overlapping paths: \"p\" (ServiceAccountToken) with \"p\" (Secret \"y\")",
                "(Projected): overlapping paths: \"p/q\" (DownwardAPI) with \"p\" (ConfigMap \"x\")",
                "(Projected): overlapping paths: \"p/q\" (DownwardAPI) with \"p\" (Secret \"y\")",
                "(Projected): overlapping paths: \"p/q\" (DownwardAPI) with \"p\" (ServiceAccountToken)",
            ],
        ),
    ] {
        let mut volume = volume;
        volume["name"] = "v".into();
        let wanted: Vec<String> = wanted.iter().map(|one| format!("volume \"v\" {one}")).collect();
        assert_eq!(told(pod(json!({"volumes": [volume]}))), wanted);
    }
}

#[test]
fn what_is_there_twice_is_told_of() {
    let spec = json!({
        "hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}, {"ip": "2001:DB8::1"}],
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}],
        "dnsConfig": {"nameservers": ["2001:DB8::2"]},
        "containers": [{"name": "c", "env": [
            {"name": "E", "value": "1"}, {"name": "E", "value": "$(E)2"},
            {"name": "E", "value": "$(E)"}, {"name": "E", "valueFrom": {}}, {"name": "E"}]}],
    });
    let hides = "hides previous definition of \"E\", which may be dropped when using apply";
    let wanted = [
        "spec.hostAliases[1].ip: duplicate ip \"1.2.3.4\"",
        "spec.imagePullSecrets[1].name: duplicate name \"a\"",
        "spec.imagePullSecrets[2].name: invalid empty name \"\"",
        &format!("spec.containers[0].env[2]: {hides}"),
        &format!("spec.containers[0].env[3]: {hides}"),
        &format!("spec.containers[0].env[4]: {hides}"),
        "spec.dnsConfig.nameservers[0]: IPv6 address \"2001:DB8::2\" should be in RFC 5952 \
         canonical format (\"2001:db8::2\")",
        "spec.hostAliases[2].ip: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical \
         format (\"2001:db8::1\")",
    ];
    assert_eq!(told(pod(spec)), wanted);
}

#[test]
fn a_long_list_is_told_of_as_a_short_one_is() {
    let variable = |at: usize| json!({"name": format!("E{}", at % 40), "value": ""});
    let env: Vec<Value> = (0..42).map(variable).collect();
    let why = "which may be dropped when using apply";
    assert_eq!(
        told(pod(json!({"containers": [{"name": "c", "env": env}]}))),
        [
            format!("spec.containers[0].env[40]: hides previous definition of \"E0\", {why}"),
            format!("spec.containers[0].env[41]: hides previous definition of \"E1\", {why}"),
        ]
    );
}

#[test]
fn ports_that_more_than_one_has_are_told_of() {
    let spec = json!({"containers": [
        {"name": "c", "ports": [
            {"containerPort": 80, "protocol": "TCP", "hostIP": "1.2.3.4"},
            {"containerPort": 80, "protocol": "TCP", "name": "p"},
            {"containerPort": 80, "protocol": "TCP", "hostPort": 80},
            {"containerPort": 80, "protocol": "TCP", "hostPort": 80, "hostIP": "1.2.3.4"}]},
        {"name": "d", "ports": [
            {"containerPort": 81, "protocol": "TCP", "name": "p"},
            {"containerPort": 80, "protocol": "TCP"},
            {"containerPort": 80, "protocol": "UDP"}]},
    ]});
    let (c, d) = ("spec.containers[0].ports", "spec.containers[1].ports");
    let wanted = [
        format!(
            "{c}[0]: hostIP set without hostPort: \
             {{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}}"
        ),
        format!("{c}[1]: overlapping port definition with {c}[0]"),
        format!("{c}[2]: overlapping port definition with {c}[0]"),
        format!("{c}[2]: overlapping port definition with {c}[1]"),
        format!("{c}[3]: overlapping port definition with {c}[0]"),
        format!("{c}[3]: overlapping port definition with {c}[1]"),
        format!("{c}[3]: dangerously ambiguous port definition with {c}[2]"),
        format!("{d}[1]: overlapping port definition with {c}[0]"),
        format!("{d}[1]: duplicate port definition with {c}[1]"),
        format!("{d}[1]: overlapping port definition with {c}[2]"),
        format!("{d}[1]: overlapping port definition with {c}[3]"),
        format!(
            "{d}[0]: duplicate port name \"p\" with {c}[1], services and probes that select \
             ports by name will use {c}[1]"
        ),
    ];
    assert_eq!(told(pod(spec)), wanted);
}

#[test]
fn a_pod_of_ports_only_is_not_looked_at_forever() {
    let ports: Vec<Value> =
        (0..2_000).map(|_| json!({"containerPort": 1, "protocol": "TCP"})).collect();
    let told = told(pod(json!({"containers": [{"name": "c", "ports": ports}]})));
    assert_eq!(told.len(), super::PAIRS_MAX);
}
