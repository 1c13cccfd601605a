//! Requests to node agents: TLS with our client certificate, one connection a request.

use std::net::SocketAddr;
use std::sync::Arc;

use api_machinery::{Object, Status};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::KubeletConfig;
use crate::limits::{KUBELET_CONNECT_TIMEOUT, KUBELET_ERROR_BYTES_MAX, KUBELET_RESPONSE_TIMEOUT};

/// The client of all node agents.
pub(crate) struct Kubelets {
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Kubelets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kubelets")
    }
}

/// Where a node's agent listens: InternalIP (else hostname) and the kubelet endpoint's port.
pub(crate) fn address(node: &Object) -> Option<(String, u16)> {
    let port = node
        .at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"])
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(10250);
    let addresses = node.at(&["status", "addresses"]).and_then(Value::as_array)?;
    let of = |kind: &str| {
        let found = addresses.iter().find(|address| address["type"] == kind)?;
        found["address"].as_str().map(str::to_owned)
    };
    Some((of("InternalIP").or_else(|| of("Hostname"))?, port))
}

impl Kubelets {
    pub(crate) fn new(config: &KubeletConfig) -> anyhow::Result<Self> {
        Ok(Self { tls: Arc::new(crate::tls::kubelet_client(config)?) })
    }

    /// GETs a path of an agent; errors of the agent become upstream's.
    pub(crate) async fn get(
        &self,
        host: &str,
        port: u16,
        path: &str,
    ) -> Result<Response<Incoming>, Status> {
        let url = format!("https://{host}:{port}{path}");
        let failed = |why: &dyn std::fmt::Display| Status::internal(&format!("Get {url:?}: {why}"));
        let connect = self.connect(host, port);
        let stream = tokio::time::timeout(KUBELET_CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| failed(&format!("dial tcp {host}:{port}: i/o timeout")))?
            .map_err(|error| failed(&format!("dial tcp {host}:{port}: {error}")))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // It ends with the response body, or when that is dropped.
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(http::header::HOST, format!("{host}:{port}"))
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| failed(&error))?;
        let response = tokio::time::timeout(KUBELET_RESPONSE_TIMEOUT, sender.send_request(request))
            .await
            .map_err(|_| failed(&"net/http: timeout awaiting response headers"))?
            .map_err(|error| failed(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    async fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let address: Option<SocketAddr> =
            host.parse().ok().map(|address| SocketAddr::new(address, port));
        let stream = match address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((host, port)).await?,
        };
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        TlsConnector::from(self.tls.clone()).connect(name, stream).await
    }
}

async fn refused(response: Response<Incoming>) -> Status {
    let code = response.status().as_u16();
    let text = match Limited::new(response.into_body(), KUBELET_ERROR_BYTES_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => "the node agent's error could not be read".to_owned(),
    };
    match code {
        400 => Status::bad_request(text),
        404 => {
            let mut status = Status::no_such_path();
            status.message = format!("the server could not find the requested resource ({text})");
            status
        }
        _ => Status::internal(&text),
    }
}
