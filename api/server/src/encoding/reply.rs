//! Whole documents as HTTP responses.

use std::io::Write as _;

use api_machinery::{Object, Status, View, convert, header as json_header, protobuf, table};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::beta;
use super::negotiate::{Accepted, Media, Transform};
use crate::body::{Body, Pull};
use crate::custom::Shape;
use crate::limits::{GZIP_BYTES_MIN, LIST_CHUNK_BYTES};
use crate::watch_cache::Version;

/// A response with bytes of a media type.
pub(crate) fn plain(
    code: u16,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
) -> Response<Body> {
    body(code, content_type, Body::full(bytes))
}

/// Upstream says so with what it writes as text.
pub(crate) fn forbid_sniffing(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// A response with a body of a media type.
pub(super) fn body(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Writes a tree in the media type that was negotiated.
pub(super) fn bytes(value: &Value, accepted: &Accepted) -> Result<Vec<u8>, Status> {
    let mut old = None;
    if accepted.is_beta {
        beta::retell(old.insert(value.clone()));
    }
    let value = old.as_ref().unwrap_or(value);
    let failed = |why: String| Status::internal(&format!("encoding the answer: {why}"));
    match accepted.media {
        Media::Json => json_bytes(value, accepted.pretty),
        Media::Yaml => serde_saphyr::to_string(value)
            .map(String::into_bytes)
            .map_err(|error| failed(error.to_string())),
        Media::Protobuf => protobuf::encode(value).map_err(|error| failed(error.to_string())),
    }
}

/// Upstream's encoder ends every document with a line feed.
fn json_bytes(value: &impl Serialize, pretty: bool) -> Result<Vec<u8>, Status> {
    let written = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    let mut bytes =
        written.map_err(|error| Status::internal(&format!("encoding the answer: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// One object as a cache holds it, when its bytes are what is asked for: no tree is made.
pub(crate) fn as_cached(
    shape: &Shape,
    version: &Version,
    accepted: &Accepted,
) -> Result<Option<Response<Body>>, Status> {
    let is_asked = accepted.transform == Transform::None && !accepted.is_beta;
    let is_kept = shape.is_shown_as_stored() && shape.info.kept_as.is_none();
    if !is_asked || !is_kept {
        return Ok(None);
    }
    let content_type = accepted.media.content_type();
    if accepted.is_written_as_sent() {
        return Ok(Some(plain(200, content_type, version.json().line())));
    }
    if accepted.is_made_of_messages() && shape.custom.is_none() {
        let message = version.message(shape.info)?;
        let object = protobuf::envelope(&shape.info.api_version(), shape.info.kind, &message);
        return Ok(Some(plain(200, content_type, object)));
    }
    Ok(None)
}

/// One object of which the JSON is there, written as its tree would be, when that is what is asked
/// for.
pub(crate) fn as_stored(
    code: u16,
    shape: &Shape,
    (json, revision): (&[u8], u64),
    accepted: &Accepted,
) -> Option<Response<Body>> {
    let is_asked = accepted.transform == Transform::None && accepted.is_written_as_sent();
    let is_kept = shape.custom.is_none() && shape.info.kept_as.is_none();
    if !is_asked || accepted.is_beta || !is_kept {
        return None;
    }
    let mut json = json_header::in_order_with_resource_version(json, revision)?;
    json.push(b'\n');
    Some(plain(code, accepted.media.content_type(), json))
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
    shape: &Shape,
    found: &Object,
    accepted: &Accepted,
) -> Result<Response<Body>, Status> {
    accepted.check_partial(shape.info, false)?;
    match accepted.transform {
        Transform::None
            if accepted.media == Media::Json && found.api_version() == shape.info.api_version() =>
        {
            let bytes = json_bytes(&found.0, accepted.pretty)?;
            Ok(plain(code, accepted.media.content_type(), bytes))
        }
        Transform::None => {
            value(code, &convert::to(shape.info, found.clone()).into_value(), accepted)
        }
        Transform::Partial => value(code, &table::partial_metadata(found).into_value(), accepted),
        Transform::Table(include) => {
            let meta = json!({"resourceVersion": found.resource_version()});
            let mut table = Vec::new();
            shape.write_table_start(&meta, true, &mut table);
            let json = found.to_json();
            let now = clock::now();
            shape.write_table_row(View::new(&json), include, now, &mut table);
            table.extend_from_slice(table::TABLE_END);
            if accepted.is_written_as_sent() {
                table.push(b'\n');
                return Ok(plain(code, accepted.media.content_type(), table));
            }
            let tree: Value = serde_json::from_slice(&table)
                .map_err(|error| Status::internal(&error.to_string()))?;
            value(code, &tree, accepted)
        }
    }
}

/// An error as a `Status` document.
pub(crate) fn error(status: &Status, accepted: &Accepted) -> Response<Body> {
    let tree = status.to_json();
    let mut response = value(status.code, &tree, &accepted.of_error())
        .unwrap_or_else(|_| plain(status.code, Media::Json.content_type(), tree.to_string()));
    let retry_after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry_after > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    }
    response
}

/// Whether the client reads what is compressed.
pub(crate) fn accepts_gzip(request: &HeaderMap) -> bool {
    request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

/// Compresses a large body, for a client that takes gzip.
pub(crate) fn compress(response: &mut Response<Body>) {
    let is_done = response.headers().contains_key(header::CONTENT_ENCODING);
    let is_large = match response.body() {
        Body::Full(Some(bytes)) => bytes.len() >= GZIP_BYTES_MIN,
        Body::Pulled(_) => true,
        Body::Full(None) | Body::Stream(_) | Body::Proxied(_) | Body::Audited(_) => false,
    };
    if is_done || !is_large {
        return;
    }
    let source: Box<dyn Pull> = match std::mem::replace(response.body_mut(), Body::full("")) {
        Body::Full(bytes) => Box::new(Whole(bytes.unwrap_or_default())),
        Body::Pulled(source) => source,
        // Neither is large.
        other @ (Body::Stream(_) | Body::Proxied(_) | Body::Audited(_)) => {
            *response.body_mut() = other;
            return;
        }
    };
    let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    *response.body_mut() = Body::Pulled(Box::new(Gzip { source, encoder }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// Bytes that are there already, a chunk at a time.
struct Whole(Bytes);

impl Pull for Whole {
    fn pull(&mut self) -> Option<Bytes> {
        let size = self.0.len().min(LIST_CHUNK_BYTES);
        (size > 0).then(|| self.0.split_to(size))
    }
}

/// Compresses what another one writes.
struct Gzip {
    source: Box<dyn Pull>,
    /// `None` once the end is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Pull for Gzip {
    fn pull(&mut self) -> Option<Bytes> {
        let mut encoder = self.encoder.take()?;
        let written = "writing to memory cannot fail";
        while encoder.get_ref().is_empty() {
            let Some(chunk) = self.source.pull() else {
                if self.source.is_broken() {
                    return None;
                }
                return Some(encoder.finish().expect(written).into());
            };
            encoder.write_all(&chunk).expect(written);
        }
        let packed = std::mem::take(encoder.get_mut());
        self.encoder = Some(encoder);
        Some(packed.into())
    }

    fn is_broken(&self) -> bool {
        self.source.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_large_body_is_compressed_in_chunks() {
        let text = "all work and no play ".repeat(40_000);
        let mut request = HeaderMap::new();
        request.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("deflate, gzip;q=1"));
        assert!(accepts_gzip(&request) && !accepts_gzip(&HeaderMap::new()));
        let mut response = plain(200, "text/plain", text.clone());
        compress(&mut response);
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let Body::Pulled(body) = response.body_mut() else { panic!("the body is whole") };
        let mut packed = Vec::new();
        while let Some(chunk) = body.pull() {
            packed.extend_from_slice(&chunk);
        }
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);

        let mut small = plain(200, "text/plain", "x");
        compress(&mut small);
        assert!(!small.headers().contains_key(header::CONTENT_ENCODING));
    }
}
