//! Operating systems: what Windows has of its own, and what it does not have.

use serde_json::{Value, json};

use super::restart::supported;
use super::security::forbidden_fields;
use super::{all_containers, given, invalid_each, names, text};
use crate::field::{Error, Path};

const CREDENTIAL_BYTES_MAX: usize = 64 * 1024;
const DOMAIN_BYTES_MAX: usize = 255;
const USER_BYTES_MAX: usize = 104;

pub(super) fn options(options: &Value, path: &Path, errors: &mut Vec<Error>) {
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        let path = path.child("gmsaCredentialSpecName");
        invalid_each(&path, name, names::subdomain_1123(name), errors);
    }
    if let Some(credential) = options["gmsaCredentialSpec"].as_str() {
        let why = match credential.len() {
            0 => "gmsaCredentialSpec cannot be an empty string",
            1..=CREDENTIAL_BYTES_MAX => "",
            _ => "gmsaCredentialSpec size must be under 64 KiB",
        };
        if !why.is_empty() {
            errors.push(Error::invalid(&path.child("gmsaCredentialSpec"), credential, why));
        }
    }
    if let Some(name) = options["runAsUserName"].as_str() {
        invalid_each(&path.child("runAsUserName"), name, user_name(name), errors);
    }
}

/// `user` or `domain\user`.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.bytes().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let parts: Vec<_> = name.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut problems = Vec::new();
    if domain.is_some_and(|domain| domain.len() > DOMAIN_BYTES_MAX) {
        problems.push("runAsUserName's Domain length must be under 256 characters".to_owned());
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        let why = "runAsUserName's Domain doesn't match the NetBios nor the DNS format";
        problems.push(why.to_owned());
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_BYTES_MAX {
        let why = format!(
            "runAsUserName's User length must not be longer than {USER_BYTES_MAX} characters"
        );
        problems.push(why);
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        problems.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user
        .contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']'])
    {
        let why =
            r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
        problems.push(why.to_owned());
    }
    problems
}

fn is_net_bios(domain: &str) -> bool {
    let is_bad = |c: char| matches!(c, '\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(is_bad)
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_alphanumeric()
            && bytes[bytes.len() - 1].is_ascii_alphanumeric()
            && bytes.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
    })
}

/// Containers that are processes of the host: all of a pod or none, and on the host's network.
pub(super) fn host_process(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let switch = |context: &Value| context["windowsOptions"]["hostProcess"].as_bool();
    let of_pod = switch(&spec["securityContext"]);
    let all = all_containers(spec, path);
    let mut count = 0;
    for (one, path) in &all {
        let own = switch(&one["securityContext"]);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let why = format!(
                "pod hostProcess value must be identical if both are specified, was {of_pod}"
            );
            errors.push(Error::invalid(&path, own, why));
        }
        count += usize::from(own.or(of_pod) == Some(true));
    }
    if count == 0 {
        return;
    }
    if count != all.len() {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(path, "", why));
    }
    if spec["hostNetwork"] != true {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&path.child("hostNetwork"), json!(false), why));
    }
}

const LINUX_ONLY_OF_POD_CONTEXT: [&[&str]; 4] = [
    &["appArmorProfile", "seLinuxOptions"],
    &["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"],
    &["runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy"],
    &["seLinuxChangePolicy"],
];
const LINUX_ONLY_OF_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

pub(super) fn operating_system(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let Some(os) = given(spec, "os") else { return };
    let name_path = path.child("os").child("name");
    match text(os, "name") {
        "" => errors.push(Error::required(&name_path, "")),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        // Told at the structure, as upstream does.
        other => supported(&path.child("os"), other, &["linux", "windows"], errors),
    }
}

fn linux(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let why = "windows options cannot be set for a linux pod";
    let mut of = |context: &Value, path: &Path| {
        forbidden_fields(context, &["windowsOptions"], why, &path.child("securityContext"), errors);
    };
    of(&spec["securityContext"], path);
    for (one, path) in all_containers(spec, path) {
        of(&one["securityContext"], &path);
    }
}

fn windows(spec: &Value, path: &Path, errors: &mut Vec<Error>) {
    let why = "cannot be set for a windows pod";
    let (context, context_path) = (&spec["securityContext"], path.child("securityContext"));
    // The fields of the spec stand between those of the context, as in upstream's type.
    if !context.is_null() {
        let [first, second, third, fourth] = LINUX_ONLY_OF_POD_CONTEXT;
        forbidden_fields(context, first, why, &context_path, errors);
        forbidden_fields(spec, &["hostUsers", "hostPID", "hostIPC"], why, path, errors);
        forbidden_fields(context, second, why, &context_path, errors);
        forbidden_fields(spec, &["shareProcessNamespace"], why, path, errors);
        forbidden_fields(context, third, why, &context_path, errors);
        forbidden_fields(context, fourth, why, &context_path, errors);
    }
    for (one, path) in all_containers(spec, path) {
        let path = path.child("securityContext");
        forbidden_fields(&one["securityContext"], &LINUX_ONLY_OF_CONTAINER, why, &path, errors);
    }
}
