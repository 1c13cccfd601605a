//! Which plugins run, as upstream's flags name them.
//!
//! Those that upstream has on by default and that are here cannot be switched off; the only one that
//! can be switched on is `NodeRestriction`.

use std::collections::BTreeSet;

const NODE_RESTRICTION: &str = "NodeRestriction";
/// On by default upstream, and always on here.
const ON: [&str; 20] = [
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DefaultTolerationSeconds",
    "LimitRanger",
    "MutatingAdmissionPolicy",
    "NamespaceLifecycle",
    "PersistentVolumeClaimResize",
    "PodResizeValidator",
    "PodSecurity",
    "PodTopologyLabels",
    "Priority",
    "ResourceQuota",
    "RuntimeClass",
    "ServiceAccount",
    "StorageObjectInUseProtection",
    "TaintNodesByCondition",
    "ValidatingAdmissionPolicy",
];
/// Upstream's others.
const ABSENT: [&str; 20] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "ClusterTrustBundleAttest",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "JobValidation",
    "LimitPodHardAntiAffinityTopology",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
    "OwnerReferencesPermissionEnforcement",
    "PodGroupProtection",
    "PodGroupWorkloadExists",
    "PodNodeSelector",
    "PodTolerationRestriction",
    "ValidatingAdmissionWebhook",
];

/// The plugins of admission that are not always on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plugins {
    /// Whether a node agent may write only what is its own.
    pub node_restriction: bool,
}

impl Plugins {
    /// What the two flags ask for; the flag that cannot be heeded, and why.
    pub(crate) fn parse(
        enabled: &[String],
        disabled: &[String],
    ) -> Result<Self, (&'static str, String)> {
        let (enabling, disabling) = ("enable-admission-plugins", "disable-admission-plugins");
        for (flag, names, are_fine) in [(enabling, enabled, true), (disabling, disabled, false)] {
            for name in names.iter().map(String::as_str) {
                let (is_on, is_absent) = (ON.contains(&name), ABSENT.contains(&name));
                if !is_on && !is_absent && name != NODE_RESTRICTION {
                    return Err((flag, format!("plugin {name:?} is unknown")));
                }
                if is_absent && are_fine {
                    return Err((flag, format!("{name} is not implemented")));
                }
                if is_on && !are_fine {
                    return Err((flag, format!("{name} cannot be switched off")));
                }
            }
        }
        let disabled: BTreeSet<&str> = disabled.iter().map(String::as_str).collect();
        let is_both = |name: &&String| disabled.contains(name.as_str());
        if let Some(name) = enabled.iter().find(is_both) {
            let why = format!("[{name}] in {enabling} and {disabling} overlapped");
            return Err((enabling, why));
        }
        Ok(Self { node_restriction: enabled.iter().any(|name| name == NODE_RESTRICTION) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(enabled: &[&str], disabled: &[&str]) -> Result<Plugins, String> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        Plugins::parse(&owned(enabled), &owned(disabled))
            .map_err(|(flag, why)| format!("{flag}: {why}"))
    }

    #[test]
    fn a_plugin_that_is_not_there_is_refused_and_not_passed_over() {
        let with = |node_restriction| Ok(Plugins { node_restriction });
        let refused = |why: &str| Err(why.to_owned());
        for (enabled, disabled, wanted) in [
            (&[][..], &[][..], with(false)),
            (&["NodeRestriction"], &[], with(true)),
            (&["LimitRanger", "NodeRestriction"], &["AlwaysDeny"], with(true)),
            (&[], &["NodeRestriction"], with(false)),
            (&["Nothing"], &[], refused("enable-admission-plugins: plugin \"Nothing\" is unknown")),
            (&[], &["a"], refused("disable-admission-plugins: plugin \"a\" is unknown")),
            (
                &["AlwaysPullImages"],
                &[],
                refused("enable-admission-plugins: AlwaysPullImages is not implemented"),
            ),
            (
                &[],
                &["ResourceQuota"],
                refused("disable-admission-plugins: ResourceQuota cannot be switched off"),
            ),
            (
                &["NodeRestriction"],
                &["NodeRestriction"],
                refused(
                    "enable-admission-plugins: [NodeRestriction] in enable-admission-plugins and disable-admission-plugins overlapped",
                ),
            ),
        ] {
            assert_eq!(parsed(enabled, disabled), wanted, "{enabled:?} {disabled:?}");
        }
    }
}
