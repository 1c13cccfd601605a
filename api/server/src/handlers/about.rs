//! `/metrics`, `/version` and other documents of this server; for the health checks see `health`.

use std::sync::Arc;

use api_machinery::Status;
use http::Response;
use http::header::HeaderValue;
use serde_json::{Value, json};

use crate::body::Body;
use crate::encoding;
use crate::metrics::{QualifiedLabels, ResourceLabels};
use crate::state::Server;

/// What clients are told that this is.
pub(crate) const GIT_VERSION: &str = "v1.36.2+orlop";

/// The metrics as Prometheus reads them.
pub(crate) async fn metrics(server: &Arc<Server>) -> Result<Response<Body>, Status> {
    let server = server.clone();
    // They are many, and the system is asked: not on a thread that serves others.
    let text = tokio::task::spawn_blocking(move || {
        let metrics = &server.metrics;
        for cache in server.caches.every() {
            let (group, resource) = (cache.info().group, cache.info().plural);
            let count = i64::try_from(cache.object_count()).unwrap_or(i64::MAX);
            metrics.objects.get_or_create(&ResourceLabels { group, resource }).set(count);
            let resource = match group {
                "" => resource.to_owned(),
                group => format!("{resource}.{group}"),
            };
            metrics.objects_by_name.get_or_create(&QualifiedLabels { resource }).set(count);
        }
        metrics.text()
    });
    let text = text.await.map_err(|error| Status::internal(&error.to_string()))?;
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(encoding::plain(200, openmetrics, text))
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
        "gitVersion": GIT_VERSION,
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
