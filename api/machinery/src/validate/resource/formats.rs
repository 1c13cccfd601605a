//! Names and identifiers of devices, drivers and pools.

use crate::field::{Error, Path};
use crate::validate::{invalid_each, names};

const DRIVER_BYTES_MAX: usize = 63;
const POOL_BYTES_MAX: usize = 253;
const IDENTIFIER_BYTES_MAX: usize = 32;
const IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

pub(super) fn label(name: &str, path: &Path, errors: &mut Vec<Error>) {
    invalid_each(path, name, names::label_1123(name), errors);
}

pub(super) fn label_key(name: &str, path: &Path, errors: &mut Vec<Error>) {
    invalid_each(path, name, names::qualified_name(name), errors);
}

pub(super) fn required_label(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
    } else {
        label(name, path, errors);
    }
}

pub(super) fn class(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
    } else {
        invalid_each(path, name, names::subdomain_1123(name), errors);
    }
}

pub(super) fn driver(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    if name.len() > DRIVER_BYTES_MAX {
        errors.push(Error::too_long(path, DRIVER_BYTES_MAX));
    }
    invalid_each(path, name, names::subdomain_1123(&name.to_lowercase()), errors);
}

pub(super) fn pool(name: &str, path: &Path, errors: &mut Vec<Error>) {
    if name.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    if name.len() > POOL_BYTES_MAX {
        errors.push(Error::too_long(path, POOL_BYTES_MAX));
    }
    for part in name.split('/') {
        invalid_each(path, part, names::subdomain_1123(part), errors);
    }
}

/// `[domain/]identifier`. More than one slash is let through, as upstream does.
pub(super) fn qualified(name: &str, path: &Path, errors: &mut Vec<Error>) {
    let parts: Vec<&str> = name.split('/').collect();
    let (domain, id) = match parts.as_slice() {
        [id] => return identifier(id, path, errors),
        [domain, id] => (*domain, *id),
        _ => return,
    };
    if domain.is_empty() {
        errors.push(Error::invalid(path, "", "the domain must not be empty"));
    } else {
        driver(domain, path, errors);
    }
    if id.is_empty() {
        errors.push(Error::invalid(path, "", "the name must not be empty"));
    } else {
        identifier(id, path, errors);
    }
}

pub(super) fn fully_qualified(name: &str, path: &Path, errors: &mut Vec<Error>) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path, name, why));
    }
}

fn identifier(id: &str, path: &Path, errors: &mut Vec<Error>) {
    if id.len() > IDENTIFIER_BYTES_MAX {
        errors.push(Error::too_long(path, IDENTIFIER_BYTES_MAX));
    }
    let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    if id.is_empty() || id.as_bytes()[0].is_ascii_digit() || !id.bytes().all(is_word) {
        errors.push(Error::invalid(path, id, IDENTIFIER));
    }
}

pub(super) fn uid(uid: &str, path: &Path, errors: &mut Vec<Error>) {
    let why = problem_of_uid(uid).map(|why| format!("error validating uid: {why}"));
    let is_normal = uid.len() == 36 && !uid.bytes().any(|c| c.is_ascii_uppercase());
    if let Some(why) = why {
        errors.push(Error::invalid(path, uid, why));
    } else if !is_normal {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.push(Error::invalid(path, uid, why));
    }
}

fn problem_of_uid(uid: &str) -> Option<String> {
    let bytes = uid.as_bytes();
    let standard = match bytes.len() {
        36 => bytes,
        45 if bytes[..9].eq_ignore_ascii_case(b"urn:uuid:") => &bytes[9..],
        45 => {
            let prefix = String::from_utf8_lossy(&bytes[..9]);
            return Some(format!("invalid urn prefix: {prefix:?}"));
        }
        38 if bytes[0] == b'{' && bytes[37] == b'}' => &bytes[1..37],
        38 => return Some("invalid bracketed UUID format".to_owned()),
        32 => bytes,
        length => return Some(format!("invalid UUID length: {length}")),
    };
    let is_right = |(index, c): (usize, &u8)| match index {
        8 | 13 | 18 | 23 if standard.len() == 36 => *c == b'-',
        _ => c.is_ascii_hexdigit(),
    };
    let is_fine = standard.iter().enumerate().all(is_right);
    (!is_fine).then(|| "invalid UUID format".to_owned())
}

/// Whether a version is one of semver.org's specification 2.0.0.
pub(super) fn is_version(text: &str) -> bool {
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, release) = match text.split_once('-') {
        Some((core, release)) => (core, Some(release)),
        None => (text, None),
    };
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|c| c.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    let is_all_digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && release.is_none_or(|all| {
            all.split('.').all(|part| is_word(part) && (!is_all_digits(part) || is_number(part)))
        })
        && build.is_none_or(|all| all.split('.').all(is_word))
}
