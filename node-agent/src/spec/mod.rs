//! A pod of the API turned into what the runtime is asked to make.

pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod hosts;
pub(crate) mod make;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod services;
pub(crate) mod totals;

use k8s_openapi::api::core::v1::Pod;

/// Why a pod cannot be turned into containers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    /// A configMap or secret that it needs, or a key in it, is not there (yet).
    #[error("{0}")]
    Config(String),
    /// It asks for what this agent cannot do.
    #[error("{0}")]
    Invalid(String),
}

impl SpecError {
    /// The object is not there.
    pub(crate) fn missing(kind: &str, name: &str) -> Self {
        Self::Config(format!("{kind} {name:?} not found"))
    }
}

/// A pod in messages: `name_namespace(uid)`.
pub(crate) fn described(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}
