//! The services of the cluster as the API told them, for the environment of containers.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::api::{Api, ApiResource};
use kube::core::Object;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits::SERVICES_FIRST_LIST;
use crate::spec::SpecError;
use crate::spec::services::variables;

/// A Service as it is read: what others said of its state may not fit the type, and is not looked at.
type Told = Object<ServiceSpec, serde_json::Value>;

/// Services by namespace and name.
type Known = HashMap<(String, String), Service>;

/// Watches services until it is dropped.
pub(super) struct Services {
    known: Arc<Mutex<Known>>,
    /// Whether the API told all of them at least once. `None`: there is no API.
    is_listed: Option<watch::Receiver<bool>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Services {
    fn drop(&mut self) {
        self.task.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn key(service: &Service) -> (String, String) {
    let meta = &service.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

impl Services {
    pub(super) fn start(client: Option<kube::Client>) -> Self {
        let known = Arc::<Mutex<Known>>::default();
        let Some(client) = client else { return Self { known, is_listed: None, task: None } };
        let (listed, is_listed) = watch::channel(false);
        let task = tokio::spawn(follow(client, known.clone(), listed));
        Self { known, is_listed: Some(is_listed), task: Some(task) }
    }

    /// The variables of containers in `namespace`.
    ///
    /// # Errors
    /// When the API has not told its services yet: a pod of the API waits for them, a static one
    /// for nobody.
    pub(super) async fn variables(
        &self,
        namespace: &str,
        wants_links: bool,
        is_static: bool,
    ) -> Result<Vec<(String, String)>, SpecError> {
        if let Some(is_listed) = &self.is_listed
            && !is_static
        {
            let mut is_listed = is_listed.clone();
            let first = is_listed.wait_for(|listed| *listed);
            if !matches!(tokio::time::timeout(SERVICES_FIRST_LIST, first).await, Ok(Ok(_))) {
                return Err(SpecError::Config(
                    "services have not yet been read at least once, cannot construct envvars"
                        .to_owned(),
                ));
            }
        }
        Ok(variables(self.known.lock().values(), namespace, wants_links))
    }
}

fn known_as(told: Told) -> Service {
    Service { metadata: told.metadata, spec: Some(told.spec), status: None }
}

async fn follow(client: kube::Client, known: Arc<Mutex<Known>>, listed: watch::Sender<bool>) {
    let kind = ApiResource::erase::<Service>(&());
    let all = watcher(Api::<Told>::all_with(client, &kind), watcher::Config::default());
    let all = all.default_backoff();
    let mut all = std::pin::pin!(all);
    let mut fresh = Known::new();
    while let Some(event) = all.next().await {
        match event {
            Ok(Event::Init) => fresh.clear(),
            Ok(Event::InitApply(service)) => {
                let service = known_as(service);
                fresh.insert(key(&service), service);
            }
            Ok(Event::InitDone) => {
                *known.lock() = std::mem::take(&mut fresh);
                listed.send_replace(true);
            }
            Ok(Event::Apply(service)) => {
                let service = known_as(service);
                known.lock().insert(key(&service), service);
            }
            Ok(Event::Delete(service)) => {
                known.lock().remove(&key(&known_as(service)));
            }
            Err(error) => tracing::debug!(%error, "services cannot be watched; trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn api(code: u16, answer: serde_json::Value) -> kube::Client {
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            let body = answer.to_string().into_bytes();
            async move {
                if is_watch {
                    std::future::pending::<()>().await;
                }
                let body = Body::from(body);
                Ok::<_, std::io::Error>(http::Response::builder().status(code).body(body).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_pod_of_the_api_waits_until_services_are_known_and_a_static_one_does_not() {
        let list = json!({"kind": "ServiceList", "apiVersion": "v1",
            "metadata": {"resourceVersion": "1"}, "items": [
            {"metadata": {"namespace": "default", "name": "kubernetes"},
                "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]},
                // No time: the type of a Service has no place for such a condition.
                "status": {"conditions": [{"type": "A", "lastTransitionTime": null}]}}]});
        let services = Services::start(Some(api(200, list)));
        let told = services.variables("n", true, false).await.unwrap();
        assert!(told.contains(&("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned())));

        assert_eq!(Services::start(None).variables("n", true, false).await, Ok(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_tells_no_services_holds_its_pods_up() {
        let refused = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
        let services = Services::start(Some(api(403, refused)));
        let error = services.variables("n", true, false).await.unwrap_err().to_string();
        assert!(error.starts_with("services have not yet been read"), "{error}");
        assert_eq!(services.variables("n", true, true).await, Ok(Vec::new()), "a static pod");
    }
}
