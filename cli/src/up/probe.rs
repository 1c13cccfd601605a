//! Questions to the health endpoints of the parts, over the TLS that their clients use.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::pki::Pair;
use crate::limits;

/// Who asks, and whom to believe.
#[derive(Clone)]
pub(crate) struct Identity {
    connector: TlsConnector,
}

impl Identity {
    pub(crate) fn load(ca: &Path, pair: &Pair) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)
            .with_context(|| format!("cannot read {}", ca.display()))?
        {
            let certificate =
                certificate.with_context(|| format!("{} is damaged", ca.display()))?;
            roots.add(certificate).with_context(|| format!("{} is no CA", ca.display()))?;
        }
        let chain = CertificateDer::pem_file_iter(&pair.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read {}", pair.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_file(&pair.key)
            .with_context(|| format!("cannot read {}", pair.key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no TLS versions")?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .with_context(|| format!("{} is not usable", pair.certificate.display()))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }
}

/// How a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200.
    Ready,
    /// It speaks TLS, but says that it is not ready or takes too long to say.
    Alive,
    /// Nobody there, or nobody who goes on after accepting.
    Dead,
}

/// One health endpoint.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) path: &'static str,
    /// `None` asks in plain HTTP.
    pub(crate) identity: Option<Identity>,
}

impl Probe {
    /// Asks once; never takes longer than `deadline`.
    pub(crate) async fn ask(&self, deadline: Duration) -> Answer {
        let Some(identity) = &self.identity else {
            let asked = tokio::time::timeout(deadline, self.get_plain()).await;
            return match asked {
                Ok(Ok(200)) => Answer::Ready,
                Ok(Ok(_)) => Answer::Alive,
                Ok(Err(_)) | Err(_) => Answer::Dead,
            };
        };
        let connected =
            tokio::time::timeout(deadline / 2, connect(identity, &self.address, self.port)).await;
        let Ok(Ok(stream)) = connected else { return Answer::Dead };
        let asked =
            tokio::time::timeout(deadline / 2, get(TokioIo::new(stream), &self.address, self.path));
        match asked.await {
            Ok(Ok((200, _))) => Answer::Ready,
            Ok(_) | Err(_) => Answer::Alive,
        }
    }

    async fn get_plain(&self) -> anyhow::Result<u16> {
        let stream = TcpStream::connect((self.address.as_str(), self.port)).await?;
        Ok(get(TokioIo::new(stream), &self.address, self.path).await?.0)
    }

    async fn line(&self) -> anyhow::Result<Line> {
        match &self.identity {
            Some(identity) => {
                let stream = connect(identity, &self.address, self.port).await?;
                Line::over(TokioIo::new(stream)).await
            }
            None => {
                let stream = TcpStream::connect((self.address.as_str(), self.port)).await?;
                Line::over(TokioIo::new(stream)).await
            }
        }
    }
}

/// Asks one endpoint again and again over one connection: a handshake costs both ends more than all of the
/// answer.
pub(crate) struct Asker {
    probe: Probe,
    line: Option<Line>,
}

impl Asker {
    pub(crate) fn new(probe: Probe) -> Self {
        Self { probe, line: None }
    }

    /// As [`Probe::ask`]. Who does not answer on the connection that was kept is dead only if it takes no
    /// new one either.
    pub(crate) async fn ask(&mut self, deadline: Duration) -> Answer {
        let ends = Instant::now() + deadline;
        if let Some(answer) = self.ask_on_line(deadline / 2).await {
            return answer;
        }
        let Ok(Ok(line)) = tokio::time::timeout(deadline / 2, self.probe.line()).await else {
            return Answer::Dead;
        };
        self.line = Some(line);
        let left = ends.saturating_duration_since(Instant::now());
        self.ask_on_line(left.min(deadline / 2)).await.unwrap_or(Answer::Alive)
    }

    /// Nothing: there is no connection, or none that is of use any more.
    async fn ask_on_line(&mut self, deadline: Duration) -> Option<Answer> {
        let line = self.line.as_mut()?;
        let asked = line.get(&self.probe.address, self.probe.path);
        match tokio::time::timeout(deadline, asked).await {
            Ok(Ok(200)) => Some(Answer::Ready),
            Ok(Ok(_)) => Some(Answer::Alive),
            Ok(Err(_)) | Err(_) => {
                self.line = None;
                None
            }
        }
    }
}

/// One connection that is kept.
struct Line {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    async fn over<S>(stream: S) -> anyhow::Result<Self>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(stream).await.context("no HTTP")?;
        // How it ends is said to whoever asks on it next.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, driver })
    }

    async fn get(&mut self, host: &str, path: &str) -> anyhow::Result<u16> {
        self.sender.ready().await.context("the connection broke")?;
        let answer = self.sender.send_request(request(host, path, "keep-alive")?);
        let answer = answer.await.context("no answer")?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), limits::HTTP_BYTES_MAX).collect().await;
        body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        Ok(status)
    }
}

fn request(
    host: &str,
    path: &str,
    connection: &'static str,
) -> anyhow::Result<hyper::Request<Empty<Bytes>>> {
    hyper::Request::get(path)
        .header("host", host)
        .header("accept", "application/json")
        .header("connection", connection)
        .body(Empty::<Bytes>::new())
        .context("bad request")
}

/// GETs `path` over TLS and answers the status and the body.
pub(crate) async fn fetch(
    identity: &Identity,
    address: &str,
    port: u16,
    path: &str,
) -> anyhow::Result<(u16, Bytes)> {
    let asked = async {
        let stream = connect(identity, address, port).await?;
        get(TokioIo::new(stream), address, path).await
    };
    tokio::time::timeout(limits::CONTROL_DEADLINE, asked)
        .await
        .with_context(|| format!("no answer from {address}:{port} within the deadline"))?
}

async fn connect(
    identity: &Identity,
    address: &str,
    port: u16,
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(address.to_owned())
        .with_context(|| format!("{address} is not a server's name"))?;
    let stream = TcpStream::connect((address, port))
        .await
        .with_context(|| format!("cannot connect to {address}:{port}"))?;
    identity
        .connector
        .connect(name, stream)
        .await
        .with_context(|| format!("no TLS with {address}:{port}"))
}

async fn get<S>(stream: S, host: &str, path: &str) -> anyhow::Result<(u16, Bytes)>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(stream).await.context("no HTTP")?;
    let request = request(host, path, "close")?;
    let exchange = async move {
        let response = sender.send_request(request).await.context("no answer")?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), limits::HTTP_BYTES_MAX).collect().await;
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => bail!("the answer broke off: {error}"),
        }
    };
    // The connection has to be driven while the exchange waits; it ends with it.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error).context("the connection broke"),
        },
    }
}
