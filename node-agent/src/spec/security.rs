//! Security contexts: whom a container runs as, what it may, and what it shares.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, PodSpec, SELinuxOptions, SeccompProfile,
};

use super::SpecError;
use crate::runtime::cri;

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn int64(value: i64) -> cri::Int64Value {
    cri::Int64Value { value }
}

/// The user that an image names: a number, a name, or nobody, which is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageUser {
    Number(i64),
    Name(String),
}

impl ImageUser {
    pub(crate) fn of(image: &cri::Image) -> Self {
        match (&image.uid, &*image.username) {
            (Some(uid), _) => Self::Number(uid.value),
            (None, "") => Self::Number(0),
            (None, name) => Self::Name(name.to_owned()),
        }
    }
}

/// Refuses a container that would run as root although it may not.
///
/// # Errors
/// With upstream's text for what is wrong.
pub(crate) fn verify_user(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
) -> Result<(), SpecError> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let own = container.security_context.as_ref();
    let non_root = own.and_then(|s| s.run_as_non_root);
    if non_root.or(of_pod.and_then(|s| s.run_as_non_root)) != Some(true) {
        return Ok(());
    }
    let user = own.and_then(|s| s.run_as_user).or(of_pod.and_then(|s| s.run_as_user));
    let why = match (user, image) {
        (Some(0), _) => "container's runAsUser breaks non-root policy".to_owned(),
        (Some(_), _) => return Ok(()),
        (None, ImageUser::Name(name)) => format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        ),
        (None, ImageUser::Number(0)) => {
            "container has runAsNonRoot and image will run as root".to_owned()
        }
        (None, ImageUser::Number(_)) => return Ok(()),
    };
    let named = super::described(pod);
    Err(SpecError::Config(format!("{why} (pod: \"{named}\", container: {})", container.name)))
}

/// Groups of every process of a pod.
fn groups(context: &PodSecurityContext) -> Vec<i64> {
    let mut groups: Vec<i64> = context.fs_group.into_iter().collect();
    groups.extend(context.supplemental_groups.iter().flatten());
    groups
}

fn group_policy(context: &PodSecurityContext) -> i32 {
    match context.supplemental_groups_policy.as_deref() {
        Some("Strict") => cri::SupplementalGroupsPolicy::Strict.into(),
        Some(_) | None => cri::SupplementalGroupsPolicy::Merge.into(),
    }
}

fn selinux(options: &SELinuxOptions) -> cri::SeLinuxOption {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    cri::SeLinuxOption {
        user: text(&options.user),
        role: text(&options.role),
        r#type: text(&options.type_),
        level: text(&options.level),
    }
}

fn namespaces(spec: &PodSpec) -> cri::NamespaceOption {
    let mode = |host: Option<bool>, otherwise: cri::NamespaceMode| {
        if host == Some(true) { cri::NamespaceMode::Node } else { otherwise }.into()
    };
    let shared = if spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: mode(spec.host_network, cri::NamespaceMode::Pod),
        pid: mode(spec.host_pid, shared),
        ipc: mode(spec.host_ipc, cri::NamespaceMode::Pod),
        userns_options: Some(cri::UserNamespace {
            mode: cri::NamespaceMode::Node.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn seccomp(
    profile: Option<&SeccompProfile>,
    root: &str,
) -> Result<cri::SecurityProfile, SpecError> {
    use cri::security_profile::ProfileType;
    let (kind, path) = match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", Some(name))) if !name.is_empty() => {
            (ProfileType::Localhost, format!("{root}/{name}"))
        }
        Some(("Localhost", _)) => {
            let why = "localhostProfile must be set if seccompProfile type is Localhost.";
            return Err(SpecError::Config(why.to_owned()));
        }
        Some(_) | None => (ProfileType::Unconfined, String::new()),
    };
    Ok(cri::SecurityProfile { profile_type: kind.into(), localhost_ref: path })
}

fn app_armor(profile: &AppArmorProfile) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let kind = match profile.type_.as_str() {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let name = profile.localhost_profile.clone().filter(|_| kind == ProfileType::Localhost);
    cri::SecurityProfile { profile_type: kind.into(), localhost_ref: name.unwrap_or_default() }
}

/// Whether some container of the pod is privileged.
fn has_privileged(spec: &PodSpec) -> bool {
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut contexts = all.filter_map(|c| c.security_context.as_ref());
    contexts.any(|context| context.privileged == Some(true))
}

/// The context of a sandbox. Its own process needs nothing that the default profile forbids.
pub(crate) fn of_sandbox(spec: &PodSpec) -> cri::LinuxSandboxSecurityContext {
    let context = spec.security_context.clone().unwrap_or_default();
    cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        selinux_options: context.se_linux_options.as_ref().map(selinux),
        run_as_user: context.run_as_user.map(int64),
        // The runtime refuses a group without a user.
        run_as_group: context.run_as_group.filter(|_| context.run_as_user.is_some()).map(int64),
        supplemental_groups: groups(&context),
        supplemental_groups_policy: group_policy(&context),
        privileged: has_privileged(spec),
        seccomp: Some(cri::SecurityProfile::default()),
        ..Default::default()
    }
}

/// The context of a container of an image that names this user.
///
/// # Errors
/// When a profile is named without its name.
pub(crate) fn of_container(
    spec: &PodSpec,
    container: &Container,
    image: &ImageUser,
    seccomp_root: &str,
) -> Result<cri::LinuxContainerSecurityContext, SpecError> {
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    // Not every runtime knows by itself that nothing is hidden from a privileged container.
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() }
    };
    let asked = own.run_as_user.or(of_pod.run_as_user);
    let (number, name) = match (asked, image) {
        (Some(uid), _) => (Some(uid), String::new()),
        (None, ImageUser::Number(uid)) => (Some(*uid), String::new()),
        (None, ImageUser::Name(name)) => (None, name.clone()),
    };
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let armor = own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref());
    Ok(cri::LinuxContainerSecurityContext {
        capabilities: own.capabilities.map(|caps| cri::Capability {
            add_capabilities: caps.add.unwrap_or_default(),
            drop_capabilities: caps.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(spec)),
        selinux_options: own
            .se_linux_options
            .or(of_pod.se_linux_options.clone())
            .as_ref()
            .map(selinux),
        run_as_user: number.map(int64),
        run_as_username: name,
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(int64),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: group_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(seccomp(profile, seccomp_root)?),
        apparmor: armor.map(app_armor),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(of_pod: serde_json::Value, own: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": of_pod,
                "containers": [{"name": "c", "securityContext": own}]}}))
        .unwrap()
    }

    #[test]
    fn a_container_that_may_not_be_root_is_refused_when_it_would_be_or_nobody_knows() {
        let (root, other) = (ImageUser::Number(0), ImageUser::Number(7));
        let named = ImageUser::Name("web".to_owned());
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        for (of_pod, own, image, want) in [
            ("{}", "{}", &root, ""),
            (r#"{"runAsNonRoot": true}"#, "{}", &root, "image will run as root"),
            (r#"{"runAsNonRoot": true}"#, "{}", &other, ""),
            (r#"{"runAsNonRoot": true}"#, "{}", &named, "image has non-numeric user (web)"),
            (r#"{"runAsNonRoot": true}"#, r#"{"runAsNonRoot": false}"#, &root, ""),
            (r#"{"runAsNonRoot": true, "runAsUser": 5}"#, "{}", &root, ""),
            (
                r#"{"runAsNonRoot": true, "runAsUser": 5}"#,
                r#"{"runAsUser": 0}"#,
                &other,
                "container's runAsUser breaks non-root policy (pod: \"p_n(u)\", container: c)",
            ),
        ] {
            let pod = pod(json(of_pod), json(own));
            let container = &pod.spec.as_ref().unwrap().containers[0];
            let said = verify_user(&pod, container, image)
                .map_or_else(|e| e.to_string(), |()| String::new());
            assert_eq!(said.is_empty(), want.is_empty(), "{said}");
            assert!(said.contains(want), "{said}");
        }
    }

    #[test]
    fn the_image_says_whom_to_run_as_when_nobody_else_does() {
        let none = pod(serde_json::json!({}), serde_json::json!({}));
        let spec = none.spec.as_ref().unwrap();
        let of = |image: &ImageUser| of_container(spec, &spec.containers[0], image, "").unwrap();
        assert_eq!(of(&ImageUser::Number(7)).run_as_user, Some(int64(7)));
        let named = of(&ImageUser::Name("web".to_owned()));
        assert_eq!((named.run_as_user, &*named.run_as_username), (None, "web"));

        let set = pod(
            serde_json::json!({"runAsUser": 5, "fsGroup": 6, "seccompProfile":
            {"type": "Localhost", "localhostProfile": "x.json"}}),
            serde_json::json!({
            "privileged": true, "procMount": "Unmasked",
            "appArmorProfile": {"type": "Localhost", "localhostProfile": "web"}}),
        );
        let spec = set.spec.as_ref().unwrap();
        let got =
            of_container(spec, &spec.containers[0], &ImageUser::Number(7), "/seccomp").unwrap();
        assert_eq!(got.run_as_user, Some(int64(5)));
        assert_eq!(got.supplemental_groups, [6]);
        assert_eq!(got.seccomp.unwrap().localhost_ref, "/seccomp/x.json");
        assert_eq!(got.apparmor.unwrap().localhost_ref, "web");
        assert!(got.privileged && got.masked_paths.is_empty() && got.readonly_paths.is_empty());
        assert!(of_sandbox(spec).privileged);
    }
}
