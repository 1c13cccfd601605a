//! URLs: absolute ones, and absolute paths.

use std::collections::BTreeMap;

use crate::value::{Map, Outcome, Value, fail, no_such_overload};

pub(super) const TABLE: &str = "
string_to_url: url(string) -> kubernetes.URL
url_get_scheme: [kubernetes.URL] getScheme() -> string
url_get_host: [kubernetes.URL] getHost() -> string
url_get_hostname: [kubernetes.URL] getHostname() -> string
url_get_port: [kubernetes.URL] getPort() -> string
url_get_escaped_path: [kubernetes.URL] getEscapedPath() -> string
url_get_query: [kubernetes.URL] getQuery() -> map(string, list(string))
is_url_string: isURL(string) -> bool
";

#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

impl Url {
    /// Parses an absolute URL or an absolute path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("parse {text:?}: {why}"));
        if text.is_empty() {
            return wrong("empty url");
        }
        if text.chars().any(char::is_control) {
            return wrong("net/url: invalid control character in URL");
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let scheme_end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
            .filter(|end| rest[*end..].starts_with(':') && *end > 0)
            .filter(|_| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
        if rest.starts_with(':') {
            return wrong("missing protocol scheme");
        }
        let (scheme, after) = match scheme_end {
            Some(end) => (rest[..end].to_ascii_lowercase(), &rest[end + 1..]),
            None => (String::new(), rest),
        };
        if scheme.is_empty() && !after.starts_with('/') {
            return wrong("invalid URI for request");
        }
        let (host, path) = match after.strip_prefix("//") {
            Some(authority) if !scheme.is_empty() => {
                let end = authority.find('/').unwrap_or(authority.len());
                let host = authority[..end].rsplit('@').next().unwrap_or("");
                (host.to_owned(), &authority[end..])
            }
            _ => (String::new(), after),
        };
        if let Some(why) = bad_host(&host) {
            return wrong(&why);
        }
        if let Some(bad) = bad_escape(path) {
            return wrong(&format!("invalid URL escape {bad:?}"));
        }
        let (path, query, fragment) = (escape(path), query.to_owned(), fragment.to_owned());
        Ok(Self { scheme, host, path, query, fragment })
    }

    fn hostname(&self) -> &str {
        if let Some(rest) = self.host.strip_prefix('[') {
            return rest.split(']').next().unwrap_or("");
        }
        self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name)
    }

    fn port(&self) -> &str {
        let after = self.host.rsplit(']').next().unwrap_or("");
        after.rsplit_once(':').map_or("", |(_, port)| port)
    }
}

fn bad_host(host: &str) -> Option<String> {
    let after = host.rsplit(']').next().unwrap_or("");
    if host.starts_with('[') && !host.contains(']') {
        return Some("missing ']' in host".to_owned());
    }
    if let Some((_, port)) = after.rsplit_once(':')
        && !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(format!("invalid port {:?} after host", format!(":{port}")));
    }
    let bad = host.chars().find(|c| " \"<>\\^`{|}".contains(*c))?;
    Some(format!("invalid character {:?} in host name", bad.to_string()))
}

fn bad_escape(path: &str) -> Option<&str> {
    path.match_indices('%').find_map(|(at, _)| {
        let escape = path.get(at..at + 3).unwrap_or(&path[at..]);
        let valid =
            escape.len() == 3 && escape.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit());
        (!valid).then_some(escape)
    })
}

/// A path as it is written in a URL.
fn escape(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            other => out.push(other),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn query<'a>(text: &str) -> Value<'a> {
    let mut out: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
            out.entry(key).or_default().push(Value::string(value));
        }
    }
    let entries = out.into_iter().map(|(key, values)| (Value::string(key), Value::list(values)));
    Value::Map(Map::own(entries))
}

pub(super) fn call<'a>(function: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match (function, args) {
        ("url", [Value::String(text)]) => match Url::parse(text) {
            Ok(url) => Ok(Value::Url(url.into())),
            Err(why) => fail(format!("URL parse error during conversion from string: {why}")),
        },
        ("isURL", [Value::String(text)]) => Ok(Value::Bool(Url::parse(text).is_ok())),
        ("getScheme", [Value::Url(url)]) => Ok(Value::string(url.scheme.as_str())),
        ("getHost", [Value::Url(url)]) => Ok(Value::string(url.host.as_str())),
        ("getHostname", [Value::Url(url)]) => Ok(Value::string(url.hostname())),
        ("getPort", [Value::Url(url)]) => Ok(Value::string(url.port())),
        ("getEscapedPath", [Value::Url(url)]) => Ok(Value::string(url.path.as_str())),
        ("getQuery", [Value::Url(url)]) => Ok(query(&url.query)),
        _ => no_such_overload(),
    }
}
