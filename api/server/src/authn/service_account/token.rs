//! Service account tokens: signed claims in upstream's form, made and read without any state.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keys::{Signer, VerifyingKey};

/// Clocks may differ by this many seconds.
pub(super) const LEEWAY_S: i64 = 60;

/// An object that a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

/// The claims that only Kubernetes has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// One audience or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany")]
pub(crate) struct Audiences(pub(crate) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Audiences {
    fn from(read: OneOrMany) -> Self {
        match read {
            OneOrMany::One(one) => Self(vec![one]),
            OneOrMany::Many(many) => Self(many),
        }
    }
}

/// What a token says. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(default)]
    pub(crate) aud: Audiences,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<i64>,
    #[serde(default)]
    pub(crate) iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) jti: String,
    #[serde(default, rename = "kubernetes.io")]
    pub(crate) bound: Bound,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<i64>,
    #[serde(default)]
    pub(crate) sub: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

fn decoded<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Whether it has the form of a token of one of these issuers; nothing of it is to be trusted yet.
pub(super) fn claims_issuer(token: &str, issuers: &[String]) -> bool {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    decoded::<BTreeMap<String, serde_json::Value>>(claims)
        .and_then(|claims| claims.get("iss")?.as_str().map(str::to_owned))
        .is_some_and(|issuer| issuers.contains(&issuer))
}

/// Signs claims.
pub(super) fn sign(signer: &Signer, claims: &Claims) -> Result<String, String> {
    let header = json!({"alg": signer.public.algorithm.name(), "kid": signer.public.id});
    let claims = serde_json::to_vec(claims).map_err(|error| error.to_string())?;
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(claims));
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(token)
}

/// The claims of a token that one of the keys has signed and whose time is now.
pub(super) fn verify(token: &str, keys: &[VerifyingKey], now_s: i64) -> Result<Claims, String> {
    let broken = || "the token is not a signed token".to_owned();
    let (signed, signature) = token.rsplit_once('.').ok_or_else(broken)?;
    let (header, claims) = signed.split_once('.').ok_or_else(broken)?;
    let header: Header = decoded(header).ok_or_else(broken)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| broken())?;
    let mut named =
        keys.iter().filter(|key| header.kid.is_empty() || key.id == header.kid).peekable();
    if named.peek().is_none() {
        return Err("invalid signature, no keys found".to_owned());
    }
    // The key decides the algorithm, never the token.
    let is_signed = named.any(|key| {
        key.algorithm.name() == header.alg && key.verifies(signed.as_bytes(), &signature)
    });
    if !is_signed {
        return Err("go-jose/go-jose: error in cryptographic primitive".to_owned());
    }
    let claims: Claims = decoded(claims).ok_or_else(broken)?;
    if claims.exp.is_some_and(|end| now_s - LEEWAY_S > end) {
        return Err("service account token has expired".to_owned());
    }
    if claims.nbf.is_some_and(|start| now_s + LEEWAY_S < start) {
        return Err("service account token is not valid yet".to_owned());
    }
    if claims.iat.is_some_and(|made| now_s + LEEWAY_S < made) {
        return Err("service account token is issued in the future".to_owned());
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_was_signed_and_nothing_else() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let signer = Signer::read(pair.serialize_pem().as_bytes()).unwrap();
        let keys = [signer.public.clone()];
        let claims = Claims {
            aud: Audiences(vec!["api".to_owned()]),
            exp: Some(1600),
            iat: Some(1000),
            iss: "https://issuer".to_owned(),
            nbf: Some(1000),
            sub: "system:serviceaccount:default:robot".to_owned(),
            ..Claims::default()
        };
        let token = sign(&signer, &claims).unwrap();
        assert!(claims_issuer(&token, &["https://issuer".to_owned()]));
        assert!(!claims_issuer(&token, &["https://other".to_owned()]));
        assert!(!claims_issuer("a.b", &["https://issuer".to_owned()]));
        assert_eq!(verify(&token, &keys, 1000).unwrap(), claims);
        assert_eq!(verify(&token, &keys, 1660).unwrap(), claims, "clocks may differ");
        assert_eq!(verify(&token, &keys, 1661).unwrap_err(), "service account token has expired");
        assert!(verify(&token, &keys, 939).is_err());

        // Other claims under the same signature, other signatures, no signature.
        let other = sign(&signer, &Claims { sub: "admin".to_owned(), ..claims }).unwrap();
        let (start, _) = other.rsplit_once('.').unwrap();
        let (_, end) = token.rsplit_once('.').unwrap();
        assert!(verify(&format!("{start}.{end}"), &keys, 1000).is_err());
        assert!(verify(&format!("{start}."), &keys, 1000).is_err());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let (_, body) = start.split_once('.').unwrap();
        assert!(verify(&format!("{none}.{body}."), &keys, 1000).is_err());
        let stranger = rcgen::KeyPair::generate().unwrap();
        let stranger = Signer::read(stranger.serialize_pem().as_bytes()).unwrap();
        assert_eq!(
            verify(&token, &[stranger.public], 1000).unwrap_err(),
            "invalid signature, no keys found"
        );
    }

    #[test]
    fn one_audience_is_read_as_a_list() {
        let claims: Claims = serde_json::from_str(r#"{"aud":"a","sub":"s"}"#).unwrap();
        assert_eq!(claims.aud.0, ["a"]);
    }
}
