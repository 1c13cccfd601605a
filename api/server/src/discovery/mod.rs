//! What is served, told to clients: `/api`, `/apis`, `/openapi` and the list of paths at `/`.

mod custom;
mod openapi;

use api_machinery::{Status, discovery};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::Body;
use crate::encoding::{self, Accepted, Offer};
use crate::request::Query;
use crate::state::Server;

pub(crate) use openapi::{Documents, digest};

/// client-go tells aggregated discovery by these parameters.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers a path outside of the resources; 404 for one that is not served.
pub(crate) fn serve(
    server: &Server,
    parts: &[&str],
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let aggregated = encoding::accepts_aggregated(headers);
    match parts {
        ["api"] if aggregated => Ok(tagged(headers, AGGREGATED, &discovery::aggregated_core())),
        ["apis"] if aggregated => Ok(tagged(headers, AGGREGATED, &custom::aggregated(server))),
        ["api"] => legacy(headers, query, &discovery::api_versions(&server.address)),
        ["apis"] => legacy(headers, query, &custom::groups(server)),
        ["api", version] => known(headers, query, discovery::api_resource_list("", version)),
        ["apis", group] => known(headers, query, custom::group(server, group)),
        ["apis", group, version] => {
            known(headers, query, custom::resources(server, group, version))
        }
        ["openapi", rest @ ..] => openapi::serve(server, rest, query, headers),
        [] | ["" | "index.html"] => legacy(headers, query, &paths(server)),
        _ => Err(Status::no_such_path()),
    }
}

fn known(
    headers: &HeaderMap,
    query: &Query,
    document: Option<Value>,
) -> Result<Response<Body>, Status> {
    legacy(headers, query, &document.ok_or_else(Status::no_such_path)?)
}

fn legacy(headers: &HeaderMap, query: &Query, document: &Value) -> Result<Response<Body>, Status> {
    let accepted = encoding::negotiate(headers, query, Offer::Plain)?;
    // Documents without protobuf form, `/` for one, are JSON for everybody.
    encoding::value(200, document, &accepted)
        .or_else(|_| encoding::value(200, document, &Accepted::JSON))
}

/// Whether the client has what the tag is of.
fn holds(headers: &HeaderMap, tag: &str) -> bool {
    let held = headers.get(header::IF_NONE_MATCH).and_then(|held| held.to_str().ok());
    held.is_some_and(|held| held.split(',').map(str::trim).any(|one| one == tag || one == "*"))
}

/// A document with its ETag; 304 when the client has it.
fn tagged(headers: &HeaderMap, content_type: &'static str, document: &Value) -> Response<Body> {
    let bytes = document.to_string();
    let tag = format!("\"{}\"", digest(bytes.as_bytes()));
    let mut response = if holds(headers, &tag) {
        let mut response = Response::new(Body::full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        encoding::plain(200, content_type, bytes)
    };
    let fields = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(header::ETAG, tag);
    }
    fields.insert(header::VARY, HeaderValue::from_static("Accept"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

fn paths(server: &Server) -> Value {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis", "/apis/"].map(str::to_owned).to_vec();
    for (group, version) in discovery::groups() {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{version}"));
    }
    paths.extend(custom::paths(server));
    let others = [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/readyz",
        "/version",
    ];
    paths.extend(others.map(str::to_owned));
    paths.sort();
    json!({"paths": paths})
}
