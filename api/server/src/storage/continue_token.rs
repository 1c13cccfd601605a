//! `continue` of a list: upstream's token, so that clients can carry one from server to server.

use api_machinery::Status;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Revision of the first page; `None` takes the rest as it is now.
    pub(crate) revision: Option<u64>,
    /// First key, in full.
    pub(crate) start: String,
}

/// The token for the page after `last_key`.
pub(crate) fn encode(prefix: &str, last_key: &str, revision: Option<u64>) -> String {
    let start = format!("{}\u{0}", last_key.strip_prefix(prefix).unwrap_or(last_key));
    let rv = revision.map_or(-1, super::signed);
    let wire = Wire { v: VERSION.to_owned(), rv, start };
    let json = serde_json::to_vec(&wire).expect("three plain fields can be written");
    URL_SAFE_NO_PAD.encode(json)
}

/// Reads a token for a list of the keys below `prefix`.
pub(crate) fn decode(prefix: &str, token: &str) -> Result<Token, Status> {
    let invalid = |why: &str| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let json = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|error| invalid(&error.to_string()))?;
    let wire: Wire = serde_json::from_slice(&json).map_err(|error| invalid(&error.to_string()))?;
    if wire.v != VERSION {
        return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if wire.start.is_empty() {
        return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
    }
    // A start key must not lead out of the list's own prefix.
    let start = wire.start.trim_start_matches('/');
    if start.split('/').any(|part| part == "..") {
        return Err(invalid(&wire.start));
    }
    let revision = match wire.rv {
        -1 => None,
        rv if rv > 0 => Some(super::unsigned(rv)),
        _ => {
            return Err(invalid(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
    };
    Ok(Token { revision, start: format!("{prefix}{start}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_upstreams_and_round_trips() {
        let token = encode("/registry/pods/", "/registry/pods/a/b", Some(7));
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(&token).unwrap()).unwrap();
        assert_eq!(text, "{\"v\":\"meta.k8s.io/v1\",\"rv\":7,\"start\":\"a/b\\u0000\"}");
        let read = decode("/registry/pods/", &token).unwrap();
        assert_eq!(read, Token { revision: Some(7), start: "/registry/pods/a/b\0".into() });
        assert!(decode("/registry/pods/", "!!").is_err());
        assert!(decode("/registry/pods/", &encode("/x/", "/x/../y", None)).is_err());
    }
}
