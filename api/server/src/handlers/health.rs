//! `/healthz`, `/livez`, `/readyz`, `/metrics`, `/version`.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api_machinery::Status;
use http::Response;
use http::header::HeaderValue;
use serde_json::{Value, json};

use crate::body::Body;
use crate::encoding;
use crate::metrics::ResourceLabels;
use crate::request::Query;
use crate::state::Server;

/// A health check of the store takes no longer than this (upstream's 2 s).
const STORE_CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Custom kinds that were there at the start are served.
const KINDS: &str = "poststarthook/crd-informer-synced";
/// Until then only `system:masters` may do anything.
const BOOTSTRAP: &str = "poststarthook/rbac/bootstrap-roles";
const TEXT: &str = "text/plain; charset=utf-8";

struct Check {
    name: &'static str,
    ok: bool,
}

/// Runs the checks of an endpoint, or one of them.
pub(crate) async fn health(
    server: &Server,
    endpoint: &str,
    only: &[&str],
    query: &Query,
) -> Result<Response<Body>, Status> {
    let only = if only.is_empty() { None } else { Some(only.join("/")) };
    let mut names = vec!["ping", "log", "etcd"];
    if endpoint == "readyz" {
        let more = ["etcd-readiness", "informer-sync", KINDS, BOOTSTRAP, "shutdown"];
        names.extend(more);
    }
    if let Some(only) = only {
        names.retain(|name| *name == only);
        if names.is_empty() {
            return Err(Status::no_such_path());
        }
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut checks = Vec::new();
    for name in names {
        let ok = excluded.contains(&name) || passes(server, name).await;
        checks.push(Check { name, ok });
    }
    let failed = checks.iter().any(|check| !check.ok);
    let mut text = String::new();
    if failed || query.get("verbose").is_some() {
        for check in &checks {
            let line = match (check.ok, excluded.contains(&check.name)) {
                (true, true) => format!("[+]{} excluded: ok\n", check.name),
                (true, false) => format!("[+]{} ok\n", check.name),
                (false, _) => format!("[-]{} failed: reason withheld\n", check.name),
            };
            text.push_str(&line);
        }
        let word = if failed { "failed" } else { "passed" };
        writeln!(text, "{endpoint} check {word}").expect("writing to a String cannot fail");
    } else {
        text.push_str("ok");
    }
    let mut response = encoding::plain(if failed { 500 } else { 200 }, TEXT, text);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    Ok(response)
}

async fn passes(server: &Server, name: &str) -> bool {
    match name {
        "etcd" | "etcd-readiness" => {
            let read = server.storage.revision();
            matches!(tokio::time::timeout(STORE_CHECK_TIMEOUT, read).await, Ok(Ok(_)))
        }
        BOOTSTRAP => server.is_bootstrapped.load(Ordering::Relaxed),
        "informer-sync" => server.caches.is_synced(),
        KINDS => server.custom.is_ready(),
        "shutdown" => !server.shutdown.is_cancelled(),
        _ => true,
    }
}

/// The metrics as Prometheus reads them.
pub(crate) fn metrics(server: &Server) -> Response<Body> {
    for cache in server.caches.all() {
        let labels = ResourceLabels { resource: cache.info().plural };
        let count = i64::try_from(cache.object_count()).unwrap_or(i64::MAX);
        server.metrics.objects.get_or_create(&labels).set(count);
    }
    encoding::plain(
        200,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        server.metrics.text(),
    )
}

/// A document for those who check our tokens: it may be kept for an hour, as upstream says.
pub(crate) fn published(
    document: Option<Value>,
    content_type: &'static str,
) -> Result<Response<Body>, Status> {
    let document = document.ok_or_else(Status::no_such_path)?;
    let mut response = encoding::plain(200, content_type, document.to_string());
    let keep = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(http::header::CACHE_CONTROL, keep);
    Ok(response)
}

/// The level of Kubernetes that is spoken.
pub(crate) fn version() -> Response<Body> {
    let version = json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2+orlop",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform()),
    });
    encoding::plain(200, "application/json", format!("{version:#}"))
}

/// Go's name of the machine.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
