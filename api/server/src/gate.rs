//! What upstream's router refuses before a handler sees the request: the path and the method, how the
//! body is written, what the client accepts.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | G1 | A path that nobody serves is 404 with any method; then comes the method (405), the type of a patch (415), and what is accepted (406). |
//! | G2 | Custom kinds have no routes: their handler says what is wrong in its own words. |

use api_machinery::{ResourceInfo, Status, kinds};
use http::{HeaderMap, Method, Response};

use crate::body::Body;
use crate::encoding;
use crate::request::RequestInfo;

const JSON: &str = "application/json";

/// What every document of the API is written in.
const DOCUMENTS: [&str; 3] = [JSON, "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Collections can be watched too.
const COLLECTIONS: [&str; 5] = [
    DOCUMENTS[0],
    DOCUMENTS[1],
    DOCUMENTS[2],
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// 405 in the router's words.
pub(crate) fn method_not_allowed() -> Status {
    let why = "the server does not allow this method on the requested resource";
    Status::not_routed(405, "MethodNotAllowed", why)
}

/// A path that nobody ever registered.
pub(crate) fn no_page() -> Response<Body> {
    let mut response = encoding::plain(404, "text/plain; charset=utf-8", "404 page not found\n");
    encoding::forbid_sniffing(&mut response);
    response
}

/// G1, for a path of a built-in kind. G2.
pub(crate) fn check(
    kind: &ResourceInfo,
    info: &RequestInfo,
    headers: &HeaderMap,
) -> Result<(), Status> {
    if kind.is_custom() {
        return Ok(());
    }
    let in_namespace = !info.namespace.is_empty();
    let is_elsewhere = !kind.namespaced && in_namespace && kind.plural != "namespaces";
    let is_deeper = !info.rest.is_empty() && info.subresource != "proxy";
    if is_elsewhere || is_deeper || info.name.contains('/') || info.namespace.contains('/') {
        return Err(Status::no_such_path());
    }
    // `bindings` are the subresource of pods, by an older path.
    let subresource = match info.resource.as_str() {
        "bindings" if info.group.is_empty() => "binding",
        _ => info.subresource.as_str(),
    };
    let verbs = if subresource.is_empty() {
        kind.verbs
    } else {
        kind.subresource(subresource).ok_or_else(Status::no_such_path)?.verbs
    };
    let is_collection = info.name.is_empty() && subresource.is_empty();
    let fits = match info.verb {
        "list" | "deletecollection" => is_collection,
        "create" => info.name.is_empty() || !subresource.is_empty(),
        // The older path of a watch may name an object.
        "watch" => true,
        _ => !info.name.is_empty(),
    };
    let needs_namespace = kind.namespaced && !in_namespace;
    let is_across = needs_namespace && !matches!(info.verb, "list" | "watch");
    if info.method == Method::HEAD || !verbs.contains(&info.verb) || !fits || is_across {
        return Err(method_not_allowed());
    }
    if info.verb == "patch" {
        check_type(headers)?;
    }
    match info.verb {
        // A log is plain text, whatever is accepted.
        _ if subresource == "log" => Ok(()),
        "list" | "watch" => check_accepted(headers, &COLLECTIONS),
        _ => check_accepted(headers, &DOCUMENTS),
    }
}

/// G1, for a path outside of the resources: whether it is served to this method.
pub(crate) fn check_document(
    parts: &[&str],
    info: &RequestInfo,
    headers: &HeaderMap,
) -> Result<(), Status> {
    let is_served = |group: &str, version: &str| {
        kinds::all().iter().any(|info| (info.group, info.version) == (group, version))
    };
    let written_in: &[&str] = match parts {
        ["version"] => &[JSON],
        ["api"] => &DOCUMENTS,
        ["api", version] if is_served("", version) => &DOCUMENTS,
        ["apis", group, version] if is_served(group, version) => &DOCUMENTS,
        [".well-known", "openid-configuration"] | ["openid", "v1", "jwks"] => &[],
        // The others answer any method, and look at what is accepted on their own.
        _ => return Ok(()),
    };
    if info.method != Method::GET {
        return Err(method_not_allowed());
    }
    check_accepted(headers, written_in)
}

fn first<'a>(headers: &'a HeaderMap, name: &http::header::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The media types of a header, without their parameters.
fn types(header: &str) -> impl Iterator<Item = &str> {
    header.split(',').map(|one| one.split(';').next().unwrap_or_default().trim())
}

fn check_type(headers: &HeaderMap) -> Result<(), Status> {
    let header = first(headers, &http::header::CONTENT_TYPE);
    if types(header).any(|one| one == "*/*" || PATCHES.contains(&one)) {
        return Ok(());
    }
    Err(Status::not_routed(415, "UnsupportedMediaType", "415: Unsupported Media Type"))
}

fn check_accepted(headers: &HeaderMap, written_in: &[&str]) -> Result<(), Status> {
    let header = first(headers, &http::header::ACCEPT);
    let fits = |one: &str| one == "*/*" || written_in.contains(&one);
    if header.is_empty() || written_in.is_empty() || types(header).any(fits) {
        return Ok(());
    }
    let why =
        format!("406: Not Acceptable\n\nAvailable representations: {}", written_in.join(", "));
    Err(Status::not_routed(406, "NotAcceptable", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Query;

    fn headers(name: http::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    fn told(method: &str, path: &str, headers: &HeaderMap) -> u16 {
        let method = method.parse().unwrap();
        let info = RequestInfo::parse(&method, path, &Query::default());
        let plural = if info.resource == "bindings" { "pods" } else { info.resource.as_str() };
        let kind = kinds::find(&info.group, &info.version, plural).unwrap();
        check(kind, &info, headers).err().map_or(200, |status| status.code)
    }

    #[test]
    fn paths_and_methods_are_refused_as_upstreams_router_does() {
        let patch = headers(http::header::CONTENT_TYPE, "application/merge-patch+json");
        for (method, path, code) in [
            ("GET", "/api/v1/pods", 200),
            ("HEAD", "/api/v1/pods", 405),
            ("OPTIONS", "/api/v1/pods", 405),
            ("POST", "/api/v1/pods", 405),
            ("PUT", "/api/v1/namespaces/n/pods", 405),
            ("PATCH", "/api/v1/namespaces/n/pods", 405),
            ("POST", "/api/v1/namespaces/n/pods/p", 405),
            ("GET", "/api/v1/namespaces/n/pods/p/status", 200),
            ("DELETE", "/api/v1/namespaces/n/pods/p/status", 405),
            ("GET", "/api/v1/namespaces/n/pods/p/status/x", 404),
            ("GET", "/api/v1/namespaces/n/pods/p/nosuch", 404),
            ("GET", "/api/v1/namespaces/n/pods/p/binding", 405),
            ("POST", "/api/v1/namespaces/n/pods/p/binding", 200),
            ("POST", "/api/v1/namespaces/n/bindings", 200),
            ("GET", "/api/v1/namespaces/n/bindings", 405),
            ("GET", "/api/v1/namespaces/n/nodes", 404),
            ("GET", "/api/v1/namespaces/a%2fb/configmaps", 404),
            ("GET", "/api/v1/namespaces/n/configmaps/a%2fb", 404),
            ("POST", "/api/v1/namespaces/n", 405),
            ("PATCH", "/api/v1/namespaces/n", 200),
            ("GET", "/api/v1/namespaces/n/finalize", 405),
            ("GET", "/api/v1/watch/namespaces/n/pods/p", 200),
            ("POST", "/api/v1/componentstatuses", 405),
            ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews", 405),
            ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", 200),
            ("DELETE", "/apis/events.k8s.io/v1/events", 405),
        ] {
            assert_eq!(told(method, path, &patch), code, "{method} {path}");
        }
    }

    #[test]
    fn only_what_is_written_here_is_accepted() {
        let path = "/api/v1/namespaces/n/configmaps/c";
        for (accept, of_one, of_list) in [
            ("*/*", 200, 200),
            ("application/*", 406, 406),
            ("text/html", 406, 406),
            ("text/html, application/json;q=0.5", 200, 200),
            ("application/json;as=Table;g=meta.k8s.io;v=v1", 200, 200),
            ("application/vnd.kubernetes.protobuf;stream=watch", 200, 200),
        ] {
            let headers = headers(http::header::ACCEPT, accept);
            assert_eq!(told("GET", path, &headers), of_one, "{accept}");
            assert_eq!(told("GET", "/api/v1/configmaps", &headers), of_list, "{accept}");
        }
        let why = check_accepted(&headers(http::header::ACCEPT, "text/html"), &[JSON]);
        let wanted = "406: Not Acceptable\n\nAvailable representations: application/json";
        assert_eq!(why.unwrap_err().message, wanted);
        let nothing = HeaderMap::new();
        assert_eq!(told("PATCH", path, &nothing), 415);
        for wrong in ["application/json", "text/plain"] {
            assert_eq!(told("PATCH", path, &headers(http::header::CONTENT_TYPE, wrong)), 415);
        }
    }
}
