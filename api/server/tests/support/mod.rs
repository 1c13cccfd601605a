//! A server in this process on a store of its own, and a plain HTTPS client.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::panic, reason = "a failed helper is a failed test")]
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]

pub(crate) mod script;
mod store;

use std::sync::Arc;
use std::time::Duration;

use api_server::{
    Config, EndpointTimes, Identity, KubeletConfig, Mode, Patience, Running, ServiceAccountConfig,
    ServiceRange, StoreConfig,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

pub(crate) use store::Store;

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Who issues the tokens of service accounts.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
pub(crate) const ADMIN: &str = "admin-token";

/// A running server, and the store that it may share with others.
pub(crate) struct Cluster {
    pub(crate) running: Running,
    /// The serving certificate, which is its own authority; DER.
    pub(crate) certificate: Vec<u8>,
    pub(crate) config: Config,
    shutdown: CancellationToken,
    /// The server's own threads, so that it can be ended in the middle of anything.
    runtime: Option<Runtime>,
    tls: Arc<ClientConfig>,
    pub(crate) store: Arc<Store>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.kill();
    }
}

/// Starts a server on a thread of its own.
async fn start(config: Config, shutdown: CancellationToken) -> (Running, Runtime) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.spawn(api_server::start(config, shutdown)).await.unwrap().unwrap();
    (running, runtime)
}

fn user(name: &str, groups: &[&str]) -> api_server::TokenUser {
    api_server::TokenUser {
        name: name.to_owned(),
        uid: String::new(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

impl Cluster {
    /// A server on a store, ready to serve.
    pub(crate) async fn on(store: Store) -> Self {
        Self::beside(&Arc::new(store), 0).await
    }

    /// The same on a store that others use too; its own member is number `member`.
    pub(crate) async fn beside(store: &Arc<Store>, member: usize) -> Self {
        Self::with(store, member, |_| {}).await
    }

    /// The same with something else about it.
    pub(crate) async fn with(
        store: &Arc<Store>,
        member: usize,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut endpoints = store.endpoints().to_vec();
        endpoints.rotate_left(member);
        let mut config = Config {
            store: StoreConfig {
                endpoints,
                ca: None,
                identity: None,
                prefix: "/registry".to_owned(),
                encryption: None,
            },
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: "127.0.0.1".parse().unwrap(),
            endpoint_times: EndpointTimes::default(),
            patience: Patience::default(),
            serving: Identity {
                certificate: made.cert.pem().into_bytes(),
                key: made.signing_key.serialize_pem().into_bytes(),
            },
            client_ca: None,
            front_proxy: None,
            service_accounts: ServiceAccountConfig {
                issuers: vec![ISSUER.to_owned()],
                signing_key: Some(rcgen::KeyPair::generate().unwrap().serialize_pem().into_bytes()),
                ..ServiceAccountConfig::default()
            },
            tokens: [
                (ADMIN.to_owned(), user("admin", &["system:masters"])),
                ("jane-token".to_owned(), user("jane", &[])),
            ]
            .into(),
            kubelet: KubeletConfig::default(),
            service_range: ServiceRange::parse("10.96.0.0/24").unwrap(),
            node_ports: (30000, 30099),
            authorization: vec![Mode::Rbac],
            admission: api_server::Plugins::default(),
            readonly_inflight_max: 100,
            mutating_inflight_max: 100,
            anonymous: true,
            bootstrap_tokens: true,
            audit: None,
        };
        change(&mut config);
        let shutdown = CancellationToken::new();
        let (running, runtime) = start(config.clone(), shutdown.clone()).await;
        let cluster = Self {
            running,
            runtime: Some(runtime),
            certificate: made.cert.der().to_vec(),
            config,
            shutdown,
            tls: Arc::new(tls),
            store: store.clone(),
        };
        cluster.wait_until_ready().await;
        cluster
    }

    /// Replaces the server by a new one on the same store, as a restart does.
    pub(crate) async fn restart(&mut self) {
        self.restart_unready().await;
        self.wait_until_ready().await;
    }

    /// The same with a server that will not say that it is ready.
    pub(crate) async fn restart_unready(&mut self) {
        self.shutdown.cancel();
        self.shutdown = CancellationToken::new();
        let (running, runtime) = start(self.config.clone(), self.shutdown.clone()).await;
        self.running = running;
        if let Some(old) = self.runtime.replace(runtime) {
            old.shutdown_background();
        }
    }

    /// Ends the server without telling anybody.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Stops the server as a signal does, and waits for it.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.running.stopped()).await.unwrap();
    }

    /// Asks again until the answer is right.
    pub(crate) async fn until(&self, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let answer = self.get(path).await;
            if answer.code == 200 && is_right(&answer.json()) {
                return answer.json();
            }
            let last = String::from_utf8_lossy(&answer.bytes);
            assert!(Instant::now() < until, "{path} does not become right: {last}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks again until the answer has this code.
    pub(crate) async fn until_code(&self, path: &str, code: u16) {
        let until = Instant::now() + DEADLINE;
        loop {
            let answer = self.get(path).await;
            if answer.code == code {
                return;
            }
            let last = String::from_utf8_lossy(&answer.bytes);
            assert!(Instant::now() < until, "{path} does not become {code}: {last}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn wait_until_ready(&self) {
        let cluster = self;
        let until = Instant::now() + DEADLINE;
        loop {
            let ready = cluster.get("/readyz").await.code == 200;
            let done =
                cluster.get("/api/v1/namespaces/default/services/kubernetes").await.code == 200;
            if ready && done {
                return;
            }
            assert!(Instant::now() < until, "the server does not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Cluster {
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = self.connect(&[]).await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap()
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "orlop");
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {ADMIN}"));
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Full::new(body.into())).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(DEADLINE, body.collect()).await.unwrap().unwrap();
        Answer { code: parts.status.as_u16(), headers: parts.headers, bytes: bytes.to_bytes() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, tree: &Value) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], tree.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, tree: &Value) -> Answer {
        self.call("PUT", path, &[("content-type", "application/json")], tree.to_string()).await
    }

    pub(crate) async fn merge(&self, path: &str, tree: &Value) -> Answer {
        let headers = [("content-type", "application/merge-patch+json")];
        self.call("PATCH", path, &headers, tree.to_string()).await
    }

    pub(crate) async fn apply(&self, path: &str, tree: &Value) -> Answer {
        let headers = [("content-type", "application/apply-patch+yaml")];
        self.call("PATCH", path, &headers, tree.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], "").await
    }

    /// Starts a watch.
    pub(crate) async fn watch(&self, path: &str) -> Events {
        let request = Request::get(path)
            .header("host", "orlop")
            .header("authorization", format!("Bearer {ADMIN}"))
            .body(Full::new(Bytes::new()))
            .unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), read: Vec::new() }
    }
}

/// The events of a JSON watch.
pub(crate) struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// The next event; `None` when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.unwrap();
            match frame {
                None => return None,
                Some(frame) => self.read.extend(frame.unwrap().into_data().unwrap()),
            }
        }
    }

    /// The next event as `TYPE name`.
    pub(crate) async fn told(&mut self) -> String {
        let event = self.next().await.unwrap();
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {name}", event["type"].as_str().unwrap())
    }
}

/// Sends these bytes over a connection of its own, and reads what comes until the end.
pub(crate) async fn raw(cluster: &Cluster, bytes: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = cluster.connect(&[b"http/1.1"]).await;
    // The server may close before it has read all.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(DEADLINE, reading).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

impl Cluster {
    /// An open connection that speaks one of these protocols.
    pub(crate) async fn connect(
        &self,
        protocols: &[&[u8]],
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.running.address).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap()
    }
}
