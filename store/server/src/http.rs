//! Health, version and metrics over plain HTTP, on the client port.

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use openraft::async_runtime::WatchReceiver as _;
use proto::etcdserverpb::AlarmType;
use serde_json::json;

use crate::rpc::Services;

/// Adds the HTTP routes to the router of the gRPC services.
pub(crate) fn routes(services: Services, grpc: Router) -> Router {
    let own = Router::new()
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/{check}", get(one_check))
        .route("/livez/{check}", get(one_check))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .with_state(services);
    own.merge(grpc)
}

async fn version() -> Response {
    Json(json!({
        "etcdserver": crate::VERSION, "etcdcluster": crate::VERSION, "storage": crate::VERSION,
    }))
    .into_response()
}

async fn metrics(State(services): State<Services>) -> Response {
    let metrics = &services.metrics;
    let leader = *services.leader.borrow();
    metrics.has_leader.set(i64::from(leader.is_some()));
    metrics.is_leader.set(i64::from(leader == Some(services.headers.member_id())));
    metrics.quota.set(services.config.quota_bytes);
    metrics.proposals_pending.set(services.proposer.waiting() as u64);
    let committed = services.raft.metrics().borrow_watched().local_committed;
    metrics.proposals_committed.set(committed.map_or(0, |id| id.index));
    let view = services.state.view();
    metrics.keys.set(view.key_counts().0 as u64);
    let sizes = tokio::task::spawn_blocking(move || view.sizes()).await;
    if let Ok(Ok(sizes)) = sizes {
        metrics.db_size.set(sizes.total);
        metrics.db_size_in_use.set(sizes.in_use);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], metrics.text()).into_response()
}

fn has(query: Option<&str>, pair: &str) -> bool {
    query.unwrap_or_default().split('&').any(|part| part == pair)
}

async fn health(State(services): State<Services>, RawQuery(query): RawQuery) -> Response {
    let query = query.as_deref();
    let mut reason = None;
    for alarm in services.state.view().alarms() {
        let name = AlarmType::try_from(alarm.alarm).unwrap_or_default().as_str_name();
        if !has(query, &format!("exclude={name}")) {
            reason = Some(format!("ALARM {name}"));
        }
    }
    if reason.is_none() && !has(query, "serializable=true") {
        if services.leader.borrow().is_none() {
            reason = Some("RAFT NO LEADER".to_owned());
        } else if let Err(error) = services.reader.linearizable().await {
            reason = Some(format!("RANGE ERROR:{}", tonic::Status::from(error).message()));
        }
    }
    let (status, healthy) = match reason {
        None => (StatusCode::OK, "true"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "false"),
    };
    let body = json!({ "health": healthy, "reason": reason.unwrap_or_default() });
    (status, Json(body)).into_response()
}

async fn check(services: &Services, name: &str) -> Option<Result<(), String>> {
    Some(match name {
        // Applied state is readable whenever this process answers at all.
        "serializable_read" => Ok(()),
        "linearizable_read" => services
            .reader
            .linearizable()
            .await
            .map_err(|error| tonic::Status::from(error).message().to_owned()),
        "data_corruption" => {
            let corrupt = i32::from(AlarmType::Corrupt);
            let alarms = services.state.view().alarms();
            let raised = alarms.iter().any(|alarm| alarm.alarm == corrupt);
            if raised { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
        }
        "non_learner" if services.members.is_learner(services.headers.member_id()) => {
            Err("not supported for learner".to_owned())
        }
        "non_learner" => Ok(()),
        _ => return None,
    })
}

async fn report(services: &Services, checks: &[&str], query: Option<&str>) -> Response {
    let mut text = String::new();
    let mut failed = false;
    for name in checks {
        if has(query, &format!("exclude={name}")) {
            text.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check(services, name).await {
            Some(Err(why)) => {
                failed = true;
                text.push_str(&format!("[-]{name} failed: {why}\n"));
            }
            Some(Ok(())) => text.push_str(&format!("[+]{name} ok\n")),
            None => return StatusCode::NOT_FOUND.into_response(),
        }
    }
    if failed {
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let verbose = has(query, "verbose") || has(query, "verbose=true");
    let body = if verbose { format!("{text}ok\n") } else { "ok\n".to_owned() };
    (StatusCode::OK, body).into_response()
}

async fn livez(State(services): State<Services>, RawQuery(query): RawQuery) -> Response {
    report(&services, &["serializable_read"], query.as_deref()).await
}

async fn readyz(State(services): State<Services>, RawQuery(query): RawQuery) -> Response {
    let checks = ["data_corruption", "serializable_read", "linearizable_read", "non_learner"];
    report(&services, &checks, query.as_deref()).await
}

async fn one_check(State(services): State<Services>, Path(name): Path<String>) -> Response {
    report(&services, &[&name], None).await
}
