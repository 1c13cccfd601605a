//! /health, /livez and /readyz.

use axum::{
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::Response,
};
use proto::etcdserverpb::{AlarmType, RangeRequest};
use serde_json::json;

use super::plain;
use crate::{error::Error, rpc::Services};

const LIVE: [&str; 1] = ["serializable_read"];
/// etcd's, and one of our own at the end.
const READY: [&str; 5] =
    ["data_corruption", "serializable_read", "linearizable_read", "non_learner", "log_disk"];

/// The values of a name in a query.
fn values<'a>(query: Option<&'a str>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

impl Services {
    /// A read from this member's own disk, within the time that a request has.
    async fn read_here(&self) -> Result<(), Error> {
        let view = self.state.view();
        let request = RangeRequest {
            key: bytes::Bytes::from_static(b"\0"),
            range_end: bytes::Bytes::from_static(b"\0"),
            limit: 1,
            keys_only: true,
            serializable: true,
            ..RangeRequest::default()
        };
        let read = crate::exec::blocking(move || view.range(&request).map(drop));
        match tokio::time::timeout(self.config.request_timeout(), read).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(store_state_machine::ReadError::Refused(refusal)))) => Err(refusal.into()),
            Ok(Ok(Err(store_state_machine::ReadError::Failed(fault)))) => {
                crate::fatal("reading the state", &fault)
            }
            Ok(Err(_)) | Err(_) => Err(Error::Timeout),
        }
    }
}

fn text(error: Error) -> String {
    tonic::Status::from(error).message().to_owned()
}

/// Why the member is not healthy.
async fn problem(services: &Services, query: Option<&str>) -> Option<String> {
    if services.fence.check().is_err() && values(query, "exclude").all(|name| name != "CORRUPT") {
        return Some("ALARM CORRUPT".to_owned());
    }
    for alarm in services.state.view().alarms() {
        let name = AlarmType::try_from(alarm.alarm).unwrap_or_default().as_str_name();
        if values(query, "exclude").all(|excluded| excluded != name) {
            return Some(format!("ALARM {name}"));
        }
    }
    let read = if values(query, "serializable").next() == Some("true") {
        services.read_here().await
    } else if services.leader.borrow().is_none() {
        return Some("RAFT NO LEADER".to_owned());
    } else {
        services.reader.linearizable().await
    };
    read.err().map(|error| format!("RANGE ERROR:{}", text(error)))
}

pub(super) async fn health(
    State(services): State<Services>,
    RawQuery(query): RawQuery,
) -> Response {
    match problem(&services, query.as_deref()).await {
        None => {
            services.metrics.health_success.inc();
            plain(StatusCode::OK, json!({"health": "true", "reason": ""}).to_string())
        }
        Some(reason) => {
            services.metrics.health_failures.inc();
            tracing::warn!(reason, "/health is answered with no");
            let body = json!({"health": "false", "reason": reason});
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("{body}\n"))
        }
    }
}

async fn check(services: &Services, name: &str) -> Result<(), String> {
    match name {
        "serializable_read" => services.read_here().await.map_err(text),
        "linearizable_read" => services.reader.linearizable().await.map_err(text),
        "data_corruption" => {
            let corrupt = i32::from(AlarmType::Corrupt);
            let alarms = services.state.view().alarms();
            let raised = alarms.iter().any(|alarm| alarm.alarm == corrupt);
            let raised = raised || services.fence.check().is_err();
            if raised { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
        }
        "log_disk" => services.disk.problem().map_or(Ok(()), Err),
        "non_learner" if services.members.is_learner() => {
            Err("not supported for learner".to_owned())
        }
        _ => Ok(()),
    }
}

async fn report(
    services: &Services,
    kind: &'static str,
    checks: &[&'static str],
    query: Option<&str>,
) -> Response {
    let mut lines = String::new();
    let mut failed = false;
    for name in checks {
        if values(query, "exclude").any(|excluded| excluded == *name) {
            continue;
        }
        let outcome = check(services, name).await;
        services.metrics.checked(kind, name, outcome.is_ok());
        match outcome {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                failed = true;
                lines.push_str(&format!("[-]{name} failed: {why}\n"));
            }
        }
    }
    if failed {
        tracing::warn!(kind, lines, "a health check failed");
        return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{lines}\n"));
    }
    if values(query, "verbose").next().is_none() {
        lines.clear();
    }
    plain(StatusCode::OK, lines + "ok\n")
}

pub(super) async fn livez(State(services): State<Services>, RawQuery(query): RawQuery) -> Response {
    report(&services, "livez", &LIVE, query.as_deref()).await
}

pub(super) async fn readyz(
    State(services): State<Services>,
    RawQuery(query): RawQuery,
) -> Response {
    report(&services, "readyz", &READY, query.as_deref()).await
}

async fn one(
    services: &Services,
    kind: &'static str,
    checks: &[&'static str],
    (name, query): (&str, Option<&str>),
) -> Response {
    let known = checks.iter().find(|known| **known == name);
    match known {
        // A check asked for by its name cannot be excluded.
        Some(check) => {
            let verbose = values(query, "verbose").next().map(|_| "verbose");
            report(services, kind, &[check], verbose).await
        }
        None => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

pub(super) async fn one_live(
    State(services): State<Services>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    one(&services, "livez", &LIVE, (&name, query.as_deref())).await
}

pub(super) async fn one_ready(
    State(services): State<Services>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    one(&services, "readyz", &READY, (&name, query.as_deref())).await
}
