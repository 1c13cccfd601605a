//! What every watch consumer of the API needs: informers, work queues, leader election, events, health.
//!
//! The crate stands on the kube client alone, so that the loops built on it work on any Kubernetes API server.

pub mod account;
pub mod events;
pub mod informer;
pub mod leader_election;
pub mod lenient;
pub mod limits;
pub mod process;
pub mod queue;

pub use account::Accounts;
pub use events::Recorder;
pub use informer::{Informer, Store};
pub use leader_election::{Election, ElectionFlags, Lost};
pub use process::Health;
pub use queue::{Outcome, WorkQueue};

/// The time of an API object's field: whole seconds, as the API stores it.
#[must_use]
pub fn api_time(now: jiff::Timestamp) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        jiff::Timestamp::from_second(now.as_second())
            .expect("the seconds of a valid timestamp are a valid timestamp"),
    )
}

/// `namespace/name`, or `name` alone for a cluster-scoped object: the key of stores and queues.
pub fn key_of<K: kube::Resource>(object: &K) -> String {
    key_of_meta(object.meta())
}

/// The same of an object's metadata.
#[must_use]
pub fn key_of_meta(meta: &kube::core::ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

/// The two halves of a key made by [`key_of`]; the namespace is empty for a cluster-scoped object.
#[must_use]
pub fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

/// The HTTP code of an API error; none when the request never got an answer.
#[must_use]
pub fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// True for "no such object".
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    status_code(error) == Some(404)
}

/// True for a write that lost against a newer resourceVersion (or an existing object).
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    status_code(error) == Some(409)
}
