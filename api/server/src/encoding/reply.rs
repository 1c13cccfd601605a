//! Whole documents as HTTP responses.

use std::io::Write as _;

use api_machinery::{Object, ResourceInfo, Status, protobuf, table};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::negotiate::{Accepted, Media, Transform};
use crate::body::Body;
use crate::limits::GZIP_BYTES_MIN;

/// A response with a body of a media type.
pub(crate) fn plain(
    code: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Writes a tree in the media type that was negotiated.
pub(super) fn bytes(value: &Value, accepted: &Accepted) -> Result<Vec<u8>, Status> {
    let failed = |why: String| Status::internal(&format!("encoding the answer: {why}"));
    match accepted.media {
        Media::Json => {
            let written = if accepted.pretty {
                serde_json::to_vec_pretty(value)
            } else {
                serde_json::to_vec(value)
            };
            let mut bytes = written.map_err(|error| failed(error.to_string()))?;
            // Upstream's encoder ends every document with a line feed.
            bytes.push(b'\n');
            Ok(bytes)
        }
        Media::Yaml => serde_saphyr::to_string(value)
            .map(String::into_bytes)
            .map_err(|error| failed(error.to_string())),
        Media::Protobuf => protobuf::encode(value).map_err(|error| failed(error.to_string())),
    }
}

/// A document as it is, whatever transform was asked for.
pub(crate) fn value(
    code: u16,
    tree: &Value,
    accepted: &Accepted,
) -> Result<Response<Body>, Status> {
    Ok(plain(code, accepted.media.content_type(), bytes(tree, accepted)?))
}

/// One object, transformed as asked.
pub(crate) fn object(
    code: u16,
    info: &ResourceInfo,
    found: &Object,
    accepted: &Accepted,
) -> Result<Response<Body>, Status> {
    match accepted.transform {
        Transform::None => value(code, &Value::Object(found.0.clone()), accepted),
        Transform::Partial => value(code, &table::partial_metadata(found).into_value(), accepted),
        Transform::Table(include) => {
            let row = table::row(info, found, include, jiff::Timestamp::now());
            let meta = json!({"resourceVersion": found.resource_version()});
            value(code, &table::table(info, meta, vec![row], true), accepted)
        }
    }
}

/// An error as a `Status` document.
pub(crate) fn error(status: &Status, accepted: &Accepted) -> Response<Body> {
    let tree = status.to_json();
    let mut response = value(status.code, &tree, accepted)
        .unwrap_or_else(|_| plain(status.code, Media::Json.content_type(), tree.to_string()));
    let retry_after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry_after > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    }
    response
}

/// Compresses a large whole body when the client accepts gzip.
pub(crate) fn compress(request: &HeaderMap, response: &mut Response<Body>) {
    let accepts = request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"));
    let Body::Full(Some(bytes)) = response.body() else { return };
    if !accepts || bytes.len() < GZIP_BYTES_MIN {
        return;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let Ok(packed) = encoder.write_all(bytes).and_then(|()| encoder.finish()) else { return };
    *response.body_mut() = Body::full(packed);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}
