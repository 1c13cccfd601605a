//! OpenAPI: the documents of version 3, one for each group's version, and that of version 2.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | O1 | A document is made when it or its hash is asked for, and again when it would change. |
//! | O2 | What is kept is compressed; of custom kinds, in version 3, only the hashes are kept. |
//! | O3 | A document's ETag is its hash, in JSON and in protobuf alike. |
//! | O4 | The document of version 2 is made at most once in [`OPENAPI_V2_PAUSE`]. |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use api_machinery::Status;
use api_machinery::openapi::v2::Collected;
use api_machinery::openapi::{self, Maker, protobuf};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::body::Body;
use crate::encoding;
use crate::limits::OPENAPI_V2_PAUSE;
use crate::request::Query;
use crate::state::Server;

const JSON: &str = "application/json";
/// What clients ask for, what they get, and whether that is protobuf.
type Media = (&'static str, &'static str, bool);
const V2: [Media; 3] = [
    (JSON, JSON, false),
    ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", V2_PROTOBUF, true),
    (V2_PROTOBUF, V2_PROTOBUF, true),
];
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3: [Media; 3] = [
    (JSON, JSON, false),
    ("application/com.github.proto-openapi.spec.v3@v1.0+protobuf", V3_PROTOBUF, true),
    (V3_PROTOBUF, V3_PROTOBUF, true),
];
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// A document, compressed.
#[derive(Debug)]
struct Kept {
    hash: String,
    json: Bytes,
    protobuf: OnceLock<Bytes>,
}

impl Kept {
    fn of(json: &str) -> Self {
        let hash = digest(json.as_bytes());
        Self { hash, json: compressed(json.as_bytes()), protobuf: OnceLock::new() }
    }
}

/// The document of version 2, of which state of the custom kinds it is, and since when.
type Second = (u64, Instant, Arc<Kept>);

/// The documents that have been made.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// Of version 3 and of built-in kinds, by their places.
    third: Mutex<BTreeMap<String, Arc<Kept>>>,
    /// Whoever makes the document of version 2 holds it: others wait for that one.
    second: Mutex<Option<Second>>,
}

impl Documents {
    /// The document at a place; none when no built-in thing is there.
    fn built_in(&self, place: &str) -> Option<Arc<Kept>> {
        let mut kept = self.third.lock();
        if kept.is_empty() {
            let maker = Maker::default();
            // The index, for which all are made, is asked for first (O1).
            for place in openapi::places() {
                let document = maker.document(&place)?;
                kept.insert(place, Arc::new(Kept::of(&document.to_string())));
            }
        }
        kept.get(place).cloned()
    }

    fn second(&self, server: &Server) -> Arc<Kept> {
        let mut kept = self.second.lock();
        let number = server.custom.number();
        if let Some((of, made, document)) = &*kept
            && (*of == number || made.elapsed() < OPENAPI_V2_PAUSE)
        {
            return document.clone();
        }
        let document = Arc::new(Kept::of(&collected(server).json()));
        *kept = Some((number, Instant::now(), document.clone()));
        document
    }
}

fn collected(server: &Server) -> Collected {
    let (maker, mut all) = (Maker::default(), Collected::default());
    openapi::places().iter().filter_map(|place| maker.document(place)).for_each(|one| all.add(one));
    for definition in server.custom.established() {
        for version in definition.kind.served() {
            let document = openapi::custom::document_v2(definition.spec(), version.info.version);
            document.into_iter().for_each(|one| all.add_custom(one));
        }
    }
    all
}

/// Answers what is below `/openapi`.
pub(super) fn serve(
    server: &Server,
    parts: &[&str],
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    match parts {
        ["v2"] => Ok(second(server, headers)),
        ["v3"] => Ok(index(server)),
        ["v3", rest @ ..] => Ok(third(server, &rest.join("/"), query, headers)),
        _ => Err(Status::no_such_path()),
    }
}

fn second(server: &Server, headers: &HeaderMap) -> Response<Body> {
    let Some((_, content_type, is_protobuf)) = chosen(headers, &V2) else { return refused() };
    let document = server.openapi.second(server);
    let bytes = if is_protobuf {
        // Made of the text: the definitions may have changed since.
        document.protobuf.get_or_init(|| {
            let text = expanded(&document.json);
            compressed(&Collected::from_json(&text).protobuf())
        })
    } else {
        &document.json
    };
    let mut response = tagged(headers, content_type, &document.hash, bytes);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// Where the documents of version 3 are. Upstream's has no type and no hash of its own.
fn index(server: &Server) -> Response<Body> {
    let places = openapi::places().into_iter();
    let built_in = places.filter_map(|place| {
        let kept = server.openapi.built_in(&place)?;
        Some((place, kept.hash.clone()))
    });
    let custom = server.custom.openapi_hashes().into_iter();
    let custom = custom.map(|((group, version), hash)| (format!("apis/{group}/{version}"), hash));
    let index = openapi::index(custom.chain(built_in));
    encoding::plain(200, "text/plain; charset=utf-8", index.to_string())
}

fn third(server: &Server, place: &str, query: &Query, headers: &HeaderMap) -> Response<Body> {
    let Some((_, content_type, is_protobuf)) = chosen(headers, &V3) else { return refused() };
    let built_in = server.openapi.built_in(place);
    let custom = || {
        let (group, version) = place.strip_prefix("apis/")?.split_once('/')?;
        let key = (group.to_owned(), version.to_owned());
        let hash = server.custom.openapi_hashes().remove(&key)?;
        Some((hash, group, version))
    };
    let (hash, kept) = match &built_in {
        Some(kept) => (kept.hash.clone(), Ok(kept)),
        None => match custom() {
            Some((hash, group, version)) => (hash, Err((group, version))),
            None => return empty(StatusCode::NOT_FOUND),
        },
    };
    let asked = query.non_empty("hash");
    if asked.is_some_and(|asked| asked != hash) {
        return moved(place, content_type, &hash);
    }
    let bytes = match kept {
        Ok(kept) if is_protobuf => {
            let made = kept.protobuf.get_or_init(|| {
                let document = serde_json::from_slice(&expanded(&kept.json)).unwrap_or_default();
                compressed(&protobuf::v3(&document))
            });
            made.clone()
        }
        Ok(kept) => kept.json.clone(),
        Err((group, version)) => match of_custom(server, group, version) {
            Some(document) if is_protobuf => compressed(&protobuf::v3(&document)),
            Some(document) => compressed(document.to_string().as_bytes()),
            None => return empty(StatusCode::NOT_FOUND),
        },
    };
    let mut response = tagged(headers, content_type, &hash, &bytes);
    let fields = response.headers_mut();
    fields.insert(header::VARY, HeaderValue::from_static("Accept"));
    if asked.is_some() {
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        if let Ok(expires) = HeaderValue::from_str(&in_a_year()) {
            fields.insert(header::EXPIRES, expires);
        }
    }
    response
}

/// The document of all custom kinds of a group's version.
fn of_custom(server: &Server, group: &str, version: &str) -> Option<Value> {
    let definitions = server.custom.established().into_iter();
    let of_version = definitions.filter(|one| {
        one.kind.served().any(|served| (served.info.group, served.info.version) == (group, version))
    });
    let documents = of_version.filter_map(|one| openapi::custom::document(one.spec(), version));
    documents.reduce(|mut all, one| {
        openapi::custom::merge(&mut all, one);
        all
    })
}

/// The first of what the client accepts that is offered.
fn chosen(headers: &HeaderMap, offered: &[Media]) -> Option<Media> {
    let clauses = encoding::accepted(headers);
    if clauses.is_empty() {
        return offered.first().copied();
    }
    clauses
        .iter()
        .find_map(|asked| offered.iter().find(|(known, ..)| is_one(asked, known)).copied())
}

fn is_one(asked: &str, known: &str) -> bool {
    asked == known || asked == "*/*" || asked == "application/*"
}

fn refused() -> Response<Body> {
    let mut response = empty(StatusCode::NOT_ACCEPTABLE);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::full(""));
    *response.status_mut() = code;
    let keep = HeaderValue::from_static("no-cache, private");
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    response
}

/// Tells where the document is that the client has another version of.
fn moved(place: &str, content_type: &'static str, hash: &str) -> Response<Body> {
    let mut response = empty(StatusCode::MOVED_PERMANENTLY);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::VARY, HeaderValue::from_static("Accept"));
    let location = format!("/openapi/v3/{place}?hash={hash}");
    for (name, text) in [(header::LOCATION, location), (header::ETAG, format!("\"{hash}\""))] {
        if let Ok(text) = HeaderValue::from_str(&text) {
            fields.insert(name, text);
        }
    }
    response
}

/// A document with its ETag; 304 when the client has it.
fn tagged(
    headers: &HeaderMap,
    content_type: &'static str,
    hash: &str,
    compressed: &Bytes,
) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let mut response = if super::holds(headers, &tag) {
        empty(StatusCode::NOT_MODIFIED)
    } else if encoding::accepts_gzip(headers) {
        let mut response = encoding::plain(200, content_type, compressed.clone());
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        response
    } else {
        encoding::plain(200, content_type, expanded(compressed))
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn in_a_year() -> String {
    let now = clock::now().to_zoned(jiff::tz::TimeZone::UTC);
    let then = now.checked_add(jiff::Span::new().years(1)).unwrap_or(now);
    then.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha512::digest(bytes) {
        write!(text, "{byte:02X}").expect("writing to a String cannot fail");
    }
    text
}

fn compressed(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to a vector cannot fail");
    encoder.finish().expect("writing to a vector cannot fail").into()
}

fn expanded(bytes: &Bytes) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut out).expect("the bytes were compressed here");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose time was moved says so here too.
    #[test]
    fn an_answer_ends_a_year_after_the_servers_time() {
        let told = || in_a_year()[12..16].parse::<i16>().unwrap();
        let now = clock::now().to_zoned(jiff::tz::TimeZone::UTC).year();
        assert!((now + 1..=now + 2).contains(&told()), "{}", in_a_year());
        let moved = std::thread::spawn(move || {
            let clock = clock::Clock::new();
            clock.enter();
            clock.advance(std::time::Duration::from_secs(10 * 366 * 24 * 60 * 60)).unwrap();
            told()
        });
        assert!(moved.join().unwrap() >= now + 11);
    }

    /// What kubectl, client-go and Python clients send.
    #[test]
    fn clients_get_the_form_they_ask_for() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            chosen(&headers, &V2).map(|(_, content_type, _)| content_type)
        };
        let deprecated = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        assert_eq!(of(""), Some(JSON));
        assert_eq!(of("*/*"), Some(JSON));
        assert_eq!(of(deprecated), Some(V2_PROTOBUF));
        assert_eq!(of(&format!("{deprecated};q=0.5, application/json;q=0.8")), Some(JSON));
        assert_eq!(of(&format!("{V2_PROTOBUF},application/json;q=0.8")), Some(V2_PROTOBUF));
        assert_eq!(of("text/html"), None);
    }
}
