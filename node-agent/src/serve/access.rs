//! Who may ask the agent's server what: a client of the cluster's authority, what the API allows it.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | A1 | What the API does not allow is refused, and so is everything when it cannot be asked. |
//! | A2 | A decision is kept no longer than a kubelet keeps one, and only `DECISIONS_MAX` of them. |
//! | A3 | Without an API, the certificate is enough: there is nobody to ask. |

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::{ALLOWED_KEPT, API_CALL, DECISIONS_MAX, DENIED_KEPT};

/// Whom a client's certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    name: String,
    groups: Vec<String>,
}

impl Who {
    /// `None` when it names nobody. Whether it is to be trusted was seen before.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|one| one.as_str().ok());
        let groups = groups.chain(["system:authenticated"]).map(str::to_owned).collect();
        (!name.is_empty()).then_some(Self { name, groups })
    }
}

/// What somebody asked: verb and subresource of the node.
type Question = (String, Vec<String>, &'static str, &'static str);

/// Asks the API.
#[derive(Clone)]
pub(crate) struct Access {
    api: Option<Api<SubjectAccessReview>>,
    node: String,
    decisions: Arc<Mutex<HashMap<Question, (bool, Instant)>>>,
}

/// The verb of a method; other methods have none.
fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// The subresources of the node of which one must be allowed.
fn subresources(path: &str) -> &'static [&'static str] {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "statusz" => &["statusz"],
        "flagz" => &["configz"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

impl Access {
    pub(crate) fn new(client: Option<kube::Client>, node: &str) -> Self {
        Self { api: client.map(Api::all), node: node.to_owned(), decisions: Arc::default() }
    }

    /// The answer to a request that is not allowed.
    pub(super) async fn refusal(&self, who: &Who, method: &Method, path: &str) -> Option<Response> {
        let api = self.api.as_ref()?;
        let (verb, asked) = (verb(method), subresources(path));
        let about = format!("user={}, verb={verb}, resource=nodes", who.name);
        for subresource in asked {
            match self.is_allowed(api, who, (verb, subresource)).await {
                Ok(true) => return None,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, user = who.name, "the API cannot be asked who may");
                    let why = format!("Authorization error ({about}, subresource={subresource})");
                    return Some((StatusCode::INTERNAL_SERVER_ERROR, why).into_response());
                }
            }
        }
        let why = format!("Forbidden ({about}, subresource(s)=[{}])", asked.join(" "));
        Some((StatusCode::FORBIDDEN, why).into_response())
    }

    /// A1, A2.
    async fn is_allowed(
        &self,
        api: &Api<SubjectAccessReview>,
        who: &Who,
        (verb, subresource): (&'static str, &'static str),
    ) -> Result<bool, String> {
        let question = (who.name.clone(), who.groups.clone(), verb, subresource);
        let now = Instant::now();
        let known = self.decisions.lock().get(&question).copied();
        if let Some((allowed, _)) = known.filter(|(_, until)| *until > now) {
            return Ok(allowed);
        }
        let text = |text: &str| Some(text.to_owned());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(who.name.clone()),
                groups: Some(who.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: text(verb),
                    version: text("v1"),
                    resource: text("nodes"),
                    subresource: text(subresource),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let parameters = PostParams::default();
        let asked = timeout(API_CALL, api.create(&parameters, &review)).await;
        let told = asked.map_err(|_| "no answer in time".to_owned())?;
        let told = told.map_err(|error| error.to_string())?;
        let allowed = told.status.is_some_and(|status| status.allowed);
        let kept = if allowed { ALLOWED_KEPT } else { DENIED_KEPT };
        let mut decisions = self.decisions.lock();
        if decisions.len() >= DECISIONS_MAX {
            decisions.retain(|_, (_, until)| *until > now);
        }
        if decisions.len() < DECISIONS_MAX {
            decisions.insert(question, (allowed, now + kept));
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn who(name: &str) -> Who {
        Who { name: name.to_owned(), groups: vec!["system:authenticated".to_owned()] }
    }

    /// An API that allows `reader` the pods, `root` everything, and breaks for `broken`.
    fn access() -> (Access, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let bytes = request.into_body().collect_bytes().await.unwrap();
                let review: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let spec = &review["spec"];
                assert_eq!(spec["resourceAttributes"]["name"], "node-1");
                let allowed = match spec["user"].as_str() {
                    Some("root") => true,
                    Some("reader") => spec["resourceAttributes"]["subresource"] == "pods",
                    _ => false,
                };
                let code = if spec["user"] == "broken" { 503 } else { 201 };
                let told = json!({"kind": "SubjectAccessReview",
                    "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec,
                    "status": {"allowed": allowed}});
                let body = Body::from(told.to_string().into_bytes());
                Ok::<_, std::io::Error>(http::Response::builder().status(code).body(body).unwrap())
            }
        });
        (Access::new(Some(kube::Client::new(service, "default")), "node-1"), asked)
    }

    async fn told(access: &Access, name: &str, path: &str) -> u16 {
        let refused = access.refusal(&who(name), &Method::GET, path).await;
        refused.map_or(200, |response| response.status().as_u16())
    }

    #[tokio::test]
    async fn what_the_api_does_not_allow_is_refused() {
        let (access, _) = access();
        for (name, path, code) in [
            ("root", "/containerLogs/n/p/c", 200),
            ("reader", "/pods", 200),
            ("reader", "/containerLogs/n/p/c", 403),
            ("reader", "/metrics", 403),
            ("stranger", "/pods", 403),
            ("broken", "/pods", 500),
        ] {
            assert_eq!(told(&access, name, path).await, code, "{name} {path}");
        }
        let alone = Access::new(None, "node-1");
        assert_eq!(told(&alone, "stranger", "/pods").await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_is_kept_for_a_while() {
        let (access, asked) = access();
        for _ in 0..3 {
            assert_eq!(told(&access, "root", "/exec/n/p/c").await, 200);
            assert_eq!(told(&access, "stranger", "/metrics").await, 403);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        tokio::time::advance(DENIED_KEPT + Duration::from_secs(1)).await;
        told(&access, "root", "/exec/n/p/c").await;
        told(&access, "stranger", "/metrics").await;
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        tokio::time::advance(ALLOWED_KEPT).await;
        told(&access, "root", "/exec/n/p/c").await;
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        // What could not be asked is not kept.
        told(&access, "broken", "/metrics").await;
        told(&access, "broken", "/metrics").await;
        assert_eq!(asked.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn a_certificate_says_who_asks() {
        let mut names = rcgen::DistinguishedName::new();
        names.push(rcgen::DnType::CommonName, "kube-apiserver-kubelet-client");
        names.push(rcgen::DnType::OrganizationName, "system:masters");
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name = names;
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let who = Who::of(certificate.der()).unwrap();
        assert_eq!(who.name, "kube-apiserver-kubelet-client");
        assert_eq!(who.groups, ["system:masters", "system:authenticated"]);
        assert_eq!(Who::of(b"no certificate"), None);
    }
}
