//! Secrets of type TLS. Only their PEM is looked at: what is inside a certificate or a key, and
//! whether the two belong together, is not.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use crate::Object;

/// Bits that the last character has too many are not looked at.
const BODY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

pub(super) fn secret(object: &Object, told: &mut Vec<String>) {
    if object.text(&["type"]) != "kubernetes.io/tls" {
        return;
    }
    let data = |key| STANDARD.decode(object.text(&["data", key])).unwrap_or_default();
    let problem = certificate(&data("tls.crt")).or_else(|| key(&data("tls.key")));
    told.extend(problem.map(|problem| format!("tls: {problem}")));
}

fn certificate(pem: &[u8]) -> Option<String> {
    let found = blocks(pem);
    if found.iter().any(|kind| kind == "CERTIFICATE") {
        return None;
    }
    Some(match found.as_slice() {
        [] => "failed to find any PEM data in certificate input".to_owned(),
        [kind] if kind.ends_with("PRIVATE KEY") => "failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
        all => format!(
            "failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
            all.join(" ")
        ),
    })
}

fn key(pem: &[u8]) -> Option<String> {
    let found = blocks(pem);
    if found.iter().any(|kind| kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY")) {
        return None;
    }
    Some(match found.as_slice() {
        [] => "failed to find any PEM data in key input".to_owned(),
        [kind] if kind == "CERTIFICATE" => {
            "found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        all => format!(
            "failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            all.join(" ")
        ),
    })
}

/// What the blocks say that they are; what looks like a block and is none is passed over.
fn blocks(pem: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = pem.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some(kind) = begun(line) else { continue };
        while lines.next_if(|line| line.contains(&b':')).is_some() {}
        // Base64 has no dashes, so that a body ends where they begin: no line is read twice.
        let mut body = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.contains(&b'-')) {
            body.extend(line.iter().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r')));
        }
        let is_ended = lines.next_if(|line| ended(line) == Some(kind)).is_some();
        if is_ended && BODY.decode(body).is_ok() {
            found.push(String::from_utf8_lossy(kind).into_owned());
        }
    }
    found
}

fn begun(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(BEGIN)?.trim_ascii_end().strip_suffix(DASHES)
}

fn ended(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(END)?.trim_ascii_end().strip_suffix(DASHES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SWITCHED: &str = "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched";
    const NO_CERTIFICATE: &str = "tls: failed to find any PEM data in certificate input";
    const NO_KEY: &str = "tls: failed to find any PEM data in key input";
    const OTHERS: &str = "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types:";
    const OTHERS_KEY: &str = "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types:";

    fn block(kind: &str, body: &str) -> String {
        format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
    }

    fn told(certificate: &str, key: &str) -> String {
        let object = json!({"type": "kubernetes.io/tls",
            "data": {"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)}});
        let mut told = Vec::new();
        secret(&Object::from_value(object).unwrap(), &mut told);
        told.concat()
    }

    #[test]
    fn a_certificate_and_its_key_are_blocks_of_their_own_kind() {
        let of = |kind: &str| block(kind, "YWJj");
        let (certificate, key) = (of("CERTIFICATE"), of("PRIVATE KEY"));
        let c = certificate.as_str();
        for (certificate, key, wanted) in [
            ("", "", NO_CERTIFICATE.to_owned()),
            (&key, "", SWITCHED.to_owned()),
            (&of("XPRIVATE KEY"), "", SWITCHED.to_owned()),
            (&format!("{key}{key}"), "", format!("{OTHERS} [PRIVATE KEY PRIVATE KEY]")),
            (&of("A"), "", format!("{OTHERS} [A]")),
            (c, "", NO_KEY.to_owned()),
            (
                c,
                c,
                "tls: found a certificate rather than a key in the PEM for the private key"
                    .to_owned(),
            ),
            (c, &format!("{c}{c}"), format!("{OTHERS_KEY} [CERTIFICATE CERTIFICATE]")),
            (c, &of("XPRIVATE KEY"), format!("{OTHERS_KEY} [XPRIVATE KEY]")),
            (c, &of("RSA PRIVATE KEY"), String::new()),
            (c, &format!("{c}{key}"), String::new()),
        ] {
            assert_eq!(told(certificate, key), wanted, "{certificate} {key}");
        }
        let other = Object::from_value(json!({"type": "Opaque", "data": {"tls.crt": ""}})).unwrap();
        let mut told = Vec::new();
        secret(&other, &mut told);
        assert!(told.is_empty());
    }

    /// As the real server, which goes on to the key when it has found a certificate.
    #[test]
    fn what_looks_like_a_block_and_is_none_is_passed_over() {
        let c = block("CERTIFICATE", "YWJj");
        let key = block("PRIVATE KEY", "YWJj");
        for (certificate, wanted) in [
            (format!("junk{c}"), NO_CERTIFICATE),
            (format!("junk\n{c}junk"), NO_KEY),
            (block("CERTIFICATE", "A: b\n\nYWJj"), NO_KEY),
            (block("CERTIFICATE", ""), NO_KEY),
            (block("CERTIFICATE", "YW Jj").replace('\n', "\r\n"), NO_KEY),
            (c.trim_end().to_owned(), NO_KEY),
            (format!("{}x", c.trim_end()), NO_CERTIFICATE),
            (block("CERTIFICATE", "!!"), NO_CERTIFICATE),
            (block("CERTIFICATE", "!!") + &key, SWITCHED),
            (c.replace("CERTIFICATE-----\nY", "CERTIFICATE---\nY") + &key, SWITCHED),
            (c.replace("END C", "END D"), NO_CERTIFICATE),
            (c.replace("END C", "END D") + &c, NO_KEY),
            (format!("-----BEGIN A-----\nYWJj\n{c}"), NO_KEY),
        ] {
            assert_eq!(told(&certificate, ""), wanted, "{certificate}");
        }
    }
}
