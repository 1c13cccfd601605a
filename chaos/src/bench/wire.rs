//! One gRPC connection on bare HTTP/2.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Uri, Version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::LoadFlags;
use crate::limits;

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    streams: SendRequest<Bytes>,
    origin: String,
}

impl Connection {
    pub(super) async fn open(endpoint: &str, flags: &LoadFlags) -> anyhow::Result<Self> {
        let uri: Uri = endpoint.parse().with_context(|| format!("{endpoint} is no URL"))?;
        let host = uri.host().with_context(|| format!("{endpoint} has no host"))?.to_owned();
        let port = uri.port_u16().unwrap_or(2379);
        let connect = TcpStream::connect((host.as_str(), port));
        let tcp = tokio::time::timeout(limits::CONNECT_DEADLINE, connect)
            .await
            .with_context(|| format!("{endpoint} does not answer"))?
            .with_context(|| format!("cannot connect to {endpoint}"))?;
        tcp.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
        let streams = if uri.scheme_str() == Some("https") {
            let name = ServerName::try_from(host).context("the host is no server name")?;
            let tls = TlsConnector::from(Arc::new(tls_config(flags)?)).connect(name, tcp).await?;
            let (streams, connection) = builder.handshake(tls).await?;
            drop(tokio::spawn(connection));
            streams
        } else {
            let (streams, connection) = builder.handshake(tcp).await?;
            drop(tokio::spawn(connection));
            streams
        };
        Ok(Self { streams, origin: endpoint.trim_end_matches('/').to_owned() })
    }

    /// Sends one framed message and waits for the end of the answer. Any gRPC status but OK is an
    /// error. Returns the bytes of the answer.
    pub(super) async fn call(&mut self, path: &str, message: Bytes) -> anyhow::Result<usize> {
        let call = self.call_without_deadline(path, message);
        tokio::time::timeout(limits::BENCH_OPERATION_DEADLINE, call)
            .await
            .context("no answer within the deadline")?
    }

    async fn call_without_deadline(&mut self, path: &str, message: Bytes) -> anyhow::Result<usize> {
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("{}{path}", self.origin))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        std::future::poll_fn(|context| self.streams.poll_ready(context)).await?;
        let (response, mut body) = self.streams.send_request(request, false)?;
        body.send_data(message, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            bytes += data.len();
            ensure!(bytes <= limits::BENCH_RESPONSE_BYTES_MAX, "an answer is too large");
            body.flow_control().release_capacity(data.len())?;
        }
        let trailers = body.trailers().await?;
        let headers = trailers.as_ref().unwrap_or(&head.headers);
        match headers.get("grpc-status").map(http::HeaderValue::as_bytes) {
            Some(b"0") => Ok(bytes),
            status => {
                let message = headers.get("grpc-message");
                bail!("HTTP {} gRPC status {status:?}: {message:?}", head.status)
            }
        }
    }
}

fn tls_config(flags: &LoadFlags) -> anyhow::Result<ClientConfig> {
    let authority = flags.cacert.as_ref().context("https endpoints need --cacert")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match (&flags.cert, &flags.key) {
        (Some(cert), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
