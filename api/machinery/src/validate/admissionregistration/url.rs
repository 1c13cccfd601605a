//! What upstream's parser of URLs accepts, and what it says about the rest.

use std::fmt::Write as _;
use std::net::IpAddr;

/// The parts of a URL that webhooks have rules for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Url {
    pub scheme: String,
    pub host: String,
    /// As it is shown: escaped.
    pub user: Option<String>,
    pub query: String,
    pub fragment: String,
}

/// Where a part stands decides which characters and escapes it may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
    Other,
}

pub(super) fn parse(text: &str) -> Result<Url, String> {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let told = |shown: &str, why: String| format!("parse {}: {why}", quoted(shown));
    let mut url = without_fragment(before).map_err(|why| told(before, why))?;
    url.fragment = unescaped(fragment, Part::Other).map_err(|why| told(text, why))?;
    Ok(url)
}

fn without_fragment(text: &str) -> Result<Url, String> {
    if text.bytes().any(|c| c < b' ' || c == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let mut url = Url::default();
    if text == "*" {
        return Ok(url);
    }
    let (scheme, rest) = scheme(text)?;
    url.scheme = scheme.to_ascii_lowercase();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    query.clone_into(&mut url.query);
    if !rest.starts_with('/') {
        if scheme.is_empty() && rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
        if !scheme.is_empty() {
            // What follows is not looked at.
            return Ok(url);
        }
    }
    let mut path = rest;
    let is_path = scheme.is_empty() && rest.starts_with("///");
    if let Some(authority) = rest.strip_prefix("//").filter(|_| !is_path) {
        let end = authority.find('/').unwrap_or(authority.len());
        path = &authority[end..];
        (url.user, url.host) = user_and_host(&authority[..end])?;
    }
    unescaped(path, Part::Other)?;
    Ok(url)
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (index, c) in text.bytes().enumerate() {
        match c {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn user_and_host(authority: &str) -> Result<(Option<String>, String), String> {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return Ok((None, host(authority)?));
    };
    let host = self::host(host)?;
    let is_fine = |c: u8| c.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&c);
    if !user.bytes().all(is_fine) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let shown: Result<Vec<_>, _> = user
        .splitn(2, ':')
        .map(|part| unescaped(part, Part::Other).map(|part| escaped_user(&part)))
        .collect();
    Ok((Some(shown?.join(":")), host))
}

fn host(host: &str) -> Result<String, String> {
    match host.rfind('[') {
        Some(0) => return literal_address(host),
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {}
    }
    if let Some(colon) = host.find(':') {
        optional_port(&host[colon..])?;
    }
    unescaped(host, Part::Host)
}

/// `[address%25zone]:port`.
fn literal_address(host: &str) -> Result<String, String> {
    let close = host.rfind(']').ok_or("missing ']' in host")?;
    let (name, port) = (&host[1..close], &host[close + 1..]);
    optional_port(port)?;
    let address = match name.find("%25") {
        Some(zone) => {
            let zoned = unescaped(&name[zone..], Part::Zone)?;
            unescaped(&name[..zone], Part::Host)? + &zoned
        }
        None => unescaped(name, Part::Host)?,
    };
    match address.split('%').next().unwrap_or("").parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => Ok(format!("[{address}]{port}")),
        Ok(_) => Err("invalid IP-literal".to_owned()),
        Err(_) => {
            let shown = quoted(&address);
            Err(format!("invalid host: ParseAddr({shown}): unable to parse IP"))
        }
    }
}

fn optional_port(port: &str) -> Result<(), String> {
    let digits = port.strip_prefix(':');
    if port.is_empty() || digits.is_some_and(|all| all.bytes().all(|c| c.is_ascii_digit())) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", quoted(port)))
}

fn unescaped(text: &str, part: Part) -> Result<String, String> {
    let bytes = text.as_bytes();
    let (mut decoded, mut index) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(c) = bytes.get(index).copied() {
        if c == b'%' {
            let escape = &bytes[index..bytes.len().min(index + 3)];
            let byte = escaped_byte(escape).filter(|byte| may_be_escaped(*byte, part));
            let shown = || quoted(&String::from_utf8_lossy(escape));
            decoded.push(byte.ok_or_else(|| format!("invalid URL escape {}", shown()))?);
            index += 3;
            continue;
        }
        if part != Part::Other && c.is_ascii() && !is_host_character(c) {
            let shown = quoted(&char::from(c).to_string());
            return Err(format!("invalid character {shown} in host name"));
        }
        decoded.push(c);
        index += 1;
    }
    Ok(String::from_utf8_lossy(&decoded).into_owned())
}

/// The byte that `%` and two digits stand for.
fn escaped_byte(escape: &[u8]) -> Option<u8> {
    let [_, high, low] = escape else { return None };
    let digit = |c: u8| char::from(c).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

fn may_be_escaped(byte: u8, part: Part) -> bool {
    match part {
        Part::Other => true,
        Part::Host => byte >= 0x80 || byte == b'%',
        Part::Zone => byte == b'%' || byte == b' ' || is_host_character(byte),
    }
}

fn is_host_character(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!$&'()*+,;=:[]<>\"-_.~".contains(&c)
}

fn escaped_user(text: &str) -> String {
    let mut shown = String::new();
    for c in text.bytes() {
        if c.is_ascii_alphanumeric() || b"-_.~$&+,;=".contains(&c) {
            shown.push(char::from(c));
        } else {
            write!(shown, "%{c:02X}").expect("a String takes all");
        }
    }
    shown
}

/// In quotes, with the escapes that upstream writes.
fn quoted(text: &str) -> String {
    let mut shown = String::from('"');
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '"' | '\\' => shown.extend(['\\', c]),
            c if c.is_ascii_control() => {
                write!(shown, "\\x{:02x}", u32::from(c)).expect("a String takes all");
            }
            c => shown.push(c),
        }
    }
    shown + "\""
}
