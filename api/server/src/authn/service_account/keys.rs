//! Keys of service account tokens: read from PEM, named, and used with the algorithm they are for.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::ring;
use rustls::sign::SigningKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// How a token is signed; the key decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    Es384,
}

impl Algorithm {
    /// The name in the header of a token.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    fn scheme(self) -> SignatureScheme {
        match self {
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
            Self::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::Es384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        }
    }

    /// Bytes of each of the two numbers of a signature; 0 when it is not two numbers.
    fn number_bytes(self) -> usize {
        match self {
            Self::Rs256 => 0,
            Self::Es256 => 32,
            Self::Es384 => 48,
        }
    }
}

/// A public key: what it takes to check tokens and to publish it.
#[derive(Clone, Debug)]
pub(super) struct VerifyingKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    /// The key's own bytes, as the signature check wants them.
    bits: Vec<u8>,
    /// The key as a JSON web key.
    pub(super) published: Value,
}

impl VerifyingKey {
    fn of(spki: &[u8]) -> Result<Self, String> {
        let (_, parsed) = SubjectPublicKeyInfo::from_der(spki)
            .map_err(|_| "the public key cannot be read".to_owned())?;
        let bits = parsed.subject_public_key.data.to_vec();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithm, mut published) = match parsed.parsed() {
            Ok(PublicKey::RSA(key)) => {
                let trim = |bytes: &[u8]| {
                    let start = bytes.iter().take_while(|byte| **byte == 0).count();
                    encode(&bytes[start..])
                };
                let numbers = json!({"n": trim(key.modulus), "e": trim(key.exponent)});
                (Algorithm::Rs256, numbers)
            }
            Ok(PublicKey::EC(_)) => {
                // 4, then both coordinates: an uncompressed point.
                let (algorithm, curve) = match bits.len() {
                    65 => (Algorithm::Es256, "P-256"),
                    97 => (Algorithm::Es384, "P-384"),
                    _ => return Err("only the curves P-256 and P-384 are supported".to_owned()),
                };
                let (x, y) = bits[1..].split_at(algorithm.number_bytes());
                (algorithm, json!({"crv": curve, "x": encode(x), "y": encode(y)}))
            }
            _ => return Err("only RSA and ECDSA keys are supported".to_owned()),
        };
        let id = encode(&Sha256::digest(spki));
        published["kty"] = if algorithm == Algorithm::Rs256 { "RSA" } else { "EC" }.into();
        published["use"] = "sig".into();
        published["kid"] = id.as_str().into();
        published["alg"] = algorithm.name().into();
        Ok(Self { id, algorithm, bits, published })
    }

    /// Reads every key of a PEM file: public keys, certificates, or private keys.
    pub(super) fn read_all(pem: &[u8]) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        for spki in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            keys.push(Self::of(&spki.map_err(|error| error.to_string())?)?);
        }
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            let (_, parsed) = X509Certificate::from_der(&certificate)
                .map_err(|_| "the certificate cannot be read".to_owned())?;
            keys.push(Self::of(parsed.public_key().raw)?);
        }
        for private in PrivateKeyDer::pem_slice_iter(pem) {
            let private = private.map_err(|error| error.to_string())?;
            keys.push(Signer::of(&private)?.public);
        }
        if keys.is_empty() {
            return Err("no key in the file".to_owned());
        }
        Ok(keys)
    }

    /// Whether the signature over `message` is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let size = self.algorithm.number_bytes();
        let signature = match size {
            0 => signature.to_vec(),
            _ if signature.len() == 2 * size => der_of_pair(signature.split_at(size)),
            _ => return false,
        };
        let supported = ring::default_provider().signature_verification_algorithms;
        let scheme = self.algorithm.scheme();
        let found = supported.mapping.iter().find(|(one, _)| *one == scheme);
        let Some((_, algorithms)) = found else { return false };
        // A scheme of TLS 1.2 may go with more than one curve.
        algorithms.iter().any(|one| one.verify_signature(&self.bits, message, &signature).is_ok())
    }
}

/// A private key.
#[derive(Clone)]
pub(super) struct Signer {
    key: Arc<dyn SigningKey>,
    pub(super) public: VerifyingKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public.id)
    }
}

impl Signer {
    /// Reads the first private key of a PEM file.
    pub(super) fn read(pem: &[u8]) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        Self::of(&key)
    }

    fn of(der: &PrivateKeyDer<'_>) -> Result<Self, String> {
        let key = ring::sign::any_supported_type(der).map_err(|error| error.to_string())?;
        if !matches!(key.algorithm(), SignatureAlgorithm::RSA | SignatureAlgorithm::ECDSA) {
            return Err("only RSA and ECDSA keys are supported".to_owned());
        }
        let spki = key.public_key().ok_or("the private key has no public half")?;
        let public = VerifyingKey::of(&spki)?;
        Ok(Self { key, public })
    }

    /// Signs a message as tokens are signed.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let scheme = self.public.algorithm.scheme();
        let signer = self.key.choose_scheme(&[scheme]).ok_or("the key cannot sign tokens")?;
        let signature = signer.sign(message).map_err(|error| error.to_string())?;
        match self.public.algorithm.number_bytes() {
            0 => Ok(signature),
            size => pair_of_der(&signature, size).ok_or_else(|| "a broken signature".to_owned()),
        }
    }
}

/// Two numbers of a fixed size, as tokens have them, to the DER that TLS has.
fn der_of_pair((r, s): (&[u8], &[u8])) -> Vec<u8> {
    let mut inside = Vec::new();
    for number in [r, s] {
        let start = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
        let number = &number[start..];
        let sign: &[u8] = if number[0] & 0x80 == 0 { &[] } else { &[0] };
        // Neither curve has numbers of more than 48 bytes: every length is one byte.
        inside.extend_from_slice(&[2, (sign.len() + number.len()) as u8]);
        inside.extend_from_slice(sign);
        inside.extend_from_slice(number);
    }
    let mut out = vec![0x30, inside.len() as u8];
    out.extend(inside);
    out
}

/// The way back.
fn pair_of_der(der: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut rest = der.get(2..)?;
    let mut out = Vec::with_capacity(2 * size);
    for _ in 0..2 {
        let length = usize::from(*rest.get(1)?);
        let number = rest.get(2..2 + length)?;
        rest = &rest[2 + length..];
        let start = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[start..];
        out.resize(out.len() + size.checked_sub(number.len())?, 0);
        out.extend_from_slice(number);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_checked_by_the_key_that_made_it() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let signer = Signer::read(pair.serialize_pem().as_bytes()).unwrap();
        let public = VerifyingKey::read_all(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(public[0].id, signer.public.id);
        assert_eq!(public[0].published["kty"], "EC");
        // The two numbers of a signature are sometimes short: often enough to be seen.
        for round in 0..600_u32 {
            let message = round.to_be_bytes();
            let signature = signer.sign(&message).unwrap();
            assert_eq!(signature.len(), 64);
            assert!(public[0].verifies(&message, &signature), "round {round}");
            assert!(!public[0].verifies(b"other", &signature));
        }
        let other = rcgen::KeyPair::generate().unwrap().public_key_pem();
        let other = VerifyingKey::read_all(other.as_bytes()).unwrap();
        let signature = signer.sign(b"m").unwrap();
        assert!(!other[0].verifies(b"m", &signature));
        assert!(!public[0].verifies(b"m", &signature[..63]));
        assert!(VerifyingKey::read_all(b"nothing").is_err());
    }
}
