//! What a request is about, read from its method and path alone: upstream's RequestInfo.

use std::borrow::Cow;

use api_machinery::selector::{FieldRequirement, Fields};
use http::Method;

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    /// Whether the path is below `/api/V/` or `/apis/G/V/`.
    pub is_resource: bool,
    /// The path, percent-decoded.
    pub path: String,
    /// `get list watch create update patch delete deletecollection`, or the method in lower case.
    pub verb: &'static str,
    /// API group, empty for the core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty when there is none.
    pub namespace: String,
    /// Resource, plural.
    pub resource: String,
    /// Subresource, empty when there is none.
    pub subresource: String,
    /// Rest of the path below the subresource.
    pub rest: Vec<String>,
    /// Object name, empty for collections.
    pub name: String,
    /// As it was sent: `HEAD` has the verb of `GET`.
    pub method: Method,
    /// The field selector of a request about a collection.
    pub fields: Vec<FieldRequirement>,
}

/// A part below `/namespaces/NAME` that belongs to the Namespace itself.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a request's method, path and query.
    pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let whole = decode_percent(path, false).into_owned();
        let (verb, method_sent) = (plain_verb(method), method.clone());
        let mut info = Self { path: whole, verb, method: method_sent, ..Self::default() };
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| decode_percent(part, false).into_owned())
            .collect();
        let mut rest: &[String] = match parts.first().map(String::as_str) {
            Some("api") if parts.len() >= 3 => {
                info.version.clone_from(&parts[1]);
                &parts[2..]
            }
            Some("apis") if parts.len() >= 4 => {
                info.group.clone_from(&parts[1]);
                info.version.clone_from(&parts[2]);
                &parts[3..]
            }
            _ => return info,
        };
        info.is_resource = true;
        info.verb = resource_verb(method);
        let mut legacy_watch = false;
        if rest[0] == "watch" && rest.len() > 1 {
            legacy_watch = true;
            rest = &rest[1..];
        }
        if rest[0] == "namespaces" && rest.len() > 1 {
            info.namespace.clone_from(&rest[1]);
            // `/namespaces/NAME` and its own subresources are about the Namespace object.
            if rest.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&rest[2].as_str()) {
                rest = &rest[2..];
            }
        }
        info.resource.clone_from(&rest[0]);
        if let Some(name) = rest.get(1) {
            info.name.clone_from(name);
        }
        if let Some(subresource) = rest.get(2) {
            info.subresource.clone_from(subresource);
        }
        info.rest = rest.get(3..).unwrap_or_default().to_vec();
        info.refine_verb(legacy_watch, query);
        // One that cannot be read is refused later; it narrows nothing down.
        let selects = matches!(info.verb, "list" | "watch" | "deletecollection");
        if let Some(text) = query.non_empty("fieldSelector").filter(|_| selects && !legacy_watch) {
            info.fields = Fields::parse_any(text).map(|read| read.0).unwrap_or_default();
        }
        info
    }

    /// The one name that a field selector asks for, or nothing.
    pub(crate) fn selected_name(&self) -> &str {
        let named = |one: &&FieldRequirement| one.field == "metadata.name" && !one.negated;
        let name = self.fields.iter().find(named).map_or("", |one| one.value.as_str());
        if name.contains(['/', '%']) || matches!(name, "." | "..") { "" } else { name }
    }

    /// Collections have verbs of their own.
    fn refine_verb(&mut self, legacy_watch: bool, query: &Query) {
        if legacy_watch {
            self.verb = "watch";
        } else if self.name.is_empty() {
            match self.verb {
                "get" if query.flag("watch") => self.verb = "watch",
                "get" => self.verb = "list",
                "delete" => self.verb = "deletecollection",
                _ => {}
            }
        }
    }

    /// Whether the answer is a stream that has no deadline.
    pub(crate) fn is_long_running(&self, query: &Query) -> bool {
        self.verb == "watch"
            || (self.subresource == "log" && query.flag("follow"))
            || matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy")
    }

    /// Whether it is a stream of bytes, which takes no turn among other requests.
    pub(crate) fn is_byte_stream(&self) -> bool {
        matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy" | "log")
    }

    /// Whether the request may change something.
    pub(crate) fn is_mutating(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

fn plain_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "unknown",
    }
}

fn resource_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// The query string of a request, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes a raw query string.
    pub(crate) fn parse(raw: Option<&str>) -> Self {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (
                        decode_percent(key, true).into_owned(),
                        decode_percent(value, true).into_owned(),
                    )
                })
                .collect(),
        )
    }

    /// First value of a parameter.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// First value of a parameter, unless it is empty.
    pub(crate) fn non_empty(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Every pair, in order.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A boolean as upstream's conversion reads it: present is true unless `0` or `false`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE"))
    }
}

/// Undoes percent-encoding; in queries `+` is a space.
pub(crate) fn decode_percent(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !(text.contains('%') || plus_is_space && text.contains('+')) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (hex, bytes[at]) {
            (Some(byte), _) => {
                decoded.push(byte);
                at += 3;
                continue;
            }
            (None, b'+') if plus_is_space => decoded.push(b' '),
            (None, byte) => decoded.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// Encodes one path segment or query value.
pub(crate) fn encode_percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => {
                encoded.push('%');
                encoded.push_str(&format!("{other:02X}"));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, path: &str, query: &str) -> String {
        let info = RequestInfo::parse(method, path, &Query::parse(Some(query)));
        format!(
            "{} g={} v={} ns={} r={} n={} s={} rest={}",
            info.verb,
            info.group,
            info.version,
            info.namespace,
            info.resource,
            info.name,
            info.subresource,
            info.rest.join("/")
        )
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        let get = &Method::GET;
        let cases = [
            (parse(get, "/api/v1/pods", ""), "list g= v=v1 ns= r=pods n= s= rest="),
            (parse(get, "/api/v1/pods", "watch=1"), "watch g= v=v1 ns= r=pods n= s= rest="),
            (parse(get, "/api/v1/watch/pods", ""), "watch g= v=v1 ns= r=pods n= s= rest="),
            (
                parse(get, "/api/v1/namespaces/a/pods/b/log", "follow=true"),
                "get g= v=v1 ns=a r=pods n=b s=log rest=",
            ),
            (parse(get, "/api/v1/namespaces/a", ""), "get g= v=v1 ns=a r=namespaces n=a s= rest="),
            (
                parse(&Method::PUT, "/api/v1/namespaces/a/finalize", ""),
                "update g= v=v1 ns=a r=namespaces n=a s=finalize rest=",
            ),
            (
                parse(&Method::DELETE, "/apis/apps/v1/namespaces/a/deployments", ""),
                "deletecollection g=apps v=v1 ns=a r=deployments n= s= rest=",
            ),
            (
                parse(get, "/api/v1/namespaces/a/services/b/proxy/x/y", ""),
                "get g= v=v1 ns=a r=services n=b s=proxy rest=x/y",
            ),
            (parse(get, "/apis/apps/v1", ""), "get g= v= ns= r= n= s= rest="),
        ];
        for (got, wanted) in cases {
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn percent_round_trips() {
        let text = "a b/c=d,é";
        assert_eq!(decode_percent(&encode_percent(text), true), text);
        assert_eq!(decode_percent("a+b%2", true), "a b%2");
    }
}
