//! The configMaps, secrets and tokens of pods, kept in memory for when the API is away.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | S1 | What the API says is used; what it said last is used while it says nothing. |
//! | S2 | A pod never sees what was read for another pod, or before it came. |
//! | S3 | What the API says is absent is absent, whatever was there before. |

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::Api;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use crate::limits::{API_CALL, SOURCES_FRESH, TOKEN_AGE_MAX};
use crate::spec::SpecError;
use crate::spec::env::Sources;

/// Tokens by (volume, path in it).
pub(crate) type Tokens = BTreeMap<(String, String), String>;

/// Why the API gave nothing.
#[derive(Debug)]
enum Silence {
    /// It answered: there is no such thing.
    Absent,
    /// It did not answer, or not with what was asked for.
    Failed(String),
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    refresh: Instant,
}

/// What is kept for one pod.
#[derive(Debug, Default)]
struct Kept {
    sources: Option<(Instant, Arc<Sources>)>,
    tokens: HashMap<(String, String), Token>,
}

/// Reads for pods and remembers, by uid.
pub(super) struct Keeper {
    client: Option<kube::Client>,
    kept: Mutex<HashMap<String, Kept>>,
}

fn uid_of(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

fn namespace_of(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

impl Keeper {
    pub(super) fn new(client: Option<kube::Client>) -> Self {
        Self { client, kept: Mutex::default() }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.kept.lock().remove(uid);
    }

    /// Every configMap and secret that the pod names. What is absent stays absent.
    ///
    /// # Errors
    /// When the API does not answer and never did for this pod.
    pub(super) async fn sources(&self, pod: &Pod) -> Result<Arc<Sources>, SpecError> {
        let Some(client) = self.client.clone() else { return Ok(Arc::default()) };
        let uid = uid_of(pod);
        let kept = self.kept.lock().get(&uid).and_then(|kept| kept.sources.clone());
        if let Some((read, sources)) = &kept
            && read.elapsed() < SOURCES_FRESH
        {
            return Ok(sources.clone());
        }
        let value = serde_json::to_value(&pod.spec).unwrap_or_default();
        let (mut maps, mut secrets) = (Vec::new(), Vec::new());
        references(&value, &mut maps, &mut secrets);
        let sources = match read(client, namespace_of(pod), maps, secrets).await {
            Ok(sources) => Arc::new(sources),
            Err(why) => {
                // S1
                let Some((_, old)) = kept else { return Err(SpecError::Config(why)) };
                warn!(pod = pod.metadata.name, why, "configMaps and secrets are those read before");
                old
            }
        };
        let now = Some((Instant::now(), sources.clone()));
        self.kept.lock().entry(uid).or_default().sources = now;
        Ok(sources)
    }

    /// Tokens of the pod's service account. An API without the request has none.
    ///
    /// # Errors
    /// When the API does not give a token and never gave this pod one.
    pub(super) async fn tokens(&self, pod: &Pod) -> Result<Tokens, SpecError> {
        let mut out = Tokens::new();
        let (Some(client), Some(spec)) = (self.client.clone(), &pod.spec) else { return Ok(out) };
        let uid = uid_of(pod);
        for volume in spec.volumes.iter().flatten() {
            let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
            for wanted in projected.filter_map(|p| p.service_account_token.as_ref()) {
                let key = (volume.name.clone(), wanted.path.clone());
                let kept = self.kept.lock().get(&uid).and_then(|k| k.tokens.get(&key).cloned());
                if let Some(token) = kept.as_ref().filter(|t| Instant::now() < t.refresh) {
                    out.insert(key, token.text.clone());
                    continue;
                }
                let audiences: Vec<&String> = wanted.audience.iter().collect();
                let body = json!({
                    "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                    "spec": {"audiences": audiences, "expirationSeconds": wanted.expiration_seconds,
                        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1",
                            "name": pod.metadata.name, "uid": pod.metadata.uid}}});
                match (request_token(&client, pod, &body).await, kept) {
                    (Ok(token), _) => {
                        out.insert(key.clone(), token.text.clone());
                        let mut all = self.kept.lock();
                        all.entry(uid.clone()).or_default().tokens.insert(key, token);
                    }
                    (Err(_), Some(old)) => {
                        out.insert(key, old.text);
                    }
                    (Err(Silence::Absent), None) => {
                        warn!(pod = pod.metadata.name, "the API gives no service account tokens");
                    }
                    (Err(Silence::Failed(why)), None) => return Err(SpecError::Config(why)),
                }
            }
        }
        Ok(out)
    }
}

async fn request_token(client: &kube::Client, pod: &Pod, body: &Value) -> Result<Token, Silence> {
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref());
    let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", namespace_of(pod));
    let failed = |why: String| Silence::Failed(format!("failed to fetch token: {why}"));
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|error| failed(error.to_string()))?;
    let answer = match tokio::time::timeout(API_CALL, client.request::<Value>(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(kube::Error::Api(status))) if [404, 405].contains(&status.code) => {
            return Err(Silence::Absent);
        }
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("no answer within {API_CALL:?}"))),
    };
    let text = answer["status"]["token"].as_str().unwrap_or_default().to_owned();
    let expires = answer["status"]["expirationTimestamp"].as_str().unwrap_or_default();
    let life =
        expires.parse::<Timestamp>().map_or(0, |at| at.duration_since(Timestamp::now()).as_secs());
    let life = std::time::Duration::from_secs(u64::try_from(life).unwrap_or(0));
    // A token is replaced well before it expires: after four fifths of its life.
    Ok(Token { text, refresh: Instant::now() + (life * 4 / 5).min(TOKEN_AGE_MAX) })
}

async fn read(
    client: kube::Client,
    namespace: &str,
    maps: Vec<String>,
    secrets: Vec<String>,
) -> Result<Sources, String> {
    let mut sources = Sources::default();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for name in maps {
        if let Some(map) = fetch(&api, &name).await? {
            sources.config_maps.insert(name, map);
        }
    }
    let api: Api<Secret> = Api::namespaced(client, namespace);
    for name in secrets {
        if let Some(secret) = fetch(&api, &name).await? {
            sources.secrets.insert(name, secret);
        }
    }
    Ok(sources)
}

async fn fetch<K>(api: &Api<K>, name: &str) -> Result<Option<K>, String>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match tokio::time::timeout(API_CALL, api.get_opt(name)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(format!("cannot read {name:?}: {error}")),
        Err(_) => Err(format!("cannot read {name:?} in time")),
    }
}

/// Names of configMaps and secrets anywhere in a pod's spec, each once.
fn references(value: &Value, maps: &mut Vec<String>, secrets: &mut Vec<String>) {
    let mut add = |key: &str, name: &str| {
        let list = match key {
            "configMap" | "configMapRef" | "configMapKeyRef" => &mut *maps,
            "secret" | "secretRef" | "secretKeyRef" => &mut *secrets,
            _ => return,
        };
        if !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
    };
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let name = inner.get("name").or_else(|| inner.get("secretName"));
                if let Some(name) = name.and_then(Value::as_str) {
                    add(key, name);
                }
            }
            fields.values().for_each(|inner| references(inner, maps, secrets));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, maps, secrets)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use kube::client::Body;

    use super::*;

    /// An API that can be away, and whose objects can be replaced.
    #[derive(Clone, Default)]
    struct Stub {
        is_away: Arc<AtomicBool>,
        has_no_tokens: Arc<AtomicBool>,
        token_life_seconds: Arc<std::sync::atomic::AtomicI64>,
        tokens_given: Arc<AtomicUsize>,
        objects: Arc<Mutex<HashMap<String, Value>>>,
    }

    impl Stub {
        fn keeper(&self) -> Keeper {
            let stub = self.clone();
            let service = tower::service_fn(move |request: http::Request<Body>| {
                let stub = stub.clone();
                async move { stub.answer(request.uri().path()) }
            });
            Keeper::new(Some(kube::Client::new(service, "default")))
        }

        fn answer(&self, path: &str) -> Result<http::Response<Body>, std::io::Error> {
            if self.is_away.load(Ordering::SeqCst) {
                return Err(std::io::Error::other("connection refused"));
            }
            let found = if path.ends_with("/token") && !self.has_no_tokens.load(Ordering::SeqCst) {
                let number = self.tokens_given.fetch_add(1, Ordering::SeqCst);
                let life = self.token_life_seconds.load(Ordering::SeqCst);
                let expires = Timestamp::now() + jiff::SignedDuration::from_secs(life);
                Some(json!({"status": {"token": format!("t{number}"),
                    "expirationTimestamp": expires.to_string()}}))
            } else {
                self.objects.lock().get(path).cloned()
            };
            let missing = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404});
            let code = if found.is_some() { 200 } else { 404 };
            let body = found.unwrap_or(missing).to_string().into_bytes();
            Ok(http::Response::builder().status(code).body(Body::from(body)).unwrap())
        }

        fn put(&self, path: &str, data: Value) {
            let name = path.rsplit('/').next().unwrap();
            let object = json!({"metadata": {"name": name}, "data": data});
            self.objects.lock().insert(path.to_owned(), object);
        }
    }

    fn pod(uid: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": uid},
            "spec": {
                "volumes": [
                    {"name": "s", "secret": {"secretName": "s"}},
                    {"name": "t", "projected": {"sources": [
                        {"serviceAccountToken": {"path": "tok", "expirationSeconds": 600}}]}}],
                "containers": [{"name": "c", "env": [{"name": "A", "valueFrom":
                    {"configMapKeyRef": {"name": "m", "key": "k"}}}]}]}}))
        .unwrap()
    }

    async fn key(keeper: &Keeper, pod: &Pod) -> Option<String> {
        keeper.sources(pod).await.unwrap().config_map("m", "k").flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_last_is_used_while_the_api_is_away_and_only_then() {
        let stub = Stub::default();
        stub.put("/api/v1/namespaces/n/configmaps/m", json!({"k": "one"}));
        let keeper = stub.keeper();
        let p1 = pod("u1");
        assert_eq!(key(&keeper, &p1).await, Some("one".to_owned()));

        stub.put("/api/v1/namespaces/n/configmaps/m", json!({"k": "two"}));
        tokio::time::advance(SOURCES_FRESH).await;
        assert_eq!(key(&keeper, &p1).await, Some("two".to_owned()), "S1: it answers");
        stub.is_away.store(true, Ordering::SeqCst);
        tokio::time::advance(SOURCES_FRESH * 1000).await;
        assert_eq!(key(&keeper, &p1).await, Some("two".to_owned()), "S1: it is away");
        let error = keeper.sources(&pod("u2")).await.unwrap_err().to_string();
        assert!(error.contains("cannot read \"m\""), "S2: nothing was read for this pod: {error}");

        stub.is_away.store(false, Ordering::SeqCst);
        stub.objects.lock().clear();
        tokio::time::advance(SOURCES_FRESH).await;
        assert_eq!(key(&keeper, &p1).await, None, "S3: deleted is deleted");
        stub.is_away.store(true, Ordering::SeqCst);
        tokio::time::advance(SOURCES_FRESH).await;
        assert_eq!(key(&keeper, &p1).await, None, "S3: also while it is away");
        keeper.forget("u1");
        assert!(keeper.sources(&p1).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_for_four_fifths_of_its_life_and_longer_when_nobody_gives_another() {
        let stub = Stub::default();
        stub.token_life_seconds.store(1000, Ordering::SeqCst);
        let (keeper, pod) = (stub.keeper(), pod("u1"));
        let token = async || keeper.tokens(&pod).await.unwrap().into_values().next();
        assert_eq!(token().await.as_deref(), Some("t0"));
        tokio::time::advance(std::time::Duration::from_secs(700)).await;
        assert_eq!(token().await.as_deref(), Some("t0"));
        tokio::time::advance(std::time::Duration::from_secs(101)).await;
        assert_eq!(token().await.as_deref(), Some("t1"));

        stub.is_away.store(true, Ordering::SeqCst);
        tokio::time::advance(std::time::Duration::from_secs(2000)).await;
        assert_eq!(token().await.as_deref(), Some("t1"));
        keeper.forget("u1");
        assert!(keeper.tokens(&pod).await.is_err(), "a new pod does not start without its token");

        // An API that has no such request at all is no reason not to run.
        stub.is_away.store(false, Ordering::SeqCst);
        stub.has_no_tokens.store(true, Ordering::SeqCst);
        assert_eq!(token().await, None);
    }
}
