//! Which store, and as whom: what flags say, as the client takes it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use store_client::{Config, Tls, User};

/// What flags say about one store.
pub(crate) struct Said<'a> {
    /// What its flags begin with: `--` or `--from-`, say.
    pub(crate) flags: &'a str,
    pub(crate) endpoints: &'a [String],
    pub(crate) cacert: Option<&'a PathBuf>,
    pub(crate) cert: Option<&'a PathBuf>,
    pub(crate) key: Option<&'a PathBuf>,
    /// `NAME:PASSWORD`.
    pub(crate) user: Option<&'a str>,
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `NAME:PASSWORD`, for the flag that is named.
pub(crate) fn user(flag: &str, text: &str) -> anyhow::Result<User> {
    let (name, password) =
        text.split_once(':').with_context(|| format!("{flag} is NAME:PASSWORD"))?;
    Ok(User { name: name.to_owned(), password: password.to_owned() })
}

impl Said<'_> {
    /// For a client of that store.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let flags = self.flags;
        // As etcdctl: who names an authority means TLS.
        let scheme = if self.cacert.is_some() { "https" } else { "http" };
        let endpoints: Vec<String> = self
            .endpoints
            .iter()
            .map(|one| if one.contains("://") { one.clone() } else { format!("{scheme}://{one}") })
            .collect();
        let secure = endpoints.iter().find(|one| one.starts_with("https://"));
        let mut config = Config::new(endpoints.clone());
        match (self.cacert, secure) {
            (Some(ca), _) => {
                let identity = match (self.cert, self.key) {
                    (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
                    _ => None,
                };
                config = config.with_tls(Tls { ca: read(ca)?, identity });
            }
            (None, Some(endpoint)) => {
                bail!("{flags}cacert is needed for {endpoint}: the authority that signed for it")
            }
            (None, None) if self.cert.is_some() => {
                bail!("{flags}cert goes with {flags}cacert and an https endpoint")
            }
            (None, None) => {}
        }
        if let Some(text) = self.user {
            config = config.with_user(user(&format!("{flags}user"), text)?);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(
        endpoint: &str,
        user: Option<&str>,
        cert: Option<&PathBuf>,
    ) -> anyhow::Result<Config> {
        let endpoints = [endpoint.to_owned()];
        let flags = "--from-";
        Said { flags, endpoints: &endpoints, cacert: None, cert, key: cert, user }.config()
    }

    #[test]
    fn what_is_missing_is_named_by_its_flag() {
        let plain = config("127.0.0.1:2379", Some("root:a:b"), None).unwrap();
        assert_eq!(plain.endpoints, ["http://127.0.0.1:2379"]);
        let user = plain.user.unwrap();
        assert_eq!((user.name.as_str(), user.password.as_str()), ("root", "a:b"));
        let refused = |made: anyhow::Result<Config>| made.unwrap_err().to_string();
        let said = refused(config("https://a:1", None, None));
        assert!(said.starts_with("--from-cacert is needed for https://a:1"), "{said}");
        let said = refused(config("a:1", None, Some(&PathBuf::from("x"))));
        assert!(said.starts_with("--from-cert goes with --from-cacert"), "{said}");
        assert_eq!(refused(config("a:1", Some("root"), None)), "--from-user is NAME:PASSWORD");
    }
}
