//! A client in the server's own process, and the controllers on it: one connection through memory for
//! all their watches, where TLS over a socket would take one for each.

use anyhow::Context as _;
use api_server::Running;
use clap::Parser as _;
use http::header::{AUTHORIZATION, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::{Api, Client, client::Body};
use tokio::time::Instant;

use crate::limits::{CONTROLLERS_MAX, LOOK};

const SERVICE_ACCOUNTS: &str = "serviceaccount-controller";
const ROOT_CA: &str = "root-ca-certificate-publisher-controller";

/// A client that the server knows by this token.
pub(crate) async fn client(running: &Running, token: &str) -> anyhow::Result<Client> {
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).context("a token is text")?;
    let stream = TokioIo::new(running.connect());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection in this process ended");
        }
    });
    let service = tower::service_fn(move |mut request: Request<Body>| {
        request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        *request.uri_mut() = absolute(request.uri());
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    Ok(Client::new(service, "default"))
}

/// HTTP/2 wants to know whom it talks to.
fn absolute(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("localhost"));
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// The flags as a command line would give them.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    flags: api_controllers::Flags,
}

/// What the controllers are told.
pub(crate) fn config(wanted: &[String], ca: &str) -> anyhow::Result<api_controllers::Config> {
    let controllers = format!("--controllers={}", wanted.join(","));
    // There is nothing to be connected to: the client is made already.
    let line = Line::try_parse_from([
        "--kubeconfig=memory",
        "--leader-elect=false",
        controllers.as_str(),
    ])?;
    let mut config = line.flags.into_config()?;
    config.root_ca = Some(ca.to_owned());
    Ok(config)
}

/// H3: without a ServiceAccount no pod can be made in a namespace.
pub(crate) async fn made(client: &Client, wanted: &[&'static str]) -> anyhow::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let end = Instant::now() + CONTROLLERS_MAX;
    loop {
        let account =
            !wanted.contains(&SERVICE_ACCOUNTS) || accounts.get_opt("default").await?.is_some();
        let map = !wanted.contains(&ROOT_CA) || maps.get_opt("kube-root-ca.crt").await?.is_some();
        if account && map {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "the controllers do not begin to work");
        tokio::time::sleep(LOOK).await;
    }
}
