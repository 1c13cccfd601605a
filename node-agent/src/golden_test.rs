//! The status and the runtime's requests of one rich pod, beside what a kubelet 1.36.2 made of it.
//!
//! The files in `golden/` are answers of a real kubelet (standalone, containerd 1.6, cgroups v1)
//! for the pod that they contain; identifiers, times and addresses are its own.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};

use crate::plan::Health;
use crate::runtime::cri;
use crate::spec::dns;
use crate::spec::env::{Identity, Sources, environment};
use crate::spec::make::{Frame, Machine, Parts, container, sandbox};
use crate::spec::resources::CgroupDriver;
use crate::spec::security::ImageUser;
use crate::status::{Facts, status};
use crate::view::{Instance, PodView, Run, Sandbox};

fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn golden_pod() -> (Pod, Value) {
    let value = golden(include_str!("golden/pod.json"));
    let status = value["status"].clone();
    let mut pod: Pod = serde_json::from_value(value).unwrap();
    pod.status = None;
    (pod, status)
}

/// Texts that are JSON themselves, as values: the order of their fields says nothing.
fn read_notes(config: &mut Value) {
    for name in ["io.kubernetes.container.ports", "io.kubernetes.container.preStopHandler"] {
        if let Some(text) = config["annotations"].get_mut(name) {
            *text = golden(text.as_str().unwrap());
        }
    }
}

/// Drops what says nothing: nulls, empty maps and lists.
fn bare(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, inner)| (name, bare(inner)))
                .filter(|(_, inner)| !inner.is_null() && *inner != json!({}) && *inner != json!([]))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(bare).collect()),
        other => other,
    }
}

fn nanoseconds(text: &Value) -> i64 {
    let at: Timestamp = text.as_str().unwrap().parse().unwrap();
    i64::try_from(at.as_nanosecond()).unwrap()
}

/// What the runtime had when the kubelet reported: one run for each state in the status.
fn runs(status: &Value, attempt: i32) -> Vec<Instance> {
    let name = status["name"].as_str().unwrap();
    let count = i32::try_from(status["restartCount"].as_i64().unwrap()).unwrap();
    let one = |state: &Value, restarts: i32| {
        let ended = &state["terminated"];
        let mut run = Instance {
            name: name.to_owned(),
            sandbox: "s".to_owned(),
            restarts,
            image: status["image"].as_str().unwrap().to_owned(),
            image_ref: status["imageID"].as_str().unwrap().to_owned(),
            ..Default::default()
        };
        if ended.is_object() {
            run.run = Run::Exited;
            run.exit_code = i32::try_from(ended["exitCode"].as_i64().unwrap()).unwrap();
            run.reason = ended["reason"].as_str().unwrap().to_owned();
            run.message = ended["message"].as_str().unwrap_or_default().to_owned();
            run.started_ns = nanoseconds(&ended["startedAt"]);
            run.finished_ns = nanoseconds(&ended["finishedAt"]);
            run.id = ended["containerID"].as_str().unwrap().replace("containerd://", "");
        } else {
            run.run = Run::Running;
            run.started_ns = nanoseconds(&state["running"]["startedAt"]);
            run.id = status["containerID"].as_str().unwrap().replace("containerd://", "");
        }
        run
    };
    let mut all = vec![one(&status["state"], count + attempt)];
    if status["lastState"]["terminated"].is_object() {
        all.push(one(&status["lastState"], count + attempt - 1));
    }
    all
}

#[test]
fn the_status_is_the_kubelets_field_by_field() {
    let (pod, want) = golden_pod();
    let each = ["initContainerStatuses", "containerStatuses"];
    let all = each.iter().flat_map(|list| want[*list].as_array().unwrap());
    let view = PodView {
        sandboxes: vec![Sandbox {
            id: "s".to_owned(),
            is_ready: true,
            ips: vec![want["podIP"].as_str().unwrap().to_owned()],
            ..Default::default()
        }],
        containers: all.flat_map(|status| runs(status, 0)).collect(),
    };
    // Its probe fails, and its port is closed: the golden pod's own container is not ready.
    let health = |name: &str| Health { is_ready: name != "main", ..Health::FINE };
    // The times at which conditions changed come from the status before.
    let previous = PodStatus {
        conditions: serde_json::from_value(want["conditions"].clone()).unwrap(),
        start_time: serde_json::from_value(want["startTime"].clone()).unwrap(),
        ..Default::default()
    };
    let facts = Facts {
        view: &view,
        waiting: &HashMap::new(),
        health: &health,
        previous: &previous,
        node_ip: "192.0.2.1",
        runtime_name: "containerd",
        now: Timestamp::UNIX_EPOCH,
        is_ending: false,
        evicted: None,
    };
    let mut got = serde_json::to_value(status(&pod, &facts)).unwrap();
    // The golden kubelet had no API, and so knew no address of its node.
    let node = [got["hostIP"].take(), got["hostIPs"].take()];
    assert_eq!(node, [json!("192.0.2.1"), json!([{"ip": "192.0.2.1"}])]);
    let (got, want) = (bare(got), bare(want));
    for (field, wanted) in want.as_object().unwrap() {
        let own = &got[field];
        let (own, wanted) =
            (serde_json::to_string_pretty(own), serde_json::to_string_pretty(wanted));
        assert_eq!(own.unwrap(), wanted.unwrap(), "status.{field}");
    }
    assert_eq!(got, want, "nothing is said that the kubelet does not say");
}

fn machine() -> Machine {
    Machine {
        driver: CgroupDriver::Cgroupfs,
        memory_capacity: 24 << 30,
        seccomp_root: "/seccomp".to_owned(),
        cluster: dns::Cluster::default(),
        resolv_conf: "/etc/resolv.conf".into(),
        huge_pages: vec!["2MB".to_owned(), "1GB".to_owned()],
    }
}

fn numbered(value: i64) -> Value {
    if value == 0 { Value::Null } else { value.to_string().into() }
}

fn profile(profile: &cri::SecurityProfile) -> Value {
    let kind = match profile.profile_type() {
        cri::security_profile::ProfileType::RuntimeDefault => Value::Null,
        other => other.as_str_name().into(),
    };
    json!({"profile_type": kind, "localhost_ref": (!profile.localhost_ref.is_empty()).then_some(&profile.localhost_ref)})
}

fn namespaces(options: &cri::NamespaceOption) -> Value {
    let named = |mode: i32| match cri::NamespaceMode::try_from(mode).unwrap() {
        cri::NamespaceMode::Pod => Value::Null,
        other => other.as_str_name().into(),
    };
    let users = options.userns_options.as_ref().map(|users| json!({"mode": named(users.mode)}));
    json!({"network": named(options.network), "pid": named(options.pid),
        "ipc": named(options.ipc), "userns_options": users})
}

fn resources(own: &cri::LinuxContainerResources) -> Value {
    json!({
        "cpu_period": numbered(own.cpu_period),
        "cpu_quota": numbered(own.cpu_quota),
        "cpu_shares": numbered(own.cpu_shares),
        "memory_limit_in_bytes": numbered(own.memory_limit_in_bytes),
        "memory_swap_limit_in_bytes": numbered(own.memory_swap_limit_in_bytes),
        "oom_score_adj": numbered(own.oom_score_adj),
        "hugepage_limits": own.hugepage_limits.iter()
            .map(|limit| json!({"page_size": limit.page_size,
                "limit": (limit.limit > 0).then(|| limit.limit.to_string())}))
            .collect::<Vec<_>>(),
    })
}

fn user(value: Option<&cri::Int64Value>) -> Value {
    value.map_or(Value::Null, |value| json!({"value": value.value.to_string()}))
}

fn texts(numbers: &[i64]) -> Vec<String> {
    numbers.iter().map(ToString::to_string).collect()
}

/// A request for a sandbox as the trace writes it: defaults left out, numbers as text.
fn sandbox_json(config: &cri::PodSandboxConfig) -> Value {
    let (meta, linux) = (config.metadata.as_ref().unwrap(), config.linux.as_ref().unwrap());
    let (dns, context) =
        (config.dns_config.as_ref().unwrap(), linux.security_context.as_ref().unwrap());
    let ports = config.port_mappings.iter().map(|port| {
        json!({"container_port": port.container_port, "host_port": port.host_port,
            "protocol": (port.protocol != 0).then_some(port.protocol)})
    });
    json!({
        "metadata": {"name": meta.name, "uid": meta.uid, "namespace": meta.namespace, "attempt": meta.attempt},
        "hostname": config.hostname,
        "dns_config": {"servers": dns.servers, "searches": dns.searches, "options": dns.options},
        "port_mappings": ports.collect::<Vec<_>>(),
        "labels": config.labels,
        "annotations": config.annotations,
        "linux": {
            "cgroup_parent": linux.cgroup_parent,
            "security_context": {
                "namespace_options": namespaces(context.namespace_options.as_ref().unwrap()),
                "run_as_user": user(context.run_as_user.as_ref()),
                "run_as_group": user(context.run_as_group.as_ref()),
                "supplemental_groups": texts(&context.supplemental_groups),
                "privileged": context.privileged.then_some(true),
                "seccomp": context.seccomp.as_ref().map(profile),
            },
            "sysctls": linux.sysctls,
            "overhead": linux.overhead.as_ref().map(resources),
            "resources": linux.resources.as_ref().map(resources),
        },
    })
}

/// A request for a container, as [`sandbox_json`].
fn container_json(config: &cri::ContainerConfig) -> Value {
    let (meta, image) = (config.metadata.as_ref().unwrap(), config.image.as_ref().unwrap());
    let linux = config.linux.as_ref().unwrap();
    let context = linux.security_context.as_ref().unwrap();
    let envs = config.envs.iter().map(
        |env| json!({"key": env.key, "value": String::from_utf8(env.value.to_vec()).unwrap()}),
    );
    let capabilities = context.capabilities.as_ref().map(|own| {
        json!({"add_capabilities": own.add_capabilities, "drop_capabilities": own.drop_capabilities})
    });
    json!({
        "metadata": {"name": meta.name, "attempt": (meta.attempt > 0).then_some(meta.attempt)},
        "image": {"image": image.image, "user_specified_image": image.user_specified_image},
        "command": config.command,
        "args": config.args,
        "envs": envs.collect::<Vec<_>>(),
        "labels": config.labels,
        "annotations": config.annotations,
        "log_path": config.log_path,
        "linux": {
            "resources": linux.resources.as_ref().map(resources),
            "security_context": {
                "capabilities": capabilities,
                "privileged": context.privileged.then_some(true),
                "namespace_options": namespaces(context.namespace_options.as_ref().unwrap()),
                "run_as_user": user(context.run_as_user.as_ref()),
                "run_as_group": user(context.run_as_group.as_ref()),
                "readonly_rootfs": context.readonly_rootfs.then_some(true),
                "supplemental_groups": texts(&context.supplemental_groups),
                "no_new_privs": context.no_new_privs.then_some(true),
                "masked_paths": context.masked_paths,
                "readonly_paths": context.readonly_paths,
                "seccomp": context.seccomp.as_ref().map(profile),
            },
        },
    })
}

#[test]
fn the_runtime_is_asked_for_what_the_kubelet_asks_for() {
    let (pod, status) = golden_pod();
    let requests = golden(include_str!("golden/cri.json"));
    let spec = pod.spec.as_ref().unwrap();
    let machine = machine();
    let (dns, left_out) =
        dns::of_pod(spec, "default", &machine.cluster, &cri::DnsConfig::default());
    assert!(left_out.is_empty());
    let log_dir = Path::new("/logs");
    let made = sandbox(&pod, spec, Frame { attempt: 1, log_dir, dns, machine: &machine }).unwrap();
    assert_eq!(bare(sandbox_json(&made)), bare(requests["sandbox"].clone()));

    let identity = Identity {
        pod_ips: vec![status["podIP"].as_str().unwrap().to_owned()],
        ..Default::default()
    };
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    for wanted in all {
        let sources = Sources::default();
        let env = environment(&pod, wanted, &sources, &identity, &[]).unwrap();
        let parts = Parts {
            restarts: 0,
            image_id: requests["image"].as_str().unwrap().to_owned(),
            env,
            mounts: Vec::new(),
            user: ImageUser::Number(0),
            machine: &machine,
        };
        let made = container(&pod, spec, wanted, parts).unwrap();
        let mut got = container_json(&made);
        // The digest of a definition is each agent's own.
        let hash = got["annotations"]["io.kubernetes.container.hash"].take();
        assert_eq!(hash.as_str().unwrap().len(), 8);
        let mut want = requests[&wanted.name].clone();
        read_notes(&mut got);
        read_notes(&mut want);
        assert_eq!(bare(got), bare(want), "{}", wanted.name);
    }
}
