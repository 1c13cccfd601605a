//! The providers of a resource: the first one writes, all of them are asked to read.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E4 | What is written has the prefix of the first provider and the name of its first key. |
//! | E5 | What another provider or key reads is stale: it is written again although nothing changes. |
//! | E6 | A value that no key opens is an error in upstream's words; it is never shown as it lies. |

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::cipher::{Cipher, Mode};
use super::metrics::{Direction, Seen};

/// What every value begins with that is not plain.
const SEALED: &[u8] = b"k8s:enc:";
/// What upstream says of a sealed value where nothing is sealed.
pub(super) const SEALED_REFUSED: &str = "identity transformer tried to read encrypted data";

/// How one provider keeps values.
pub(super) enum Provider {
    /// As they are.
    Identity,
    Keys {
        mode: Mode,
        keys: Vec<Key>,
    },
}

/// A key with its name and a colon, as values have it.
pub(super) struct Key {
    pub(super) prefix: String,
    pub(super) cipher: Cipher,
}

/// A value as it was before it was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) value: Bytes,
    pub(crate) is_stale: bool,
}

/// Whether a value is sealed by anything.
pub(super) fn is_sealed(value: &[u8]) -> bool {
    value.starts_with(SEALED)
}

/// Seals a value that is to be stored at `key` (E4).
pub(super) fn seal(
    providers: &[Arc<Provider>],
    seen: &Seen<'_>,
    key: &[u8],
    value: Bytes,
) -> Result<Bytes, String> {
    let started = Instant::now();
    let Some(Provider::Keys { mode, keys }) = providers.first().map(|first| &**first) else {
        seen.count(Direction::ToStorage, "", Some(started.elapsed()));
        return Ok(value);
    };
    let first = keys.first().ok_or("the provider has no keys")?;
    let sealed = first.cipher.seal(&value, key);
    let took = sealed.is_ok().then(|| started.elapsed());
    seen.count(Direction::ToStorage, &first.prefix, took);
    seen.count(Direction::ToStorage, mode.prefix(), took);
    let parts = [mode.prefix().as_bytes(), first.prefix.as_bytes(), &sealed?];
    Ok(Bytes::from(parts.concat()))
}

/// Opens what is stored at `key` (E5, E6).
pub(super) fn open(
    providers: &[Arc<Provider>],
    seen: &Seen<'_>,
    key: &[u8],
    value: &Bytes,
) -> Result<Opened, String> {
    let mut errors = Vec::new();
    let started = Instant::now();
    for (index, provider) in providers.iter().enumerate() {
        match &**provider {
            // What is sealed may still be for a later one.
            Provider::Identity if is_sealed(value) => {}
            Provider::Identity => {
                seen.count(Direction::FromStorage, "identity", Some(started.elapsed()));
                return Ok(Opened { value: value.clone(), is_stale: index != 0 });
            }
            Provider::Keys { mode, keys } => {
                let Some(rest) = value.strip_prefix(mode.prefix().as_bytes()) else { continue };
                let opened = with_keys((*mode, keys), seen, key, rest);
                let took = opened.is_ok().then(|| started.elapsed());
                seen.count(Direction::FromStorage, mode.prefix(), took);
                match opened {
                    Ok((data, is_stale)) => {
                        let is_stale = is_stale || index != 0;
                        return Ok(Opened { value: Bytes::from(data), is_stale });
                    }
                    // Another provider of the same mode may have the key.
                    Err(found) => errors.extend(found),
                }
            }
        }
    }
    if errors.is_empty() {
        seen.count(Direction::FromStorage, "unknown", None);
        return Err("no matching prefix found".to_owned());
    }
    Err(all_of(&errors))
}

/// Tries every key of that name; keys may share a name while one takes another's place.
fn with_keys(
    (mode, keys): (Mode, &[Key]),
    seen: &Seen<'_>,
    key: &[u8],
    rest: &[u8],
) -> Result<(Vec<u8>, bool), Vec<&'static str>> {
    let mut errors = Vec::new();
    let started = Instant::now();
    for (index, one) in keys.iter().enumerate() {
        let Some(stored) = rest.strip_prefix(one.prefix.as_bytes()) else { continue };
        let opened = one.cipher.open(stored, key);
        let took = opened.is_ok().then(|| started.elapsed());
        seen.count(Direction::FromStorage, &one.prefix, took);
        match opened {
            Ok(data) => return Ok((data, index != 0)),
            Err(why) => errors.push(why),
        }
    }
    if errors.is_empty() {
        seen.count(Direction::FromStorage, "unknown", None);
        errors.push(match mode {
            Mode::AesGcm | Mode::AesCbc => {
                "no matching key was found for the provided AES transformer"
            }
            Mode::Secretbox => "no matching key was found for the provided Secretbox transformer",
        });
    }
    Err(errors)
}

/// Several errors as one: each text once, in brackets when there are more of them.
fn all_of(errors: &[&str]) -> String {
    let mut told = HashSet::new();
    let texts: Vec<&str> = errors.iter().copied().filter(|text| told.insert(*text)).collect();
    match texts.as_slice() {
        [one] => (*one).to_owned(),
        more => format!("[{}]", more.join(", ")),
    }
}
