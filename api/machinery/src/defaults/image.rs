//! Image references, as far as the pull policy depends on them.

const PATH_LENGTH_MAX: usize = 255;
const TAG_LENGTH_MAX: usize = 128;
/// Hexadecimal digits of each algorithm.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// `Always` for the tag `latest` or none, else (and for what is no reference) `IfNotPresent`.
pub(super) fn pull_policy(image: &str) -> &'static str {
    match tag(image) {
        Some("latest") => "Always",
        _ => "IfNotPresent",
    }
}

/// The tag, `latest` when there is neither tag nor digest; `None` for what is no reference.
fn tag(image: &str) -> Option<&str> {
    if is_hexadecimal(image, 64) {
        return None;
    }
    let (domain, rest) = split_domain(image);
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (rest, None),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    // What looks like a domain and is none may still be the start of a path.
    let is_name = is_path(path) && domain.is_none_or(|domain| is_domain(domain) || is_path(domain));
    if !is_name || !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
        return None;
    }
    match (tag, digest) {
        (None, None) => Some("latest"),
        (tag, _) => Some(tag.unwrap_or("")),
    }
}

/// Only a first part that cannot be a path is a domain.
fn split_domain(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((domain, rest))
            if domain == "localhost"
                || domain.contains(['.', ':'])
                || domain.to_lowercase() != domain =>
        {
            (Some(domain), rest)
        }
        _ => (None, image),
    }
}

fn is_domain(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_address = !address.is_empty()
            && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_path(text: &str) -> bool {
    text.len() <= PATH_LENGTH_MAX && text.split('/').all(is_path_part)
}

/// Small letters and digits with single separators between: `.`, `_`, `__`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator =
        |gap: &str| matches!(gap, "" | "." | "_" | "__") || gap.chars().all(|c| c == '-');
    part.starts_with(is_letter)
        && part.ends_with(is_letter)
        && part.split(is_letter).all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().next().is_some_and(is_word)
        && text.len() <= TAG_LENGTH_MAX
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hash)) = text.split_once(':') else { return false };
    DIGESTS.iter().any(|(name, length)| *name == algorithm && is_hexadecimal(hash, *length))
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_reference_to_latest_is_always_pulled() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let with = |name: &str| format!("{name}@{digest}");
        let (tagless, latest, tagged) = (with("nginx"), with("nginx:latest"), with("nginx:1"));
        let identifier = "a".repeat(64);
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("localhost/x", "Always"),
            ("localhost:5000/x/y", "Always"),
            ("localhost:5000/x/y:2", "IfNotPresent"),
            ("[::1]:5000/x", "Always"),
            ("Registry.example/x", "Always"),
            ("a_b.c/d", "Always"),
            ("a__b---c", "Always"),
            (&tagless, "IfNotPresent"),
            (&latest, "Always"),
            (&tagged, "IfNotPresent"),
            // No references at all.
            ("", "IfNotPresent"),
            ("Nginx", "IfNotPresent"),
            ("a___b", "IfNotPresent"),
            ("/nginx", "IfNotPresent"),
            ("nginx/", "IfNotPresent"),
            ("nginx:", "IfNotPresent"),
            ("nginx latest", "IfNotPresent"),
            ("http://nginx", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "IfNotPresent"),
            (&identifier, "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
