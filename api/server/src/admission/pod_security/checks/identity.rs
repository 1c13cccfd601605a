//! As whom containers run, and what they may do as such.

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, items, quoted, setters, text, violates};

fn context(container: &Value) -> &Value {
    &container["securityContext"]
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.which(|container| context(container)["privileged"] == true);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.privileged=true", containers(&bad));
    violates("privileged", detail)
}

/// What container runtimes give to everybody.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The containers that add capabilities beyond some, and those capabilities.
fn adding<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, Texts<'a>) {
    let mut capabilities = Texts::new();
    let bad = pod.which(|container| {
        let added = items(&context(container)["capabilities"]["add"]).map(text);
        let added: Vec<&str> = added.filter(|one| !allowed.contains(one)).collect();
        capabilities.extend(&added);
        !added.is_empty()
    });
    (bad, capabilities)
}

fn must_not_add(bad: &[&str], capabilities: &Texts<'_>) -> String {
    format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(bad),
        quoted(capabilities)
    )
}

pub(super) fn capabilities_baseline(pod: &Pod<'_>) -> Option<Violation> {
    let (bad, capabilities) = adding(pod, &DEFAULT_CAPABILITIES);
    if bad.is_empty() {
        return None;
    }
    violates("non-default capabilities", must_not_add(&bad, &capabilities))
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let holding = pod.which(|container| {
        !items(&context(container)["capabilities"]["drop"]).any(|one| one == "ALL")
    });
    let (bad, capabilities) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !holding.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&holding)
        ));
    }
    if !bad.is_empty() {
        details.push(must_not_add(&bad, &capabilities));
    }
    if details.is_empty() {
        return None;
    }
    violates("unrestricted capabilities", details.join("; "))
}

pub(super) fn capabilities_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_for_windows() { None } else { capabilities(pod) }
}

pub(super) fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.which(|container| context(container)["allowPrivilegeEscalation"] != false);
    if bad.is_empty() {
        return None;
    }
    let detail =
        format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
    violates("allowPrivilegeEscalation != false", detail)
}

pub(super) fn escalation_25(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_for_windows() { None } else { escalation(pod) }
}

pub(super) fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let of = |context: &Value| context["runAsNonRoot"].as_bool();
    let pods = of(pod.context());
    let explicit = pod.which(|container| of(context(container)) == Some(false));
    if let Some(who) = setters(pods == Some(false), &explicit) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return violates(REASON, detail);
    }
    let implicit = pod.which(|container| of(context(container)).or(pods).is_none());
    if implicit.is_empty() {
        return None;
    }
    let who = containers(&implicit);
    violates(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
}

pub(super) fn non_root_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { non_root(pod) }
}

pub(super) fn user(pod: &Pod<'_>) -> Option<Violation> {
    let is_root = |context: &Value| context["runAsUser"].as_i64() == Some(0);
    let bad = pod.which(|container| is_root(context(container)));
    let who = setters(is_root(pod.context()), &bad)?;
    violates("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn user_35(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { user(pod) }
}
