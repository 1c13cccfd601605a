//! What keeps a pod apart from its node: masks of /proc, SELinux, kernel parameters.

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, items, plural, quoted, setters, text, violates};

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = Texts::new();
    let bad = pod.which(|container| {
        let kind = container["securityContext"]["procMount"].as_str();
        let bad = kind.filter(|kind| *kind != "Default");
        kinds.extend(bad);
        bad.is_some()
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        containers(&bad),
        quoted(&kinds)
    );
    violates("procMount", detail)
}

pub(super) fn proc_mount_unless_own_users(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}

const SE_LINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub(super) fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    se_linux_but(pod, &SE_LINUX_TYPES[..4])
}

pub(super) fn se_linux_31(pod: &Pod<'_>) -> Option<Violation> {
    se_linux_but(pod, &SE_LINUX_TYPES)
}

fn se_linux_but<'a>(pod: &Pod<'a>, types: &[&str]) -> Option<Violation> {
    let mut bad_types = Texts::new();
    let (mut has_user, mut has_role) = (false, false);
    let mut is_bad = |context: &'a Value| {
        let options = &context["seLinuxOptions"];
        let kind = text(&options["type"]);
        let (user, role) = (text(&options["user"]), text(&options["role"]));
        let is_known = types.contains(&kind);
        if !is_known {
            bad_types.insert(kind);
        }
        has_user |= !user.is_empty();
        has_role |= !role.is_empty();
        !is_known || !user.is_empty() || !role.is_empty()
    };
    let is_pod = is_bad(pod.context());
    let bad = pod.which(|container| is_bad(&container["securityContext"]));
    let who = setters(is_pod, &bad)?;
    let mut data = Vec::new();
    if !bad_types.is_empty() {
        let count = plural(bad_types.len(), "type", "types");
        data.push(format!("{count} {}", quoted(&bad_types)));
    }
    if has_user {
        data.push("user may not be set".to_owned());
    }
    if has_role {
        data.push("role may not be set".to_owned());
    }
    let data = data.join("; ");
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {data}");
    violates("seLinuxOptions", detail)
}

/// Of the namespaces of a pod only, and harmless; in the order in which they were let in.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

pub(super) fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &SYSCTLS[..5])
}

pub(super) fn sysctls_27(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &SYSCTLS[..6])
}

pub(super) fn sysctls_29(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &SYSCTLS[..10])
}

pub(super) fn sysctls_32(pod: &Pod<'_>) -> Option<Violation> {
    sysctls_but(pod, &SYSCTLS)
}

fn sysctls_but(pod: &Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let names = items(&pod.context()["sysctls"]).map(|sysctl| text(&sysctl["name"]));
    let bad: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
    if bad.is_empty() {
        return None;
    }
    violates("forbidden sysctls", bad.join(", "))
}
