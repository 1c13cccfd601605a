//! What a process of watch consumers needs around its loops: a client, a health port, flag values.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use kube::{
    Client, Config,
    config::{AuthInfo, Kubeconfig},
};
use parking_lot::RwLock;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::limits;

/// Why a process could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The kubeconfig cannot be read or used.
    #[error("cannot use kubeconfig {path}: {reason}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The health port cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where we tried to listen.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The serving certificate cannot be used.
    #[error("cannot use the serving certificate {path}: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A client made from a kubeconfig file.
///
/// # Errors
/// [`SetUpError::Kubeconfig`] when the file is missing, malformed or names unreadable certificates.
pub async fn connect(path: &Path) -> Result<Client, SetUpError> {
    client_of(path, read_kubeconfig(path).await?)
}

/// A client of the same server that says nothing about who it is.
///
/// # Errors
/// As [`connect`].
pub async fn connect_as_nobody(path: &Path) -> Result<Client, SetUpError> {
    let mut config = read_kubeconfig(path).await?;
    config.auth_info = AuthInfo::default();
    client_of(path, config)
}

async fn read_kubeconfig(path: &Path) -> Result<Config, SetUpError> {
    let wrong = |reason: String| SetUpError::Kubeconfig { path: path.to_owned(), reason };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| wrong(error.to_string()))?;
    Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(error.to_string()))
}

fn client_of(path: &Path, config: Config) -> Result<Client, SetUpError> {
    Client::try_from(config).map_err(|error| SetUpError::Kubeconfig {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// This machine's name, or "unknown".
#[must_use]
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Reads a duration as Go writes it: `15s`, `1m30s`, `500ms`, `1.5h`, `0`.
///
/// # Errors
/// A line that names the value and an example.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}; write it like 15s, 1m30s or 500ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let value: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        rest = &rest[unit_end..];
        total += Duration::try_from_secs_f64(value * seconds).map_err(|_| wrong())?;
    }
    Ok(total)
}

type Source = Box<dyn Fn(&mut String) + Send + Sync>;

/// What the health port says: alive while it answers, ready once told so, and the metrics of every source.
#[derive(Default)]
pub struct Health {
    ready: AtomicBool,
    /// True while this process is the leader.
    pub leading: Arc<AtomicBool>,
    sources: RwLock<Vec<Source>>,
}

impl Health {
    /// Not ready, no metrics yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on `/readyz` says ok.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Adds a writer of metrics in the Prometheus text format.
    pub fn add_metrics(&self, source: impl Fn(&mut String) + Send + Sync + 'static) {
        self.sources.write().push(Box::new(source));
    }

    fn metrics(&self, component: &str) -> String {
        let leading = u8::from(self.leading.load(Ordering::Relaxed));
        let mut out = String::new();
        writeln!(out, "leader_election_master_status{{name=\"{component}\"}} {leading}")
            .expect("writing to a String cannot fail");
        for source in self.sources.read().iter() {
            source(&mut out);
        }
        out
    }

    fn answer(&self, component: &str, method: &Method, path: &str) -> (StatusCode, String) {
        if method != Method::GET && method != Method::HEAD {
            return (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".to_owned());
        }
        match path {
            "/healthz" | "/livez" => (StatusCode::OK, "ok".to_owned()),
            "/readyz" if self.ready.load(Ordering::Relaxed) => (StatusCode::OK, "ok".to_owned()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
            "/metrics" => (StatusCode::OK, self.metrics(component)),
            _ => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        }
    }
}

/// Certificate and key of the health port, as PEM files.
#[derive(Debug, Clone)]
pub struct ServingCertificate {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

fn acceptor(serving: &ServingCertificate) -> Result<TlsAcceptor, SetUpError> {
    let wrong =
        |path: &Path, reason: String| SetUpError::Certificate { path: path.to_owned(), reason };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&serving.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&serving.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&serving.key)
        .map_err(|error| wrong(&serving.key, error.to_string()))?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|error| wrong(&serving.certificate, error.to_string()))?
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .map_err(|error| wrong(&serving.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Opens the health port and serves it until `stop` fires. Returns once it listens.
///
/// # Errors
/// When the address is taken or the certificate cannot be used.
pub async fn serve_health(
    component: &'static str,
    address: SocketAddr,
    serving: Option<ServingCertificate>,
    health: Arc<Health>,
    stop: CancellationToken,
) -> Result<SocketAddr, SetUpError> {
    let tls = serving.as_ref().map(acceptor).transpose()?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| SetUpError::Listen { address, source })?;
    let bound = listener.local_addr().map_err(|source| SetUpError::Listen { address, source })?;
    info!(component, address = %bound, tls = tls.is_some(), "serving health and metrics");
    tokio::spawn(async move {
        let slots = Arc::new(Semaphore::new(limits::HEALTH_CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: do not spin.
                    debug!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            let (health, tls, stop) = (Arc::clone(&health), tls.clone(), stop.clone());
            tokio::spawn(async move {
                let connection = async {
                    match tls {
                        None => serve_connection(component, stream, health).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve_connection(component, stream, health).await,
                            Err(error) => debug!(%error, "TLS handshake failed"),
                        },
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = connection => {}
                    () = tokio::time::sleep(limits::HEALTH_CONNECTION_DEADLINE) => {}
                }
                drop(slot);
            });
        }
    });
    Ok(bound)
}

async fn serve_connection(
    component: &'static str,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    health: Arc<Health>,
) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let health = Arc::clone(&health);
        async move {
            let (status, text) = health.answer(component, request.method(), request.uri().path());
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            response.headers_mut().insert(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            );
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "health connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let cases = [
            ("15s", 15_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("1h2m3s", 3_723_000),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "15", "s", "-1s", "1x", "1s2", "1..5s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ready_is_said_only_once_it_is_true() {
        let health = Health::new();
        assert_eq!(health.answer("x", &Method::GET, "/healthz").0, StatusCode::OK);
        assert_eq!(health.answer("x", &Method::GET, "/readyz").0, StatusCode::SERVICE_UNAVAILABLE);
        health.set_ready();
        assert_eq!(health.answer("x", &Method::GET, "/readyz").0, StatusCode::OK);
        assert_eq!(health.answer("x", &Method::POST, "/healthz").0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(health.answer("x", &Method::GET, "/other").0, StatusCode::NOT_FOUND);
        assert!(health.metrics("x").starts_with("leader_election_master_status{name=\"x\"} 0"));
    }
}
