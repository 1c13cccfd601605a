//! The agent's server: health, pods and container logs, for clients of the cluster's authority.

pub(crate) mod logs;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use k8s_openapi::api::core::v1::PodStatus;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::agent::Workers;
use crate::config::Config;
use crate::limits::{CONNECTIONS_MAX, TLS_HANDSHAKE};

/// A server whose ports are taken already, so that a conflict is an error at start.
pub(crate) struct Server {
    main: TcpListener,
    health: Option<TcpListener>,
    tls: tokio_rustls::TlsAcceptor,
}

/// Opens the ports and reads the certificates.
pub(crate) async fn bind(config: &Config) -> anyhow::Result<Server> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match &config.client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
            // A health check needs no certificate; everything else asks for one below.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let (chain, key) = match &config.tls {
        Some((certificate, key)) => (
            CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?,
            PrivateKeyDer::from_pem_file(key)?,
        ),
        None => {
            let made = rcgen::generate_simple_self_signed(vec![
                config.node_name.clone(),
                config.node_ip.clone(),
            ])?;
            (
                vec![made.cert.der().clone()],
                PrivateKeyDer::try_from(made.signing_key.serialize_der())
                    .map_err(anyhow::Error::msg)?,
            )
        }
    };
    let tls = builder.with_single_cert(chain, key)?;
    let health = match config.healthz_port {
        0 => None,
        port => Some(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await?),
    };
    Ok(Server { main: TcpListener::bind(config.listen).await?, health, tls: Arc::new(tls).into() })
}

impl Server {
    /// Serves until it is dropped.
    pub(crate) async fn run(self, workers: Workers) -> anyhow::Result<()> {
        if let Some(health) = self.health {
            tokio::spawn(async move {
                axum::serve(health, Router::new().route("/healthz", get(|| async { "ok" }))).await
            });
        }
        let open = Router::new().route("/healthz", get(|| async { "ok" }));
        let closed = Router::new()
            .route("/pods", get(pods))
            .route("/metrics", get(metrics))
            .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
            .route("/exec/{*rest}", any(not_yet))
            .route("/attach/{*rest}", any(not_yet))
            .route("/portForward/{*rest}", any(not_yet))
            .with_state(workers);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = places.clone().acquire_owned().await?;
            let Ok((stream, _)) = self.main.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let (tls, open, closed) = (self.tls.clone(), open.clone(), closed.clone());
            tokio::spawn(async move {
                let _place = place;
                let Ok(Ok(stream)) = tokio::time::timeout(TLS_HANDSHAKE, tls.accept(stream)).await
                else {
                    return;
                };
                let is_known = stream.get_ref().1.peer_certificates().is_some();
                let router = if is_known {
                    open.merge(closed)
                } else {
                    open.fallback(|| async { (StatusCode::UNAUTHORIZED, "Unauthorized") })
                };
                let service =
                    hyper::service::service_fn(move |request| router.clone().oneshot(request));
                let served = hyper_util::server::conn::auto::Builder::new(
                    hyper_util::rt::TokioExecutor::new(),
                )
                .serve_connection_with_upgrades(hyper_util::rt::TokioIo::new(stream), service)
                .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended early");
                }
            });
        }
    }
}

async fn not_yet() -> Response {
    (
        StatusCode::NOT_IMPLEMENTED,
        "exec, attach and port-forward are not implemented by this node agent yet",
    )
        .into_response()
}

async fn pods(State(workers): State<Workers>) -> Json<serde_json::Value> {
    let items: Vec<_> = workers
        .lock()
        .values()
        .map(|handle| {
            let mut pod = (*handle.desired.lock().pod).clone();
            pod.status = Some(handle.status.lock().clone());
            pod
        })
        .collect();
    Json(serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

async fn metrics(State(workers): State<Workers>) -> String {
    let count = workers.lock().len();
    format!(
        "# HELP kubelet_desired_pods Pods that this node looks after.\n# TYPE kubelet_desired_pods gauge\nkubelet_desired_pods {count}\n"
    )
}

async fn container_logs(
    State(workers): State<Workers>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<logs::Options>,
) -> Response {
    let found = workers.lock().values().find_map(|handle| {
        let desired = handle.desired.lock();
        let meta = &desired.pod.metadata;
        (meta.namespace.as_ref() == Some(&namespace) && meta.name.as_ref() == Some(&pod))
            .then(|| (handle.status.clone(), handle.log_dir.clone()))
    });
    let Some((status, folder)) = found else {
        return (StatusCode::NOT_FOUND, format!("pod \"{pod}\" not found")).into_response();
    };
    let refuse = |why: String| (StatusCode::BAD_REQUEST, why).into_response();
    // The name becomes part of a path only when the pod has such a container.
    let now = status.lock().clone();
    let which = match logs::choose(&now, (&pod, &container), query.previous == Some(true)) {
        Ok(which) => which,
        Err(why) => return refuse(why),
    };
    let run = restarts_while_running(&now, &container);
    let name = container.clone();
    let is_running = move || run.is_some() && restarts_while_running(&status.lock(), &name) == run;
    match logs::open(&folder.join(&container), which, query, Box::new(is_running)).await {
        Ok(body) => ([("content-type", "text/plain")], body).into_response(),
        Err(why) => refuse(format!("container \"{container}\" in pod \"{pod}\": {why}")),
    }
}

/// The number of the run that goes on now.
fn restarts_while_running(status: &PodStatus, container: &str) -> Option<i32> {
    let all = [&status.container_statuses, &status.init_container_statuses];
    let found = all.into_iter().flatten().flatten().find(|c| c.name == container)?;
    found.state.as_ref()?.running.as_ref().map(|_| found.restart_count)
}
