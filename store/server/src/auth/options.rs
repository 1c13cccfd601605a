//! What `--auth-token` says: which kind of token is given out, and how.

use std::{path::PathBuf, time::Duration};

/// Which tokens clients get for their passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// None: users are known by their certificates only.
    Nothing,
    /// Random ones, which the members remember for this long after their last use.
    Simple(Duration),
    /// Signed ones, which say themselves whose they are.
    Jwt(JwtOptions),
}

/// How JSON web tokens are signed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtOptions {
    /// The name of the algorithm, such as `RS256`.
    pub method: String,
    /// Checks tokens; not needed beside the private key.
    pub public_key: Option<PathBuf>,
    /// Signs tokens, or is the shared secret of an `HS` algorithm. Without it they are only checked.
    pub private_key: Option<PathBuf>,
    /// How long a token is good for.
    pub ttl: Duration,
}

const JWT_TTL: Duration = Duration::from_secs(300);

impl TokenKind {
    /// Reads `simple`, or `jwt,sign-method=...,pub-key=...,priv-key=...,ttl=...`, or nothing.
    pub(crate) fn parse(
        text: &str,
        simple_ttl: Duration,
        duration: impl Fn(&str) -> Option<Duration>,
    ) -> Result<Self, String> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let (name, value) = part
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| format!("{part:?} is not of the form name=value"))?;
            if options.iter().any(|(other, _)| *other == name) {
                return Err(format!("{name:?} is given twice"));
            }
            options.push((name, value));
        }
        match kind {
            "" => Ok(Self::Nothing),
            "simple" => Ok(Self::Simple(simple_ttl)),
            "jwt" => jwt(&options, duration).map(Self::Jwt),
            other => Err(format!("{other:?} is neither \"simple\" nor \"jwt\"")),
        }
    }
}

fn jwt(
    options: &[(&str, &str)],
    duration: impl Fn(&str) -> Option<Duration>,
) -> Result<JwtOptions, String> {
    let mut out =
        JwtOptions { method: String::new(), public_key: None, private_key: None, ttl: JWT_TTL };
    for (name, value) in options {
        match *name {
            "sign-method" => out.method = (*value).to_owned(),
            "pub-key" => out.public_key = Some(PathBuf::from(value)),
            "priv-key" => out.private_key = Some(PathBuf::from(value)),
            "ttl" if value.is_empty() => {}
            "ttl" => {
                out.ttl = duration(value)
                    .filter(|ttl| !ttl.is_zero())
                    .ok_or_else(|| format!("ttl: {value:?} is not a duration such as 5m"))?;
            }
            // As etcd, which warns and goes on.
            other => tracing::warn!(option = other, "unknown option of --auth-token"),
        }
    }
    if out.method.is_empty() {
        return Err("jwt needs a sign-method".to_owned());
    }
    if out.public_key.is_none() && out.private_key.is_none() {
        return Err("jwt needs a pub-key or a priv-key".to_owned());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TokenKind, String> {
        let minutes = |text: &str| {
            let minutes: u64 = text.strip_suffix('m')?.parse().ok()?;
            Some(Duration::from_secs(60 * minutes))
        };
        TokenKind::parse(text, Duration::from_secs(7), minutes)
    }

    #[test]
    fn the_forms_of_etcd_are_read() {
        assert_eq!(parse("simple"), Ok(TokenKind::Simple(Duration::from_secs(7))));
        assert_eq!(parse(""), Ok(TokenKind::Nothing));
        let jwt = JwtOptions {
            method: "RS256".to_owned(),
            public_key: Some("/p".into()),
            private_key: Some("/k".into()),
            ttl: Duration::from_secs(120),
        };
        let text = "jwt,pub-key=/p,priv-key=/k,sign-method=RS256,ttl=2m";
        assert_eq!(parse(text), Ok(TokenKind::Jwt(jwt)));
        for wrong in [
            "other",
            "jwt",
            "jwt,sign-method=RS256",
            "jwt,priv-key=/k",
            "jwt,priv-key",
            "jwt,priv-key=/k,priv-key=/k,sign-method=RS256",
            "jwt,priv-key=/k,sign-method=RS256,ttl=soon",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
