//! Why a body or a patched tree of one kind is not taken for another, in upstream's words.

use super::Expected;
use crate::kinds;

/// `None` when it is what is expected; what it leaves out is.
pub(crate) fn mismatch(api_version: &str, kind: &str, expected: Expected<'_>) -> Option<String> {
    let is = |one: &str, expected: &str| one.is_empty() || one == expected;
    if is(api_version, expected.api_version) && is(kind, expected.kind) {
        return None;
    }
    let kind = if kind.is_empty() { expected.kind } else { kind };
    let from = if api_version.is_empty() { expected.api_version } else { api_version };
    let is_known = from.matches('/').count() < 2 && kinds::type_of(from, kind).is_some();
    if !is_known {
        return Some(format!(
            "no kind {kind:?} is registered for version {from:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ));
    }
    let (_, version) = kinds::split_api_version(from);
    let (group, _) = kinds::split_api_version(expected.api_version);
    let group = match group {
        "" => "core",
        other => other.split('.').next().unwrap_or(other),
    };
    Some(format!(
        "converting ({version}.{kind}) to ({group}.{}): unknown conversion",
        expected.kind
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a kube-apiserver 1.36 said it.
    #[test]
    fn another_kind_is_refused_in_upstreams_words() {
        let scheme = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
        let map = Expected { api_version: "v1", kind: "ConfigMap" };
        let deployment = Expected { api_version: "apps/v1", kind: "Deployment" };
        let role = Expected { api_version: "rbac.authorization.k8s.io/v1", kind: "ClusterRole" };
        for (api_version, kind, expected, why) in [
            (
                "v1",
                "Pod",
                map,
                "converting (v1.Pod) to (core.ConfigMap): unknown conversion".into(),
            ),
            (
                "apps/v1",
                "Deployment",
                map,
                "converting (v1.Deployment) to (core.ConfigMap): unknown conversion".into(),
            ),
            (
                "v1",
                "Nonesuch",
                map,
                format!("no kind \"Nonesuch\" is registered for version \"v1\" {scheme}"),
            ),
            (
                "v2",
                "ConfigMap",
                map,
                format!("no kind \"ConfigMap\" is registered for version \"v2\" {scheme}"),
            ),
            (
                "v1",
                "Deployment",
                map,
                format!("no kind \"Deployment\" is registered for version \"v1\" {scheme}"),
            ),
            (
                "",
                "DaemonSet",
                deployment,
                "converting (v1.DaemonSet) to (apps.Deployment): unknown conversion".into(),
            ),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRoleBinding",
                role,
                "converting (v1.ClusterRoleBinding) to (rbac.ClusterRole): unknown conversion"
                    .into(),
            ),
        ] {
            assert_eq!(mismatch(api_version, kind, expected), Some(why));
        }
        assert_eq!(mismatch("", "", map), None);
        assert_eq!(mismatch("v1", "ConfigMap", map), None);
    }
}
