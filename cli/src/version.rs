//! What this binary is, and which levels of its wires it speaks.

use serde::Serialize;

/// The etcd level that the store answers with in `Status` and `/version`.
pub(crate) const ETCD_LEVEL: &str = "3.6.0";
/// The Kubernetes level that the API server answers with in `/version`.
pub(crate) const KUBERNETES_LEVEL: &str = "v1.36.2";

/// `orlop version`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version {
    version: &'static str,
    git_commit: &'static str,
    etcd: &'static str,
    kubernetes: &'static str,
    target: String,
}

impl Version {
    pub(crate) fn of_this_binary() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            git_commit: env!("ORLOP_GIT_COMMIT"),
            etcd: ETCD_LEVEL,
            kubernetes: KUBERNETES_LEVEL,
            target: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }

    pub(crate) fn for_people(&self) -> String {
        format!(
            "orlop {}\ngit commit   {}\netcd         {} (v3 API)\nkubernetes   {}\ntarget       {}",
            self.version, self.git_commit, self.etcd, self.kubernetes, self.target
        )
    }
}
