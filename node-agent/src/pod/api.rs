//! What the agent reads from and writes to the API about pods: status, events, sources, deletion.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::services::Services;
use super::sources::{Keeper, Tokens};
use crate::limits::{API_CALL, EVENT_MEMORY, EVENT_QUEUE};
use crate::spec::SpecError;
use crate::spec::env::Sources;
use crate::status::is_own;

/// The API as one node's pods use it. `None` inside: this agent stands alone.
#[derive(Clone)]
pub(crate) struct PodApi {
    client: Option<kube::Client>,
    kept: Arc<Keeper>,
    services: Arc<Services>,
    events: mpsc::Sender<(Arc<Pod>, &'static str, &'static str, String)>,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// The pod is not there any more, or another one has its name.
    Gone,
    /// Nobody answered, or the answer was no: try again.
    No,
}

impl PodApi {
    /// Starts the writer of events; it ends when the last handle is dropped.
    pub(crate) fn start(client: Option<kube::Client>, node: &str) -> Self {
        let (events, queue) = mpsc::channel(EVENT_QUEUE);
        tokio::spawn(write_events(client.clone(), node.to_owned(), queue));
        let kept = Arc::new(Keeper::new(client.clone()));
        let services = Arc::new(Services::start(client.clone()));
        Self { kept, services, client, events }
    }

    /// Queues an event about a pod; a full queue drops it.
    pub(crate) fn event(
        &self,
        pod: &Arc<Pod>,
        warning: bool,
        reason: &'static str,
        message: String,
    ) {
        let kind = if warning { "Warning" } else { "Normal" };
        debug!(pod = pod.metadata.name, reason, message);
        if self.events.try_send((pod.clone(), kind, reason, message)).is_err() {
            warn!(reason, "an event was dropped: the queue is full");
        }
    }

    fn pods(&self, pod: &Pod) -> Option<Api<Pod>> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        Some(Api::namespaced(self.client.clone()?, namespace))
    }

    /// Writes a status that differs from `old`; `uid` is that of the object in the API.
    pub(crate) async fn write_status(
        &self,
        pod: &Pod,
        uid: &str,
        old: &PodStatus,
        new: &PodStatus,
    ) -> Written {
        let Some(api) = self.pods(pod) else { return Written::Yes };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let body = json!({"metadata": {"uid": uid}, "status": status_patch(old, new)});
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&body));
        let call = api.patch_status(name, &params, &patch);
        match tokio::time::timeout(API_CALL, call).await {
            Ok(Ok(_)) => Written::Yes,
            Ok(Err(kube::Error::Api(status))) if is_gone(status.code, &status.message) => {
                Written::Gone
            }
            Ok(Err(error)) => {
                warn!(name, %error, "cannot write the status of a pod");
                Written::No
            }
            Err(_) => Written::No,
        }
    }

    /// Ends the deletion of a pod that has stopped.
    pub(crate) async fn delete(&self, pod: &Pod, uid: &str) -> Written {
        let Some(api) = self.pods(pod) else { return Written::Yes };
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(preconditions);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match tokio::time::timeout(API_CALL, api.delete(name, &params)).await {
            Ok(Ok(_)) => Written::Yes,
            Ok(Err(kube::Error::Api(status))) if is_gone(status.code, &status.message) => {
                Written::Gone
            }
            Ok(Err(_)) | Err(_) => Written::No,
        }
    }

    /// The configMaps and secrets that the pod names; see [`Keeper::sources`].
    pub(crate) async fn sources(&self, pod: &Pod) -> Result<Arc<Sources>, SpecError> {
        self.kept.sources(pod).await
    }

    /// The tokens of the pod's volumes; see [`Keeper::tokens`].
    pub(crate) async fn tokens(&self, pod: &Pod) -> Result<Tokens, SpecError> {
        self.kept.tokens(pod).await
    }

    /// What containers are told about services; see [`Services::variables`].
    pub(crate) async fn services(
        &self,
        namespace: &str,
        wants_links: bool,
        is_static: bool,
    ) -> Result<Vec<(String, String)>, SpecError> {
        self.services.variables(namespace, wants_links, is_static).await
    }

    /// Drops what is kept for a pod that has ended.
    pub(crate) fn forget(&self, uid: &str) {
        self.kept.forget(uid);
    }
}

/// Whether an answer says that the pod is gone, or another one has its name: a patch with the uid
/// of a pod that was there before is invalid, as uids never change.
fn is_gone(code: u16, message: &str) -> bool {
    [404, 409].contains(&code) || (code == 422 && message.contains("metadata.uid"))
}

/// A strategic merge patch from one status to another: what went away is said to be null.
fn status_patch(old: &PodStatus, new: &PodStatus) -> Value {
    let old = serde_json::to_value(old).unwrap_or_default();
    let mut patch = serde_json::to_value(new).unwrap_or_default();
    if let Some(conditions) = patch["conditions"].as_array_mut() {
        // Those of others are not ours to write: they may have changed since.
        conditions.retain(|condition| condition["type"].as_str().is_some_and(is_own));
    }
    for condition in patch["conditions"].as_array_mut().into_iter().flatten() {
        for field in ["reason", "message", "lastProbeTime"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
    }
    for (field, key) in [("podIPs", "ip"), ("hostIPs", "ip")] {
        // These lists merge by key: addresses that went away have to be named.
        let stay = patch[field].clone();
        for gone in old[field].as_array().into_iter().flatten() {
            if !stay.as_array().is_some_and(|list| list.contains(gone))
                && let Some(list) = patch[field].as_array_mut()
            {
                list.push(json!({"$patch": "delete", key: gone[key]}));
            }
        }
    }
    for field in ["reason", "message", "initContainerStatuses"] {
        if old.get(field).is_some() && patch.get(field).is_none() {
            patch[field] = Value::Null;
        }
    }
    patch
}

/// Writes events one by one; a repeat raises the count of the first.
async fn write_events(
    client: Option<kube::Client>,
    node: String,
    mut queue: mpsc::Receiver<(Arc<Pod>, &'static str, &'static str, String)>,
) {
    let mut known: HashMap<String, (String, i32)> = HashMap::new();
    while let Some((pod, kind, reason, message)) = queue.recv().await {
        let Some(client) = client.clone() else { continue };
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client, &namespace);
        let uid = meta.uid.clone().unwrap_or_default();
        let key = format!("{uid} {reason} {message}");
        let now = Time(Timestamp::now());
        if let Some((name, count)) = known.get_mut(&key) {
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": now});
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            if let Ok(Ok(_)) =
                tokio::time::timeout(API_CALL, api.patch(name, &params, &patch)).await
            {
                continue;
            }
        }
        if known.len() >= EVENT_MEMORY {
            known.clear();
        }
        let pod_name = meta.name.clone().unwrap_or_default();
        let name = format!("{pod_name}.{:x}", Timestamp::now().as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                ..Default::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod_name),
                namespace: Some(namespace),
                uid: Some(uid),
                ..Default::default()
            },
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(node.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(node.clone()),
            ..Default::default()
        };
        match tokio::time::timeout(API_CALL, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => {
                known.insert(key, (name, 1));
            }
            Ok(Err(error)) => debug!(%error, reason, "an event was not taken"),
            Err(_) => debug!(reason, "an event was not taken in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_was_replaced_under_its_name_is_gone() {
        let replaced =
            "Pod \"p\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable";
        assert!(is_gone(422, replaced));
        assert!(!is_gone(422, "Pod \"p\" is invalid: status.phase: Invalid value"));
        assert!(is_gone(404, "") && is_gone(409, "") && !is_gone(500, "metadata.uid"));
    }

    #[test]
    fn what_went_away_is_named_in_the_patch() {
        let status = |value: Value| -> PodStatus { serde_json::from_value(value).unwrap() };
        let old = status(json!({"podIPs": [{"ip": "1"}, {"ip": "2"}], "reason": "Evicted",
            "conditions": [{"type": "Ready", "status": "False", "reason": "X"}]}));
        let new = status(json!({"podIPs": [{"ip": "2"}],
            "conditions": [{"type": "example.com/gate", "status": "True"},
                {"type": "Ready", "status": "True"}]}));
        let patch = status_patch(&old, &new);
        assert_eq!(patch["conditions"].as_array().unwrap().len(), 1, "others write their own");
        assert_eq!(patch["podIPs"], json!([{"ip": "2"}, {"$patch": "delete", "ip": "1"}]));
        assert_eq!(patch["conditions"][0]["reason"], Value::Null);
        assert!(patch.as_object().unwrap().contains_key("reason"));
    }
}
