//! Formats of texts: what each name means to upstream.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::pattern;
use super::schema::Schema;

/// The format of a schema, empty where upstream ignores it.
pub(super) fn of(schema: &Schema) -> &str {
    let checks = schema.checks.as_deref();
    let format = checks.and_then(|checks| checks.format.as_deref()).unwrap_or("");
    let kind = if schema.int_or_string { "" } else { schema.kind.name() };
    if is_known(kind, format) { format } else { "" }
}

/// Whether a format says something about values of a type (`""` for none).
pub(super) fn is_known(kind: &str, format: &str) -> bool {
    match kind {
        "" | "string" => KNOWN.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

const KNOWN: [&str; 26] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

const CREDIT_CARD: &str = r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$";
const RGB: &str = r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";
const BASE64: &str =
    r"^(?:[A-Za-z0-9+\/]{4})*(?:[A-Za-z0-9+\/]{2}==|[A-Za-z0-9+\/]{3}=|[A-Za-z0-9+\/]{4})$";
const TIME: &str = r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";

/// Whether a text is of a format; `None` when there is no such format.
pub(super) fn fits(format: &str, text: &str) -> Option<bool> {
    let is = |expression: &str| pattern::matches(expression, text).unwrap_or(false);
    Some(match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|c| c.is_ascii_hexdigit()),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.contains('.') && is_address(text),
        "ipv6" => text.contains(':') && is_address(text),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => is(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$") && text.len() == 11,
        "hexcolor" => is("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        "rgbcolor" => is(RGB),
        "byte" => is(BASE64),
        "password" => true,
        "date" => is_date(text),
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => text.len() <= 63 && is("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
        "k8slongname" => {
            text.len() <= 253
                && is(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        }
        _ => return None,
    })
}

/// One label of letters and digits with at most one hyphen after the first, or labels and a
/// top-level domain. Letters of all scripts and symbols count.
fn is_hostname(text: &str) -> bool {
    let is_script = |c: char| pattern::matches("^[\\p{S}\\p{L}]$", &c.to_string()) == Ok(true);
    let is_letter = |c: char| c.is_ascii_alphanumeric() || is_script(c);
    if text.len() > 255 || text.split('.').any(|part| part.len() > 63) {
        return false;
    }
    let Some((labels, top)) = text.rsplit_once('.') else {
        let rest = text.strip_prefix(is_letter);
        return rest
            .is_some_and(|rest| rest.strip_prefix('-').unwrap_or(rest).chars().all(is_letter));
    };
    let is_label = |label: &str| {
        label.starts_with(is_letter)
            && label.ends_with(is_letter)
            && label.chars().all(|c| c == '-' || is_letter(c))
    };
    let is_top = |c: char| c.is_ascii_alphabetic() || (!c.is_ascii() && c.is_alphabetic());
    labels.split('.').all(is_label) && top.chars().count() >= 2 && top.chars().all(is_top)
}

/// As Go's `url.ParseRequestURI`: a path from the root, or a scheme and something.
pub(super) fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|c| c < 0x20 || c == 0x7f) || !has_good_escapes(text) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return text == "*" };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
    if !is_scheme {
        return false;
    }
    let Some(rest) = rest.strip_prefix("//") else { return true };
    let host = rest.split(['/', '?']).next().unwrap_or("");
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let (host, port) = match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|c| c.is_ascii_digit()));
    is_port && !host.contains([' ', '"', '<', '>', '^', '`', '{', '|', '}', '\\'])
}

fn has_good_escapes(text: &str) -> bool {
    let path = text.split('?').next().unwrap_or("");
    path.split('%')
        .skip(1)
        .all(|rest| rest.get(..2).is_some_and(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit())))
}

/// As Go's `mail.ParseAddress` takes plain addresses and those with a name before them.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(inner) => match inner.rsplit_once('<') {
            Some((_, address)) => address,
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let is_atom = |text: &str| {
        let is_letter = |c: char| {
            c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c)
        };
        !text.is_empty() && text.chars().all(is_letter)
    };
    let is_dotted = |text: &str| text.split('.').all(is_atom);
    let is_quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let is_literal = domain.starts_with('[') && domain.ends_with(']');
    (is_dotted(local) || is_quoted) && (is_dotted(domain) || is_literal)
}

/// Upstream lets IPv4 addresses have leading zeros.
fn is_address(text: &str) -> bool {
    if let Some((_, last)) = text.rsplit_once(':') {
        return match last.contains('.') {
            true => text.parse::<Ipv6Addr>().is_ok(),
            false => text.parse::<Ipv6Addr>().is_ok() && !text.contains('%'),
        };
    }
    text.parse::<Ipv4Addr>().is_ok() || {
        let parts: Vec<_> = text.split('.').collect();
        let is_part = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|c| c.is_ascii_digit())
                && part.parse::<u32>().is_ok_and(|number| number <= 255)
        };
        parts.len() == 4 && parts.iter().all(is_part)
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let max = if address.contains(':') { 128 } else { 32 };
    let is_number = !length.is_empty() && length.bytes().all(|c| c.is_ascii_digit());
    is_address(address) && is_number && length.parse::<u32>().is_ok_and(|length| length <= max)
}

/// 6, 8 or 20 bytes as `00:00`, `00-00` or `0000.0000`.
fn is_mac(text: &str) -> bool {
    let (separator, digits) = match text.as_bytes().get(2) {
        Some(b':') => (':', 2),
        Some(b'-') => ('-', 2),
        _ => ('.', 4),
    };
    let mut bytes = 0;
    for part in text.split(separator) {
        if part.len() != digits || !part.bytes().all(|c| c.is_ascii_hexdigit()) {
            return false;
        }
        bytes += digits / 2;
    }
    matches!(bytes, 6 | 8 | 20)
}

/// Each hyphen may be missing.
fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((part, after)) = rest.split_at_checked(length) else { return false };
        let first = part.as_bytes()[0].to_ascii_lowercase();
        let is_version = index != 2 || version.is_none_or(|version| first == version);
        let has_variant = index == 3 && matches!(version, Some(b'4' | b'5'));
        let is_variant = !has_variant || matches!(first, b'8' | b'9' | b'a' | b'b');
        if !part.bytes().all(|c| c.is_ascii_hexdigit()) || !is_version || !is_variant {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn without(text: &str, letters: &[char]) -> String {
    text.chars().filter(|letter| !letters.contains(letter)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let text = without(text, &[' ', '-']);
    let digits: Option<Vec<u32>> = text
        .chars()
        .enumerate()
        .map(|(index, c)| if index == 9 && c == 'X' { Some(10) } else { c.to_digit(10) })
        .collect();
    let Some(digits) = digits.filter(|digits| digits.len() == 10) else { return false };
    digits.iter().zip(1u32..).map(|(digit, weight)| digit * weight).sum::<u32>() % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let text = without(text, &[' ', '-']);
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| digits.len() == 13) else { return false };
    digits.iter().zip([1, 3].iter().cycle()).map(|(digit, weight)| digit * weight).sum::<u32>() % 10
        == 0
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !pattern::matches(CREDIT_CARD, &digits).unwrap_or(false) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(digit - b'0') * if index % 2 == 1 { 2 } else { 1 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_date(text: &str) -> bool {
    let is_shape = text.len() == 10
        && text.bytes().enumerate().all(|(index, c)| match index {
            4 | 7 => c == b'-',
            _ => c.is_ascii_digit(),
        });
    is_shape && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let is_time = pattern::matches(TIME, time).unwrap_or(false);
    is_date(date)
        && is_time
        && time.get(..2).is_some_and(|hour| hour <= "23")
        && time.get(3..5).is_some_and(|minute| minute <= "59")
        && time.get(6..8).is_some_and(|second| second <= "59")
}

/// Go's durations, or numbers with units somewhere in the text as in Scala.
fn is_duration(text: &str) -> bool {
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "\u{b5}s", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    if matches!(text, "0" | "+0" | "-0") {
        return true;
    }
    let mut rest = text;
    let mut is_found = false;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if rest[..digits].parse::<i64>().is_err() {
            return false;
        }
        let after = rest[digits..].trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
        let is_letter = |c: char| c.is_ascii_alphabetic() || c == '\u{b5}';
        let end = after.find(|c: char| !is_letter(c)).unwrap_or(after.len());
        let unit = after[..end].to_lowercase();
        is_found |= UNITS.iter().any(|names| {
            names.contains(&unit.as_str())
                || names.last().is_some_and(|last| unit.starts_with(last))
        });
        rest = &after[end..];
    }
    is_found
}

/// Formats that a schema names and upstream ignores, in the order in which it meets them.
#[must_use]
pub fn unrecognized(schema: &serde_json::Value) -> Vec<String> {
    let mut found = Vec::new();
    super::walk::each(schema, &mut |level| {
        let format = level["format"].as_str().unwrap_or("");
        let kind = level["type"].as_str().unwrap_or("");
        if !format.is_empty() && !is_known(kind, format) {
            found.push(format.to_owned());
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_of_their_formats() {
        for (format, good, bad) in [
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv4", "010.0.0.1", "::1"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "01:02:03:04:05:06", "01:02:03:04:05"),
            ("mac", "0102.0304.0506", "0102.0304"),
            ("uuid", "00000000-0000-0000-0000-000000000000", "0000"),
            (
                "uuid4",
                "00000000-0000-4000-8000-000000000000",
                "00000000-0000-3000-8000-000000000000",
            ),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("hexcolor", "#FFFFFF", "#FFFFF"),
            ("rgbcolor", "rgb(255,255,255)", "rgb(256,0,0)"),
            ("byte", "Zm9v", "Zm9"),
            ("date", "2014-12-15", "2014-12-35"),
            ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15 19:30:20"),
            ("duration", "22 ns", "22"),
            ("duration", "1h30m", "x"),
            ("email", "a@b.c", "a@"),
            ("hostname", "example.com", "-x"),
            ("uri", "https://example.com/x?y", "example"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
            ("ssn", "111-22-3333", "111-22-333"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "A"),
        ] {
            assert_eq!(fits(format, good), Some(true), "{format} {good}");
            assert_eq!(fits(format, bad), Some(false), "{format} {bad}");
        }
        assert_eq!(fits("unheard-of", ""), None);
    }
}
