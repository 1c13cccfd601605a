//! Who may speak HTTP: host names against DNS rebinding, and the origins of web pages.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::plain;
use crate::Config;

/// The rules of one port.
#[derive(Clone)]
pub(super) struct Guard {
    config: Arc<Lists>,
    secure: bool,
}

struct Lists {
    cors: Vec<String>,
    hosts: Vec<String>,
}

/// An empty list and `*` allow everything.
fn allows(list: &[String], what: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == "*" || one == what)
}

impl Guard {
    pub(super) fn new(config: &Config, secure: bool) -> Self {
        let (cors, hosts) = (config.cors.clone(), config.host_whitelist.clone());
        Self { config: Arc::new(Lists { cors, hosts }), secure }
    }

    fn allow_origin(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        let list = &self.config.cors;
        let allowed = if allows(list, "*") {
            HeaderValue::from_static("*")
        } else {
            let text = |origin: &HeaderValue| origin.to_str().unwrap_or_default().to_owned();
            match origin.filter(|origin| allows(list, &text(origin))) {
                Some(origin) => origin,
                None => return,
            }
        };
        let fixed: [(HeaderName, &'static str); 2] = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type, authorization"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

/// The host that a request names, without its port.
fn host(request: &Request) -> String {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let named = named.unwrap_or_default();
    match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => named,
    }
    .trim_matches(['[', ']'])
    .to_owned()
}

/// Lets a request through, or answers it.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if !guard.secure {
        let host = host(&request);
        if !allows(&guard.config.hosts, &host) {
            tracing::warn!(host, "an HTTP request was refused: its host is not allowed");
            let text = format!(
                "the Host header names {host:?}, which this member does not go by.\n\n\
                 Allow it with --host-whitelist {host:?}, or use TLS.\n\
                 (A web page could otherwise reach this member by DNS rebinding: CVE-2018-5702.)\n"
            );
            return plain(StatusCode::MISDIRECTED_REQUEST, text);
        }
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut answer = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    guard.allow_origin(answer.headers_mut(), origin);
    answer
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_host_is_named_without_its_port() {
        for (header, expected) in
            [("a.example:2379", "a.example"), ("a", "a"), ("[::1]:1", "::1"), ("[::1]", "::1")]
        {
            let request = http::Request::get("/").header("host", header).body(Body::empty());
            assert_eq!(host(&request.unwrap()), expected, "{header}");
        }
    }

    #[test]
    fn lists_allow_what_they_name() {
        let list = ["a".to_owned()];
        assert!(allows(&[], "x") && allows(&["*".to_owned()], "x") && allows(&list, "a"));
        assert!(!allows(&list, "*") && !allows(&list, "b"));
    }
}
