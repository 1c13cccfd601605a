//! Health, version, metrics and the JSON gateway: what the client port answers beside gRPC.

mod access;
mod debug;
mod health;

use std::convert::Infallible;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::any,
};
use openraft::async_runtime::WatchReceiver as _;
use proto::etcdserverpb::AlarmType;
use serde_json::json;

use crate::{auth::CommonName, gateway::Gateway, limits, metrics::sample, rpc::Services};

/// What a port serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// gRPC and HTTP.
    All,
    /// gRPC alone.
    Grpc,
    /// HTTP alone.
    Http,
    /// Metrics and health alone.
    Metrics,
}

/// The router of a port. `secure`: it is served over TLS.
pub(crate) fn routes(services: Services, grpc: &Router, content: Content, secure: bool) -> Router {
    if content == Content::Grpc {
        return grpc.clone();
    }
    let mut own = Router::new()
        .route("/health", any(health::health))
        .route("/livez", any(health::livez))
        .route("/livez/{check}", any(health::one_live))
        .route("/readyz", any(health::readyz))
        .route("/readyz/{check}", any(health::one_ready));
    if content != Content::Metrics {
        own = own.route("/version", any(version)).route("/debug/vars", any(debug::vars));
    }
    own = own.layer(middleware::from_fn(get_only)).route("/metrics", any(metrics));
    if content != Content::Metrics && services.config.gateway {
        let bytes = services.config.max_request_bytes + limits::REQUEST_ENVELOPE_BYTES;
        let gateway = Gateway::new(grpc.clone(), bytes);
        let serve = move |request| gateway.clone().serve(request);
        let paths = Router::new()
            .route("/v3/{*path}", any(serve.clone()))
            .route("/v3beta/{*path}", any(serve))
            .layer(middleware::from_fn_with_state(services.clone(), no_certificate_names));
        own = own.merge(paths);
    }
    let guard = access::Guard::new(&services.config, secure);
    let guarded = |router: Router<()>| {
        router.layer(middleware::from_fn_with_state(guard.clone(), access::guard))
    };
    let own = guarded(own.with_state(services));
    // gRPC knows its own paths; whatever is left is not there, in the words of its protocol.
    let rest = guarded(Router::new().fallback(nothing_here));
    if content == Content::All {
        own.merge(grpc.clone()).fallback_service(rest)
    } else {
        own.fallback_service(rest)
    }
}

async fn nothing_here(request: Request) -> Result<Response, Infallible> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let status = tonic::Status::unimplemented("unknown service or method");
        return Ok(status.into_http::<axum::body::Body>());
    }
    Ok(plain(StatusCode::NOT_FOUND, "404 page not found\n"))
}

/// A text as etcd's server sends it.
fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, text.into()).into_response()
}

async fn get_only(request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    refused
}

/// The gateway knows its clients by their tokens alone. One that shows a certificate with a name,
/// where such names are users, would believe to be that user: it is refused.
async fn no_certificate_names(
    State(services): State<Services>,
    request: Request,
    next: Next,
) -> Response {
    let named = request.extensions().get::<CommonName>().is_some();
    let by_name = services.config.client_tls.require_client_cert;
    if named && by_name && services.state.view().auth_enabled() {
        let why = "CommonName of client sending a request against gateway will be ignored and not \
                   used as expected\n";
        return plain(StatusCode::BAD_REQUEST, why);
    }
    next.run(request).await
}

async fn version(State(services): State<Services>) -> Response {
    let (_, cluster) = services.state.view().cluster();
    let cluster = if cluster.is_empty() { "not_decided".to_owned() } else { cluster };
    Json(json!({
        "etcdserver": crate::VERSION, "etcdcluster": cluster, "storage": crate::VERSION,
    }))
    .into_response()
}

/// What is looked up for each scrape and has labels.
fn facts(services: &Services) -> Vec<sample::Named> {
    let own = services.headers.member_id();
    let view = services.state.view();
    let (_, cluster) = view.cluster();
    // As etcd: the major and the minor number.
    let cluster = cluster.rsplit_once('.').map_or("", |(short, _)| short).to_owned();
    let version = crate::VERSION.to_owned();
    let mut facts: Vec<sample::Named> = vec![
        ("etcd_server_id", vec![("server_id", format!("{own:x}"))], 1),
        ("etcd_server_version", vec![("server_version", version)], 1),
        ("etcd_cluster_version", vec![("cluster_version", cluster)], 1),
    ];
    let config = &services.config;
    for (gate, on) in [
        ("CompactHashCheck", !config.compact_check_after.is_zero()),
        ("InitialCorruptCheck", config.initial_corrupt_check),
        ("LeaseCheckpoint", true),
        ("LeaseCheckpointPersist", true),
        ("StopGRPCServiceOnDefrag", false),
    ] {
        let labels = vec![("name", gate.to_owned()), ("stage", "ALPHA".to_owned())];
        facts.push(("etcd_server_feature_enabled", labels, u8::from(on)));
    }
    for peer in services.members.list().into_iter().filter(|member| member.id != own) {
        let labels = vec![("Local", format!("{own:x}")), ("Remote", format!("{:x}", peer.id))];
        facts.push(("etcd_network_known_peers", labels, 1));
    }
    for alarm in services.alarms() {
        let kind = AlarmType::try_from(alarm.alarm).unwrap_or_default().as_str_name().to_owned();
        let labels = vec![("server_id", format!("{:x}", alarm.member_id)), ("alarm_type", kind)];
        facts.push(("etcd_debugging_server_alarms", labels, 1));
    }
    facts
}

async fn metrics(State(services): State<Services>) -> Response {
    let scrape = services.metrics.scrape();
    let answer = measured(&services).await;
    scrape.answered(answer.status());
    answer
}

async fn measured(services: &Services) -> Response {
    let metrics = &services.metrics;
    let leader = *services.leader.borrow();
    let own = services.headers.member_id();
    metrics.raft.has_leader.set(i64::from(leader.is_some()));
    metrics.raft.is_leader.set(i64::from(leader == Some(own)));
    metrics.raft.is_learner.set(i64::from(services.members.is_learner()));
    metrics.quota.set(services.config.quota_bytes);
    metrics.raft.proposals_pending.set(services.proposer.waiting() as u64);
    let raft = services.raft.metrics().borrow_watched().clone();
    metrics.raft.proposals_committed.set(raft.local_committed.map_or(0, |id| id.index));
    metrics.log_purged.set(raft.purged.map_or(0, |id| id.index));
    let view = services.state.view();
    metrics.keys.set(view.key_counts().0 as u64);
    metrics.revision.set(view.revision());
    metrics.compact_revision.set(view.compact_revision().max(0));
    metrics.auth_revision.set(view.auth().revision());
    let sizes = crate::exec::blocking(move || (view.sizes(), sample::process())).await;
    let Ok((sizes, process)) = sizes else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be read\n");
    };
    if let Ok(sizes) = sizes {
        metrics.db_size.set(sizes.total);
        metrics.db_size_in_use.set(sizes.in_use);
    }
    let text = metrics.text() + &sample::named(&facts(services)) + &process;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
