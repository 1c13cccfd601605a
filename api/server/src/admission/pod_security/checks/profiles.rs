//! Profiles that take system calls and files from a pod: AppArmor and seccomp.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, plural, quoted, setters, text, violates};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn is_known(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// A profile's type that may not be, unless there is no profile.
fn bad_kind<'a>(context: &'a Value, field: &str) -> Option<&'a str> {
    let profile = Some(&context[field]).filter(|profile| profile.is_object())?;
    Some(text(&profile["type"])).filter(|kind| !is_known(kind))
}

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = Texts::new();
    let pods = bad_kind(pod.context(), "appArmorProfile");
    kinds.extend(pods);
    let bad = pod.which(|container| {
        let kind = bad_kind(&container["securityContext"], "appArmorProfile");
        kinds.extend(kind);
        kind.is_some()
    });
    let annotations = pod.annotations().filter(|(key, value)| {
        let is_fine = matches!(*value, "" | "runtime/default") || value.starts_with("localhost/");
        key.starts_with(APP_ARMOR) && !is_fine
    });
    let annotations: BTreeSet<String> =
        annotations.map(|(key, value)| format!("{key}={value:?}")).collect();
    let noted = plural(annotations.len(), "annotation", "annotations");
    let noted = (!annotations.is_empty()).then(|| noted.to_owned());
    let who: Vec<String> = setters(pods.is_some(), &bad).into_iter().chain(noted).collect();
    if who.is_empty() {
        return None;
    }
    let values: Vec<&str> =
        kinds.into_iter().chain(annotations.iter().map(String::as_str)).collect();
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    let detail =
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values));
    violates(reason, detail)
}

/// Before there was a field for it.
pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.containers.iter().map(|one| format!("{SECCOMP}{}", text(&one["name"])));
    let keys: BTreeSet<String> = names.chain([SECCOMP_POD.to_owned()]).collect();
    let bad = keys.iter().filter_map(|key| {
        let value = pod.metadata["annotations"][key.as_str()].as_str()?;
        let is_fine = matches!(value, "runtime/default" | "docker/default")
            || value.starts_with("localhost/");
        (!is_fine).then(|| format!("{key}={value:?}"))
    });
    let bad: BTreeSet<String> = bad.collect();
    if bad.is_empty() {
        return None;
    }
    let noted = plural(bad.len(), "annotation", "annotations");
    let bad = bad.into_iter().collect::<Vec<_>>().join(", ");
    violates("seccompProfile", format!("forbidden {noted} {bad}"))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = Texts::new();
    let pods = bad_kind(pod.context(), "seccompProfile");
    kinds.extend(pods);
    let bad = pod.which(|container| {
        let kind = bad_kind(&container["securityContext"], "seccompProfile");
        kinds.extend(kind);
        kind.is_some()
    });
    let who = setters(pods.is_some(), &bad)?;
    let kinds = quoted(&kinds);
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {kinds}");
    violates("seccompProfile", detail)
}

pub(super) fn seccomp_required(pod: &Pod<'_>) -> Option<Violation> {
    if let Some(bad) = seccomp(pod) {
        return Some(bad);
    }
    let has = |context: &Value| context["seccompProfile"].is_object();
    if has(pod.context()) {
        return None;
    }
    let bare = pod.which(|container| !has(&container["securityContext"]));
    if bare.is_empty() {
        return None;
    }
    let who = containers(&bare);
    let detail = format!(
        "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
    );
    violates("seccompProfile", detail)
}

pub(super) fn seccomp_required_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_for_windows() { None } else { seccomp_required(pod) }
}
