//! Security contexts of containers and pods.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::restart::supported;
use super::volumes::descending_path;
use super::{Whole, all_containers, given, items, names, text, windows};
use crate::field::{Error, ErrorKind, Path};

fn identity(context: &Value, field: &str, path: &Path, errors: &mut Vec<Error>) {
    if let Some(id) = context[field].as_i64().filter(|id| !names::is_identity(*id)) {
        errors.push(Error::invalid(&path.child(field), id, names::IDENTITY));
    }
}

pub(super) fn of_container(
    context: &Value,
    has_host_users: bool,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    if context.is_null() {
        return;
    }
    identity(context, "runAsUser", path, errors);
    identity(context, "runAsGroup", path, errors);
    if let Some(mount) = context["procMount"].as_str() {
        let path = path.child("procMount");
        supported(&path, mount, &["Default", "Unmasked"], errors);
        if has_host_users && mount == "Unmasked" {
            let why = "`hostUsers` must be false to use `Unmasked`";
            errors.push(Error::invalid(&path, mount, why));
        }
    }
    seccomp(&context["seccompProfile"], &path.child("seccompProfile"), errors);
    if context["allowPrivilegeEscalation"] == false {
        escalation(context, path, errors);
    }
    windows::options(&context["windowsOptions"], &path.child("windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &path.child("appArmorProfile"), errors);
}

/// What may always escalate cannot be forbidden to.
fn escalation(context: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut refuse = |what: &str| {
        let why = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        errors.push(with_go_value(path, &go_context(context), &why));
    };
    if context["privileged"] == true {
        refuse("`privileged` to true");
    }
    for _ in items(&context["capabilities"], "add").iter().filter(|one| *one == "CAP_SYS_ADMIN") {
        refuse("`capabilities.Add` CAP_SYS_ADMIN");
    }
}

/// An error with a value whose keys are in upstream's order, which a JSON tree does not keep.
fn with_go_value(path: &Path, shown: &str, why: &str) -> Error {
    let detail = format!("{shown}: {why}");
    Error { kind: ErrorKind::Invalid, field: path.to_string(), value: None, detail }
}

/// A security context as upstream's own type shows it.
fn go_context(context: &Value) -> String {
    let list = |key: &str| context["capabilities"][key].clone();
    let capabilities = given(context, "capabilities").map_or_else(
        || "null".to_owned(),
        |_| json!({"Add": list("add"), "Drop": list("drop")}).to_string(),
    );
    let fields = |value: &Value, names: &[(&str, &str)], missing: &Value| {
        if value.is_null() {
            return "null".to_owned();
        }
        let one =
            |(go, key): &(&str, &str)| format!("{go:?}:{}", given(value, key).unwrap_or(missing));
        format!("{{{}}}", names.iter().map(one).collect::<Vec<_>>().join(","))
    };
    let profile = [("Type", "type"), ("LocalhostProfile", "localhostProfile")];
    let labels = [("User", "user"), ("Role", "role"), ("Type", "type"), ("Level", "level")];
    let windows = [
        ("GMSACredentialSpecName", "gmsaCredentialSpecName"),
        ("GMSACredentialSpec", "gmsaCredentialSpec"),
        ("RunAsUserName", "runAsUserName"),
        ("HostProcess", "hostProcess"),
    ];
    let (empty, null) = (json!(""), Value::Null);
    let shown = [
        ("Capabilities", capabilities),
        ("Privileged", context["privileged"].to_string()),
        ("SELinuxOptions", fields(&context["seLinuxOptions"], &labels, &empty)),
        ("WindowsOptions", fields(&context["windowsOptions"], &windows, &null)),
        ("RunAsUser", context["runAsUser"].to_string()),
        ("RunAsGroup", context["runAsGroup"].to_string()),
        ("RunAsNonRoot", context["runAsNonRoot"].to_string()),
        ("ReadOnlyRootFilesystem", context["readOnlyRootFilesystem"].to_string()),
        ("AllowPrivilegeEscalation", context["allowPrivilegeEscalation"].to_string()),
        ("ProcMount", context["procMount"].to_string()),
        ("SeccompProfile", fields(&context["seccompProfile"], &profile, &null)),
        ("AppArmorProfile", fields(&context["appArmorProfile"], &profile, &null)),
    ];
    let shown: Vec<_> = shown.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
    format!("{{{}}}", shown.join(","))
}

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(profile: &Value, path: &Path, errors: &mut Vec<Error>) {
    if profile.is_null() {
        return;
    }
    let kind = text(profile, "type");
    if kind.is_empty() {
        let why = "type is required when seccompProfile is set";
        errors.push(Error::required(&path.child("type"), why));
    } else {
        supported(&path.child("type"), kind, &PROFILE_TYPES, errors);
    }
    let file = profile["localhostProfile"].as_str();
    let path = path.child("localhostProfile");
    match (kind, file) {
        ("Localhost", None) => {
            errors.push(Error::required(&path, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(file)) => descending_path(file, &path, errors),
        (_, Some(file)) => {
            let shown =
                format!("{{\"Type\":{},\"LocalhostProfile\":{}}}", json!(kind), json!(file));
            let why = "can only be set when seccomp type is Localhost";
            errors.push(with_go_value(&path, &shown, why));
        }
        (_, None) => {}
    }
}

const PROFILE_BYTES_MAX: usize = 4095;

fn app_armor(profile: &Value, path: &Path, errors: &mut Vec<Error>) {
    if profile.is_null() {
        return;
    }
    let (kind, file) = (text(profile, "type"), profile["localhostProfile"].as_str());
    let file_path = path.child("localhostProfile");
    let needed = "must be set when AppArmor type is Localhost";
    match (kind, file) {
        ("Localhost", None) => errors.push(Error::required(&file_path, needed)),
        ("Localhost", Some(file)) => {
            if file.trim() != file {
                let why = "must not be padded with whitespace";
                errors.push(Error::invalid(&file_path, file, why));
            } else if file.is_empty() {
                errors.push(Error::required(&file_path, needed));
            }
            if file.len() > PROFILE_BYTES_MAX {
                errors.push(Error::too_long(&file_path, PROFILE_BYTES_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            let why = "can only be set when AppArmor type is Localhost";
            errors.push(Error::invalid(&file_path, file, why));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            let why = "type is required when appArmorProfile is set";
            errors.push(Error::required(&path.child("type"), why));
        }
        _ => errors.push(Error::not_supported(&path.child("type"), kind, &PROFILE_TYPES)),
    }
}

pub(super) fn of_pod(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let context = &spec["securityContext"];
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        identity(context, field, path, errors);
    }
    for (index, group) in items(context, "supplementalGroups").iter().enumerate() {
        if let Some(group) = group.as_i64().filter(|group| !names::is_identity(*group)) {
            let path = path.child("supplementalGroups").index(index);
            errors.push(Error::invalid(&path, group, names::IDENTITY));
        }
    }
    if spec["hostPID"] == true && spec["shareProcessNamespace"] == true {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, why));
    }
    sysctls(spec, &path.child("sysctls"), errors);
    if let Some(policy) = context["fsGroupChangePolicy"].as_str() {
        let policies = ["Always", "OnRootMismatch"];
        supported(&path.child("fsGroupChangePolicy"), policy, &policies, errors);
    }
    seccomp(&context["seccompProfile"], &path.child("seccompProfile"), errors);
    windows::options(&context["windowsOptions"], &path.child("windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &path.child("appArmorProfile"), errors);
    // Mounting with a label is off in 1.36, so that only one policy is left.
    for (field, policies) in [
        ("supplementalGroupsPolicy", &["Merge", "Strict"][..]),
        ("seLinuxChangePolicy", &["Recursive"]),
    ] {
        if let Some(policy) = context[field].as_str() {
            supported(&path.child(field), policy, policies, errors);
        }
    }
}

const SYSCTL_BYTES_MAX: usize = 253;

fn is_sysctl(name: &str) -> bool {
    let is_segment = |segment: &str| {
        let bytes = segment.as_bytes();
        let is_end =
            |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        is_end(bytes.first())
            && is_end(bytes.last())
            && bytes.iter().all(|c| is_end(Some(c)) || matches!(c, b'-' | b'_'))
    };
    name.len() <= SYSCTL_BYTES_MAX && name.split(['.', '/']).all(is_segment)
}

fn sysctls(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let mut seen = HashSet::new();
    for (index, sysctl) in items(&spec["securityContext"], "sysctls").iter().enumerate() {
        let name = text(sysctl, "name");
        let path = path.index(index).child("name");
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if !is_sysctl(name) {
            let why = format!(
                "must have at most {SYSCTL_BYTES_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(Error::invalid(&path, name, why));
        } else if seen.contains(&name) {
            errors.push(Error::duplicate(&path, name));
        }
        seen.insert(name);
        let field = match namespace(name) {
            Some(field) if spec[field] == true => field,
            _ => continue,
        };
        let why = format!("may not be specified when '{field}' is true");
        errors.push(Error::invalid(&path, name, why));
    }
}

/// The field by which a pod takes the host's namespace that a sysctl belongs to.
fn namespace(name: &str) -> Option<&'static str> {
    let dotted: String = match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => {
            let swap = |c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    };
    let known = dotted.split('*').next().unwrap_or("");
    let of_processes = [
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg",
    ];
    if of_processes.contains(&known) || known.starts_with("fs.mqueue.") {
        return Some("hostIPC");
    }
    known.starts_with("net.").then_some("hostNetwork")
}

/// A pod with users of its own cannot share what belongs to the users of the host.
pub(super) fn host_users(whole: &Whole<'_>, path: &Path, errors: &mut Vec<Error>) {
    if whole.has_host_users() {
        return;
    }
    let why = "when `hostUsers` is false";
    // Two of the names are upstream's own.
    for (field, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if whole.spec[field] == true {
            errors.push(Error::forbidden(&path.child(shown), why));
        }
    }
    for (one, path) in all_containers(whole.spec, path) {
        if !items(one, "volumeDevices").is_empty() {
            errors.push(Error::forbidden(&path.child("volumeDevices"), why));
        }
    }
}

/// An operating system's name, and the fields that it forbids.
pub(super) fn forbidden_fields(
    value: &Value,
    fields: &[&str],
    why: &str,
    path: &Path,
    errors: &mut Vec<Error>,
) {
    for field in fields {
        let is_set = match &value[field] {
            Value::Null => false,
            // Lists that are empty, and the two switches of the host, count only when they say
            // something.
            Value::Array(list) => !list.is_empty() || *field == "supplementalGroups",
            Value::Bool(on) => *on || !matches!(*field, "hostPID" | "hostIPC"),
            _ => true,
        };
        if is_set {
            errors.push(Error::forbidden(&path.child(field), why));
        }
    }
}
