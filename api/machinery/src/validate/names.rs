//! Name rules and their texts, word for word as upstream says them.

use std::net::{IpAddr, Ipv4Addr};

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const SUBDOMAIN_UNDERSCORE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const HTTP_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.first().is_some_and(|c| is_lower(*c))
        && bytes.last().is_some_and(|c| is_lower(*c))
        && bytes.iter().all(|c| is_lower(*c) || *c == b'-')
}

fn is_qualified(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

fn check(value: &str, max: usize, fits: bool, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > max {
        problems.push(format!("must be no more than {max} characters"));
    }
    if !fits {
        problems.push(text.to_owned());
    }
    problems
}

/// RFC 1123 label, 63 bytes.
#[must_use]
pub fn label_1123(value: &str) -> Vec<String> {
    // A good subdomain that is no label can only have dots too many.
    let is_subdomain = value.len() <= 253 && value.split('.').all(is_label);
    let text = if is_subdomain { "must not contain dots" } else { LABEL_1123 };
    check(value, 63, is_label(value), text)
}

/// RFC 1123 subdomain, 253 bytes.
#[must_use]
pub fn subdomain_1123(value: &str) -> Vec<String> {
    check(value, 253, value.split('.').all(is_label), SUBDOMAIN_1123)
}

/// RFC 1035 label, 63 bytes.
#[must_use]
pub fn label_1035(value: &str) -> Vec<String> {
    let starts = value.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    check(value, 63, starts && is_label(value), LABEL_1035)
}

/// A label or annotation key: `[prefix/]name`.
#[must_use]
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                let found = subdomain_1123(prefix);
                problems.extend(found.into_iter().map(|text| format!("prefix part {text}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                QUALIFIED
            )];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push(format!("name part {}", too_long(63)));
    }
    if !is_qualified(name) {
        problems.push(format!("name part {QUALIFIED}"));
    }
    problems
}

/// A label's value: empty or 63 bytes.
#[must_use]
pub fn label_value(value: &str) -> Vec<String> {
    let mut problems =
        check(value, usize::MAX, value.is_empty() || is_qualified(value), LABEL_VALUE);
    if value.len() > 63 {
        problems.insert(0, too_long(63));
    }
    problems
}

/// What can stand between two slashes of a path: names of roles and bindings.
#[must_use]
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    let bad = ["/", "%"].into_iter().filter(|letter| value.contains(letter));
    bad.map(|letter| format!("may not contain '{letter}'")).collect()
}

/// A key of a ConfigMap or Secret.
#[must_use]
pub fn config_key(value: &str) -> Vec<String> {
    let fits = !value.is_empty()
        && value.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    let mut problems = check(value, 253, fits, CONFIG_KEY);
    if value == "." {
        problems.push("must not be '.'".to_owned());
    } else if value == ".." {
        problems.push("must not be '..'".to_owned());
    } else if value.starts_with("..") {
        problems.push("must not start with '..'".to_owned());
    }
    problems
}

/// The name of a port: an IANA service name, 15 bytes.
#[must_use]
pub fn port_name(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > 15 {
        problems.push("must be no more than 15 characters".to_owned());
    }
    if value.is_empty() || !value.bytes().all(|c| is_lower(c) || c == b'-') {
        problems.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !value.bytes().any(|c| c.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// The name of an environment variable (relaxed rule: printable ASCII but `=`).
#[must_use]
pub fn env_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.bytes().all(|c| (0x20..0x7f).contains(&c) && c != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// What upstream says about a bad address.
pub const IP_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// A port number.
#[must_use]
pub fn is_port(value: i64) -> bool {
    (1..=65_535).contains(&value)
}

/// What upstream says about a bad port number.
pub const PORT: &str = "must be between 1 and 65535, inclusive";

/// An IP address in any form that older clients may have written, but without leading zeros.
#[must_use]
pub fn legacy_address(value: &str) -> Vec<String> {
    let problem = match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            "must not be an IPv4-mapped IPv6 address"
        }
        Ok(_) => return Vec::new(),
        Err(_) if is_padded_ipv4(value) => "must not have leading 0s",
        Err(_) => IP_ADDRESS,
    };
    vec![problem.to_owned()]
}

/// Whether only leading zeros keep this from being an IPv4 address.
fn is_padded_ipv4(value: &str) -> bool {
    let stripped = value.split('.').map(|part| {
        let rest = part.trim_start_matches('0');
        if rest.is_empty() && !part.is_empty() { "0" } else { rest }
    });
    stripped.collect::<Vec<_>>().join(".").parse::<Ipv4Addr>().is_ok()
}

/// RFC 1123 subdomain whose labels may have and begin with underscores.
#[must_use]
pub fn subdomain_1123_underscore(value: &str) -> Vec<String> {
    let is_inner = |c: u8| is_lower(c) || matches!(c, b'-' | b'_');
    let fits = value.split('.').all(|label| {
        let label = label.strip_prefix('_').unwrap_or(label).as_bytes();
        label.first().is_some_and(|c| is_lower(*c))
            && label.last().is_some_and(|c| is_lower(*c))
            && label.iter().all(|c| is_inner(*c))
    });
    check(value, 253, fits, SUBDOMAIN_UNDERSCORE)
}

/// The name of a header of an HTTP request.
#[must_use]
pub fn http_header(value: &str) -> Vec<String> {
    let fits = !value.is_empty() && value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    check(value, usize::MAX, fits, HTTP_HEADER)
}

/// A user or a group.
#[must_use]
pub fn is_identity(value: i64) -> bool {
    (0..=i64::from(i32::MAX)).contains(&value)
}

/// What upstream says about a bad user or group.
pub const IDENTITY: &str = "must be between 0 and 2147483647, inclusive";

/// A prefix of names in the form in which it is checked: the random part that follows it makes a
/// hyphen at its end harmless.
#[must_use]
pub fn masked_prefix(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut kept = rest.to_owned();
            kept.pop();
            kept + "a"
        }
        _ => prefix.to_owned(),
    }
}

/// `host:port`, the host in brackets if it has colons. Either may be empty.
#[must_use]
pub fn is_host_and_port(value: &str) -> bool {
    let Some((host, port)) = value.rsplit_once(':') else { return false };
    let bare = match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']') {
            Some(bare) => return !bare.contains(['[', ']']) && !port.contains(['[', ']']),
            None => return false,
        },
        None => host,
    };
    !bare.contains([':', '[', ']']) && !port.contains(['[', ']'])
}

/// `iqn.2001-04.com.example:target`.
#[must_use]
pub fn is_iscsi_qualified(value: &str) -> bool {
    // The name may stand anywhere before the end.
    value.match_indices("iqn.").any(|(start, found)| {
        let rest = &value.as_bytes()[start + found.len()..];
        let Some((date, rest)) = rest.split_at_checked(8) else { return false };
        let is_date = date.iter().enumerate().all(|(index, c)| match index {
            4 => *c == b'-',
            7 => *c == b'.',
            _ => c.is_ascii_digit(),
        });
        let end = rest.iter().position(|c| !c.is_ascii_alphanumeric() && !matches!(c, b'-' | b'.'));
        let Some(colon) = end.filter(|end| *end > 0 && rest[*end] == b':') else { return false };
        let target = &rest[colon + 1..];
        let is_bad = |c: &u8| b",;*&$| \t\n\r\x0c".contains(c);
        is_date && !target.is_empty() && !target.iter().any(is_bad)
    })
}
