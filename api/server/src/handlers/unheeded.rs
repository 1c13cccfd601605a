//! Kinds that are kept and that nothing here acts on yet: who creates one is warned.
//!
//! A kind leaves its list with the code that heeds it.

use api_machinery::ResourceInfo;

/// What is called over the network.
const WEBHOOKS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// What upstream's controller manager or a node acts on, and ours do not.
const BY_CONTROLLERS: [&str; 12] = [
    "ReplicationController",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "HorizontalPodAutoscaler",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CertificateSigningRequest",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "NetworkPolicy",
];

/// The warning for a new object of a kind; `None` for kinds that are heeded, and for those that other
/// programs bring their own controllers for, as with upstream (Ingress, CSI drivers).
pub(super) fn warning(kind: &ResourceInfo) -> Option<String> {
    let name = kind.kind;
    if WEBHOOKS.contains(&name) {
        return Some(format!(
            "this server keeps {name} objects, and does not call the webhooks yet"
        ));
    }
    BY_CONTROLLERS.contains(&name).then(|| {
        format!("no controller of this server carries out {name} objects yet; one of yours may")
    })
}

#[cfg(test)]
mod tests {
    use api_machinery::kinds;

    use super::*;

    #[test]
    fn every_kind_that_is_named_is_served() {
        for name in WEBHOOKS.iter().chain(&BY_CONTROLLERS) {
            let found = kinds::all().iter().find(|kind| kind.kind == *name);
            assert!(found.and_then(warning).is_some(), "{name}");
        }
        let heeded = kinds::find("apps", "v1", "deployments").unwrap();
        assert_eq!(warning(heeded), None);
    }
}
