//! What is served, told to clients: `/api`, `/apis`, `/openapi/v3` and the list of paths at `/`.

mod custom;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api_machinery::{Status, discovery, openapi};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::body::Body;
use crate::encoding::{self, Accepted, Offer};
use crate::request::Query;
use crate::state::Server;

/// client-go tells aggregated discovery by these parameters.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const JSON: &str = "application/json";

/// Answers a path outside of the resources; 404 for one that is not served.
pub(crate) fn serve(
    server: &Server,
    path: &str,
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
        ["openapi", "v3"] => {
            let mut index = openapi::index(hash_of_path);
            custom::add_to_openapi_index(server, &mut index);
            Ok(tagged(headers, JSON, &index))
        }
        ["openapi", "v3", rest @ ..] => openapi_document(server, (path, rest), query, headers),
        [] | [""] => legacy(headers, query, &paths(server)),
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
    let accepted = encoding::negotiate(headers, query, Offer::Document)?;
    // Documents without protobuf form, `/` for one, are JSON for everybody.
    let mut response = encoding::value(200, document, &accepted)
        .or_else(|_| encoding::value(200, document, &Accepted::JSON))?;
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// A document with its ETag; 304 when the client has it.
fn tagged(headers: &HeaderMap, content_type: &'static str, document: &Value) -> Response<Body> {
    let bytes = document.to_string();
    let tag = format!("\"{}\"", digest(bytes.as_bytes()));
    let is_held = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|held| held.to_str().ok())
        .is_some_and(|held| held.split(',').any(|one| one.trim() == tag));
    let mut response = if is_held {
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

fn digest(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha512::digest(bytes) {
        write!(text, "{byte:02X}").expect("writing to a String cannot fail");
    }
    text
}

/// The hash of a document, which never changes while this binary runs. The documents themselves
/// are large and rarely asked for: they are not kept.
fn hash_of_path(path: &str) -> String {
    static HASHES: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    if let Some(hash) = HASHES.lock().get(path) {
        return hash.clone();
    }
    let parts: Vec<&str> = path.split('/').collect();
    let document = document_of(&parts);
    let hash = document.map(|document| digest(document.to_string().as_bytes()));
    let hash = hash.unwrap_or_default();
    HASHES.lock().insert(path.to_owned(), hash.clone());
    hash
}

fn document_of(parts: &[&str]) -> Option<Value> {
    match parts {
        ["api", version] => openapi::document("", version),
        ["apis", group, version] => openapi::document(group, version),
        _ => None,
    }
}

fn openapi_document(
    server: &Server,
    (path, parts): (&str, &[&str]),
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let of_custom = || match parts {
        ["apis", group, version] => custom::openapi_document(server, group, version),
        _ => None,
    };
    let built_in = document_of(parts).map(|document| {
        let hash = digest(document.to_string().as_bytes());
        (document, hash)
    });
    let (document, hash) = built_in.or_else(of_custom).ok_or_else(Status::no_such_path)?;
    let mut response = tagged(headers, JSON, &document);
    let Some(asked) = query.non_empty("hash") else { return Ok(response) };
    if asked == hash {
        let fields = response.headers_mut();
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        fields.insert(header::EXPIRES, HeaderValue::from_static("Thu, 31 Dec 2037 23:55:55 GMT"));
        return Ok(response);
    }
    let mut moved = Response::new(Body::full(""));
    *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{path}?hash={hash}")) {
        moved.headers_mut().insert(header::LOCATION, location);
    }
    Ok(moved)
}

fn paths(server: &Server) -> Value {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis", "/apis/"].map(str::to_owned).to_vec();
    for (group, version) in discovery::groups() {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{version}"));
    }
    paths.extend(custom::paths(server));
    let others =
        ["/healthz", "/livez", "/metrics", "/openapi/v3", "/openapi/v3/", "/readyz", "/version"];
    paths.extend(others.map(str::to_owned));
    paths.sort();
    json!({"paths": paths})
}
