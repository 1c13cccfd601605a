//! The agent's server: health, pods and container logs, for clients of the cluster's authority that the API allows it.

pub(crate) mod access;
pub(crate) mod logs;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::PodStatus;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use self::access::{Access, Who};
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
    let own = config.clone();
    let tls = tokio::task::spawn_blocking(move || tls(&own)).await??;
    let health = match config.healthz_port {
        0 => None,
        port => Some(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await?),
    };
    Ok(Server { main: TcpListener::bind(config.listen).await?, health, tls })
}

/// Reads the certificates. Blocking.
fn tls(config: &Config) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
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
    Ok(Arc::new(builder.with_single_cert(chain, key)?).into())
}

impl Server {
    /// Serves until it is dropped.
    pub(crate) async fn run(self, workers: Workers, access: Access) -> anyhow::Result<()> {
        if let Some(health) = self.health {
            tokio::spawn(async move {
                axum::serve(health, Router::new().route("/healthz", get(|| async { "ok" }))).await
            });
        }
        let (known, unknown) = routers(workers);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = places.clone().acquire_owned().await?;
            let Ok((stream, _)) = self.main.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let (tls, known, unknown) = (self.tls.clone(), known.clone(), unknown.clone());
            let access = access.clone();
            tokio::spawn(async move {
                let _place = place;
                let Ok(Ok(stream)) = tokio::time::timeout(TLS_HANDSHAKE, tls.accept(stream)).await
                else {
                    return;
                };
                let shown = stream.get_ref().1.peer_certificates();
                let who = shown.and_then(|chain| chain.first()).and_then(|one| Who::of(one));
                let router = if who.is_some() { known } else { unknown };
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (router, access, who) = (router.clone(), access.clone(), who.clone());
                    async move {
                        let (method, path) = (request.method(), request.uri().path());
                        if let Some(who) = &who
                            && let Some(refused) = access.refusal(who, method, path).await
                        {
                            return Ok(refused);
                        }
                        router.oneshot(request).await
                    }
                });
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

/// What clients of the cluster's authority may ask, and what anybody may.
fn routers(workers: Workers) -> (Router, Router) {
    let open = Router::new().route("/healthz", get(|| async { "ok" }));
    let not_yet = |what: &'static str| {
        let text = format!("{what} is not implemented by this node agent yet\n");
        any(move || async move { (StatusCode::NOT_IMPLEMENTED, text) })
    };
    let closed = Router::new()
        .route("/pods", get(pods))
        .route("/metrics", get(metrics))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{*rest}", not_yet("exec"))
        .route("/run/{*rest}", not_yet("run"))
        .route("/attach/{*rest}", not_yet("attach"))
        .route("/portForward/{*rest}", not_yet("port-forward"))
        .with_state(workers);
    let unknown = open.clone().fallback(|| async { (StatusCode::UNAUTHORIZED, "Unauthorized") });
    (open.merge(closed), unknown)
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

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn ask(router: &Router, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let code = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_is_not_there_yet_says_so_and_strangers_only_learn_that_we_are_well() {
        let (known, unknown) = routers(Workers::default());
        for (method, path, what) in [
            ("POST", "/exec/default/p/c?command=ls&output=1", "exec"),
            ("GET", "/exec/default/p/c?command=ls", "exec"),
            ("POST", "/attach/default/p/c", "attach"),
            ("POST", "/portForward/default/p", "port-forward"),
            ("POST", "/run/default/p/c", "run"),
        ] {
            let want = (501, format!("{what} is not implemented by this node agent yet\n"));
            assert_eq!(ask(&known, method, path).await, want);
            assert_eq!(ask(&unknown, method, path).await, (401, "Unauthorized".to_owned()));
        }
        assert_eq!(ask(&unknown, "GET", "/healthz").await, (200, "ok".to_owned()));
        assert_eq!(ask(&known, "GET", "/containerLogs/n/p/c").await.0, 404);
        assert_eq!(ask(&unknown, "GET", "/containerLogs/n/p/c").await.0, 401);
    }
}
