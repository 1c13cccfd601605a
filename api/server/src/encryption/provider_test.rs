//! Values that kube-apiserver 1.36 wrote with every provider and length of key, and our own.

use std::path::Path;
use std::sync::Arc;

use api_machinery::protobuf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Encryption, EncryptionConfig, Metrics, config};

const SECRET: &[u8] = b"/registry/secrets/default/a";

fn with(file: &str) -> Arc<Encryption> {
    let first = Arc::new(config::rules(Path::new("file"), file.as_bytes()).unwrap());
    let config = EncryptionConfig { path: "file".into(), first, reload: None };
    Encryption::new(Some(&config), "/registry/".to_owned(), Metrics::default())
}

/// A file for secrets, of providers in one line each.
fn of(providers: &[&str]) -> Arc<Encryption> {
    let providers: Vec<String> = providers.iter().map(|one| format!("  - {one}\n")).collect();
    with(&format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
         resources:\n- resources: [secrets]\n  providers:\n{}",
        providers.concat()
    ))
}

/// A provider with keys of 32 bytes, each all of one letter.
fn keys(provider: &str, named: &[(&str, u8)]) -> String {
    let keys: Vec<String> = named
        .iter()
        .map(|(name, letter)| {
            let secret = STANDARD.encode([*letter; 32]);
            format!("{{name: {name}, secret: {secret}}}")
        })
        .collect();
    format!("{provider}: {{keys: [{}]}}", keys.join(", "))
}

/// Opens a value: its text and whether it is stale, or the error.
fn told(with: &Encryption, key: &[u8], value: &Bytes) -> String {
    match with.open(key, value.clone()) {
        Ok(opened) if opened.is_stale => {
            format!("stale {}", String::from_utf8_lossy(&opened.value))
        }
        Ok(opened) => String::from_utf8_lossy(&opened.value).into_owned(),
        Err(why) => format!("error: {why}"),
    }
}

#[test]
fn what_kube_apiserver_wrote_is_read() {
    let encryption = with(include_str!("vectors.yaml"));
    let mut read = 0;
    for line in include_str!("vectors.txt").lines() {
        let (key, value) = line.split_once(' ').unwrap();
        let stored = Bytes::from(STANDARD.decode(value).unwrap());
        let opened = encryption.open(key.as_bytes(), stored.clone()).unwrap();
        assert!(!opened.is_stale, "{key}");
        let object = protobuf::decode(&opened.value).unwrap();
        assert_eq!((object.name(), object.namespace()), ("vec", "kube-public"), "{key}");
        // What we write instead has the same prefix and the same length, and is read again.
        let sealed = encryption.seal(key.as_bytes(), opened.value.clone()).unwrap();
        assert_eq!((sealed.len(), &sealed[..18]), (stored.len(), &stored[..18]), "{key}");
        assert_eq!(encryption.open(key.as_bytes(), sealed).unwrap(), opened, "{key}");
        read += 1;
    }
    assert_eq!(read, 8);
}

#[test]
fn a_value_has_the_first_providers_first_key_and_is_never_sealed_the_same_way_twice() {
    for (provider, prefix) in [
        ("aesgcm", "k8s:enc:aesgcm:v1:new:"),
        ("aescbc", "k8s:enc:aescbc:v1:new:"),
        ("secretbox", "k8s:enc:secretbox:v1:new:"),
    ] {
        let encryption = of(&[&keys(provider, &[("new", b'a'), ("old", b'b')]), "identity: {}"]);
        for size in [0, 1, 15, 16, 17, 4096] {
            let value = Bytes::from(vec![b'x'; size]);
            let one = encryption.seal(SECRET, value.clone()).unwrap();
            let other = encryption.seal(SECRET, value.clone()).unwrap();
            assert!(one.starts_with(prefix.as_bytes()) && one != other, "{provider} {size}");
            assert_eq!(encryption.open(SECRET, one).unwrap().value, value, "{provider} {size}");
        }
        // Another resource is not sealed.
        let plain = Bytes::from_static(b"{}");
        assert_eq!(encryption.seal(b"/registry/pods/default/a", plain.clone()).unwrap(), plain);
    }
}

#[test]
fn keys_are_rotated_as_upstream_does() {
    for provider in ["aesgcm", "aescbc", "secretbox"] {
        let old = of(&[&keys(provider, &[("one", b'a')])]);
        let sealed = old.seal(SECRET, Bytes::from_static(b"{}")).unwrap();
        let plain = Bytes::from_static(b"{}");
        for (providers, of_sealed, of_plain) in [
            // The new key is known to all before it writes.
            (vec![keys(provider, &[("one", b'a'), ("two", b'b')])], "{}", "unknown"),
            (vec![keys(provider, &[("two", b'b'), ("one", b'a')])], "stale {}", "unknown"),
            (
                vec![keys(provider, &[("two", b'b')]), keys(provider, &[("one", b'a')])],
                "stale {}",
                "unknown",
            ),
            // Two keys of the same name.
            (
                vec![keys(provider, &[("one", b'b')]), keys(provider, &[("one", b'a')])],
                "stale {}",
                "unknown",
            ),
            // To and from plain values.
            (vec![keys(provider, &[("one", b'a')]), "identity: {}".to_owned()], "{}", "stale {}"),
            (vec!["identity: {}".to_owned(), keys(provider, &[("one", b'a')])], "stale {}", "{}"),
        ] {
            let names: Vec<&str> = providers.iter().map(String::as_str).collect();
            let encryption = of(&names);
            assert_eq!(told(&encryption, SECRET, &sealed), of_sealed, "{names:?}");
            let of_plain = match of_plain {
                "unknown" => "error: no matching prefix found",
                other => other,
            };
            assert_eq!(told(&encryption, SECRET, &plain), of_plain, "{names:?}");
        }
    }
}

#[test]
fn a_key_that_is_missing_is_upstreams_error_and_never_the_wrong_data() {
    const FAILED: &str = "error: cipher: message authentication failed";
    let gcm = of(&[&keys("aesgcm", &[("one", b'a')])]);
    let sealed = gcm.seal(SECRET, Bytes::from_static(b"{}")).unwrap();
    for (providers, wanted) in [
        (vec![keys("aesgcm", &[("one", b'b')])], FAILED),
        (vec![keys("aesgcm", &[("one", b'b')]), keys("aesgcm", &[("one", b'c')])], FAILED),
        (
            vec![keys("aesgcm", &[("two", b'a')])],
            "error: no matching key was found for the provided AES transformer",
        ),
        (
            vec![keys("aesgcm", &[("one", b'b')]), keys("aesgcm", &[("two", b'a')])],
            "error: [cipher: message authentication failed, no matching key was found for the \
             provided AES transformer]",
        ),
        (vec![keys("aescbc", &[("one", b'a')])], "error: no matching prefix found"),
        (vec!["identity: {}".to_owned()], "error: no matching prefix found"),
    ] {
        let names: Vec<&str> = providers.iter().map(String::as_str).collect();
        assert_eq!(told(&of(&names), SECRET, &sealed), wanted, "{names:?}");
    }
    // A value that was moved, and one of a resource that is not sealed.
    assert_eq!(told(&gcm, b"/registry/secrets/default/b", &sealed), FAILED);
    let refused = "error: identity transformer tried to read encrypted data";
    assert_eq!(told(&gcm, b"/registry/pods/default/a", &sealed), refused);
    let none = Encryption::new(None, "/registry/".to_owned(), Metrics::default());
    assert_eq!(told(&none, SECRET, &sealed), refused);
    assert_eq!(told(&none, SECRET, &Bytes::from_static(b"{}")), "{}");
}

#[test]
fn damaged_values_of_any_length_are_refused() {
    const SHORT: &str = "the stored data was shorter than the required size";
    for (provider, shortest) in [("aesgcm", 12), ("aescbc", 16), ("secretbox", 40)] {
        let encryption = of(&[&keys(provider, &[("k", b'a')])]);
        let sealed = encryption.seal(SECRET, Bytes::from(vec![b'x'; 40])).unwrap();
        let start = format!("k8s:enc:{provider}:v1:k:").len();
        for end in start..sealed.len() {
            let why = encryption.open(SECRET, sealed.slice(..end));
            // Of aescbc nothing is authentic: whole blocks may end in what looks like padding.
            assert!(why.is_err() || provider == "aescbc", "{provider} {end}");
            let is_short = why.is_err_and(|why| why == SHORT);
            assert_eq!(is_short, end - start < shortest, "{provider} {end}");
        }
        for position in start..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[position] ^= 1;
            let opened = encryption.open(SECRET, Bytes::from(damaged));
            assert!(opened.is_err() || provider == "aescbc", "{provider} {position}");
        }
    }
}

#[test]
fn the_padding_of_aescbc_is_checked() {
    use super::cipher::{Cipher, Mode};
    let cipher = Cipher::new(Mode::AesCbc, &[b'a'; 16]).unwrap();
    let sealed = cipher.seal(&[b'x'; 15], b"").unwrap();
    // A bit of the vector is a bit of the first block: the last byte is the padding.
    for (change, wanted) in [
        (0x01, Err("invalid PKCS7 data (empty or not padded)")),
        (0x01 ^ 0x11, Err("invalid PKCS7 data (empty or not padded)")),
        (0x01 ^ 0x02, Err("invalid padding on input")),
        (0x00, Ok(vec![b'x'; 15])),
    ] {
        let mut damaged = sealed.clone();
        damaged[15] ^= change;
        assert_eq!(cipher.open(&damaged, b""), wanted, "{change}");
    }
    for (stored, wanted) in [
        (&sealed[..15], "the stored data was shorter than the required size"),
        (&sealed[..16], "invalid PKCS7 data (empty or not padded)"),
        (&sealed[..31], "the stored data is not a multiple of the block size"),
    ] {
        assert_eq!(cipher.open(stored, b""), Err(wanted));
    }
}
