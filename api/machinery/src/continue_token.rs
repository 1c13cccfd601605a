//! `continue` of a list: upstream's token, so that clients can carry one from server to server.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | N1 | What is given out is read as it was meant. |
//! | N2 | A start that is read is below the prefix that is listed: a client cannot look elsewhere. |

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use crate::Status;
use crate::patch::go_text;

const VERSION: &str = "meta.k8s.io/v1";

/// As Go reads it: no padding, and bits behind the last byte do not count.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Revision of the first page; `None` takes the rest as it is now.
    pub revision: Option<u64>,
    /// First key, in full.
    pub start: String,
}

/// The token for the page after `last_key`.
#[must_use]
pub fn encode(prefix: &str, last_key: &str, revision: Option<u64>) -> String {
    let start = format!("{}\u{0}", last_key.strip_prefix(prefix).unwrap_or(last_key));
    let rv = revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
    // In upstream's order.
    BASE64.encode(format!(r#"{{"v":"{VERSION}","rv":{rv},"start":{}}}"#, json!(start)))
}

/// Reads a token for a list of the keys below `prefix`.
///
/// # Errors
/// 400 with upstream's text.
pub fn decode(prefix: &str, token: &str) -> Result<Token, Status> {
    let invalid = |why: &str| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let json = BASE64.decode(token).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                token.len() / 4 * 4
            }
        };
        invalid(&format!("illegal base64 data at input byte {at}"))
    })?;
    let (version, revision, start) = fields(&json).map_err(|why| invalid(&why))?;
    if version != VERSION {
        return Err(invalid(&format!("server does not recognize this encoded version {version}")));
    }
    if revision == 0 {
        let why = "incorrect encoded start resourceVersion (version meta.k8s.io/v1)";
        return Err(invalid(why));
    }
    if start.is_empty() {
        return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
    }
    // N2: a path with other ways to write it might lead out of the prefix.
    let path = start.strip_prefix('/').unwrap_or(&start);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid(&start));
    }
    Ok(Token { revision: u64::try_from(revision).ok(), start: format!("{prefix}{path}") })
}

/// Version, revision and start, as Go's decoder takes them.
fn fields(json: &[u8]) -> Result<(String, i64, String), String> {
    let tree: Value =
        serde_json::from_slice(json).map_err(|error| go_text::not_json(json, &error))?;
    let unfit = |value: &Value, into: &str| {
        format!("json: cannot unmarshal {} into Go {into}", go_text::json_kind(value))
    };
    if !tree.is_object() && !tree.is_null() {
        return Err(unfit(&tree, "value of type storage.continueToken"));
    }
    let text = |key: &str| match &tree[key] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => Err(unfit(other, &format!("struct field continueToken.{key} of type string"))),
    };
    let revision = match &tree["rv"] {
        Value::Null => 0,
        Value::Number(number) => number.as_i64().ok_or_else(|| {
            format!("json: cannot unmarshal number {number} into Go struct field continueToken.rv of type int64")
        })?,
        other => return Err(unfit(other, "struct field continueToken.rv of type int64")),
    };
    Ok((text("v")?, revision, text("start")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_upstreams_and_round_trips() {
        let token = encode("/registry/pods/", "/registry/pods/a/b", Some(7));
        let text = String::from_utf8(BASE64.decode(&token).unwrap()).unwrap();
        assert_eq!(text, "{\"v\":\"meta.k8s.io/v1\",\"rv\":7,\"start\":\"a/b\\u0000\"}");
        let read = decode("/registry/pods/", &token).unwrap();
        assert_eq!(read, Token { revision: Some(7), start: "/registry/pods/a/b\0".into() });
        assert!(decode("/registry/pods/", &encode("/x/", "/x/../y", None)).is_err());
    }

    /// As kube-apiserver 1.36 answered them.
    #[test]
    fn what_is_no_token_is_refused_in_upstreams_words() {
        let start = "incorrect encoded start resourceVersion (version meta.k8s.io/v1)";
        for (json, why) in [
            (r#"{"v":"meta.k8s.io/v1","rv":5,"start":"../x"}"#, "../x"),
            (r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"a/"}"#, "a/"),
            (r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#, start),
            (
                r#"{"v":"v2","rv":5,"start":"a"}"#,
                "server does not recognize this encoded version v2",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":5}"#,
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            ("{", "unexpected end of JSON input"),
            (
                r#"{"v":1}"#,
                "json: cannot unmarshal number into Go struct field continueToken.v of type string",
            ),
            ("[]", "json: cannot unmarshal array into Go value of type storage.continueToken"),
        ] {
            let refused = decode("/registry/pods/", &BASE64.encode(json)).unwrap_err();
            let wanted = format!("invalid continue token: continue key is not valid: {why}");
            assert_eq!((refused.code, refused.message), (400, wanted), "{json}");
        }
        for (token, at) in [("!!", 0), ("aaaaa", 4)] {
            let refused = decode("/registry/pods/", token).unwrap_err();
            assert!(refused.message.ends_with(&format!("at input byte {at}")), "{refused}");
        }
        let before = BASE64.encode(r#"{"v":"meta.k8s.io/v1","rv":-7,"start":"default/a"}"#);
        assert_eq!(decode("/r/", &before).unwrap().revision, None);
    }
}
