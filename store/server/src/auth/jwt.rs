//! JSON web tokens: signed by any member, checked by all, remembered by none.

use std::{
    fs,
    path::Path,
    str::FromStr as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, crypto};
use ring::signature::{self, KeyPair as _};
use rustls_pki_types::{PrivateKeyDer, PrivateSec1KeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use store_state_machine::Refusal;

use super::options::JwtOptions;
use crate::error::Error;

/// Signs and checks tokens.
pub(crate) struct Jwt {
    header: Header,
    validation: Validation,
    /// None if this member can only check tokens.
    signing: Option<EncodingKey>,
    checking: DecodingKey,
    ttl: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    username: &'a str,
    revision: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Found {
    username: String,
    revision: f64,
    exp: Option<f64>,
    nbf: Option<f64>,
}

struct Keys {
    signing: EncodingKey,
    checking: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Hmac,
    Rsa,
    Ec,
    Ed,
}

fn family(algorithm: Algorithm) -> Family {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Family::Hmac,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Family::Rsa,
        Algorithm::ES256 | Algorithm::ES384 => Family::Ec,
        Algorithm::EdDSA => Family::Ed,
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

impl Jwt {
    /// Reads the keys.
    pub(crate) fn load(options: &JwtOptions) -> anyhow::Result<Self> {
        let algorithm = Algorithm::from_str(&options.method).map_err(|_| {
            let known = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
                         ES384, EdDSA";
            anyhow::anyhow!("sign-method {:?} is not one of {known}", options.method)
        })?;
        let pair = match &options.private_key {
            Some(path) => {
                let pair = key_pair(algorithm, &read(path)?);
                Some(pair.with_context(|| format!("{}: {}", options.method, path.display()))?)
            }
            None => None,
        };
        let public = match &options.public_key {
            Some(path) if family(algorithm) != Family::Hmac => {
                let key = public_key(algorithm, &read(path)?);
                Some(key.with_context(|| format!("{}: {}", options.method, path.display()))?)
            }
            Some(_) | None => None,
        };
        let (signing, checking) = match (pair, public) {
            (Some(pair), Some(public)) => {
                let probe = crypto::sign(b"probe", &pair.signing, algorithm)?;
                if !crypto::verify(&probe, b"probe", &public, algorithm)? {
                    bail!("the public and the private key of --auth-token do not belong together");
                }
                (Some(pair.signing), public)
            }
            (Some(pair), None) => (Some(pair.signing), pair.checking),
            (None, Some(public)) => (None, public),
            (None, None) => bail!("{} needs a priv-key", options.method),
        };
        let mut validation = Validation::new(algorithm);
        // Times are checked below: here one that is no number would pass.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Ok(Self { header: Header::new(algorithm), validation, signing, checking, ttl: options.ttl })
    }

    /// A new token for a user, as of an auth revision.
    pub(crate) fn sign(&self, user: &str, revision: u64) -> Result<String, Error> {
        let key = self.signing.as_ref().ok_or(Error::TokensOnlyChecked)?;
        let exp = (now() + self.ttl).as_secs();
        let claims = Claims { username: user, revision, exp };
        jsonwebtoken::encode(&self.header, &claims, key).map_err(|error| {
            tracing::warn!(%error, "a token was not signed");
            Refusal::AuthFailed.into()
        })
    }

    /// Whose token it is, and the auth revision that it was made at.
    pub(crate) fn check(&self, token: &str) -> Option<(String, u64)> {
        let found = jsonwebtoken::decode::<Found>(token, &self.checking, &self.validation);
        let found = found.map(|data| data.claims);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "a token is not good");
                return None;
            }
        };
        let now = now().as_secs_f64();
        let over = found.exp.is_some_and(|exp| now >= exp);
        let early = found.nbf.is_some_and(|nbf| now < nbf);
        // Revisions are small: a double holds them exactly.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float saturates, and a revision of zero is older than any"
        )]
        let revision = found.revision as u64;
        (!over && !early).then_some((found.username, revision))
    }
}

/// Whether the file of a key holds a private one, and a public one.
pub(crate) fn read_keys(method: &str, pem: &[u8]) -> (bool, bool) {
    let Ok(algorithm) = Algorithm::from_str(method) else { return (false, false) };
    (key_pair(algorithm, pem).is_ok(), public_key(algorithm, pem).is_ok())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn public_key(algorithm: Algorithm, pem: &[u8]) -> anyhow::Result<DecodingKey> {
    // It would be taken, and then fit no token.
    if str::from_utf8(pem).is_ok_and(|text| text.contains("PRIVATE KEY")) {
        bail!("a private key, where the public one belongs");
    }
    Ok(match family(algorithm) {
        Family::Hmac => DecodingKey::from_secret(pem),
        Family::Rsa => DecodingKey::from_rsa_pem(pem).context("not a public RSA key in PEM")?,
        Family::Ec => DecodingKey::from_ec_pem(pem).context("not a public EC key in PEM")?,
        Family::Ed => DecodingKey::from_ed_pem(pem).context("not a public Ed25519 key in PEM")?,
    })
}

/// A private key, and the public one that follows from it.
fn key_pair(algorithm: Algorithm, pem: &[u8]) -> anyhow::Result<Keys> {
    if family(algorithm) == Family::Hmac {
        if pem.is_empty() {
            bail!("the secret is empty");
        }
        let (signing, checking) = (EncodingKey::from_secret(pem), DecodingKey::from_secret(pem));
        return Ok(Keys { signing, checking });
    }
    let der = PrivateKeyDer::from_pem_slice(pem).context("not a private key in PEM")?;
    let rejected =
        |error: ring::error::KeyRejected| anyhow::anyhow!("the key is not usable: {error}");
    match (family(algorithm), der) {
        (Family::Rsa, PrivateKeyDer::Pkcs1(der)) => {
            let pair = signature::RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(rejected)?;
            rsa(pem, &pair)
        }
        (Family::Rsa, PrivateKeyDer::Pkcs8(der)) => {
            let pair = signature::RsaKeyPair::from_pkcs8(der.secret_pkcs8_der());
            rsa(pem, &pair.map_err(rejected)?)
        }
        (Family::Ec, PrivateKeyDer::Pkcs8(der)) => ec(algorithm, der.secret_pkcs8_der()),
        (Family::Ec, PrivateKeyDer::Sec1(der)) => ec(algorithm, &wrap(algorithm, &der)),
        (Family::Ed, PrivateKeyDer::Pkcs8(der)) => {
            let der = der.secret_pkcs8_der();
            let pair = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
            let pair = pair.map_err(rejected)?;
            let checking = DecodingKey::from_ed_der(pair.public_key().as_ref());
            Ok(Keys { signing: EncodingKey::from_ed_der(der), checking })
        }
        _ => bail!("the key is of another kind than the sign-method"),
    }
}

fn rsa(pem: &[u8], pair: &signature::RsaKeyPair) -> anyhow::Result<Keys> {
    let signing = EncodingKey::from_rsa_pem(pem)?;
    Ok(Keys { signing, checking: DecodingKey::from_rsa_der(pair.public_key().as_ref()) })
}

fn ec(algorithm: Algorithm, pkcs8: &[u8]) -> anyhow::Result<Keys> {
    let curve = match algorithm {
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    };
    let random = ring::rand::SystemRandom::new();
    let pair = signature::EcdsaKeyPair::from_pkcs8(curve, pkcs8, &random)
        .map_err(|error| anyhow::anyhow!("the key is not usable with this sign-method: {error}"))?;
    let checking = DecodingKey::from_ec_der(pair.public_key().as_ref());
    Ok(Keys { signing: EncodingKey::from_ec_der(pkcs8), checking })
}

/// What openssl writes as `EC PRIVATE KEY` (RFC 5915), in the frame of PKCS #8 (RFC 5208) that the
/// signer wants: a version, the algorithm with its curve, and the key.
fn wrap(algorithm: Algorithm, key: &PrivateSec1KeyDer<'_>) -> Vec<u8> {
    const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    const SEQUENCE: u8 = 0x30;
    const OCTETS: u8 = 0x04;
    let element = |tag: u8, content: &[u8]| {
        let mut out = vec![tag];
        match content.len() {
            short @ 0..=0x7f => out.push(u8::try_from(short).expect("below 128")),
            long => {
                let bytes = long.to_be_bytes();
                let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
                out.push(0x80 | u8::try_from(bytes.len()).expect("at most eight"));
                out.extend(bytes);
            }
        }
        out.extend(content);
        out
    };
    let curve = if algorithm == Algorithm::ES384 { P384 } else { P256 };
    let version: &[u8] = &[0x02, 0x01, 0x00];
    let kind = element(SEQUENCE, &[EC_PUBLIC_KEY, curve].concat());
    let key = element(OCTETS, key.secret_sec1_der());
    element(SEQUENCE, &[version, &kind, &key].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> std::path::PathBuf {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth/testdata");
        dir.join(name)
    }

    fn options(method: &str, private: Option<&str>, public: Option<&str>) -> JwtOptions {
        JwtOptions {
            method: method.to_owned(),
            private_key: private.map(path),
            public_key: public.map(path),
            ttl: Duration::from_secs(300),
        }
    }

    fn load(method: &str, private: Option<&str>, public: Option<&str>) -> anyhow::Result<Jwt> {
        Jwt::load(&options(method, private, public))
    }

    #[test]
    fn a_token_says_whose_it_is_with_every_kind_of_key() {
        for (method, private, public) in [
            ("HS256", "ed.pem", None),
            ("HS512", "ed.pem", None),
            ("RS256", "rsa.pem", Some("rsa.pub.pem")),
            ("RS384", "rsa-pkcs1.pem", Some("rsa.pub.pem")),
            ("PS512", "rsa.pem", Some("rsa.pub.pem")),
            ("ES256", "ec.pem", Some("ec.pub.pem")),
            ("ES256", "ec-sec1.pem", Some("ec.pub.pem")),
            ("ES384", "ec384-sec1.pem", None),
            ("EdDSA", "ed.pem", Some("ed.pub.pem")),
        ] {
            let whose = Some(("alice".to_owned(), 7));
            // The public key follows from the private one.
            let signer = load(method, Some(private), None).unwrap();
            let token = signer.sign("alice", 7).unwrap();
            assert_eq!(signer.check(&token), whose, "{method} {private}");
            let Some(public) = public else { continue };
            let both = load(method, Some(private), Some(public)).unwrap();
            assert_eq!(both.check(&token), whose, "{method} {private}");
            let checker = load(method, None, Some(public)).unwrap();
            assert_eq!(checker.check(&token), whose, "{method} {public}");
            assert_eq!(checker.sign("alice", 7), Err(Error::TokensOnlyChecked));
        }
    }

    #[test]
    fn keys_that_do_not_fit_are_refused_at_the_start() {
        for (method, private, public) in [
            ("RS256", Some("ec.pem"), None),
            ("ES256", Some("rsa.pem"), None),
            ("ES384", Some("ec.pem"), None),
            ("ES256", Some("ec384-sec1.pem"), Some("ec.pub.pem")),
            ("EdDSA", Some("ec.pem"), None),
            ("RS256", None, Some("rsa.pem")),
            ("RS256", Some("missing.pem"), None),
            ("HS256", None, Some("rsa.pub.pem")),
            ("ES512", Some("ec.pem"), None),
            ("none", Some("ec.pem"), None),
        ] {
            assert!(load(method, private, public).is_err(), "{method} {private:?} {public:?}");
        }
        let other = load("ES384", Some("ec384-sec1.pem"), None).unwrap();
        assert!(other.signing.is_some());
    }

    /// A token made by hand, signed rightly.
    fn token(jwt: &Jwt, claims: &str) -> String {
        let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
        jsonwebtoken::encode(&jwt.header, &claims, jwt.signing.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_token_that_is_over_early_or_of_another_kind_is_not_good() {
        let jwt = load("HS256", Some("ed.pem"), None).unwrap();
        let check = |claims: &str| jwt.check(&token(&jwt, claims)).map(|(user, _)| user);
        let good = Some("a".to_owned());
        assert_eq!(check(r#"{"username":"a","revision":3,"exp":99999999999}"#), good);
        // Made by others: without an end, and with a double for the revision.
        assert_eq!(check(r#"{"username":"a","revision":3.0}"#), good);
        assert_eq!(check(r#"{"username":"a","revision":3,"aud":"x","iat":99999999999}"#), good);
        assert_eq!(check(r#"{"username":"a","revision":3,"exp":1}"#), None);
        assert_eq!(check(r#"{"username":"a","revision":3,"exp":"99999999999"}"#), None);
        assert_eq!(check(r#"{"username":"a","revision":3,"nbf":99999999999}"#), None);
        assert_eq!(check(r#"{"username":"a"}"#), None);
        assert_eq!(check(r#"{"revision":3}"#), None);
        assert_eq!(check(r#"{"username":7,"revision":3}"#), None);

        // Signed with another secret, or with another algorithm, or not at all.
        let token = jwt.sign("a", 3).unwrap();
        let other = load("HS256", Some("ec.pem"), None).unwrap();
        assert_eq!(other.check(&token), None);
        let longer = load("HS512", Some("ed.pem"), None).unwrap();
        assert_eq!(longer.check(&token), None);
        let unsigned = token.rsplit_once('.').unwrap().0;
        assert_eq!(jwt.check(&format!("{unsigned}.")), None);
        assert_eq!(jwt.check(""), None);

        let mut short = options("HS256", Some("ed.pem"), None);
        short.ttl = Duration::ZERO;
        let short = Jwt::load(&short).unwrap();
        assert_eq!(short.check(&short.sign("a", 3).unwrap()), None, "its time is over at once");
    }

    /// Public keys must not serve as secrets: a token that is signed with the text of one.
    #[test]
    fn a_public_key_is_no_secret() {
        let secret = load("HS256", Some("rsa.pub.pem"), None).unwrap();
        let forged = secret.sign("root", 3).unwrap();
        let jwt = load("RS256", Some("rsa.pem"), Some("rsa.pub.pem")).unwrap();
        assert_eq!(jwt.check(&forged), None);
    }
}
