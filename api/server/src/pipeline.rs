//! What every request goes through, in this order, before its handler and after it.
//!
//! 1. panic: a handler that panics is a 500, and the connection lives on;
//! 2. trace: an Audit-ID, one span;
//! 3. request info: verb, group, resource, namespace, name from method and path;
//! 4. authenticate: a user, or 401; audit: the first stage; impersonate: another user, if that is
//!    allowed;
//! 5. limit: its turn among the flows of its priority level, or 429;
//! 6. authorize: allowed, or 403;
//! 7. deadline: 60 s, unless the answer is a stream;
//! 8. route: the handler; its errors become `Status` documents; large bodies are compressed;
//! 9. audit: the last stage, when the answer is complete.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_machinery::{Status, kinds};
use futures::FutureExt;
use http::header::HeaderValue;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::audit::Trail;
use crate::authn::{Certificate, User};
use crate::body::Body;
use crate::encoding::{self, Accepted, Offer};
use crate::flow_control::Class;
use crate::limits::REQUEST_TIMEOUT;
use crate::metrics::{InflightLabels, RequestLabels, TimeLabels};
use crate::request::{Query, RequestInfo};
use crate::state::Server;
use crate::{authn, authz, routes, websocket};

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) certificate: Option<Certificate>,
    /// What goes on when the connection has become a web socket.
    pub(crate) sockets: TaskTracker,
}

/// A request past the filters.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) user: User,
    pub(crate) trail: Trail,
}

/// Serves one request.
pub(crate) async fn serve(
    server: Arc<Server>,
    peer: Arc<Peer>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let upgrade = websocket::is_asked(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    let audit_id = audit_id(&parts.headers);
    let span = tracing::debug_span!(
        "request", verb = info.verb, path = %info.path, audit_id = ?audit_id
    );
    let kind = kinds::find(&info.group, &info.version, &info.resource);
    let kind = kind.or_else(|| server.custom.row(&info.group, &info.version, &info.resource));
    let labels = TimeLabels::of(&info, kind, (&query, &parts.headers));
    let takes_gzip = encoding::accepts_gzip(&parts.headers);
    let streams = info.is_long_running(&query);
    let upgrade = upgrade.filter(|_| info.verb == "watch");
    let upgrade = upgrade.map(|upgrade| (upgrade, parts.headers.clone()));

    let from = (&audit_id, peer.address);
    let trail = Trail::start(server.audit.as_ref(), &parts, &info, from);
    let body = (body, trail.clone());
    let inner = filtered(&server, &peer, parts.headers, (info, query), body);
    let outcome = AssertUnwindSafe(inner.instrument(span)).catch_unwind().await;
    if outcome.is_err() {
        trail.panicked().await;
    }
    let mut response = outcome.unwrap_or_else(|_| {
        tracing::error!(audit_id = ?audit_id, "a handler panicked");
        let why = "This request caused apiserver to panic. Look in the logs for details.";
        let mut status = Status::internal(why);
        why.clone_into(&mut status.message);
        encoding::error(&status, &Accepted::JSON)
    });
    trail.hear(&mut response);
    if takes_gzip {
        encoding::compress(&mut response);
    }
    let mut response = trail.ends(response, streams).await;
    response.headers_mut().insert("audit-id", audit_id);
    if let Some((upgrade, headers)) = upgrade {
        response = websocket::switched((upgrade, &peer.sockets), &headers, response);
    }
    if !streams {
        let took = started.elapsed().as_secs_f64();
        server.metrics.duration_seconds.get_or_create(&labels).observe(took);
        server.metrics.sli_duration_seconds.get_or_create(&labels).observe(took);
    }
    let labels = RequestLabels { code: response.status().as_u16(), of: labels };
    server.metrics.requests.get_or_create(&labels).inc();
    response
}

/// The client's own id is kept, so that it can follow its request.
fn audit_id(headers: &HeaderMap) -> HeaderValue {
    headers.get("audit-id").cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
            .expect("hexadecimal digits and dashes make a header value")
    })
}

async fn filtered(
    server: &Arc<Server>,
    peer: &Peer,
    headers: HeaderMap,
    (info, query): (RequestInfo, Query),
    (body, trail): (Incoming, Trail),
) -> Response<Body> {
    // Errors are written in what the client accepts; if it accepts nothing, in JSON.
    let offer = if info.verb == "watch" { Offer::Watch } else { Offer::Document };
    let accepted = encoding::negotiate(&headers, &query, offer).unwrap_or(Accepted::JSON);
    let mut class = Class::default();
    let mut is_routed = false;
    let is_byte_stream = info.is_byte_stream();
    let outcome = async {
        let certificate = peer.certificate.as_ref();
        let authenticated = server.authenticator.user(server, &headers, certificate).await;
        trail.received(authenticated.as_ref(), &info).await?;
        let user = authenticated.ok_or_else(Status::unauthorized)?;
        let deadline = deadline(&info, &query)?;
        let action = authz::action(&info);
        let user = match authn::impersonated(server, &user, &headers, &action)? {
            Some(other) => {
                trail.impersonated(&other);
                other.user
            }
            None => user,
        };
        class = server.flow_control.classify(&user, &info);
        let _seat = server.flow_control.seat(&class, &info, &query).await?;
        let _slot = slot(server, &info, &query);
        let verdict = authz::decide(server, &user, &action).await;
        trail.decided(&verdict);
        verdict.or_forbidden(&user, &action)?;
        is_routed = true;
        let routed =
            routes::route(server.clone(), Admitted { info, query, headers, body, user, trail });
        // A handler is large; on the heap it does not swell every future above it.
        let routed = Box::pin(routed);
        match deadline {
            None => routed.await,
            Some(limit) => tokio::time::timeout(limit, routed).await.unwrap_or_else(|_| {
                let why = "request did not complete within the allotted timeout";
                Err(Status::timeout(why, 0))
            }),
        }
    };
    let mut response = match outcome.await {
        Ok(response) => response,
        Err(status) => encoding::error(&status, &accepted),
    };
    if !is_routed && response.status() == http::StatusCode::FORBIDDEN {
        encoding::forbid_sniffing(&mut response);
    }
    if !is_byte_stream {
        class.tell(response.headers_mut());
    }
    response
}

/// Counts the request among those in flight. Streams and health checks are not counted.
fn slot<'a>(server: &'a Server, info: &RequestInfo, query: &Query) -> Option<Slot<'a>> {
    let is_health =
        ["/healthz", "/livez", "/readyz"].iter().any(|path| info.path.starts_with(path));
    if is_health || info.is_long_running(query) {
        return None;
    }
    let request_kind = if info.is_mutating() { "mutating" } else { "readOnly" };
    let labels = InflightLabels { request_kind };
    server.metrics.inflight.get_or_create(&labels).inc();
    Some(Slot { server, labels })
}

struct Slot<'a> {
    server: &'a Server,
    labels: InflightLabels,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.server.metrics.inflight.get_or_create(&self.labels).dec();
    }
}

/// 60 s, or less when the client says `timeout`; none for streams.
fn deadline(info: &RequestInfo, query: &Query) -> Result<Option<Duration>, Status> {
    if info.is_long_running(query) {
        return Ok(None);
    }
    let Some(text) = query.non_empty("timeout") else { return Ok(Some(REQUEST_TIMEOUT)) };
    let asked = parse_duration(text).ok_or_else(|| {
        Status::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {text:?}"
        ))
    })?;
    Ok(Some(if asked.is_zero() { REQUEST_TIMEOUT } else { asked.min(REQUEST_TIMEOUT) }))
}

/// Go's durations as far as clients send them: `30s`, `1m30s`, `500ms`, `0`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration("x"), None);
    }
}
