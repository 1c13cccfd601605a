//! How long lists of pods take, by form, on any Kubernetes API server. Run by hand:
//! `cargo run --release -p api-server --example list_bench -- --server 127.0.0.1:6443 --token T --ca ca.crt`.
//!
//! It makes pods of about 4.4 KB in the namespace `list-bench` as far as they are missing, and
//! prints for each form the bytes and the median, first byte and whole, of some rounds.
#![expect(clippy::print_stdout, reason = "a tool run by hand tells what it measured")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

const NAMESPACE: &str = "list-bench";
const WORKERS: usize = 16;
const FORMS: [(&str, &str); 4] = [
    ("JSON", "application/json"),
    ("Table", "application/json;as=Table;v=v1;g=meta.k8s.io"),
    ("metadata", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
    ("protobuf", "application/vnd.kubernetes.protobuf"),
];

#[derive(Parser, Clone)]
struct Args {
    /// Address and port of the server.
    #[arg(long)]
    server: String,
    /// Bearer token of somebody who may do it.
    #[arg(long)]
    token: String,
    /// Authority of the server's certificate, PEM.
    #[arg(long)]
    ca: PathBuf,
    /// Pods to list.
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// Lists of each form.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

struct Client {
    args: Args,
    tls: Arc<ClientConfig>,
}

type Connection = SendRequest<Full<Bytes>>;

impl Client {
    fn new(args: Args) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&args.ca)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { args, tls: Arc::new(tls) })
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = tokio::net::TcpStream::connect(&self.args.server).await?;
        stream.set_nodelay(true)?;
        let host = self.args.server.rsplit_once(':').context("--server has no port")?.0;
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.args.server)
            .header("authorization", format!("Bearer {}", self.args.token))
    }

    async fn post(
        &self,
        connection: &mut Connection,
        path: &str,
        tree: &Value,
    ) -> anyhow::Result<()> {
        let request = self
            .request("POST", path)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(tree.to_string())))?;
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::ensure!(
            matches!(code, 201 | 409),
            "{path}: {code}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }

    /// Bytes of the body, time to the first of them, time to the last.
    async fn list(
        &self,
        connection: &mut Connection,
        accept: &str,
        coding: &str,
    ) -> anyhow::Result<(usize, Duration, Duration)> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?resourceVersion=0");
        let request = self
            .request("GET", &path)
            .header("accept", accept)
            .header("accept-encoding", coding)
            .body(Full::new(Bytes::new()))?;
        connection.ready().await?;
        let start = Instant::now();
        let answer = connection.send_request(request).await?;
        anyhow::ensure!(answer.status().is_success(), "list: {}", answer.status());
        let first = start.elapsed();
        let mut body = answer.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok((size, first, start.elapsed()))
    }
}

fn pod(number: usize) -> Value {
    let env: Vec<Value> = (0..30)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("the value of setting {n}")}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example.com/team/application:v1.2.3", "env": env,
            "ports": [{"name": "http", "containerPort": 8080}],
            "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number:06}"),
            "labels": {"app": "application", "tier": "backend"},
            "annotations": {"example.com/checksum": "a".repeat(64)}},
        "spec": {"containers": [container("application")],
            "automountServiceAccountToken": false},
    })
}

async fn fill(client: &Arc<Client>) -> anyhow::Result<()> {
    let mut first = client.connect().await?;
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    client.post(&mut first, "/api/v1/namespaces", &namespace).await?;
    let account = json!({"metadata": {"name": "default"}});
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    client.post(&mut first, &accounts, &account).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (client, next) = (client.clone(), next.clone());
            tokio::spawn(async move {
                let mut connection = client.connect().await?;
                let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= client.args.pods {
                        return anyhow::Ok(());
                    }
                    client.post(&mut connection, &pods, &pod(number)).await?;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Arc::new(Client::new(Args::parse())?);
    let start = Instant::now();
    fill(&client).await?;
    println!(
        "{} pods made or there after {:.1} s",
        client.args.pods,
        start.elapsed().as_secs_f64()
    );
    let mut connection = client.connect().await?;
    for coding in ["identity", "gzip"] {
        for (name, accept) in FORMS {
            let (mut firsts, mut wholes, mut size) = (Vec::new(), Vec::new(), 0);
            for _ in 0..client.args.rounds {
                let (bytes, first, whole) = client.list(&mut connection, accept, coding).await?;
                size = bytes;
                firsts.push(first);
                wholes.push(whole);
            }
            firsts.sort();
            wholes.sort();
            let median = |times: &[Duration]| times[times.len() / 2].as_secs_f64() * 1e3;
            println!(
                "{name:10} {coding:9} {size:10} bytes  first {:8.1} ms  whole {:8.1} ms  best {:8.1} ms",
                median(&firsts),
                median(&wholes),
                wholes[0].as_secs_f64() * 1e3,
            );
        }
    }
    Ok(())
}
