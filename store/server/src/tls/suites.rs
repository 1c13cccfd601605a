//! Versions and cipher suites, by the names that etcd's flags have.

use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        CryptoProvider,
        ring::{cipher_suite, default_provider},
    },
    version::{TLS12, TLS13},
};

use crate::config::TlsVersion;

/// The suites of TLS 1.2 that can be chosen; those of 1.3 are always there, as in Go.
const SUITES: [(&str, SupportedCipherSuite); 8] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    // Go's older names of two.
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Names that etcd takes and that are not spoken here: of TLS 1.3, or without forward secrecy, or
/// broken.
const NOT_CHOSEN: [&str; 17] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
];

fn chosen(names: &[String]) -> impl Iterator<Item = SupportedCipherSuite> {
    SUITES.into_iter().filter(|(name, _)| names.iter().any(|n| n == name)).map(|(_, suite)| suite)
}

/// Whether these names can be used; none at all means all suites.
///
/// # Errors
/// Says which name is unknown, or that none of them is spoken here.
pub(crate) fn check_suites(names: &[String]) -> Result<(), String> {
    for name in names {
        let known =
            SUITES.iter().any(|(one, _)| one == name) || NOT_CHOSEN.contains(&name.as_str());
        if !known {
            return Err(format!("unexpected TLS cipher suite {name:?}"));
        }
    }
    if !names.is_empty() && chosen(names).next().is_none() {
        return Err(format!("none of {names:?} is spoken here"));
    }
    Ok(())
}

/// The cryptography with the suites that were chosen.
pub(super) fn provider(names: &[String]) -> CryptoProvider {
    let mut provider = default_provider();
    if !names.is_empty() {
        let chosen: Vec<_> = chosen(names).collect();
        provider.cipher_suites.retain(|suite| suite.version() == &TLS13 || chosen.contains(suite));
    }
    provider
}

/// The versions from the lowest to the highest.
pub(super) fn versions(
    (min, max): (TlsVersion, TlsVersion),
) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if max >= TlsVersion::V1_3 {
        versions.push(&TLS13);
    }
    if min <= TlsVersion::V1_2 {
        versions.push(&TLS12);
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_etcds_names() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert!(check_suites(&[]).is_ok());
        let good =
            names(&["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        assert!(check_suites(&good).is_ok());
        // TLS 1.3 cannot be chosen from, and stays.
        assert_eq!(provider(&good).cipher_suites.len(), 4);
        assert!(check_suites(&good[..1]).unwrap_err().contains("none of"));
        assert!(check_suites(&names(&["X"])).unwrap_err().contains("unexpected"));
    }
}
