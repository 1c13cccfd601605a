//! Bootstrap tokens: what a machine that joins the cluster shows before it has a certificate. Each is
//! a Secret in `kube-system`.

use std::collections::BTreeSet;

use api_machinery::{View, kinds, time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::User;
use crate::state::Server;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
/// Longest name of a group behind the prefix of all of them.
const GROUP_LETTERS_MAX: usize = 256;

/// The user of a token, unless it is none, or not good any more.
pub(super) fn user(server: &Server, token: &str) -> Option<User> {
    let (id, secret) = parse(token)?;
    let secrets = kinds::find("", "v1", "secrets")?;
    let key = server.storage.key(secrets, NAMESPACE, &format!("bootstrap-token-{id}"));
    let found = server.caches.of(secrets).get(&key)?;
    let user = user_of(View::new(&found.json()), (id, secret), clock::now());
    if let Err(why) = &user {
        tracing::info!(id, why, "a bootstrap token is not accepted");
    }
    user.ok()
}

/// Id and secret of a token: `abcdef.0123456789abcdef`.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    let fits = id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret);
    fits.then_some((id, secret))
}

/// The bytes differ or not; how long this takes does not say where.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && differ == 0
}

fn user_of(
    secret: View<'_>,
    (id, token): (&str, &str),
    now: jiff::Timestamp,
) -> Result<User, &'static str> {
    let data = |key: &str| -> Vec<u8> {
        STANDARD.decode(&*secret.at(&["data", key]).text()).unwrap_or_default()
    };
    if !secret.at(&["metadata", "deletionTimestamp"]).is_null() {
        return Err("the secret is being deleted");
    }
    if !secret.get("type").is(TYPE) {
        return Err("the secret is of another type");
    }
    if !is_same(&data("token-secret"), token.as_bytes()) {
        return Err("the token's second half is wrong");
    }
    if data("token-id") != id.as_bytes() {
        return Err("the secret is about another token");
    }
    let expiration = String::from_utf8(data("expiration")).unwrap_or_default();
    if !expiration.is_empty() && time::parse(&expiration).is_none_or(|end| end <= now) {
        return Err("it has expired, or its end cannot be read");
    }
    if data("usage-bootstrap-authentication") != b"true" {
        return Err("it is not for authentication");
    }
    let extra = String::from_utf8(data("auth-extra-groups")).unwrap_or_default();
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        if !is_group(group) {
            return Err("a group of it has a name that it may not have");
        }
        groups.insert(group.to_owned());
    }
    let groups = groups.into_iter().collect();
    Ok(User::authenticated(format!("system:bootstrap:{id}"), String::new(), groups))
}

fn is_group(name: &str) -> bool {
    let own = name.strip_prefix("system:bootstrappers:").unwrap_or_default();
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    (1..=GROUP_LETTERS_MAX).contains(&own.len())
        && own.bytes().all(|byte| is_plain(byte) || matches!(byte, b':' | b'-'))
        && own.bytes().last().is_some_and(is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn secret() -> Value {
        let encode = |text: &str| Value::from(STANDARD.encode(text));
        json!({"type": TYPE, "metadata": {"name": "bootstrap-token-abcdef"}, "data": {
            "token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
            "usage-bootstrap-authentication": encode("true"),
            "expiration": encode("2030-01-01T00:00:00Z"),
            "auth-extra-groups": encode("system:bootstrappers:b,system:bootstrappers:a")}})
    }

    fn read(secret: &Value) -> Result<User, &'static str> {
        let bytes = secret.to_string();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        user_of(View::new(bytes.as_bytes()), ("abcdef", "0123456789abcdef"), now)
    }

    #[test]
    fn a_good_secret_makes_its_token_a_user() {
        let user = read(&secret()).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(
            user.groups,
            [
                "system:bootstrappers",
                "system:bootstrappers:a",
                "system:bootstrappers:b",
                "system:authenticated"
            ]
        );
    }

    #[test]
    fn one_thing_that_is_wrong_is_enough() {
        for (path, value) in [
            ("/data/token-id", "other1"),
            ("/data/token-secret", "0123456789abcdeg"),
            ("/data/token-secret", "0123456789abcde"),
            ("/data/usage-bootstrap-authentication", "yes"),
            ("/data/expiration", "2025-12-31T23:59:59Z"),
            ("/data/expiration", "soon"),
            ("/data/auth-extra-groups", "system:masters"),
            ("/data/auth-extra-groups", "system:bootstrappers:a-"),
        ] {
            let mut secret = secret();
            *secret.pointer_mut(path).unwrap() = STANDARD.encode(value).into();
            assert!(read(&secret).is_err(), "{path} {value}");
        }
        let mut other = secret();
        other["type"] = "Opaque".into();
        assert!(read(&other).is_err());
        let mut going = secret();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(read(&going).is_err());
    }

    #[test]
    fn only_six_and_sixteen_letters_are_a_token() {
        assert!(parse("abcdef.0123456789abcdef").is_some());
        for text in ["abcdef", "abcde.0123456789abcdef", "Abcdef.0123456789abcdef", "abcdef."] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
